// Package measure counts: what a step did and how long it took, and how many cores are really there.
//
// It reads clocks and /proc; it starts nothing and decides nothing. A [Step] is safe for concurrent use.
package measure

import (
	"maps"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"tandem"
)

// Step gathers the figures of one step.
type Step struct {
	mu       sync.Mutex
	service  *hdrhistogram.Histogram // microseconds, of attempts that ended
	outcomes map[tandem.Outcome]int64
}

// NewStep is an empty measurement.
func NewStep() *Step {
	// 1 µs to 24 h with two significant digits: 20 KiB.
	return &Step{service: hdrhistogram.New(1, int64(24*time.Hour/time.Microsecond), 2), outcomes: map[tandem.Outcome]int64{}}
}

// Attempts counts attempts that have ended, also those that another follows.
func (s *Step) Attempts(ended []*tandem.Task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range ended {
		if t.Result.Outcome != tandem.Canceled {
			_ = s.service.RecordValue(min(int64(t.Result.Service/time.Microsecond), s.service.HighestTrackableValue()))
		}
	}
}

// Ended counts items that are through with the step: ok ones, and by outcome. It takes the counts and clears them.
func (s *Step) Ended(ok int64, by map[tandem.Outcome]int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outcomes[tandem.OK] += ok
	for o, n := range by {
		s.outcomes[o] += n
	}
	clear(by)
}

// Figures is a snapshot.
type Figures struct {
	Ended    int64
	Outcomes map[tandem.Outcome]int64
	P50, P99 time.Duration
}

// Figures takes a snapshot.
func (s *Step) Figures() Figures {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := Figures{Outcomes: maps.Clone(s.outcomes)}
	for _, n := range s.outcomes {
		f.Ended += n
	}
	if s.service.TotalCount() > 0 {
		f.P50 = time.Duration(s.service.ValueAtQuantile(50)) * time.Microsecond
		f.P99 = time.Duration(s.service.ValueAtQuantile(99)) * time.Microsecond
	}
	return f
}

// Counts is how many items are through with the step, and how many of them ended badly.
func (s *Step) Counts() (ended, bad int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for o, n := range s.outcomes {
		ended += n
		if o != tandem.OK && o != tandem.Filtered {
			bad += n
		}
	}
	return ended, bad
}
