// Package gopool is the tandem.Pool on goroutines of this process, for work that waits.
//
// Promises, beyond those of tandem.Pool:
//
//   - Goroutines are started on demand, up to Concurrency, and end when the pool ends. An idle pool has none that it never needed.
//   - While handlers wait, each goroutine takes one task at a time. When they take less than ten microseconds, it takes up to 64, and
//     completes those that are done before it starts one that makes them wait.
//   - A handler gets a context that ends with its timeout or with the run; time in which this process did not run at all is not counted. One that does not listen keeps its place: its task ends as
//     timed_out at once, but the goroutine counts until it returns, so the number of running handlers never exceeds Concurrency.
//   - A panic in a handler ends its task as failed, with the stack.
//   - A no-op task costs about a quarter of a microsecond; a waiting one costs its goroutine's stack, 2 to 8 KiB.
package gopool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tandem"
	"tandem/internal/arena"
)

// Config says what a pool runs.
type Config struct {
	Name        string
	Handle      func(ctx context.Context, t *tandem.Task) tandem.Result
	Concurrency int           // handlers at a time; zero means 64
	Timeout     time.Duration // for one attempt; zero means none
	Measure     bool          // look now and then how much of its time a handler computes
	Grace       time.Duration // how long Run waits for handlers that do not listen; zero means 5 s
	Leave       time.Duration // how long a handler whose time is up may take to come back before it is left behind; zero means 50 ms

	OnLate func(t *tandem.Task, c tandem.Crash) // told what a handler reports that was left behind and came back since; may be nil
}

const (
	quick    = 10 * time.Microsecond // below this service time a goroutine takes many tasks
	maxBatch = 64
	maxHold  = 50 * time.Microsecond // a finished task waits no longer than this for its neighbours
)

// Pool is a pool of goroutines. Make one with New.
type Pool struct {
	cfg   Config
	ready chan struct{}

	mu      sync.Mutex
	room    sync.Cond // pending has shrunk, or the end
	work    sync.Cond // pending has grown, or the end
	pending []*tandem.Task
	first   int // index of the oldest in pending
	waiting int // submitters in room
	idle    int // goroutines in work
	spawned int // goroutines that run
	held    int // accepted, not completed
	stuck   int // handlers whose task has ended without them
	closed  bool
	ended   bool
	running bool
	ctx     context.Context
	wg      sync.WaitGroup
	empty   chan struct{}
	service time.Duration // moving average
	looked  atomic.Int64  // when a handler was measured last, in nanoseconds since born
	born    time.Time
	stats   tandem.PoolState
	clock   clock
	seats   map[*seat]struct{} // of the goroutines that run
}

// New makes a pool; nothing runs before Run.
func New(cfg Config) *Pool {
	cfg.Concurrency = max(cmp.Or(cfg.Concurrency, 64), 1)
	cfg.Grace, cfg.Leave = cmp.Or(cfg.Grace, 5*time.Second), cmp.Or(cfg.Leave, 50*time.Millisecond)
	p := &Pool{cfg: cfg, born: time.Now(), ready: make(chan struct{}), empty: make(chan struct{}), clock: clock{start: time.Now()}, seats: map[*seat]struct{}{}}
	p.room.L, p.work.L = &p.mu, &p.mu
	return p
}

// Ready is tandem.Pool's.
func (p *Pool) Ready() <-chan struct{} { return p.ready }

