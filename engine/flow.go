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
//   - Items do not keep their order.
//
// See [Run] for the whole; [From], [Compute], [Wait] and [Stream.Results] are the typed form for Go programs.
package engine

import (
	"context"
	"fmt"
	"time"

	"tandem"
	"tandem/internal/queue"
)

// Flow is a source, steps and a sink.
type Flow struct {
	Name   string
	Source tandem.Source
	Steps  []Step
	Sink   tandem.Sink // nil means that outcomes are only counted
}

// Bounds of the queue in front of a step.
type Bounds = queue.Bounds

// Step is one handler applied to each item, in one mode, with limits.
type Step struct {
	Name        string
	Handler     Handler
	Mode        tandem.Mode   // empty means tandem.Auto
	Workers     int           // processes; zero means one per core for process, 1 for thread and async
	Threads     int           // tasks at a time in one worker; zero means 1, for thread 16
	Concurrency int           // tasks in flight for goroutine and async; zero means 64
	Timeout     time.Duration // for one attempt; zero means none
	Queue       Bounds
}

// Handler is what a step runs: a [Func] in this process or a [Program] in worker processes.
type Handler interface{ handler() }

// Func is a handler that runs in goroutines.
type Func struct {
	Do    func(ctx context.Context, t *tandem.Task) tandem.Result
	Close func()      // called after the last task; may be nil
	Mode  tandem.Mode // what auto means for it; empty means goroutine
	// Default is the concurrency when the step names none; zero means 64.
	Default int
}

// Program is a handler in worker processes that speak the worker protocol.
type Program struct {
	Argv    []string
	Dir     string   // working directory; empty means ours
	Env     []string // nil means ours
	Handler string   // what the worker is to run
	Home    string   // where the worker looks relative names up
	Output  string   // "json" or "pickle"
	Kwargs  bool     // Input gives an object of named arguments
	// Input makes the handler's argument; nil means the value of the step before.
	Input func(t *tandem.Task) (tandem.Value, error)
}

func (Func) handler()    {}
func (Program) handler() {}

// Config of a run.
type Config struct {
	Cores int // processors to use; zero means what measure finds

	OnEvent  func(tandem.Event)                                  // may be nil; must not block
	OnOutput func(step string, worker, stream int, chunk []byte) // what workers print; may be nil; must not block
	OnEnded  func(t *tandem.Task)                                // each item once, when it has its outcome; may be nil; must not block
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
		if s.Handler == nil {
			return &tandem.Error{Op: "run", On: s.Name, Kind: tandem.KindInvalid, Message: "the step has no handler"}
		}
	}
	return nil
}
