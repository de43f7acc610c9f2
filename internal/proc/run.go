package proc

import (
	"context"
	"os"
	"os/exec"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"tandem"
)

// Command is a program to run to its end.
type Command struct {
	Argv      []string
	Dir       string
	Env       []string // nil means ours
	Extra     []string // added to Env
	Stdin     []byte
	MaxOutput int64                          // of standard output to keep; more ends the command. Zero means 64 MiB
	Output    func(stream int, chunk []byte) // told what it writes; may be nil
	Doomed    func(pid int, last bool)       // called before the command is killed (last), or asked to end, because it took too much; may be nil; must be quick
	Limits    Limits
	Isolation Isolation
	CPUTime   time.Duration // of it and all it starts; more ends it. Zero means no limit
	Soft      time.Duration // after so long its process group is asked to end; zero means never
	Hang      time.Duration // neither output nor processor time for so long ends it; zero means no limit
}

// Ended is how a command ended.
type Ended struct {
	PID       int
	Code      int
	Signal    string // SIGSEGV, or empty
	Stdout    []byte
	Stderr    []byte // the last 8 KiB
	CPU       time.Duration
	TooLarge  bool // it wrote more than MaxOutput and was killed for it
	Asked     bool // Soft was over and it was asked to end
	Hung      bool // it was killed for Hang
	Spent     bool // it was killed for CPUTime
	Over      *Over
	Peak      int64 // the most memory that it and all it started were seen with; zero when nobody looked
	Memory    tandem.Memory
	Canceled  bool // ctx ended first; it was killed
	Left      bool // it was killed, and the kernel has not let it end: it is left behind, and ends when the kernel lets it
	MaxRSS    int64
	WallClock time.Duration
	Group     Counted
	Isolation tandem.Isolation
}

// Run runs a command to its end and kills its whole group when ctx ends first. The error is a *tandem.Error of kind start.
func Run(ctx context.Context, c Command) (Ended, error) {
	limit := c.MaxOutput
	if limit <= 0 {
		limit = 64 << 20
	}
	var e Ended
	var mu sync.Mutex
	var errs tail
	var p *Process
	begun := time.Now()
	started := make(chan struct{})
	watch := vigil{c: &c}
	var hearing [2]sync.Mutex
	left := false // nobody listens any more
	spec := Spec{Argv: c.Argv, Dir: c.Dir, Env: c.Env, Extra: c.Extra, Limits: c.Limits, Isolation: c.Isolation, Output: func(stream int, b []byte) {
		hearing[stream-1].Lock()
		defer hearing[stream-1].Unlock()
		if left {
			return
		}
		watch.heard.Add(int64(len(b)))
		if c.Output != nil {
			c.Output(stream, b)
		}
		if stream == 2 {
			errs.add(b)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if e.TooLarge {
			return
		}
		if int64(len(e.Stdout)+len(b)) > limit {
			e.TooLarge = true
			go func() { <-started; p.Kill() }()
			return
		}
		e.Stdout = append(e.Stdout, b...)
	}}
	var feed sync.WaitGroup
	if len(c.Stdin) > 0 {
		r, w, err := os.Pipe()
		if err != nil {
			return e, startError(c.Argv[0], err)
		}
		defer r.Close()
		spec.Stdin = r
		feed.Go(func() {
			_, _ = w.Write(c.Stdin) // a command that does not read it all is within its rights
			w.Close()
		})
		defer feed.Wait()
		defer func() { _ = w.SetWriteDeadline(time.Now().Add(-time.Second)) }()
	}
	var err error
	p, err = Start(spec)
	if err != nil {
		return e, err
	}
	close(started)
	e.PID, e.Isolation, watch.p = p.PID(), p.Isolation(), p
	var watching sync.WaitGroup
	watching.Go(watch.keep)
	stop := context.AfterFunc(ctx, func() {
		if c.Doomed != nil {
			c.Doomed(p.PID(), true)
		}
		p.Kill()
	})
	e.Left = !p.await(mostFalling)
	e.Canceled = !stop() && ctx.Err() != nil
	watching.Wait()
	x := Exit{Code: -1}
	if e.Left {
		for i := range hearing {
			hearing[i].Lock()
			defer hearing[i].Unlock()
		}
		left = true
		used := p.Use()
		x.CPU, x.MaxRSS, x.Over = used.CPU, used.Memory, p.over.Load()
	} else {
		x = p.Exit()
	}
	e.Asked, e.Hung, e.Spent, e.Over, e.Peak, e.Memory = watch.asked, watch.hung, watch.spent, x.Over, p.Peak(), p.Memory()
	e.Code, e.CPU, e.MaxRSS, e.WallClock = x.Code, x.CPU, x.MaxRSS, time.Since(begun)
	e.Group = x.Group
	if x.Signal != 0 {
		e.Signal = unix.SignalName(x.Signal)
	}
	e.Stderr = []byte(errs.String())
	return e, nil
}

// ends is how long a killed program may take to end.
const ends = 4 * time.Second

// mostFalling is how long the kernel may take to end what it has begun to end. After that something holds it.
const mostFalling = 30 * time.Second

// await waits until the program has ended; one that the kernel has begun to end has falling longer. It is false when it was killed and is still there seconds later: nothing can be done about it. Time in which we did not run ourselves does not count.
func (p *Process) await(falling time.Duration) bool {
	select {
	case <-p.done:
		return true
	case <-p.doomed:
	}
	const often = 50 * time.Millisecond
	tick := time.NewTicker(often)
	defer tick.Stop()
	for looked, slow := time.Duration(0), time.Duration(0); looked < ends; {
		select {
		case <-p.done:
			return true
		case <-tick.C:
		}
		if looked += often; slow < falling && p.Falling() {
			looked, slow = 0, slow+often
		}
	}
	return false
}

// Look finds a program as a shell would; the error is a *tandem.Error of kind start.
func Look(program string) (string, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return "", startError(program, err)
	}
	return path, nil
}