// Run is tandem.Pool's. It fails when handlers go on after Grace although their context has ended.
func (p *Pool) Run(ctx context.Context) error {
	run, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p.mu.Lock()
	p.ctx, p.running = run, true
	p.spawn()
	p.mu.Unlock()
	close(p.ready)
	if p.cfg.Timeout > 0 {
		var beat sync.WaitGroup
		beat.Go(func() { p.clock.run(run, min(max(p.cfg.Timeout/4, 50*time.Millisecond), 500*time.Millisecond)) })
		defer beat.Wait()
	}

	var err error
	select {
	case <-p.empty:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	p.mu.Lock()
	p.ended = true
	rest := append([]*tandem.Task(nil), p.pending[p.first:]...)
	p.pending, p.first = nil, 0
	p.held -= len(rest)
	p.room.Broadcast()
	p.work.Broadcast()
	p.mu.Unlock()
	cancel(cmp.Or(err, tandem.ErrClosed))
	for _, t := range rest {
		t.Result = canceled(err)
	}
	complete(rest)
	if left := p.waitAll(); err == nil {
		err = left
	}
	return err
}

// waitAll waits for the goroutines; those that do not listen are waited for up to Grace.
func (p *Pool) waitAll() error {
	gone := make(chan struct{})
	go func() { p.wg.Wait(); close(gone) }()
	select {
	case <-gone:
		return nil
	case <-time.After(p.cfg.Grace):
	}
	p.mu.Lock()
	n := p.spawned
	p.mu.Unlock()
	return &tandem.Error{Op: "stop", On: p.cfg.Name, Kind: tandem.KindTimeout, Message: fmt.Sprintf("%d handlers still run although their context ended %v ago", n, p.cfg.Grace),
		Hint: "a Go handler must return when its context is done; in a worker process it could be killed"}
}

// Submit is tandem.Pool's.
func (p *Pool) Submit(ctx context.Context, tasks []*tandem.Task) (int, error) {
	if len(tasks) == 0 {
		return 0, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if p.closed || p.ended {
			return 0, tandem.ErrClosed
		}
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		// One backlog is enough: what waits here is out of its queue's bounds.
		backlog := 2 * maxBatch
		if p.service == 0 || p.service > quick {
			backlog = 1
		}
		free := p.cfg.Concurrency - p.held - p.stuck + backlog
		if n := min(len(tasks), free); n > 0 {
			p.pending = append(p.pending, tasks[:n]...)
			p.held += n
			if p.idle > 0 {
				if n == 1 {
					p.work.Signal()
				} else {
					p.work.Broadcast()
				}
			}
			p.spawn()
			return n, nil
		}
		stop := context.AfterFunc(ctx, func() {
			p.mu.Lock()
			p.room.Broadcast()
			p.mu.Unlock()
		})
		p.waiting++
		p.room.Wait()
		p.waiting--
		stop()
	}
}

// spawn starts goroutines for tasks that no idle one will take.
func (p *Pool) spawn() {
	if !p.running {
		return
	}
	want := len(p.pending) - p.first - p.idle
	if p.service > 0 && p.service < quick {
		want = (want + maxBatch - 1) / maxBatch
	}
	for ; want > 0 && p.spawned < p.cfg.Concurrency; want-- {
		p.spawned++
		p.wg.Go(p.serve)
	}
}

// Resize changes how many handlers may run at a time, at least 1. With fewer, those that run go on to their end.
func (p *Pool) Resize(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cfg.Concurrency = max(n, 1)
	p.spawn()
	p.room.Broadcast()
	p.work.Broadcast() // those that are too many end
}

// Close is tandem.Pool's.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.room.Broadcast()
	p.checkEmpty()
}

func (p *Pool) checkEmpty() {
	if p.closed && p.held == 0 {
		select {
		case <-p.empty:
		default:
			close(p.empty)
		}
	}
}

// State is tandem.Pool's.
func (p *Pool) State() tandem.PoolState {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Mode, s.Threads, s.Concurrency, s.Running, s.CPU = tandem.Goroutine, 1, p.cfg.Concurrency, p.held, -1
	return s
}

