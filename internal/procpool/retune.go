package procpool

import (
	"tandem"
	"tandem/internal/wire"
)

// Retune says how many workers there should be and how many tasks each is to run at a time, from now on; less than 1 means 1.
//
// It returns at once. Workers that can be told while they serve change without being replaced, and what they run goes on; the others keep the number they started
// with, and new ones begin with the new one. Surplus workers go as with Resize. No task is lost or run twice by it.
func (p *Pool) Retune(workers, atOnce int) {
	var do chores
	p.mu.Lock()
	p.atOnce = max(atOnce, 1)
	for _, w := range p.workers {
		w.change(p.atOnce)
		w.setWindowNow()
	}
	p.setSize(workers)
	p.pump(&do)
	p.room.Broadcast()
	p.mu.Unlock()
	p.finish(&do, true)
}

// setSize is Resize. The mutex is held.
func (p *Pool) setSize(n int) {
	if p.cfg.Mode == tandem.Auto && p.mode == tandem.Async {
		p.loops = max(n, 1)
	} else {
		p.size = max(n, 1)
	}
	p.fit()
}

// change changes how many tasks the worker runs at a time. The mutex is held.
func (w *worker) change(n int) {
	if n = min(n, w.changes); n < 1 || n == w.atOnce {
		return
	}
	w.atOnce, w.parallel = n, max(n, w.parallel)
	w.ctl.SetAtOnce(n)
}

// setAtOnce notes what a worker that is ready runs at a time: what its mode says, or what it can be told. The mutex is held.
func (w *worker) setAtOnce(r wire.ReadyBody) {
	w.atOnce = 1
	switch r.Mode {
	case tandem.Thread:
		w.atOnce = w.asked.Threads
	case tandem.Async:
		w.atOnce = w.asked.Concurrency
	}
	w.parallel = w.atOnce
	w.changes, w.measures = min(max(r.AtOnce, 0), maxSlots), r.Measure && w.p.cfg.Measure
}

// mayHold is how many bytes of inline values may be inside the worker: what the socket takes without waiting, or as much as what it runs at a time can hold.
func (w *worker) mayHold() int { return max(maxInline, 2*w.atOnce*wire.InlineMax) }

// each is how many tasks a worker runs at a time. The mutex is held.
func (p *Pool) each() int {
	switch {
	case p.atOnce > 0:
		return p.atOnce
	case p.mode == tandem.Thread:
		return p.cfg.Threads
	case p.mode == tandem.Async:
		return p.cfg.Concurrency
	}
	return 1
}

// changes is up to how many tasks at a time every worker can be told to run while it serves. The mutex is held.
func (p *Pool) changes() int {
	most := 0
	for i, w := range p.workers {
		if i == 0 || w.changes < most {
			most = w.changes
		}
	}
	return most
}

// weigh notes what came of the measurement of a task that has ended. The mutex is held.
func (p *Pool) weigh(s *slot, t *tandem.Task) {
	out := int64(len(t.Result.Value.Data))
	for _, v := range t.Result.Rest {
		out += int64(len(v.Data))
	}
	p.stats.Used.In += int64(len(t.Value.Data))
	p.stats.Used.Out += out
	if s.used != nil {
		u := *s.used
		u.In, u.Out = int64(len(t.Value.Data)), out
		t.Result.Used = &u
	}
}
