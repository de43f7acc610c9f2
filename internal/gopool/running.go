package gopool

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"tandem"
)

// seat is what one goroutine of the pool has taken. The tasks are guarded by the pool's mutex: they are noted when they are taken and struck when they are given
// back, which both happen under it anyway, so that nobody pays for being seen.
type seat struct {
	tasks []*tandem.Task // of list
	list  []*tandem.Task
	begun atomic.Int64 // when the first of them began, in nanoseconds since 1970
}

// note takes down what it has taken. The mutex is held.
func (s *seat) note(batch []*tandem.Task) {
	s.list = append(s.list[:0], batch...)
	s.tasks = s.list
}

// strike takes tasks off that have ended. The mutex is held.
func (s *seat) strike(done []*tandem.Task) {
	for _, t := range done {
		if len(s.tasks) > 0 && s.tasks[0] == t { // they end in order, but for those whose time was up
			s.tasks[0], s.tasks = nil, s.tasks[1:]
		} else if i := slices.Index(s.tasks, t); i >= 0 {
			s.tasks[i] = nil
		}
	}
}

// Running is what the handlers work on, the longest first, at most so many; total is how many there are. It may be called at any time.
func (p *Pool) Running(most int) (all []tandem.Running, total int) {
	type found struct {
		t     *tandem.Task
		begun int64
	}
	var some []found
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range p.seats {
		for _, t := range s.tasks {
			if t != nil {
				some = append(some, found{t, s.begun.Load()})
				break // the others of a quick batch have not begun
			}
		}
	}
	slices.SortFunc(some, func(a, b found) int { return cmp.Compare(a.begun, b.begun) })
	now := time.Now().UnixNano()
	for _, f := range some[:min(most, len(some))] {
		all = append(all, tandem.Running{Item: f.t.ID, Others: max(0, len(f.t.Batch)-1), Seconds: max(0, time.Duration(now-f.begun).Seconds())})
	}
	return all, len(some)
}
