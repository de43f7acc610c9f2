package procpool

import (
	"context"
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
	looks := p.cfg.lookInterval()
	if looks > 0 {
		every = looks
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	p.mu.Lock()
	p.lastSeen = arena.Now()
	p.clock.Begin(every, now())
	p.mu.Unlock()
	trimmed := arena.Now()
	looked := trimmed
	for {
		select {
		case <-tick.C:
			now := arena.Now()
			p.beat(now)
			if looks > 0 {
				if p.cfg.Caps.Hang > 0 || p.cfg.Caps.CPUTime > 0 {
					p.measure()
					now = arena.Now()
				}
				p.look(now, max(now-looked-2*int64(every), 0))
				looked = now
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

// look judges every attempt; late is how much later than it should be that happens.
func (p *Pool) look(now, late int64) {
	var do chores
	p.mu.Lock()
	for _, w := range slices.Concat(p.workers, p.leaving) {
		if w.dead || w.suspect {
			continue
		}
		if p.cfg.Caps.Hang > 0 && w.lifeless(now, late) {
			v := p.hung()
			p.doubt(w, func(do *chores) { p.endAll(w, v, do) }, v)
			continue
		}
		shown := false
		for s := range w.parallel {
			id, since := w.ctl.Slot(s)
			if since == 0 {
				continue
			}
			shown = true
			sl, i := w.find(id)
			if sl == nil || sl.abandoned || sl.task == nil {
				continue
			}
			if since < sl.sentAt || since > now+int64(time.Second) {
				since = sl.sentAt // the page lies: nothing begins before it was sent, or in the future
			}
			ran := time.Duration(p.elapsed(since, now))
			switch {
			case p.cfg.Timeout > 0 && ran > p.cfg.Timeout:
				p.expire(w, i, p.tooLong(), &do)
			case p.cfg.Caps.CPUTime > 0 && w.parallel == 1 && w.budget(id):
				p.expire(w, i, p.tooMuchCPU(), &do)
			case p.cfg.Caps.Soft > 0 && ran > p.cfg.Caps.Soft && !sl.asked:
				p.remind(w, i, &do)
			}
		}
		if p.cfg.Caps.CPUTime > 0 && !shown && w.parallel == 1 && w.inflight > w.abandoned && w.budget(^uint64(w.done)) {
			p.doubt(w, nil, p.tooMuchCPU())
			continue
		}
		if p.cfg.Timeout > 0 && !w.suspect && w.silent(now) {
			p.doubt(w, nil, verdict{as: tandem.ExitHung, why: "the worker neither answers nor says what it runs"})
		}
	}
	p.checkEmpty()
	p.mu.Unlock()
	p.finish(&do, true)
}

// expire ends a task by a verdict. The mutex is held. A worker that runs it alone is killed for it. In one that runs several, the handler gets a CANCEL; one that
// ignores it keeps its thread until the worker is retired.
func (p *Pool) expire(w *worker, i uint32, v verdict, do *chores) {
	if w.parallel > 1 {
		p.conclude(w, i, v, do)
		p.cancel(w, i, do)
		return
	}
	// The items behind it go back when the process is really gone.
	w.slots[i].expired = true
	p.doubt(w, func(do *chores) { p.conclude(w, i, v, do) }, v)
}

// sayCancel asks the handler in slot i to end.
func (w *worker) sayCancel(i uint32, do *chores) {
	w.wbuf = wire.Append(w.wbuf, wire.Cancel, 0, w.slots[i].id(i), nil)
	w.wake(do)
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

// silent says that a worker has had a task for longer than the timeout allows, and has answered nothing meanwhile: our own clock bounds a worker that
// does not keep its control page, or lies in it.
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
	return w.p.elapsed(max(oldest, w.progress), now) > int64(w.p.cfg.Timeout)+int64(5*time.Second)
}
