package engine

import (
	"context"
	"errors"
	"iter"
	"os"
	"strconv"
	"time"

	"tandem"
	"tandem/worker"
)

// Stream is a flow under construction whose items have type T now. A Stream is a value: it runs nothing before Results.
type Stream[T any] struct{ flow Flow }

// From starts a flow at a sequence. It is read no further ahead than the queues allow. Ids are 1, 2, 3, …
func From[T any](name string, items iter.Seq[T]) Stream[T] {
	return Stream[T]{Flow{Name: name, Source: sequence[T]{items}}}
}

// Compute adds a step that runs a handler in worker processes: this program, started again, whose main calls worker.Main first.
// The step's Name, Mode, Workers, Threads, Timeout and Queue apply; Name defaults to the handler's.
func Compute[In, Out any](s Stream[In], h worker.Defined[In, Out], step Step) Stream[Out] {
	if step.Name == "" {
		step.Name = h.Name()
	}
	exe, err := os.Executable()
	if err != nil {
		exe = "/proc/self/exe"
	}
	step.Handler = Program{Argv: []string{exe}, Handler: h.Name()}
	return Stream[Out]{s.flow.with(step)}
}

// Wait adds a step that runs f in goroutines of this process. The step's Name, Concurrency, Timeout and Queue apply.
func Wait[In, Out any](s Stream[In], name string, f func(context.Context, In) (Out, error), step Step) Stream[Out] {
	step.Name = name
	step.Handler = Func{Do: func(ctx context.Context, t *tandem.Task) tandem.Result {
		var in In
		err := worker.Decode(t.Value, &in)
		var v tandem.Value
		if err == nil {
			var out Out
			if out, err = f(ctx, in); err == nil {
				v, err = worker.Encode(out)
			}
		}
		if err == nil {
			return tandem.Give(v)
		}
		e, ok := errors.AsType[*tandem.Error](err)
		if !ok {
			e = &tandem.Error{Op: "run", Kind: tandem.KindException, Message: err.Error(), Err: err}
		}
		return tandem.Result{Outcome: tandem.Failed, Err: e}
	}}
	return Stream[Out]{s.flow.with(step)}
}

func (f Flow) with(s Step) Flow {
	f.Steps = append(append([]Step(nil), f.Steps...), s)
	return f
}

// Flow is the flow as a value, to run with an [Engine] and a sink of one's own.
func (s Stream[T]) Flow() Flow { return s.flow }

// Result is how one item ended.
type Result[T any] struct {
	ID       string
	Outcome  tandem.Outcome
	Value    T     // the zero value unless Outcome is ok
	Err      error // a *tandem.Error unless Outcome is ok or filtered
	Attempts int
	Elapsed  time.Duration
}

// Results runs the flow and gives each item's result as it ends. The last pair carries an error when the flow could not start or was stopped.
// Breaking out of the loop stops the run at once; Results returns when no worker is left.
func (s Stream[T]) Results(ctx context.Context) iter.Seq2[Result[T], error] {
	return func(yield func(Result[T], error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		results := make(chan Result[T], 64)
		flow := s.flow
		flow.Sink = channel[T]{ctx, results}
		var err error
		go func() {
			defer close(results)
			_, err = New(Config{}).Run(ctx, flow)
		}()
		more := true
		for r := range results {
			if more && !yield(r, nil) {
				more = false
				cancel()
			}
		}
		if more && err != nil {
			yield(Result[T]{}, err)
		}
	}
}

// sequence is a source over an iter.Seq.
type sequence[T any] struct{ items iter.Seq[T] }

func (s sequence[T]) Total() int64 { return -1 }

func (s sequence[T]) Each(_ context.Context, yield func(string, tandem.Value) bool) error {
	n := 0
	for x := range s.items {
		n++
		v, err := worker.Encode(x)
		if err != nil {
			return err
		}
		if !yield(strconv.Itoa(n), v) {
			return nil
		}
	}
	return nil
}

// channel is a sink that hands results to the caller of Results, who bounds the flow like any other receiver.
type channel[T any] struct {
	ctx context.Context
	out chan<- Result[T]
}

func (c channel[T]) Write(ended []*tandem.Task) (int, error) {
	for _, t := range ended {
		r := Result[T]{ID: t.ID, Outcome: t.Result.Outcome, Attempts: t.Attempts, Elapsed: t.Elapsed}
		if t.Result.Err != nil {
			r.Err = t.Result.Err
		} else if t.Result.Outcome == tandem.OK {
			if err := worker.Decode(t.Result.Value, &r.Value); err != nil {
				r.Outcome, r.Err = tandem.Failed, &tandem.Error{Op: "decode the result of", On: t.ID, Kind: tandem.KindUnserialisable, Message: err.Error(), Err: err}
			}
		}
		c.out <- r // the reader takes them all, also after a break
	}
	return len(ended), nil
}

func (c channel[T]) Close() error { return nil }
