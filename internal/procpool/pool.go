// Package procpool is the tandem.Pool on worker processes.
//
// Promises, beyond those of tandem.Pool:
//
//   - Tasks go to workers in batches: many frames a write, many a read. How many tasks wait inside a worker follows its service time, from
//     512 for a no-op to none above 10 ms, where a task is bound to a worker only when that one is free.
//   - Pool state is guarded by one mutex; nothing that can block is called under it. Completers are called without it.
//   - The parent never waits for a worker: writes that do not fit are finished by the worker's own flusher.
//   - A worker is judged by what the kernel says (its exit) and by what it answered; its control page is a hint for blame only.
//   - Resize changes the number of workers at any time. A worker that is to go ends what it runs; what waits in it is run elsewhere.
//   - A task's cost is about one microsecond of processor time in both processes together, and one allocation for its result.
package procpool

import (
	"cmp"
	"context"
	"strconv"
	"sync"
	"time"

	"tandem"
	"tandem/internal/arena"
	"tandem/internal/evidence"
	"tandem/internal/proc"
	"tandem/internal/supervise"
	"tandem/internal/wire"
)

// Config says what a pool runs.
type Config struct {
	Step string   // name in messages and events
	Argv []string // the worker program
	Dir  string   // its working directory; empty means ours
	Env  []string // its environment; nil means ours

	Handler     string      // what the worker is to run
	Home        string      // where the worker looks relative names up; empty means Dir
	Mode        tandem.Mode // what the step asks; empty means tandem.Auto
	Workers     int         // processes; zero means 1
	Loops       int         // processes when mode auto turns out to be async; zero means Workers
	Threads     int         // tasks at a time in each; zero means 1
	Concurrency int         // tasks at a time in each worker in async mode; zero means 64
	Output      string      // "json" or "pickle"; empty means json
	Kwargs      bool        // values are objects of named arguments
	Batch       bool        // values are lists; the handler gives one value for each element
	Measure     bool        // workers tell where the time of tasks goes, as far as they can
	Budget      int         // threads that numeric libraries may start in each worker; zero leaves the environment alone
	Isolation   proc.Isolation
	Run         string // id of the run, TANDEM_RUN_ID of the workers; may be empty

	Timeout      time.Duration // for one attempt; zero means none
	Caps         tandem.Caps   // what one attempt may use; those of processor time are told apart only in workers that run one task at a time
	CoreDir      string        // where core files are moved; empty leaves them where the kernel wrote them
	Recycle      Recycle       // when workers are replaced though nothing is wrong; zero means never
	Once         bool          // a task that a worker may have begun is never run again
	NoTrial      bool          // tasks that ran together in a worker that died are not run again alone: all of them crashed
	StartTimeout time.Duration // until READY; zero means 60 s
	AskWithin    time.Duration // for a worker to say where it is before a timeout kills it; zero means 300 ms
	Grace        time.Duration // for a drain, or for an answer to CANCEL; zero means 1 s
	ArenaSize    int64         // bytes each way; zero means arena.DefaultSize

	Template []string // a program that loads the handler once and forks workers of itself; nil means that each starts by itself
	MustFork bool     // without a template there are to be no workers
	Spares   int      // ready workers beside those that serve; zero means one after the first death if it is forked or starting takes long, negative none

	Redact  func(tandem.Value) tandem.Value // takes secrets out of the inputs that crash reports show; may be nil
	OnCrash func(tandem.Crash)              // told of each worker that died or was killed while serving; may be nil; must not block for long

	OnEvent  func(tandem.Event)                     // told of worker states; may be nil; must not block
	OnOutput func(worker, stream int, chunk []byte) // told what workers print; may be nil; must not block
}

func (c Config) withDefaults() Config {
	c.Mode = cmp.Or(c.Mode, tandem.Auto)
	c.Workers = max(c.Workers, 1)
	c.Loops = cmp.Or(c.Loops, c.Workers)
	c.Threads = max(c.Threads, 1)
	c.Concurrency = min(cmp.Or(c.Concurrency, 64), arena.MaxSlots)
	c.Output = cmp.Or(c.Output, "json")
	c.Home = cmp.Or(c.Home, c.Dir, ".")
	c.StartTimeout = cmp.Or(c.StartTimeout, time.Minute)
	c.Grace = cmp.Or(c.Grace, time.Second)
	c.AskWithin = cmp.Or(c.AskWithin, 300*time.Millisecond)
	c.ArenaSize = cmp.Or(c.ArenaSize, arena.DefaultSize)
	return c
}

