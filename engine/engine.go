package engine

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"tandem"
	"tandem/internal/measure"
	"tandem/internal/queue"
	"tandem/worker"
)

// Engine runs one flow once. Make one with New.
type Engine struct {
	cfg   Config
	start time.Time

	drain     chan struct{}
	drainOnce sync.Once

	mu    sync.Mutex // guards steps and flow until the run has begun
	flow  Flow
	steps []*step

	in       atomic.Int64 // items the source gave
	made     atomic.Int64 // items that a step made out of one, beyond the first
	srcDone  atomic.Bool
	ended    [7]atomic.Int64 // by index in tandem.Outcomes
	unwrit   atomic.Int64    // items whose line the sink could not take
	finished *queue.Memory   // items on their way to the sink
	stop     context.CancelCauseFunc
}

// New makes an engine.
func New(cfg Config) *Engine {
	cfg.Cores = cmp.Or(cfg.Cores, measure.FindCores().Effective())
	return &Engine{cfg: cfg, start: time.Now(), drain: make(chan struct{}), finished: queue.New(queue.Bounds{Items: 4096})}
}

// Drain stops reading the source; what was accepted goes on to its end. It may be called at any time and more than once.
func (e *Engine) Drain() { e.drainOnce.Do(func() { close(e.drain) }) }

// unit is an item inside the engine: its task and what the engine knows of it.
type unit struct {
	tandem.Task
	born     time.Duration // since the start of the run
	attempts int           // the most that any step needed
}

// Run runs the flow. The report is true in every case. The error says why the run did not run to its end: a *tandem.Error of kind import,
// not_callable, start, … when a step cannot start (no item was read then), source or sink; the cause of ctx when that was done.
func (e *Engine) Run(ctx context.Context, flow Flow) (Report, error) {
	if worker.Active() {
		// Without this a program that forgets worker.Main would start itself again and again.
		return Report{Flow: flow.Name, Outcome: "invalid"}, &tandem.Error{Op: "run", On: flow.Name, Kind: tandem.KindInvalid,
			Message: "this process was started as a worker but does not serve", Hint: "call worker.Main() first in main"}
	}
	if err := flow.validate(); err != nil {
		return Report{Flow: flow.Name, Outcome: "invalid"}, err
	}
	ctx, e.stop = context.WithCancelCause(ctx)
	defer e.stop(nil)
	steps, err := e.build(flow)
	if err != nil {
		return Report{Flow: flow.Name, Outcome: "invalid"}, err
	}
	e.mu.Lock()
	e.flow, e.steps = flow, steps
	e.mu.Unlock()

	pools, perr := e.startPools(ctx)
	if perr != nil {
		e.stop(perr)
		pools.Wait()
		e.closeHandlers()
		if flow.Sink != nil {
			perr = cmp.Or(perr, flow.Sink.Close())
		}
		return e.report(perr), perr
	}
	if b, ok := flow.Sink.(interface{ Begin() error }); ok {
		if err := b.Begin(); err != nil {
			e.stop(err) // before the first item: the steps below end at once
		}
	}
	var sink sync.WaitGroup
	sink.Go(e.sink)
	// Senders stop before receivers: source, then each step in turn, then the sink.
	srcErr := e.source(ctx)
	for _, s := range e.steps {
		s.in.Close()
		s.wg.Wait()
	}
	pools.Wait()
	e.sweep(context.Cause(ctx))
	e.finished.Close()
	sink.Wait()
	e.closeHandlers()
	err = e.verdict(ctx, srcErr)
	return e.report(err), err
}

