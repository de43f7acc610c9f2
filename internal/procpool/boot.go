package procpool

import (
	"cmp"
	"context"
	"errors"
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
