package procpool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"tandem"
	"tandem/internal/proc"
	"tandem/internal/supervise"
)

const (
	mostOfTrial = 4 << 30          // memory that a worker may take while it is found out how much it needs
	trialTime   = 20 * time.Second // for each start
)

// tooSmall finds out whether it is its limit of memory that keeps a worker from starting, by starting one without: then the error says so, and names a limit with
// which one has started. Once for each pool, before its first item.
func (p *Pool) tooSmall(ctx context.Context, place int, err error) error {
	limit := p.cfg.Caps.Memory
	e, ok := errors.AsType[*tandem.Error](err)
	if limit <= 0 || !ok || e.Kind == tandem.KindStart || e.Kind == tandem.KindMemory {
		return err
	}
	p.booting.Lock() // the others that failed wait for what the first finds out
	defer p.booting.Unlock()
	if p.tried {
		if p.small != nil {
			return p.small
		}
		return err
	}
	p.tried = true
	need, ok := p.probe(ctx, place, proc.Limits{Memory: max(mostOfTrial, 2*limit)})
	if !ok || ctx.Err() != nil {
		return err
	}
	c := *e
	c.Message = "it cannot start with memory: " + proc.Bytes(limit) + " (" + e.Message + ")"
	c.Kind, c.Reason, c.Hint = tandem.KindMemory, "", "without a limit it starts: raise memory"
	for try := roundUp(max(need, limit)); try <= 16*max(need, limit) && ctx.Err() == nil; try *= 2 {
		if _, ok := p.probe(ctx, place, proc.Limits{Memory: try}.WithData(p.cfg.Argv[0])); ok {
			c.Hint = "before its first item it needs no more than " + proc.Bytes(try) + ": raise memory to more than that"
			break
		}
	}
	p.small = &c
	return &c
}

// noThread is what shells, Python, Go, Node and Java say when they may have no further process or thread.
var noThread = []string{"Resource temporarily unavailable", "can't start new thread", "failed to create new OS thread", "unable to create native thread", "pthread_create", "uv_thread_create", "Cannot fork"}

// tooFew says that it may be the limit of processes and threads that keeps a worker from starting, when that is what the worker's last words fit.
func (p *Pool) tooFew(err error) error {
	e, ok := errors.AsType[*tandem.Error](err)
	n := p.cfg.Isolation.PIDs
	if !ok || n <= 0 || !slices.ContainsFunc(noThread, func(words string) bool { return strings.Contains(e.Message+e.Trace, words) }) {
		return err
	}
	c := *e
	c.Message = fmt.Sprintf("it cannot start with pids: %d (%s)", n, e.Message)
	c.Hint = "raise pids: each thread counts, and what starts a program may need some of its own (Python 1, Go 5, Node 7, Java 20)"
	return &c
}

// roundUp leaves a tenth to spare, in whole MiB.
func roundUp(n int64) int64 { return (n/10*11>>20 + 1) << 20 }

// probe starts a worker, and tells what it took, and whether it became ready. It is gone when probe returns.
func (p *Pool) probe(ctx context.Context, place int, limits proc.Limits) (took int64, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, min(trialTime, p.cfg.StartTimeout))
	defer cancel()
	var at supervise.Place // of its own: a probe is nobody's replacement
	w, err := p.spawn(ctx, place, place, at.Start(now()), limits)
	if err != nil {
		return 0, false
	}
	took = cmp.Or(w.process.Data(), w.process.Use().Memory)
	if w.process.Memory() == tandem.MemoryPolled {
		took = w.process.Use().Memory
	}
	p.enlist(place, nil)
	w.kill(tandem.ExitKilledByUs, stoppedRun)
	<-w.process.Done()
	w.sock.Close()
	p.giveArenas(w.mem)
	return took, true
}
