package live

import (
	"sync"
	"sync/atomic"
)

// Feed passes records on to those who follow a run. The zero value is ready; a nil Feed has nothing to say.
type Feed struct {
	listens atomic.Int32
	mu      sync.Mutex
	subs    map[*sub]bool
	ended   bool
}

type sub struct {
	records chan Record
	cut     int64
}

// backlog is how many records wait for somebody who follows.
const backlog = 1024

// Add tells those who follow. Without any it costs one load.
func (f *Feed) Add(r Record) {
	if f == nil || f.listens.Load() == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for s := range f.subs {
		mine := r
		mine.Cut += s.cut
		select {
		case s.records <- mine:
			s.cut = 0
		default:
			s.cut++
		}
	}
}

// Subscribe begins to follow. The channel is closed when the run ends; stop ends it before.
func (f *Feed) Subscribe() (records <-chan Record, stop func()) {
	s := &sub{records: make(chan Record, backlog)}
	if f == nil {
		close(s.records)
		return s.records, func() {}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		close(s.records)
		return s.records, func() {}
	}
	if f.subs == nil {
		f.subs = map[*sub]bool{}
	}
	f.subs[s] = true
	f.listens.Add(1)
	return s.records, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.subs[s] {
			delete(f.subs, s)
			f.listens.Add(-1)
		}
	}
}

// End says that nothing follows.
func (f *Feed) End() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
	for s := range f.subs {
		close(s.records)
		delete(f.subs, s)
		f.listens.Add(-1)
	}
}