// Pool is a pool of worker processes. Make one with New.
type Pool struct {
	cfg   Config
	ready chan struct{}

	mu      sync.Mutex
	room    sync.Cond                 // a place in pending, or the end; guarded by mu
	waiting int                       // callers in room.Wait
	workers []*worker                 // that can take tasks
	leaving []*worker                 // that take no more and may still run some
	latest  []*worker                 // by place, the one that was ready last; nil where none was
	size    int                       // workers there should be
	loops   int                       // the same when mode auto has turned out to be async
	atOnce  int                       // tasks each of them is to run at a time; 0 before Retune
	places  []context.CancelCauseFunc // of those that run, by number; nil where none does
	owned   sync.WaitGroup            // places and the watch
	run     context.Context           // of the places; nil before Run
	pending fifo                      // accepted, not given to a worker
	held    int                       // accepted, not completed
	window  int                       // sum of the workers' windows
	mode    tandem.Mode
	closed  bool
	ended   bool // Run has returned or is about to: nothing is accepted
	isReady bool
	err     error         // why the pool gave up
	empty   chan struct{} // closed when closed and held == 0, or when the pool gave up
	gaveUp  bool
	stop    context.Context // Run's: done when the run is stopped rather than finished
	stats   tandem.PoolState
	service time.Duration // moving average of the service time
	arenas  []*arenas     // for the next worker

	sup      supervise.Pool
	clock    supervise.Clock
	down     error                // why no worker can be started, while the breaker is not closed
	turn     chan struct{}        // closed and made anew when places may start that had to wait
	asleep   []chan struct{}      // of places that wait for something to do
	trial    fifo                 // suspects
	accused  map[*tandem.Task]int // how often a worker died under it
	judge    *worker              // runs suspects
	lost     map[*tandem.Task]int
	lastSeen int64
	memory   evidence.Memory
	roll     roll

	numbers    []bool // of workers, those in use
	spares     []*worker
	restock    time.Duration    // no spare is started before
	keepers    int              // goroutines that see to spares
	spareCosts int64            // memory of a spare that is worth it; 0 when none is
	templates  []*proc.Template // to be closed when no worker is left
	current    *proc.Template   // the one to fork from; nil while there is none
	bred       chan struct{}    // closed when current or noFork is settled
	noFork     bool

	booting sync.Mutex // guards what follows
	tried   bool       // it is known whether the limit of memory keeps workers from starting
	small   *tandem.Error
}

// New makes a pool; nothing runs before Run.
func New(cfg Config) *Pool {
	p := &Pool{cfg: cfg.withDefaults(), ready: make(chan struct{}), empty: make(chan struct{}), turn: make(chan struct{}), bred: make(chan struct{})}
	p.size, p.loops = p.cfg.Workers, p.cfg.Loops
	p.room.L = &p.mu
	p.mode = p.cfg.Mode
	return p
}

// Ready is closed when a worker can run tasks or the pool has failed.
func (p *Pool) Ready() <-chan struct{} { return p.ready }