// verdict is why the run did not end well, or nil.
func (e *Engine) verdict(ctx context.Context, srcErr error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if srcErr != nil {
		return srcErr
	}
	if isClosed(e.drain) {
		return tandem.ErrInterrupted
	}
	return nil
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (e *Engine) build(flow Flow) ([]*step, error) {
	var steps []*step
	for _, def := range flow.Steps {
		c, err := choose(def, e.cfg.Cores)
		if err != nil {
			return nil, err
		}
		s := &step{e: e, def: def, choice: c, in: queue.New(def.Queue), stats: measure.NewStep()}
		s.out.L = &s.mu
		s.pool = e.pool(def, c)
		if n := len(steps); n > 0 {
			steps[n-1].next = s
		}
		steps = append(steps, s)
	}
	return steps, nil
}

// startPools starts every pool and waits until all are ready or one has failed.
func (e *Engine) startPools(ctx context.Context) (*sync.WaitGroup, error) {
	var wg sync.WaitGroup
	for _, s := range e.steps {
		wg.Go(func() {
			s.err = s.pool.Run(ctx)
			s.poolEnded.Store(true)
			if s.err != nil && ctx.Err() == nil {
				e.stop(s.err) // nobody can run this step any more: stop the run, with the reason
			}
		})
	}
	for _, s := range e.steps {
		<-s.pool.Ready()
	}
	// A pool that failed closes Ready before its Run returns.
	for _, s := range e.steps {
		if st := s.pool.State(); st.Failed {
			<-ctx.Done()
		}
	}
	if ctx.Err() != nil {
		return &wg, context.Cause(ctx)
	}
	for _, s := range e.steps {
		s.wg.Go(func() { s.feed(ctx) })
		s.wg.Go(func() { s.emit(ctx) })
	}
	return &wg, nil
}

// source reads the source into the first queue. It stops for Drain and for ctx.
func (e *Engine) source(ctx context.Context) error {
	defer e.srcDone.Store(true)
	ctx, cancel := context.WithCancel(ctx)
	var waiter sync.WaitGroup
	defer waiter.Wait()
	defer cancel()
	waiter.Go(func() {
		select {
		case <-e.drain:
			cancel()
		case <-ctx.Done():
		}
	})
	var slab []unit
	var one [1]*tandem.Task
	err := e.flow.Source.Each(ctx, func(id string, v tandem.Value) bool {
		if ctx.Err() != nil {
			return false
		}
		if len(slab) == 0 {
			slab = make([]unit, 16)
		}
		u := &slab[0]
		slab = slab[1:]
		u.ID, u.Source, u.Value, u.born, u.Ref = id, v, v, time.Since(e.start), u
		e.in.Add(1)
		if len(e.steps) == 0 {
			u.Result = tandem.Give(v)
			e.finish([]*tandem.Task{&u.Task})
			return true
		}
		u.Owner = e.steps[0]
		one[0] = &u.Task
		if _, err := e.steps[0].in.Put(ctx, one[:]); err != nil {
			e.in.Add(-1) // not accepted: the next run reads it again
			return false
		}
		return true
	})
	if err != nil && ctx.Err() == nil {
		if _, ok := errors.AsType[*tandem.Error](err); !ok {
			err = &tandem.Error{Op: "read the source of", On: e.flow.Name, Kind: tandem.KindSource, Message: err.Error(), Err: err}
		}
		return err
	}
	return nil
}

// finish sends items that have their outcome to the sink.
func (e *Engine) finish(ended []*tandem.Task) {
	now := time.Since(e.start)
	for _, t := range ended {
		u := t.Ref.(*unit)
		t.Elapsed = now - u.born
		t.Attempts = max(u.attempts, t.Attempts)
	}
	_, _ = e.finished.Put(context.Background(), ended) // it is closed last
}

// sink counts outcomes and writes them. A sink that fails stops the run; what follows is counted as not written.
func (e *Engine) sink() {
	buf := make([]*tandem.Task, 512)
	var broken error
	fail := func(err error) {
		if broken == nil && err != nil {
			broken = err
			e.stop(err)
		}
	}
	flusher, _ := e.flow.Sink.(interface{ Flush() (lost int, err error) })
	flush := func() {
		if flusher != nil && broken == nil {
			lost, err := flusher.Flush()
			e.unwrit.Add(int64(lost))
			fail(err)
		}
	}
	for {
		n, err := e.takeEnded(buf, flusher != nil && broken == nil)
		if errors.Is(err, context.DeadlineExceeded) {
			flush() // nothing comes for a while: what has ended should be seen
			n, err = e.takeEnded(buf, false)
		}
		if err != nil {
			break
		}
		for _, t := range buf[:n] {
			e.ended[outcomeIndex(t.Result.Outcome)].Add(1)
			if e.cfg.OnEnded != nil {
				e.cfg.OnEnded(t)
			}
		}
		if e.flow.Sink == nil {
			continue
		}
		written := 0
		if broken == nil {
			var err error
			if written, err = e.flow.Sink.Write(buf[:n]); err != nil {
				fail(err)
			} else {
				written = n
			}
		}
		e.unwrit.Add(int64(n - written))
		clear(buf[:n])
	}
	flush()
	if e.flow.Sink != nil {
		if err := e.flow.Sink.Close(); err != nil {
			fail(err)
		}
	}
}

// takeEnded takes ended items; with a limit it fails with DeadlineExceeded when none comes for a tenth of a second.
func (e *Engine) takeEnded(buf []*tandem.Task, limited bool) (int, error) {
	ctx := context.Background()
	if n, _ := e.finished.Len(); limited && n == 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
	}
	return e.finished.Take(ctx, buf)
}

func outcomeIndex(o tandem.Outcome) int {
	for i, x := range tandem.Outcomes {
		if x == o {
			return i
		}
	}
	return 1 // failed: an outcome nobody knows is no success
}

// sweep cancels what still lies in a queue after the run was stopped.
func (e *Engine) sweep(cause error) {
	buf := make([]*tandem.Task, 256)
	for _, s := range e.steps {
		for {
			n, err := s.in.Take(context.Background(), buf)
			if err != nil {
				break
			}
			for _, t := range buf[:n] {
				t.Result = stopped(cause)
			}
			e.finish(buf[:n])
		}
	}
}

func stopped(cause error) tandem.Result {
	msg := "the run was stopped before this item ended"
	if cause != nil && !errors.Is(cause, context.Canceled) {
		msg += ": " + cause.Error()
	}
	return tandem.Result{Outcome: tandem.Canceled, Err: &tandem.Error{Op: "run", Kind: tandem.KindCanceled, Message: msg, Err: cause}}
}

func (e *Engine) closeHandlers() {
	for _, s := range e.steps {
		if f, ok := s.def.Handler.(Func); ok && f.Close != nil {
			f.Close()
		}
	}
}
