package procpool

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"tandem"
	"tandem/internal/arena"
	"tandem/internal/supervise"
	"tandem/internal/wire"
)

// lingerEvery is how often a worker that is leaving is looked at.
const lingerEvery = 20 * time.Millisecond

// errSurplus ends a place that is not needed any more.
var errSurplus = errors.New("the pool needs fewer workers")

// Resize says how many workers there should be from now on; less than 1 means 1. In mode auto it is the number of event loops once the handler
// has turned out to be async.
//
// It returns at once. New workers take tasks when they are ready. Surplus ones finish what they run and go; what waits inside them goes back
// without an attempt. It may be called at any time, also before Run, and by several callers: the last one counts.
func (p *Pool) Resize(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.setSize(n)
	p.room.Broadcast()
}

// fit starts and ends places until there are as many as wanted. The mutex is held.
func (p *Pool) fit() {
	if p.run == nil || p.ended || p.gaveUp {
		return
	}
	want := p.wanted()
	for i := want; i < len(p.places); i++ {
		if p.places[i] != nil {
			p.places[i](errSurplus)
			p.places[i] = nil
		}
	}
	for i := range want {
		if i == len(p.places) {
			p.places = append(p.places, nil)
		}
		if p.places[i] == nil {
			ctx, cancel := context.WithCancelCause(p.run)
			p.places[i] = cancel
			p.owned.Go(func() {
				defer cancel(nil)
				p.place(ctx, i)
			})
		}
	}
}

// dismiss lets a worker finish what it runs; then it is to go.
func (p *Pool) dismiss(w *worker, why string) {
	var do chores
	p.mu.Lock()
	if w.dead {
		p.mu.Unlock()
		return
	}
	p.retire(w)
	w.sayDrain(&do)
	p.mu.Unlock()
	p.event(w.number, "idle", "draining", why)
	p.finish(&do, true)
}

// sayDrain tells a worker to start nothing more and to go. The frame comes after all that were written before; the word on the control page
// is there at once.
func (w *worker) sayDrain(do *chores) {
	if w.draining || w.dead {
		return
	}
	w.draining = true
	w.ctl.Halt()
	w.wbuf = wire.Append(w.wbuf, wire.Drain, 0, 0, nil)
	w.wake(do)
}

// linger waits until a worker that left has ended. It may finish what it runs, unless the run is over; what it has not started and will not
// start is taken back.
func (w *worker) linger(run context.Context) {
	p := w.p
	tick := time.NewTicker(lingerEvery)
	defer tick.Stop()
	var begun uint64 // tasks started at the last look
	moved := arena.Now()
	for {
		select {
		case <-w.process.Gone():
			return
		case <-run.Done():
			if errors.Is(context.Cause(run), tandem.ErrClosed) {
				w.drain()
			} else {
				p.mu.Lock()
				p.retire(w)
				p.mu.Unlock()
				w.kill(tandem.ExitKilledByUs, stoppedRun)
			}
			return
		case <-tick.C:
		}
		if w.life.State() == supervise.Killing {
			return
		}
		var do chores
		now := arena.Now()
		p.mu.Lock()
		if w.dying != 0 && now-w.dying < int64(mostDying) {
			moved = now // the kernel takes the time it takes
		} else if !w.dead {
			started := w.ctl.Started()
			if started != begun || w.busy() {
				moved = now
			}
			if w.draining && w.halts && !w.recalled && !p.cfg.Once && started == begun {
				p.recall(w, &do)
			}
			begun = started
		}
		p.mu.Unlock()
		p.finish(&do, true)
		p.mu.Lock()
		still := p.elapsed(moved, now) > int64(p.cfg.Grace)
		p.mu.Unlock()
		if still {
			w.killLeft() // it has ended all it could end, or hangs in handlers whose time is up
		}
	}
}

// busy says whether the worker shows a task as running that is still wanted. The mutex is held.
func (w *worker) busy() bool {
	for s := range w.parallel {
		if id, since := w.ctl.Slot(s); since != 0 {
			if s, _ := w.find(id); s != nil && !s.abandoned {
				return true
			}
		}
	}
	return false
}

// recall takes back what a worker that was told to halt has not started. It has started nothing for a while and looks at the word before it
// starts anything: it is inside a task, or about to go. Should a thread of it have been between looking and starting for so long, the
// task runs twice, as it may, and its answer from here is passed over.
func (p *Pool) recall(w *worker, do *chores) {
	w.recalled = true
	started := w.ctl.Started()
	var back []uint32
	for i := range w.slots {
		if s := &w.slots[i]; s.task != nil && s.seq > started {
			back = append(back, uint32(i))
		}
	}
	p.giveBack(w, back)
	p.pump(do)
}

// giveBack puts tasks in front of all that wait; the oldest comes first.
func (p *Pool) giveBack(w *worker, slots []uint32) {
	slices.SortFunc(slots, func(a, b uint32) int { return cmp.Compare(w.slots[b].seq, w.slots[a].seq) })
	for _, i := range slots {
		t := w.slots[i].task
		w.drop(i)
		p.putBack(t)
	}
}
