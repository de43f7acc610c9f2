package engine

import (
	"sync"
	"sync/atomic"
	"time"

	"tandem"
	"tandem/internal/handover"
	"tandem/internal/limit"
	"tandem/internal/measure"
)

const (
	maxWaiting      = 1024     // results that may wait for the next queue before the step takes no more
	maxWaitingBytes = 16 << 20 // and their bytes
)

// step is one step of a run: a queue, a pool, a feeder that moves tasks from one to the other, an emitter that carries results on, and a retrier that
// brings failed tasks back when their time has come.
type step struct {
	e      *Engine
	index  int
	def    Step
	choice choice
	pool   tandem.Pool
	limits Limits
	limit  *limit.Limit // nil means none beyond the pool's
	in     *handover.Queue
	next   *step // nil for the last
	stats  *measure.Step
	wg     sync.WaitGroup
	err    error // of the pool; read after pools.Wait

	poolEnded atomic.Bool

	mu      sync.Mutex
	out     sync.Cond      // something below has changed; the feeder and the emitter wait for it
	due     sync.Cond      // of the retrier alone, which is seldom concerned: later has grown, its time has come, or the step is over
	done    []*tandem.Task // completed, not carried on
	bytes   int64
	open    int       // accepted by the pool, not completed
	inside  int       // of a step that must not run an item twice: in the pool
	free    sync.Cond // inside has shrunk
	later   waiting
	keys    map[string]*keyed // that tasks run of or wait for
	aside   int               // tasks that wait for their keys
	tuned   *tuned            // nil before the first task
	retried int64             // attempts that another followed
	fed     bool
	busy    bool // the emitter has taken results and not yet dealt with all
	blocked bool // the feeder waits
	idle    bool // the emitter waits
}

// Complete is tandem.Completer's: it only gathers, so that a pool is never held up by the next queue.
func (s *step) Complete(ended []*tandem.Task) {
	if s.limit != nil {
		for _, t := range ended {
			s.release(t)
		}
	}
	if s.def.Once {
		s.left(len(ended))
	}
	s.mu.Lock()
	s.done = append(s.done, ended...)
	for _, t := range ended {
		s.bytes += int64(len(t.Result.Value.Data))
	}
	s.leave(ended)
	s.open -= len(ended)
	if s.idle {
		s.out.Broadcast()
	}
	s.mu.Unlock()
}

// release gives a task's place back, and tells the limit how it went.
func (s *step) release(t *tandem.Task) {
	v, e := limit.Good, t.Result.Err
	switch {
	case t.Result.Outcome == tandem.Canceled:
		v = limit.Ignore
	case t.Result.Outcome == tandem.TimedOut:
		v = limit.Broken
	case e == nil:
	case e.Kind == tandem.KindStatus && e.Reason == "503" && e.After == 0:
		v = limit.Away
	case e.Kind == tandem.KindStatus && (e.Reason == "429" || e.Reason == "503"), e.Again == tandem.AgainYes:
		v = limit.Overload
	case e.Kind == tandem.KindNetwork, e.Kind == tandem.KindStatus && e.Reason >= "500":
		v = limit.Broken
	default:
		v = limit.Bad
	}
	var after time.Duration
	if e != nil {
		after = e.After
	}
	s.limit.Release(t.Result.Service, v, after)
}

// over reports whether nothing will follow: the feeder has ended and no task is in the pool, waits for another attempt or its key, or is to be carried on.
func (s *step) over() bool {
	return s.fed && !s.busy && s.open == 0 && len(s.later) == 0 && s.aside == 0 && len(s.done) == 0
}

// paused is why nothing is started for now, or empty.
func (s *step) paused() string {
	if s.limit == nil {
		return ""
	}
	if st := s.limit.State(); st.Breaker != limit.Closed || st.Held > 0 {
		return st.Because
	}
	return ""
}

// auto reports whether the run finds out how many tasks may be in flight.
func (s *step) auto() bool { return s.limits.Auto }

// because is why the step runs as it does.
func (s *step) because() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.choice.Because
}
