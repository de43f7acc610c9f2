// Package engine runs a flow: source → (queue → pool)* → sink.
//
// Promises:
//
//   - Items stream. A source is never read ahead of the queues' bounds, items and bytes; a full queue stops its sender, back to the source.
//   - Every item the source gave ends in exactly one outcome, is counted once and given to the sink once. When an item is given up because
//     the run stops, its outcome is canceled.
//   - Workers are ready before the first item is read: a handler that cannot be loaded costs no item.
//   - Drain stops the source and lets everything accepted end; canceling the context of Run stops at once. When Run returns, no goroutine
//     and no process of the run is left.
//   - Items do not keep their order, unless the flow asks for it: then their outcomes wait for those before them.
//   - A failed attempt is followed by another only as [Retry] says. An item that waits for one keeps its place: a step with 1024 of them takes no more.
//
// See [Run] for the whole; [From], [Compute], [Wait] and [Stream.Results] are the typed form for Go programs.
package engine

import (
	"context"
	"fmt"
	"time"

	"tandem"
	"tandem/internal/handover"
	"tandem/internal/lanes"
	"tandem/internal/limit"
	"tandem/internal/proc"
	"tandem/internal/procpool"
)

// Flow is a source, steps and a sink.
type Flow struct {
	Name   string
	Source tandem.Source
	Steps  []Step
	Sink   tandem.Sink // nil means that outcomes are only counted

	Pools    map[string]Limits               // shared by the steps that name them
	Order    bool                            // outcomes reach the sink in the order of the source
	Failures Failures                        // when to stop, and where failed items are kept
	Journal  Journal                         // what has finished; nil means that a run cannot be resumed
	Sync     bool                            // the sink is on stable storage before the journal says so: also a power cut loses nothing
	Done     func(root string)               // told when all that came of a source's item has been written; may be nil
	Redact   func(tandem.Value) tandem.Value // takes secrets out of what is written and shown; may be nil

	// First and Last, when Last is not zero, are a part of the steps: only those from First to before Last run here, on items that come from a [Feed].
	First, Last int
	Settled     func(tag any) // told when all that came of a Start with this tag has been written, and none of it was canceled; may be nil
}

// Feed is a Source whose items come out of the middle of a flow: from a queue between machines.
type Feed interface {
	tandem.Source
	// Starts is Each for items that have a past. It is called in place of Each.
	Starts(ctx context.Context, yield func(Start) bool) error
}

// Start is an item as it comes out of the middle of a flow.
type Start struct {
	ID, Root string
	Source   tandem.Value   // what the source gave
	Value    tandem.Value   // what the last step gave
	Earlier  []tandem.Value // what earlier steps gave, by index of step; nil when none was kept
	Attempts int            // the most that a step before needed
	Elapsed  time.Duration  // since the source gave it
	Ended    *tandem.Result // of an item that has ended elsewhere and is only to be written; in a flow without steps
	Made     bool           // it is one of several that came of one item of the source, and not the one that counts for it
	Tag      any            // for Flow.Settled
}

// Bounds of the queue in front of a step.
type Bounds = handover.Bounds

// Isolation of worker processes: the zero value is a process tree of their own and nothing more.
type Isolation = proc.Isolation

// Recycle says when worker processes are replaced though nothing is wrong with them.
type Recycle = procpool.Recycle

// Limits of what may be in flight and how often a task may start.
type Limits = limit.Config

// Failures is what the run does about items that end badly: failed, timed out, crashed, quarantined, out of memory.
type Failures struct {
	StopAfter int         // stop the run at so many; zero means never
	StopShare float64     // stop it when more than this share of the items ended badly, 0 to 1, once 100 have ended; zero means never
	Save      tandem.Sink // gets those items as well; may be nil
}

// Step is one handler applied to each item, in one mode, with limits.
type Step struct {
	Name        string
	Handler     Handler
	Mode        tandem.Mode         // empty: processes, an event loop for an async handler, goroutines for a Func; tandem.Auto: measured and decided, also into threads
	Workers     int                 // processes; zero means one per core for process, 1 for thread and async
	WorkersOf   func(cores int) int // in place of Workers: their number follows the cores; may be nil
	Spares      int                 // ready workers beside those that serve; zero means one after the first death if starting takes long, negative none
	Threads     int                 // tasks at a time in one worker; zero means 1, for thread 16
	Concurrency int                 // tasks in flight for goroutine and async; zero means 64
	Timeout     time.Duration       // for one attempt; zero means none
	Caps        tandem.Caps         // what one attempt may use; a Program only, and a Func must be without
	Isolation   Isolation           // how far a Program's processes are kept from the machine; a Func must be without
	Queue       Bounds
	Retry       Retry
	Batch       Batch
	Limits      Limits // the step's own; zero means none beyond Concurrency
	PerKey      PerKey // tasks of one key at the same time; not with Batch
	Pool        string // the name of shared limits in Flow.Pools; empty means none
	// Once says that an item which has begun here is never begun again: not after a failure, a crash or a timeout, and not by a run that goes on where another was
	// killed. Of an item whose worker or run died, nobody knows whether it was done: it ends as crashed, and its error says so. Handlers in this process must keep
	// to it themselves.
	Once    bool
	Recycle Recycle // of worker processes
	Keep    bool    // a later step asks for what this one gives: items carry it in Task.Earlier
	// When tells which items the step is for; the others pass it by with the value they have. Nil means all.
	When func(t *tandem.Task) (bool, error)
}

