package engine

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"tandem"
	"tandem/internal/handover"
	"tandem/internal/limit"
	"tandem/internal/measure"
	"tandem/worker"
)

// Engine runs one flow once. Make one with New.
type Engine struct {
	cfg   Config
	start time.Time

	drain     chan struct{}
	drainOnce sync.Once

	mu       sync.Mutex // guards pressure, and steps and flow until the run has begun
	pressure pressure
	flow     Flow
	steps    []*step

	cores    atomic.Int64 // processors that may be used now
	in       atomic.Int64 // items the source gave
	made     atomic.Int64 // items that a step made out of one, beyond the first
	srcDone  atomic.Bool
	ended    []atomic.Int64  // by index in tandem.Outcomes
	unwrit   atomic.Int64    // items whose line the sink could not take
	finished *handover.Queue // items on their way to the sink
	stop     context.CancelCauseFunc
	ctx      context.Context // the run's
	limits   map[string]*limit.Limit
	order    *order       // nil unless the flow keeps it
	before   atomic.Int64 // items of the source that had ended in an earlier part of the run
	picture  *picture     // nil when none is made
}

// New makes an engine.
func New(cfg Config) *Engine {
	cfg.Cores = cmp.Or(cfg.Cores, measure.FindCores().Effective())
	e := &Engine{cfg: cfg, start: time.Now(), drain: make(chan struct{}), ended: make([]atomic.Int64, len(tandem.Outcomes)), finished: handover.New(handover.Bounds{Items: 4096})}
	if cfg.Lanes != nil {
		e.picture = &picture{e: e, r: cfg.Lanes, starting: map[string]bool{}}
	}
	e.cores.Store(int64(cfg.Cores))
	return e
}

// Drain stops reading the source; what was accepted goes on to its end. It may be called at any time and more than once.
func (e *Engine) Drain() { e.drainOnce.Do(func() { close(e.drain) }) }

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
	e.ctx = ctx
	steps, err := e.build(flow)
	if err != nil {
		return Report{Flow: flow.Name, Outcome: "invalid"}, err
	}
	e.mu.Lock()
	e.flow, e.steps = flow, steps
	e.pressure = pressure{full: make([]int, len(steps)), idle: make([]int, len(steps))}
	e.mu.Unlock()

	var drawn sync.WaitGroup
	drawing, drew := context.WithCancel(context.WithoutCancel(ctx)) // to the end, also of a run that is stopped
	defer drawn.Wait()
	defer drew()
	if e.picture != nil {
		drawn.Go(func() { e.draw(drawing) })
	}
	pools, perr := e.startPools(ctx)
	if perr != nil {
		e.stop(perr)
		pools.Wait()
		e.closeHandlers()
		for _, sink := range []tandem.Sink{flow.Sink, flow.Failures.Save} {
			if sink != nil {
				_ = sink.Close() // nothing was written; why nothing ran is what matters
			}
		}
		return e.report(perr), perr
	}
	for _, sink := range []tandem.Sink{flow.Sink, flow.Failures.Save} {
		if b, ok := sink.(interface{ Begin() error }); ok {
			if err := b.Begin(); err != nil {
				e.stop(err) // before the first item: the steps below end at once
			}
		}
	}
	var sink, beside sync.WaitGroup
	sink.Go(newOutlet(e).run)
	watch, unwatch := context.WithCancel(ctx)
	beside.Go(func() { e.follow(watch) })
	beside.Go(func() { e.observe(watch) })
	for _, s := range e.steps {
		beside.Go(func() { s.tune(watch) })
	}
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
	unwatch()
	beside.Wait()
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

// event tells whoever listens.
func (e *Engine) event(ev tandem.Event) {
	if e.picture != nil {
		e.picture.event(ev)
	}
	if e.cfg.OnEvent != nil {
		e.cfg.OnEvent(ev)
	}
}

// mostUnasked is how many may be in flight at a server when the flow does not say.
const mostUnasked = 256

// stopping reports whether the run is to end at once.
func (e *Engine) stopping() bool { return e.ctx.Err() != nil }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (e *Engine) build(flow Flow) ([]*step, error) {
	e.limits = map[string]*limit.Limit{}
	for name, l := range flow.Pools {
		e.limits[name] = limit.New(l)
	}
	if flow.Order {
		e.order = newOrder()
	}
	var steps []*step
	for i, def := range flow.Steps {
		if flow.Last > 0 && (i < flow.First || i >= flow.Last) {
			continue
		}
		l := def.Limits
		if def.Pool != "" {
			l = flow.Pools[def.Pool]
		}
		if f, ok := def.Handler.(Func); ok && f.Auto && def.Concurrency == 0 && l.Concurrency == 0 {
			l.Auto, l.Max = true, cmp.Or(l.Max, mostUnasked)
		}
		c, err := choose(def, l, e.cfg.Cores)
		if err != nil {
			return nil, err
		}
		s := &step{e: e, index: i, def: def, choice: c, limits: l, in: handover.New(def.Queue), stats: measure.NewStep()}
		if def.Pool != "" {
			s.limit = e.limits[def.Pool]
		} else if l != (Limits{}) {
			s.limit = limit.New(l)
		}
		s.out.L, s.due.L, s.free.L = &s.mu, &s.mu, &s.mu
		s.pool = e.pool(def, c, flow.Redact)
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
		s.wg.Go(func() { s.retry(ctx) })
	}
	return &wg, nil
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
