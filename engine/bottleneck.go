package engine

import (
	"context"
	"fmt"
	"time"
)

// look is how often the queues are looked at to find the bottleneck. A look costs some hundred nanoseconds a step.
const look = 200 * time.Millisecond

// pressure is how often each step had more waiting in front of it than it could take.
type pressure struct {
	looks int
	full  []int // by step: looks at which its queue was at least half full
	idle  []int // looks at which its queue was empty
}

// observe looks at the queues until ctx ends.
func (e *Engine) observe(ctx context.Context) {
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		e.mu.Lock()
		e.pressure.looks++
		for i, s := range e.steps {
			switch full := s.fullness(); {
			case full >= 0.5:
				e.pressure.full[i]++
			case full == 0:
				e.pressure.idle[i]++
			}
		}
		e.mu.Unlock()
	}
}

// fullness is how full the step's queue is, 0 to 1, by items or by bytes.
func (s *step) fullness() float64 {
	n, bytes := s.in.Len()
	return min(1, max(float64(n)/float64(orDefault(s.def.Queue.Items, 1024)), float64(bytes)/float64(orDefault(s.def.Queue.Bytes, 64<<20))))
}

// Bottleneck names what holds the run up.
type Bottleneck struct {
	Step    string  `json:"step"`
	Share   float64 `json:"share"`   // of the time in which more waited in front of it than it could take, 0 to 1
	Because string  `json:"because"` // in a sentence
}

// fewLooks is how many looks it takes before they say something.
const fewLooks = 5

// bottleneck is the last step in front of which items piled up most of the time: those behind it starve, those before it wait for it. The mutex is held.
func (e *Engine) bottleneck() *Bottleneck {
	p := &e.pressure
	if p.looks < fewLooks {
		return nil
	}
	for i := len(e.steps) - 1; i >= 0; i-- {
		share := float64(p.full[i]) / float64(p.looks)
		if share < 0.5 {
			continue
		}
		s := e.steps[i]
		b := &Bottleneck{Step: s.def.Name, Share: share, Because: fmt.Sprintf("its queue was full %.0f %% of the time", 100*share)}
		if s.next != nil {
			b.Because += fmt.Sprintf("; %s behind it had nothing waiting %.0f %% of it", s.next.def.Name, 100*float64(p.idle[i+1])/float64(p.looks))
		}
		return b
	}
	return nil
}