// Run is tandem.Pool's.
func (p *Pool) Run(ctx context.Context) error {
	defer p.freeArenas()
	stop := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p.owned.Go(func() { p.watch(ctx) })
	p.mu.Lock()
	p.stop, p.run = stop, ctx
	if p.cfg.Template != nil {
		p.owned.Go(func() { p.breed(ctx) })
	}
	p.fit()
	p.provide(0)
	p.mu.Unlock()

	var err error
	select {
	case <-p.empty:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	p.mu.Lock()
	p.ended = true
	if p.gaveUp {
		err = p.err
	}
	p.room.Broadcast()
	p.setReady()
	p.mu.Unlock()
	cancel(cmp.Or(err, tandem.ErrClosed))
	p.owned.Wait()
	p.closeTemplates()
	p.cancelRest(err)
	return err
}

// cancelRest completes what no worker can run any more.
func (p *Pool) cancelRest(cause error) {
	p.mu.Lock()
	var rest []*tandem.Task
	for _, q := range []*fifo{&p.trial, &p.pending} {
		for t, ok := q.pop(); ok; t, ok = q.pop() {
			t.Result = canceled(cause)
			p.forget(t)
			rest = append(rest, t)
		}
	}
	p.held -= len(rest)
	p.mu.Unlock()
	complete(rest)
}

func canceled(cause error) tandem.Result {
	msg := "the run was stopped"
	if cause != nil && cause != context.Canceled {
		msg += ": " + cause.Error()
	}
	return tandem.Result{Outcome: tandem.Canceled, Err: &tandem.Error{Op: "run", Kind: tandem.KindCanceled, Message: msg, Err: cause}}
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
	if (p.closed && p.held == 0 || p.gaveUp) && !isClosed(p.empty) {
		close(p.empty)
	}
}

func (p *Pool) setReady() {
	if !p.isReady {
		p.isReady = true
		close(p.ready)
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// State is tandem.Pool's.
func (p *Pool) State() tandem.PoolState {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state()
}

// state is State with the mutex held.
func (p *Pool) state() tandem.PoolState {
	s := p.stats
	s.Mode, s.Running = p.mode, p.held
	s.Workers, s.Failed = p.wanted(), p.gaveUp
	s.Threads, s.Most = p.each(), p.changes()
	if p.cfg.Mode == tandem.Auto && p.mode != tandem.Async && p.atOnce > 0 {
		s.Mode = tandem.Process
		if p.atOnce > 1 {
			s.Mode = tandem.Thread
		}
	}
	s.Concurrency = s.Workers * s.Threads
	return s
}

// wanted is how many workers there should be, as far as the mode is known. The mutex is held.
func (p *Pool) wanted() int {
	if p.cfg.Mode == tandem.Auto && p.mode == tandem.Async {
		return p.loops
	}
	return p.size
}

func (p *Pool) event(worker int, from, to, reason string) {
	if p.cfg.OnEvent != nil {
		what, id := "worker", p.cfg.Step+"/"+strconv.Itoa(worker+1)
		if worker < 0 {
			what, id = "step", p.cfg.Step
		}
		p.cfg.OnEvent(tandem.Event{Time: time.Now(), What: what, ID: id, From: from, To: to, Reason: reason})
	}
}

// arenas is the shared memory of one worker; it is used again by its replacement.
type arenas struct{ in, out *arena.Region }

func (p *Pool) takeArenas() (*arenas, error) {
	p.mu.Lock()
	if n := len(p.arenas); n > 0 {
		a := p.arenas[n-1]
		p.arenas = p.arenas[:n-1]
		p.mu.Unlock()
		return a, nil
	}
	p.mu.Unlock()
	in, err := arena.New("tandem-in", p.cfg.ArenaSize)
	if err != nil {
		return nil, err
	}
	out, err := arena.New("tandem-out", arena.ControlSize+p.cfg.ArenaSize)
	if err == nil {
		if err = in.Seal(); err == nil {
			err = out.Seal()
		}
		if err == nil {
			return &arenas{in, out}, nil
		}
		out.Close()
	}
	in.Close()
	return nil, err
}

// giveArenas keeps no more than there are workers: those that die faster than they are buried would leave more and more.
func (p *Pool) giveArenas(a *arenas) {
	p.mu.Lock()
	keep := len(p.arenas) < p.size
	if keep {
		p.arenas = append(p.arenas, a)
	}
	p.mu.Unlock()
	if !keep {
		a.close()
	}
}

func (p *Pool) freeArenas() {
	for _, a := range p.arenas {
		a.close()
	}
	p.arenas = nil
}

func (a *arenas) close() {
	a.in.Close()
	a.out.Close()
}

// complete tells the owners; runs of one owner go in one call.
func complete(ended []*tandem.Task) {
	for len(ended) > 0 {
		n := 1
		for n < len(ended) && ended[n].Owner == ended[0].Owner {
			n++
		}
		if o := ended[0].Owner; o != nil {
			o.Complete(ended[:n])
		}
		ended = ended[n:]
	}
}

// hello is what a worker is to be.
func (p *Pool) hello() wire.HelloBody {
	h := wire.HelloBody{
		Protocol: wire.Version, Step: p.cfg.Step, Handler: p.cfg.Handler, Dir: p.cfg.Home, Mode: p.cfg.Mode,
		Threads: p.cfg.Threads, Concurrency: p.cfg.Concurrency, Output: p.cfg.Output, Kwargs: p.cfg.Kwargs, Batch: p.cfg.Batch,
		Control: arena.ControlSize, InArena: p.cfg.ArenaSize, OutArena: p.cfg.ArenaSize, Measure: p.cfg.Measure,
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.atOnce > 0 {
		h.Threads, h.Concurrency = p.atOnce, min(p.atOnce, arena.MaxSlots)
	}
	return h
}

var _ tandem.Pool = (*Pool)(nil)