// Retry says when a failed attempt is followed by another.
//
// A task that crashed its worker is tried once more, on a fresh one, and quarantined when it kills that too; Attempts 1 switches this off. A handler
// that asks for another attempt itself (AgainYes) gets up to Attempts, or 5 unless told otherwise.
type Retry struct {
	Attempts int                                          // in all; zero and 1 mean no other
	Base     time.Duration                                // the first pause is up to this, each further one up to twice as long; zero means 500ms
	Max      time.Duration                                // and none longer than this; zero means 30s
	When     func(o tandem.Outcome, e *tandem.Error) bool // which failures; nil means none
}

// Batch says how many items a handler gets at a time. It gets the List of their values, and the items in Task.Batch; a worker gives one value for each, a handler in
// goroutines one for each or one for all. A batch that fails is cut in two until the item to blame stands alone.
type Batch struct {
	Size  int           // zero means one at a time
	Every time.Duration // a batch waits no longer than this to be full; zero means one second
}

// Handler is what a step runs: a [Func] in this process or a [Program] in worker processes.
type Handler interface{ handler() }

// Func is a handler that runs in goroutines.
type Func struct {
	Do    func(ctx context.Context, t *tandem.Task) tandem.Result
	Close func()      // called after the last task; may be nil
	Mode  tandem.Mode // what auto means for it; empty means goroutine
	// Default is the concurrency when the step names none; zero means 64.
	Default  int
	Computes bool // one per core unless the step says otherwise
	Auto     bool // unless the step says otherwise the run finds out how many may be in flight
	// Isolation is how far the processes that it starts are kept from the machine, as far as it knows by now; may be nil.
	Isolation func() *tandem.Isolation
}

// Program is a handler in worker processes that speak the worker protocol.
type Program struct {
	Argv     []string
	Template []string // a program that loads the handler once and forks workers of itself; may be nil
	MustFork bool     // without it there are to be no workers
	Dir      string   // working directory; empty means ours
	Env      []string // nil means ours
	Handler  string   // what the worker is to run
	Home     string   // where the worker looks relative names up
	Output   string   // "json" or "pickle"
	Kwargs   bool     // Input gives an object of named arguments
	Batch    bool     // the handler takes lists and gives one value for each element
	Budget   int      // threads that one worker may compute with; zero leaves the environment alone
	// Input makes the handler's argument; nil means the value of the step before.
	Input func(t *tandem.Task) (tandem.Value, error)
}

func (Func) handler()    {}
func (Program) handler() {}

// Config of a run.
type Config struct {
	Run   string // the run's id, for the environment of workers
	Cores int    // processors to use; zero means what measure finds

	CoreDir string // where core files are moved; empty leaves them where the kernel wrote them

	OnEvent  func(tandem.Event)                                  // may be nil; must not block
	OnOutput func(step string, worker, stream int, chunk []byte) // what workers print; may be nil; must not block
	OnCrash  func(tandem.Crash)                                  // each worker and command that died, or was killed while it ran; may be nil; must not block for long
	OnEnded  func(t *tandem.Task)                                // each item once, when it has its outcome; may be nil; must not block

	Lanes *lanes.Recorder // keeps the picture of the run; nil means that none is made. The caller closes it after Run
}

func (f Flow) validate() error {
	if f.Source == nil {
		return &tandem.Error{Op: "run", On: f.Name, Kind: tandem.KindInvalid, Message: "the flow has no source"}
	}
	seen := map[string]bool{}
	for i, s := range f.Steps {
		if s.Name == "" || seen[s.Name] {
			return &tandem.Error{Op: "run", On: f.Name, Kind: tandem.KindInvalid, Message: fmt.Sprintf("step %d has no name of its own (%q)", i+1, s.Name)}
		}
		seen[s.Name] = true
		if _, ok := f.Pools[s.Pool]; s.Pool != "" && !ok {
			return &tandem.Error{Op: "run", On: s.Name, Kind: tandem.KindInvalid, Message: fmt.Sprintf("the flow has no pool %q", s.Pool)}
		}
		if s.PerKey.Key != nil && s.Batch.Size > 0 {
			return &tandem.Error{Op: "run", On: s.Name, Kind: tandem.KindInvalid, Message: "a step with a bound for each key takes no batches"}
		}
		if s.Handler == nil {
			return &tandem.Error{Op: "run", On: s.Name, Kind: tandem.KindInvalid, Message: "the step has no handler"}
		}
	}
	return nil
}
