package procpool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"tandem"
	"tandem/internal/arena"
	"tandem/internal/proc"
	"tandem/internal/supervise"
)

// now is the time that supervision and the control pages share.
func now() time.Duration { return time.Duration(arena.Now()) }

// place keeps one worker running until ctx ends. What to start and when, supervise says: a dead worker's replacement starts while the dead one is still being
// buried, a recycled one's while the old one still works.
func (p *Pool) place(ctx context.Context, n int) {
	at := supervise.Place{Times: p.times()}
	var burials sync.WaitGroup
	defer burials.Wait()
	defer p.leftPlace(n)
	var w *worker
	for {
		if w == nil {
			var err error
			var begun time.Duration
			if w, begun, err = p.begin(ctx, n, &at); w == nil {
				if err == nil {
					return
				}
				at.Ended(supervise.Fruitless, now())
				if p.failed(n, begun, err) {
					return
				}
				continue
			}
			p.admit(w)
		}
		next := p.serve(ctx, w, &at)
		switch {
		case next == w: // it could not be replaced, and goes on
			continue
		case next != nil:
			burials.Go(w.bury)
			w = next
			continue
		case ctx.Err() != nil:
			if context.Cause(ctx) == errSurplus {
				p.dismiss(w, "the pool has "+strconv.Itoa(p.State().Workers)+" workers now")
			}
			burials.Go(w.bury)
			return
		}
		burials.Go(w.bury)
		if p.after(ctx, n, w, &at) {
			return
		}
		w = nil
	}
}

// times are the limits of a worker's states.
func (p *Pool) times() supervise.Times {
	return supervise.Times{Spawn: -1, Boot: p.cfg.StartTimeout, Ask: p.cfg.AskWithin, Stop: p.cfg.Grace}
}

// begin waits for its turn and starts a worker, or takes a spare. Without a worker and without an error the place is not needed any more.
func (p *Pool) begin(ctx context.Context, n int, at *supervise.Place) (w *worker, begun time.Duration, err error) {
	for {
		p.mu.Lock()
		turn := p.turn
		begun = now()
		wait, yes := at.Pending(begun), false
		if wait == 0 || p.stocked() {
			yes, wait = p.sup.May(n, begun)
		}
		if yes && ctx.Err() == nil {
			w = p.spare(n, at)
			yes = w != nil || at.Pending(begun) == 0
		}
		p.mu.Unlock()
		switch {
		case ctx.Err() != nil:
			return nil, 0, nil
		case w != nil:
			return w, begun, nil
		case yes:
			life := at.Start(begun)
			if life == nil {
				panic("procpool: a second worker for " + p.cfg.Step + "/" + strconv.Itoa(n+1)) // a mistake in this package
			}
			w, err = p.start(ctx, n, life, "", nil)
			if ctx.Err() != nil && w == nil {
				return nil, begun, nil
			}
			return w, begun, err
		}
		select {
		case <-time.After(wait + time.Millisecond):
		case <-turn:
		case <-ctx.Done():
		}
	}
}

// admit lets a started worker take tasks, unless there are to be fewer by now. In mode auto an async handler may need fewer of them.
func (p *Pool) admit(w *worker) {
	p.mu.Lock()
	p.show(w)
	p.fit() // the mode may be known only now
	if w.place >= p.wanted() {
		p.mu.Unlock()
		return // its place has ended
	}
	w.life.On(supervise.Ready, now()) // a spare has said so before
	if w.life.Serves() && !w.dead {
		p.workers = append(p.workers, w)
		if p.atOnce > 0 {
			w.change(p.atOnce)
		}
		w.setWindow(min(w.most(), 2*w.atOnce))
		p.sup.Ready()
	}
	w.progress = int64(now())
	var do chores
	p.pump(&do)
	p.room.Broadcast()
	p.setReady()
	p.mu.Unlock()
	ready := "ready, pid " + strconv.Itoa(w.process.PID())
	if m := p.cfg.Caps.Memory; m > 0 {
		ready += ", memory " + proc.Bytes(m) + " (" + string(w.process.Memory()) + ")"
	}
	p.event(w.number, "starting", "idle", ready)
	p.finish(&do, true)
}

// serve waits while w serves. It gives the worker that follows at once: w's replacement when it is recycled, w itself when that could not be had, else nil.
func (p *Pool) serve(ctx context.Context, w *worker, at *supervise.Place) *worker {
	select {
	case <-w.leave:
		return nil
	case <-ctx.Done():
		return nil
	case <-w.tired:
	}
	p.mu.Lock()
	why, idle := w.tiredOf, w.idleEnd
	p.mu.Unlock()
	if idle {
		p.dismiss(w, why)
		return nil
	}
	life := at.Replace(now())
	if life == nil { // it is on its way out for another reason
		p.recycledPlace(w.place)
		select {
		case <-w.leave:
		case <-ctx.Done():
		}
		return nil
	}
	next, err := p.start(ctx, w.place, life, "to recycle the one before: "+why, w)
	if next == nil {
		at.Failed()
		p.notRecycled(w, ctx.Err() == nil, err)
		return w
	}
	at.Came()
	p.admit(next)
	p.dismiss(w, why)
	return next
}

