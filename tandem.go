// Package tandem holds the words and the contracts: what a value, a task, an outcome, a pool and a queue are.
//
// Everything else in the module speaks these words. The package imports only the standard library, starts no goroutine and
// holds no state. To run a flow see package engine; to write a worker process see package worker.
package tandem

import (
	"context"
	"time"
)

// Kind says how the bytes of a [Value] are to be read. The numbers are those of the worker protocol.
type Kind uint8

const (
	Null   Kind = iota // no value
	Bytes              // raw bytes
	Text               // UTF-8, or a path, which may hold any byte but zero
	JSON               // one JSON text
	Pickle             // a Python pickle; travels between Python steps only
	List               // the values of a batch, each with its kind: see Values
)

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

var kindNames = [...]string{"null", "bytes", "text", "json", "pickle", "list"}

// Value is a piece of data on its way through a flow. Whoever holds a Value may read Data and must not change it.
type Value struct {
	Kind Kind
	Data []byte
}

// TextValue is s as a Value. It copies s.
func TextValue(s string) Value { return Value{Kind: Text, Data: []byte(s)} }

// Mode is how a step runs its handler.
type Mode string

const (
	Auto      Mode = "auto"      // Tandem chooses
	Goroutine Mode = "goroutine" // in this process; for work that waits
	Thread    Mode = "thread"    // in threads of a worker process
	Async     Mode = "async"     // on an event loop in a worker process
	Process   Mode = "process"   // one at a time in each of several worker processes; for work that computes
)

// Modes lists every mode a user may write, in the order in which help shows them.
var Modes = []Mode{Auto, Goroutine, Thread, Async, Process}

// Outcome is how an item ended. An item ends in exactly one.
type Outcome string

const (
	OK       Outcome = "ok"
	Failed   Outcome = "failed"    // the handler said no: an error, a bad status, an exit code
	TimedOut Outcome = "timed_out" // its time was up; what ran it was stopped
	Crashed  Outcome = "crashed"   // the worker process died under it
	Canceled Outcome = "canceled"  // the run was stopped before it ended
	Filtered Outcome = "filtered"  // a handler gave no value for it: nothing to carry on

	// Quarantined is an item that killed its worker, and killed a fresh one too.
	Quarantined Outcome = "quarantined"

	// OutOfMemory is an item whose attempt reached its memory limit.
	OutOfMemory Outcome = "out_of_memory"
)

// Outcomes lists every outcome in the order in which reports show them.
var Outcomes = []Outcome{OK, Failed, TimedOut, Crashed, Canceled, Filtered, Quarantined, OutOfMemory}

// Result is what became of one task.
type Result struct {
	Outcome Outcome
	Value   Value         // the first value, when Count ≥ 1
	Rest    []Value       // the others, when the handler gave several
	Count   int           // how many values
	Err     *Error        // set unless Outcome is OK or Filtered
	Service time.Duration // how long the handler ran in the last attempt
	Used    *Usage        // where its time went, when it was measured by itself; nil when not
	Crash   *Crash        // of a command that died or was killed; engine.Config.OnCrash hears of it
}

// Give is a result of one value.
func Give(v Value) Result { return Result{Outcome: OK, Value: v, Count: 1} }

// Task is one handler to be applied to one item.
//
// The submitter owns it until Submit accepts it and again from Complete on; in between it is the pool's.
type Task struct {
	ID       string        // the item's id: stable, from its source
	Root     string        // the id of the source's item that it came of; ID unless a step made several items out of one
	Source   Value         // what the source gave for the item
	Value    Value         // what the step before gave; the handler's argument
	Batch    []*Task       // of a step that takes batches: the items in it, and Value is the List of their values; else nil
	Earlier  []Value       // what earlier steps gave, by index of step, where a later step asks for it; else nil
	Attempts int           // how often a handler was started on it; counted by the pool
	Result   Result        // set by the pool before Complete
	Elapsed  time.Duration // from the source to the outcome; set by the engine before the sink
	Owner    Completer     // told when the task has ended; nil for Call
	Ref      any           // the owner's own mark
}