// take gives a goroutine its next tasks, or nothing when it should end.
func (p *Pool) take(mine *seat, batch []*tandem.Task) []*tandem.Task {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.pending) == p.first || p.spawned > p.cfg.Concurrency {
		if p.ended || p.spawned > p.cfg.Concurrency {
			p.spawned--
			delete(p.seats, mine)
			return nil
		}
		p.idle++
		p.work.Wait()
		p.idle--
	}
	n := 1
	if p.service > 0 && p.service < quick {
		n = min(maxBatch, len(p.pending)-p.first)
	}
	batch = append(batch[:0], p.pending[p.first:p.first+n]...)
	mine.note(batch)
	clear(p.pending[p.first : p.first+n])
	if p.first += n; p.first == len(p.pending) {
		p.pending, p.first = p.pending[:0], 0
	} else if p.first > 4096 {
		p.pending = append(p.pending[:0], p.pending[p.first:]...)
		p.first = 0
	}
	return batch
}

// give completes tasks and counts them.
func (p *Pool) give(mine *seat, done []*tandem.Task) {
	if len(done) == 0 {
		return
	}
	p.mu.Lock()
	mine.strike(done)
	for _, t := range done {
		p.stats.Attempts++
		if t.Attempts > 1 {
			p.stats.Retries++
		}
		if t.Result.Outcome == tandem.Failed {
			p.stats.Errors++
		}
		p.stats.Service += t.Result.Service
		if t.Result.Used != nil {
			p.stats.Used.Add(*t.Result.Used)
		}
		p.service += (min(t.Result.Service, time.Second) + 1 - p.service) / 8
		if p.service <= 0 {
			p.service = 1
		}
	}
	p.mu.Unlock()
	complete(done)
	p.mu.Lock()
	p.held -= len(done)
	if p.waiting > 0 && (p.cfg.Concurrency < 2*maxBatch || p.held <= p.cfg.Concurrency-maxBatch/2 || p.service > quick) {
		p.room.Broadcast()
	}
	p.checkEmpty()
	p.mu.Unlock()
}

func complete(done []*tandem.Task) {
	for len(done) > 0 {
		n := 1
		for n < len(done) && done[n].Owner == done[0].Owner {
			n++
		}
		if o := done[0].Owner; o != nil {
			o.Complete(done[:n])
		}
		done = done[n:]
	}
}

// serve is one goroutine of the pool.
func (p *Pool) serve() {
	var batch, done []*tandem.Task
	mine := &seat{}
	p.mu.Lock()
	p.seats[mine] = struct{}{}
	p.mu.Unlock()
	for {
		if batch = p.take(mine, batch); batch == nil {
			return
		}
		done = done[:0]
		begun := time.Now()
		first := begun
		mine.begun.Store(begun.UnixNano())
		for _, t := range batch {
			if p.ctx.Err() != nil {
				t.Result = canceled(context.Cause(p.ctx))
				done = append(done, t)
				continue
			}
			if len(done) > 0 && begun.Sub(first) > maxHold {
				p.give(mine, done)
				done, first = done[:0], begun
			}
			if p.cfg.Timeout > 0 {
				if p.limited(mine, t, begun) {
					continue // its task has been completed without it
				}
			} else {
				t.Attempts++
				p.handle(p.ctx, t, &t.Result)
			}
			now := time.Now()
			t.Result.Service = now.Sub(begun)
			begun = now
			done = append(done, t)
		}
		p.give(mine, done)
	}
}

// handle runs the handler into r.
func (p *Pool) handle(ctx context.Context, t *tandem.Task, r *tandem.Result) {
	defer func() {
		if x := recover(); x != nil {
			*r = tandem.Result{Outcome: tandem.Failed, Err: &tandem.Error{Op: "run", On: p.cfg.Name, Kind: tandem.KindPanic, Message: fmt.Sprint("panic: ", x), Trace: string(debug.Stack())}}
		}
	}()
	*r = p.measured(ctx, t)
	if r.Outcome != tandem.OK && r.Outcome != tandem.Filtered && p.stopped() {
		report := r.Crash
		*r = canceled(context.Cause(p.ctx))
		r.Crash = report
	}
}

// lookEvery is how often a handler is measured: its goroutine keeps its thread meanwhile, which makes waiting dearer by some microseconds.
const lookEvery = 20 * time.Millisecond

