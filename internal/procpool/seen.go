package procpool

import (
	"time"

	"tandem"
	"tandem/internal/arena"
)

// Seen is what can be seen of the worker in one place of the pool.
type Seen struct {
	Place    int
	PID      int
	Alive    bool
	Parallel int           // tasks it runs at a time
	InFlight int           // tasks in it, also those that wait there
	Done     int64         // tasks it has answered
	Busy     time.Duration // in handlers since it began, those that run included
	Slots    uint64        // which of the first 64 run a task
	Suspect  bool          // its time is up: it is asked where it is
	Leaving  bool          // it gets no more tasks
}

// Look appends the workers to seen, by place: in each the one that was ready last. With it comes the state of the pool at the same moment. It asks no worker: it
// reads what the pool knows and the control pages.
func (p *Pool) Look(seen []Seen) ([]Seen, tandem.PoolState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := arena.Now()
	for place, w := range p.latest {
		if w == nil {
			continue
		}
		s := Seen{Place: place, PID: w.process.PID(), Alive: !w.dead, Parallel: w.parallel, InFlight: w.inflight, Done: w.done, Busy: w.ran, Suspect: w.suspect, Leaving: w.retired}
		if !w.dead {
			for i := range w.parallel {
				if _, since := w.ctl.Slot(i); since != 0 {
					s.Busy += max(0, time.Duration(now-since))
					if i < 64 {
						s.Slots |= 1 << i
					}
				}
			}
		}
		seen = append(seen, s)
	}
	return seen, p.state()
}

// show makes w the one to be seen in its place. The mutex is held.
func (p *Pool) show(w *worker) {
	for len(p.latest) <= w.place {
		p.latest = append(p.latest, nil)
	}
	p.latest[w.place] = w
}