// Completer is told about tasks that have ended. Complete is called from the pool's goroutines, with each accepted task exactly
// once over all calls; it must not block and must not keep the slice.
type Completer interface {
	Complete(ended []*Task)
}

// Pool runs tasks in workers of one mode.
//
//   - Run starts the workers and serves until the pool is closed and empty (nil), a worker cannot be started (the reason), or ctx is
//     done. When Run returns no worker is left and every accepted task has been completed, at the worst as Canceled.
//   - Submit hands over tasks, in order, and blocks while the pool is full. It returns how many were accepted: at least one when err
//     is nil. It fails with ErrClosed after Close or after Run has ended, or with the cause of ctx. Safe for many callers.
//   - Close says that no task will follow. It may be called more than once.
//   - Ready is closed when the pool can run tasks, or has failed to (then Run returns).
//   - A worker that dies costs the tasks it was running; tasks that it had not started are run elsewhere without counting an attempt.
type Pool interface {
	Run(ctx context.Context) error
	Submit(ctx context.Context, tasks []*Task) (int, error)
	Close()
	Ready() <-chan struct{}
	State() PoolState
}

// PoolState is a snapshot of a pool.
type PoolState struct {
	Mode         Mode
	Workers      int           // worker processes, 0 for goroutines
	Threads      int           // tasks at a time in each worker process
	Concurrency  int           // tasks at a time in the whole pool
	Most         int           // tasks at a time that every worker process can be told to run while it serves; 0 when not
	Running      int           // tasks accepted and not completed
	Attempts     int64         // handlers started
	Retries      int64         // of those, attempts after the first of a task
	Errors       int64         // of the attempts, those whose handler said no
	Crashes      int64         // workers that died or were killed under an item, or broke the protocol
	Losses       int64         // workers that were lost with no item to blame: killed from outside, or what holds them was
	BootFailures int64         // workers that did not become ready
	Recycled     int64         // workers that were replaced though nothing was wrong with them
	Stopped      int64         // workers that went because they were not needed any more: the end, fewer cores, idle
	Failed       bool          // the pool gave up; Run says why
	Service      time.Duration // time the handlers ran, over all attempts
	CPU          time.Duration // processor time of worker processes that have ended; -1 when it cannot be told
	Isolation    *Isolation    // of the worker processes; nil for goroutines, and before the first has started
	Used         Usage         // where the time of tasks went, as far as workers measure it
}

// Source gives the items of a flow.
//
// Each calls yield once per item, in order, from its own goroutine and stops when yield returns false. yield blocks while the flow
// is full, so a source is never read ahead of the queues. The ids are unique and the same in every run over the same source. Total
// is the number of items when it is known without reading everything, else -1.
type Source interface {
	Each(ctx context.Context, yield func(id string, v Value) bool) error
	Total() int64
}

// Sink takes the items that have ended, each exactly once, from one goroutine. When Write fails the run stops; written says how many
// of the tasks are safely in. Close flushes; what cannot be flushed is an error too.
type Sink interface {
	Write(ended []*Task) (written int, err error)
	Close() error
}

// Resumer is a Sink that can go on where an earlier run stopped, so that a killed run neither loses a line nor writes one twice.
//
//   - Position, called between two Writes, puts everything written into the file (with sync: on stable storage) and says where it ends. A sink in which
//     writing an item again replaces it says 0 always.
//   - Resume is called in place of starting afresh, before the first Write: it drops what stands behind position, which the run does not know to
//     be whole. A sink that is shorter than position has lost lines: that is an error that says so.
//   - Forget, called after Resume, drops what stands there for these items, because they run again.
//
// With [End] as position Resume keeps every whole line, and starts afresh where there is nothing.
type Resumer interface {
	Sink
	Position(sync bool) (int64, error)
	Resume(position int64) error
	Forget(ids func(id string) bool) error
}

// End is the position behind all that a sink holds.
const End int64 = -1

// Event is a typed fact: what changed, from which state to which, and why. Logs, progress and reports subscribe to events.
type Event struct {
	Time   time.Time
	What   string // "worker", "step", "run", "isolation", "cores", "decision" (a step goes on with another setting), "advice" (another would fit better)
	ID     string // "thumb/1" is worker 1 of step thumb
	From   string
	To     string
	Reason string
}