// after decides what follows the end of w, waits as long as it says, and tells whether that is the end of the place too.
func (p *Pool) after(ctx context.Context, n int, w *worker, at *supervise.Place) (over bool) {
	p.mu.Lock()
	how := w.ending()
	idle, err, begun := w.idleEnd, w.reason, time.Duration(w.begun)
	p.mu.Unlock()
	wait := at.Ended(how, now())
	if how == supervise.Fruitless {
		var cause error
		if err != nil {
			cause = err
		}
		if p.failed(n, begun, cause) {
			return true
		}
	}
	if idle {
		at.Park()
		return p.parked(ctx, w.number)
	}
	if wait > 0 {
		p.event(w.number, "dead", "backoff", "the next one starts in "+wait.Round(time.Millisecond).String())
	}
	return ctx.Err() != nil
}

// ending is how w ended. The mutex is held.
func (w *worker) ending() supervise.Ending {
	switch {
	case w.retired && w.reason == nil, w.byUser:
		return supervise.Meant
	case w.inflight > 0, w.held:
		return supervise.Charged
	case w.served:
		return supervise.Unnamed
	}
	return supervise.Fruitless
}

// failed notes a worker that could not begin. When the pool cannot ever, it gives up, and the place ends; else its breaker opens after a few.
func (p *Pool) failed(n int, begun time.Duration, err error) (over bool) {
	final := false
	if e, ok := errors.AsType[*tandem.Error](err); ok && e.Kind != tandem.KindCrash && e.Kind != tandem.KindTimeout && e.Kind != tandem.KindProtocol {
		final = true
	}
	if err == nil {
		err = &tandem.Error{Op: "start worker", On: p.cfg.Step, Kind: tandem.KindStart, Message: "the worker ends again and again before it runs anything"}
	}
	var do chores
	p.mu.Lock()
	p.stats.BootFailures++
	opened, giveUp := p.sup.Failed(n, begun, now(), final)
	if opened {
		_, wait := p.sup.May(-1, now())
		p.down = err
		p.refuse(&do)
		p.changed()
		p.mu.Unlock()
		p.event(-1, "closed", "open", fmt.Sprintf("no worker starts for %v: %v", wait.Round(time.Millisecond), err))
	} else {
		p.mu.Unlock()
	}
	p.finish(&do, true)
	if giveUp {
		p.giveUp(err)
	}
	return giveUp
}

// changed wakes the places that wait for their turn. The mutex is held.
func (p *Pool) changed() {
	close(p.turn)
	p.turn = make(chan struct{})
}

// proved says that workers can work. The mutex is held.
func (p *Pool) proved() {
	if p.sup.Proved() {
		p.down = nil
		p.changed()
	}
}

// leftPlace gives back what the place had of its own.
func (p *Pool) leftPlace(n int) {
	p.mu.Lock()
	p.sup.Left(n, now())
	p.changed()
	p.mu.Unlock()
}

// giveUp ends the pool: err says why no worker can be had.
func (p *Pool) giveUp(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.gaveUp {
		p.gaveUp, p.err = true, err
		p.setReady()
		p.room.Broadcast()
		p.checkEmpty()
	}
}

// refuse ends what waits while no worker can be had. The mutex is held.
func (p *Pool) refuse(do *chores) {
	if p.down == nil || len(p.workers) > 0 {
		return
	}
	for _, q := range []*fifo{&p.trial, &p.pending} {
		for t, ok := q.pop(); ok; t, ok = q.pop() {
			t.Result = p.refusal(t)
			p.forget(t)
			p.held--
			do.ended = append(do.ended, t)
		}
	}
	p.room.Broadcast()
	p.checkEmpty()
}

// refusal is the result of a task for which no worker can be had.
func (p *Pool) refusal(t *tandem.Task) tandem.Result {
	e := &tandem.Error{Op: "start worker", On: p.cfg.Step, Kind: tandem.KindStart, Message: "no worker can be started: " + p.down.Error(), Err: p.down,
		Hint: "mend the cause; one worker tries again from time to time"}
	if d, ok := errors.AsType[*tandem.Error](p.down); ok {
		e.Message, e.Trace, e.Reason = "no worker can be started: "+d.Message, d.Trace, d.Kind
		e.Hint = cmp.Or(d.Hint, e.Hint)
	}
	if t.Attempts == 0 {
		e.Message += " (the item was not run)"
	}
	return tandem.Result{Outcome: tandem.Failed, Err: e}
}
