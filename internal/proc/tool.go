package proc

import (
	"context"
	"sync"

	"tandem"
)

// tools are the programs of Tool that run now, by process.
var tools sync.Map

// Tool runs a program of ours to its end where it can see every process that we can, and gives what it printed: no containment, so it is for tools that look at
// other processes. It is killed when ctx ends first.
func Tool(ctx context.Context, argv []string) (string, error) {
	var mu sync.Mutex
	var out []byte
	p, err := start(Spec{Argv: argv, Output: func(stream int, b []byte) {
		mu.Lock()
		defer mu.Unlock()
		if stream == 1 && len(out) < 16<<20 {
			out = append(out, b...)
		}
	}}, true)
	if err != nil {
		return "", err
	}
	tools.Store(p.PID(), true)
	defer tools.Delete(p.PID())
	stop := context.AfterFunc(ctx, p.Kill)
	defer stop()
	<-p.Done()
	if x := p.Exit(); x.Code != 0 || x.Signal != 0 {
		return "", &tandem.Error{Op: "run", On: argv[0], Kind: tandem.KindExit, Message: x.String(), Trace: x.Tail}
	}
	return string(out), nil
}

// IsTool says whether a process is one that Tool runs.
func IsTool(pid int) bool { _, yes := tools.Load(pid); return yes }
