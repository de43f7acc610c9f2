package procpool

import (
	"context"
	"fmt"
	"slices"
	"time"

	"tandem"
	"tandem/internal/arena"
	"tandem/internal/wire"
)

// watch ends attempts whose time is up. It reads the control pages: no message, no system call per worker. It also gives back the memory of
// large values that an idle worker needs no more.
func (p *Pool) watch(ctx context.Context) {
	every := trimEvery
	if p.cfg.Timeout > 0 {
		every = min(max(p.cfg.Timeout/20, time.Millisecond), 50*time.Millisecond)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	p.mu.Lock()
	p.lastSeen = arena.Now()
	p.clock.Begin(every, now())
	p.mu.Unlock()
	trimmed := arena.Now()
	for {
		select {
		case <-tick.C:
			now := arena.Now()
			p.beat(now)
			if p.cfg.Timeout > 0 {
				p.look(now)
			}
			if now-trimmed > int64(trimEvery) {
				trimmed = now
				p.trim()
				p.age()
			}
		case <-ctx.Done():
			return
		}
	}
}

const (
	trimEvery = time.Second
	keepWarm  = 8 << 20 // of each arena
)

// trim gives back arena memory of workers that have been idle since the last look.
func (p *Pool) trim() {
	var do chores
	defer func() { p.finish(&do, true) }()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range append([]*worker(nil), p.workers...) {
		if w.inflight > 0 || !w.bulky {
			w.rested = false
			continue
		}
		if !w.rested {
			w.rested = true
			continue
		}
		w.rested, w.bulky = false, false
		window := w.window
		w.setWindow(0) // nothing is sent to it, so nobody touches the memory
		w.fills.Add(1) // until it is done the memory goes to no other worker
		p.mu.Unlock()
		w.mem.in.Discard(keepWarm, p.cfg.ArenaSize)
		w.mem.out.Discard(controlSize+keepWarm, controlSize+p.cfg.ArenaSize)
		w.fills.Done()
		p.mu.Lock()
		if !w.dead && !w.retired && !w.suspect {
			w.setWindow(window)
			p.pump(&do)
			p.room.Broadcast()
		}
	}
}

func (p *Pool) look(now int64) {
	var do chores
	p.mu.Lock()
	for _, w := range slices.Concat(p.workers, p.leaving) {
		if w.dead || w.suspect {
			continue
		}
		for s := range w.parallel {
			id, since := w.ctl.Slot(s)
			if since == 0 || p.elapsed(since, now) <= int64(p.cfg.Timeout) {
				continue
			}
			switch s, i := w.find(id); {
			case s == nil || s.abandoned || s.task == nil:
			case w.parallel == 1:
				// The items behind it go back when the process is really gone.
				s.expired = true
				p.doubt(w, func(do *chores) { p.expire(w, i, do) }, tandem.ExitTimeout, "an item ran longer than "+p.cfg.Timeout.String())
			default:
				p.expire(w, i, &do)
			}
		}
		if !w.suspect && w.silent(now) {
			p.doubt(w, nil, tandem.ExitHung, "the worker neither answers nor says what it runs")
		}
	}
	p.checkEmpty()
	p.mu.Unlock()
	p.finish(&do, true)
}

// expire ends a task as timed out. The mutex is held. In a worker that runs several, the handler gets a CANCEL; one that ignores it keeps its thread until the
// worker is retired.
func (p *Pool) expire(w *worker, i uint32, do *chores) {
	s := &w.slots[i]
	t := s.task
	p.attempted(t)
	p.forget(t)
	p.stats.Service += p.cfg.Timeout
	e := &tandem.Error{Op: "run", Kind: tandem.KindTimeout,
		Message: fmt.Sprintf("not done after %v, killed", p.cfg.Timeout), Hint: "raise the step's timeout, or find out what it waits for"}
	if w.parallel == 1 {
		name(e, w.hung)
	}
	t.Result = tandem.Result{Outcome: tandem.TimedOut, Service: p.cfg.Timeout, Err: e}
	late := w.charge(t, s, tandem.TimedOut)
	p.held--
	do.ended = append(do.ended, t)
	s.task, s.abandoned, s.expired, s.late = nil, true, false, &late
	w.abandoned++
	if w.parallel == 1 {
		return
	}
	w.wbuf = wire.Append(w.wbuf, wire.Cancel, 0, s.id(i), nil)
	w.wake(do)
	gen, id := s.gen, i
	since := now()
	time.AfterFunc(p.cfg.Grace, func() { p.overdue(w, id, gen, since) })
}

// overdue retires a worker in which a canceled handler still runs: a replacement starts, what else runs in it may finish, what waits in it goes
// back.
func (p *Pool) overdue(w *worker, i uint32, gen uint32, since time.Duration) {
	if left := p.cfg.Grace - p.patient(since); left > time.Millisecond { // it was us who did not run
		time.AfterFunc(left, func() { p.overdue(w, i, gen, since) })
		return
	}
	p.mu.Lock()
	var do chores
	stuck := !w.dead && w.slots[i].gen == gen
	ask := stuck && w.answered == nil
	if stuck {
		p.retire(w)
		w.sayDrain(&do)
	}
	if ask {
		w.answered = make(chan struct{})
		w.words.Add(1)
	}
	answered := w.answered
	p.mu.Unlock()
	p.finish(&do, true)
	if ask {
		w.ask()
		w.words.Done()
		close(answered)
	}
	if !stuck {
		return
	}
	<-answered
	p.mu.Lock()
	alone := !w.dead && w.inflight == w.abandoned
	p.mu.Unlock()
	if alone {
		w.kill(tandem.ExitTimeout, ranOn)
	}
}

// silent says that a worker has had a task for longer than the timeout allows but shows nothing as running: our own clock bounds a worker that
// does not keep its control page.
func (w *worker) silent(now int64) bool {
	if w.inflight == w.abandoned {
		return false
	}
	oldest := now
	for i := range w.slots {
		if s := &w.slots[i]; s.task != nil && s.seq > 0 {
			oldest = min(oldest, s.sentAt)
		}
	}
	for s := range w.parallel {
		if _, since := w.ctl.Slot(s); since != 0 {
			return false
		}
	}
	return w.p.elapsed(max(oldest, w.progress), now) > int64(w.p.cfg.Timeout)+int64(5*time.Second)
}
