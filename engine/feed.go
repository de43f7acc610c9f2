package engine

import (
	"cmp"
	"context"
	"errors"
	"time"

	"tandem"
	"tandem/internal/limit"
)

// feed moves tasks from the queue to the pool.
func (s *step) feed(ctx context.Context) {
	defer func() {
		s.mu.Lock()
		s.fed = true
		s.out.Broadcast()
		s.mu.Unlock()
	}()
	if s.def.Batch.Size > 0 {
		s.feedBatches(ctx)
		return
	}
	program, _ := s.def.Handler.(Program)
	buf := make([]*tandem.Task, 256)
	for {
		tasks, err := s.take(ctx, buf)
		if err != nil {
			return // closed, or the run is stopped: the engine sweeps what is left
		}
		tasks = s.name(tasks)
		if program.Input != nil {
			tasks = s.inputs(program, tasks)
		}
		tasks = s.admit(ctx, tasks)
		s.accept(len(tasks))
		s.submit(ctx, tasks)
	}
}

// room waits until results and tasks that wait for another attempt leave room for more.
func (s *step) room() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.done) >= maxWaiting || s.bytes >= maxWaitingBytes || len(s.later)+s.aside >= maxWaiting || s.aside >= s.def.PerKey.aside() {
		s.blocked = true
		s.out.Wait()
	}
	s.blocked = false
}

// take takes the next tasks from the queue. Those that the step is not for go on at once.
func (s *step) take(ctx context.Context, buf []*tandem.Task) ([]*tandem.Task, error) {
	s.room()
	n, err := s.in.Take(ctx, buf)
	if err != nil {
		return nil, err
	}
	if s.def.When == nil {
		return buf[:n], nil
	}
	tasks := buf[:0]
	var pass []*tandem.Task
	for _, t := range buf[:n] {
		yes, err := s.def.When(t)
		switch {
		case err != nil:
			t.Result = tandem.Result{Outcome: tandem.Failed, Err: s.invalid("decide whether to run", err)}
			pass = append(pass, t)
		case !yes:
			t.Ref.(*unit).skipped, t.Result = true, tandem.Give(t.Value)
			pass = append(pass, t)
		default:
			tasks = append(tasks, t)
		}
	}
	s.bypass(pass)
	return tasks, nil
}

func (s *step) invalid(op string, err error) *tandem.Error {
	return &tandem.Error{Op: op, On: s.def.Name, Kind: tandem.KindExpression, Message: err.Error(), Err: err, Again: tandem.AgainNever}
}

// bypass hands tasks to the emitter that the pool never sees.
func (s *step) bypass(tasks []*tandem.Task) {
	if len(tasks) == 0 {
		return
	}
	s.mu.Lock()
	s.done = append(s.done, tasks...)
	s.out.Broadcast()
	s.mu.Unlock()
}

func (s *step) accept(n int) {
	s.mu.Lock()
	s.open += n
	s.mu.Unlock()
}

// submit hands tasks to the pool, which may take them in several lots; with limits one by one, as each is let through. They are counted as open already.
func (s *step) submit(ctx context.Context, tasks []*tandem.Task) {
	for len(tasks) > 0 {
		lot := tasks
		var err error
		if s.limit != nil {
			lot = tasks[:1]
			err = s.limit.Acquire(ctx)
		}
		if s.def.Once && err == nil {
			lot = tasks[:1]
			if err = s.begin(ctx, lot[0]); err != nil && s.limit != nil {
				s.limit.Release(0, limit.Ignore, 0)
			}
		}
		n := 0
		if err == nil {
			n, err = s.pool.Submit(ctx, lot)
			if n == 0 && s.def.Once {
				s.left(1)
			}
			if n == 0 && s.limit != nil {
				s.limit.Release(0, limit.Ignore, 0)
			}
		}
		tasks = tasks[n:]
		if err != nil {
			for _, t := range tasks {
				t.Result = stopped(context.Cause(ctx))
			}
			s.mu.Lock()
			s.leave(tasks)
			s.open -= len(tasks)
			s.mu.Unlock()
			s.bypass(tasks)
			return
		}
	}
}

// inputs makes the handler's arguments; a task whose arguments cannot be made fails alone.
func (s *step) inputs(p Program, tasks []*tandem.Task) []*tandem.Task {
	good := tasks[:0]
	var bad []*tandem.Task
	for _, t := range tasks {
		v, err := p.Input(t)
		if err != nil {
			t.Result = tandem.Result{Outcome: tandem.Failed, Err: s.invalid("make the arguments for", err)}
			bad = append(bad, t)
			continue
		}
		t.Value = v
		good = append(good, t)
	}
	s.bypass(bad)
	return good
}

// feedBatches gathers tasks into batches. A batch goes when it is full, when it has waited long enough, or when nothing follows.
func (s *step) feedBatches(ctx context.Context) {
	size, every := s.def.Batch.Size, cmp.Or(s.def.Batch.Every, time.Second)
	buf := make([]*tandem.Task, min(size, 256))
	var units []*unit
	var deadline time.Time
	for {
		wait, cancel := ctx, context.CancelFunc(func() {})
		if len(units) > 0 {
			wait, cancel = context.WithDeadline(ctx, deadline)
		}
		tasks, err := s.take(wait, buf[:min(len(buf), size-len(units))])
		cancel()
		if len(units) == 0 {
			deadline = time.Now().Add(every)
		}
		for _, t := range tasks {
			units = append(units, t.Ref.(*unit))
		}
		if err == nil && len(units) < size {
			continue
		}
		if ctx.Err() != nil {
			for _, u := range units {
				u.Result = stopped(context.Cause(ctx))
				s.bypass([]*tandem.Task{&u.Task})
			}
			return
		}
		if len(units) > 0 {
			s.send(ctx, units)
			units = nil
		}
		if errors.Is(err, tandem.ErrClosed) {
			return
		}
	}
}

// send hands one batch to the pool.
func (s *step) send(ctx context.Context, units []*unit) {
	tasks := []*tandem.Task{&newGroup(s, units).Task}
	if p, _ := s.def.Handler.(Program); p.Input != nil {
		tasks = s.inputs(p, tasks)
	}
	s.accept(len(tasks))
	s.submit(ctx, tasks)
}
