package engine

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"

	"tandem"
	"tandem/internal/measure"
	"tandem/internal/queue"
)

const (
	maxWaiting      = 1024     // results that may wait for the next queue before the step takes no more
	maxWaitingBytes = 16 << 20 // and their bytes
)

// step is one step of a running flow: a feeder takes tasks from the queue to the pool, the pool completes them, an emitter carries the
// results to the next queue. Results wait in done, which the feeder keeps bounded: while the emitter is stuck it feeds no more.
type step struct {
	e      *Engine
	def    Step
	choice choice
	pool   tandem.Pool
	in     *queue.Memory
	next   *step // nil for the last
	stats  *measure.Step
	wg     sync.WaitGroup
	err    error // of the pool; read after pools.Wait

	poolEnded atomic.Bool

	mu      sync.Mutex
	out     sync.Cond      // done has grown, or shrunk, or the feeder has ended
	done    []*tandem.Task // completed, not carried on
	bytes   int64
	open    int // accepted by the pool, not completed
	fed     bool
	blocked bool // the feeder waits
	idle    bool // the emitter waits
}

// Complete is tandem.Completer's.
func (s *step) Complete(ended []*tandem.Task) {
	s.mu.Lock()
	s.done = append(s.done, ended...)
	for _, t := range ended {
		s.bytes += int64(len(t.Result.Value.Data))
	}
	s.open -= len(ended)
	if s.idle {
		s.out.Broadcast()
	}
	s.mu.Unlock()
}

// feed carries tasks from the queue to the pool until the queue is closed and empty.
func (s *step) feed(ctx context.Context) {
	defer func() {
		s.mu.Lock()
		s.fed = true
		s.out.Broadcast()
		s.mu.Unlock()
	}()
	defer s.pool.Close()
	program, _ := s.def.Handler.(Program)
	buf := make([]*tandem.Task, 256)
	for {
		s.mu.Lock()
		for len(s.done) >= maxWaiting || s.bytes >= maxWaitingBytes {
			s.blocked = true
			s.out.Wait()
		}
		s.blocked = false
		s.mu.Unlock()
		n, err := s.in.Take(ctx, buf)
		if err != nil {
			return // closed, or the run is stopped: the engine sweeps what is left
		}
		tasks := buf[:n]
		if program.Input != nil {
			tasks = s.inputs(program, tasks)
		}
		for _, t := range tasks {
			t.Attempts = 0
		}
		s.submit(ctx, tasks)
	}
}

// submit hands tasks to the pool; those it does not accept any more are canceled.
func (s *step) submit(ctx context.Context, tasks []*tandem.Task) {
	for len(tasks) > 0 {
		s.mu.Lock()
		s.open += len(tasks)
		s.mu.Unlock()
		n, err := s.pool.Submit(ctx, tasks)
		s.mu.Lock()
		s.open -= len(tasks) - n
		s.mu.Unlock()
		tasks = tasks[n:]
		if err != nil {
			for _, t := range tasks {
				t.Result = stopped(context.Cause(ctx))
			}
			s.e.finish(tasks)
			return
		}
	}
}

// inputs makes the arguments; an item for which that fails ends here.
func (s *step) inputs(p Program, tasks []*tandem.Task) []*tandem.Task {
	good := tasks[:0]
	var bad []*tandem.Task
	for _, t := range tasks {
		v, err := p.Input(t)
		if err != nil {
			t.Result = tandem.Result{Outcome: tandem.Failed, Err: &tandem.Error{Op: "make the arguments for", On: s.def.Name, Kind: tandem.KindExpression, Message: err.Error(), Err: err}}
			bad = append(bad, t)
			continue
		}
		t.Value = v
		good = append(good, t)
	}
	if len(bad) > 0 {
		s.stats.Add(bad)
		s.e.finish(bad)
	}
	return good
}

// emit carries results on until the pool has given back everything.
func (s *step) emit(ctx context.Context) {
	var batch, onward, ended []*tandem.Task
	for {
		s.mu.Lock()
		for len(s.done) == 0 {
			if s.fed && s.open == 0 {
				s.mu.Unlock()
				return
			}
			s.idle = true
			s.out.Wait()
			s.idle = false
		}
		batch, s.done = s.done, batch[:0]
		s.bytes = 0
		if s.blocked {
			s.out.Broadcast()
		}
		s.mu.Unlock()

		s.stats.Add(batch)
		onward, ended = onward[:0], ended[:0]
		for _, t := range batch {
			u := t.Ref.(*unit)
			u.attempts = max(u.attempts, t.Attempts)
			if t.Result.Outcome != tandem.OK || t.Result.Count == 0 {
				if t.Result.Err != nil {
					t.Result.Err.On = s.def.Name
				}
				ended = append(ended, t)
				continue
			}
			rest := t.Result.Rest
			onward = append(onward, s.turn(u))
			for i, v := range rest {
				onward = append(onward, s.turn(s.e.fork(u, i+2, v)))
			}
			if len(rest) > 0 {
				u.ID += "/1"
			}
		}
		if s.next == nil {
			ended = append(ended, onward...)
		} else if n, err := s.next.in.Put(ctx, onward); err != nil {
			for _, t := range onward[n:] {
				t.Result = stopped(context.Cause(ctx))
			}
			ended = append(ended, onward[n:]...)
		}
		if len(ended) > 0 {
			s.e.finish(ended)
		}
		clear(batch)
	}
}

// turn makes a result the value for the next step.
func (s *step) turn(u *unit) *tandem.Task {
	t := &u.Task
	t.Value = t.Result.Value
	if s.next != nil {
		t.Owner = s.next
		t.Result = tandem.Result{}
	} else {
		t.Result.Rest, t.Result.Count = nil, 1
	}
	return t
}

// fork makes an item out of the n-th value that a step gave for u.
func (e *Engine) fork(u *unit, n int, v tandem.Value) *unit {
	e.made.Add(1)
	f := &unit{born: u.born, attempts: u.attempts}
	f.Task = tandem.Task{ID: u.ID + "/" + strconv.Itoa(n), Source: u.Source, Owner: u.Owner, Attempts: u.Task.Attempts}
	f.Result = tandem.Give(v)
	f.Ref = f
	return f
}