// measured runs the handler, and now and then measures it. The figures hold what this goroutine computes, not what the handler starts.
func (p *Pool) measured(ctx context.Context, t *tandem.Task) tandem.Result {
	if !p.cfg.Measure {
		return p.cfg.Handle(ctx, t)
	}
	now, last := time.Since(p.born), p.looked.Load()
	if now-time.Duration(last) < lookEvery || !p.looked.CompareAndSwap(last, int64(now)) {
		return p.cfg.Handle(ctx, t)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cpu := arena.ThreadCPU()
	r := p.cfg.Handle(ctx, t)
	r.Used = &tandem.Usage{Tasks: 1, Wall: time.Since(p.born) - now, CPU: arena.ThreadCPU() - cpu}
	return r
}

func (p *Pool) stopped() bool { return p.ctx.Err() != nil }

// limited runs the handler under the timeout. True means that the handler did not come back in time: its task has ended as timed_out, and the
// handler had a copy of the task, which nobody reads any more.
func (p *Pool) limited(mine *seat, t *tandem.Task, begun time.Time) (gone bool) {
	t.Attempts++
	ctx, cancel := p.within(begun)
	defer cancel()
	own := *t
	var once sync.Once
	var late bool
	finish := func(r tandem.Result, overdue bool) {
		once.Do(func() {
			late = overdue
			t.Result = r
			if overdue {
				t.Result.Service = time.Since(begun)
				p.mu.Lock()
				p.stuck++
				p.mu.Unlock()
				p.give(mine, []*tandem.Task{t})
			}
		})
	}
	// A handler that listens ends right after its context; only one that does not is left behind.
	back := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(min(p.cfg.Leave, p.cfg.Grace))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-back:
			return
		}
		if p.stopped() {
			finish(canceled(context.Cause(p.ctx)), true)
		} else {
			finish(p.timedOut(), true)
		}
	})
	var r tandem.Result
	p.handle(ctx, &own, &r)
	stop()
	close(back)
	if r.Outcome != tandem.OK && r.Outcome != tandem.Filtered && errors.Is(ctx.Err(), context.DeadlineExceeded) && !p.stopped() {
		r = p.overdue(r)
	}
	finish(r, false)
	if late {
		if r.Crash != nil && p.cfg.OnLate != nil {
			p.cfg.OnLate(&own, *r.Crash)
		}
		p.mu.Lock()
		p.stuck--
		p.room.Broadcast()
		p.mu.Unlock()
	}
	return late
}

func (p *Pool) timedOut() tandem.Result {
	return tandem.Result{Outcome: tandem.TimedOut, Err: &tandem.Error{Op: "run", On: p.cfg.Name, Kind: tandem.KindTimeout,
		Message: fmt.Sprintf("not done after %v", p.cfg.Timeout), Hint: "raise the step's timeout, or find out what it waits for"}}
}

// overdue is the result of a handler that came back because its time was up. What it killed for that, and why, is told by the handler.
func (p *Pool) overdue(r tandem.Result) tandem.Result {
	if r.Outcome == tandem.TimedOut && r.Err != nil && r.Err.Reason != "" {
		return r
	}
	mine := p.timedOut()
	mine.Used = r.Used
	if c := r.Crash; c != nil {
		c.Outcome = tandem.TimedOut
		mine.Crash, mine.Err.Trace = c, r.Err.Trace
		_, how, _ := strings.Cut(r.Err.Message, ", ") // that it was killed, and where it was
		mine.Err.Message += ", " + cmp.Or(how, "killed")
	}
	return mine
}

func canceled(cause error) tandem.Result {
	msg := "the run was stopped"
	if cause != nil && cause != context.Canceled {
		msg += ": " + cause.Error()
	}
	return tandem.Result{Outcome: tandem.Canceled, Err: &tandem.Error{Op: "run", Kind: tandem.KindCanceled, Message: msg, Err: cause}}
}

var _ tandem.Pool = (*Pool)(nil)
