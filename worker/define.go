package worker

import (
	"context"
	"iter"
)

// Defined is a registered handler with its types: what package engine needs to run it in worker processes of this program.
type Defined[In, Out any] struct{ name string }

// Name is the name it was registered under.
func (d Defined[In, Out]) Name() string { return d.name }

// Define registers a typed handler, as Handle does, and gives a handle on it. Call it from a package-level variable, so that the parent
// and the worker process both know the name.
func Define[In, Out any](name string, f func(context.Context, In) (Out, error)) Defined[In, Out] {
	Handle(name, f)
	return Defined[In, Out]{name}
}

// DefineSeq is Define for a handler that gives 0 to n values, each an item of its own.
func DefineSeq[In, Out any](name string, f func(context.Context, In) iter.Seq2[Out, error]) Defined[In, Out] {
	HandleSeq(name, f)
	return Defined[In, Out]{name}
}
