// Package worker is for writing a worker process in Go.
//
//	func main() {
//		worker.Handle("thumb", func(ctx context.Context, path string) ([]byte, error) { … })
//		worker.Main()
//	}
//
// Main serves the protocol when Tandem started this process as a worker, and returns at once when it did not, so a program can be its
// own worker: the parent part of main goes below the call. Handlers are registered before Main. A handler's argument and result are
// []byte (raw), string (text) or anything encoding/json can carry; see [Handle]. Standard output is the handler's own: the
// protocol runs on a socket. The package starts no process.
package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"os"
	"reflect"
	"runtime/debug"
	"slices"
	"sync"

	"tandem"
)

// Func is a handler as the worker runs it: a value in, any number of values out.
type Func func(ctx context.Context, in tandem.Value, give func(tandem.Value)) error

var (
	mu       sync.Mutex
	handlers = map[string]handler{}
)

// Register adds a raw handler. It panics when the name is taken or empty: that is a mistake in the program.
// A value of kind List that it gives stands for its elements.
func Register(name string, f Func) {
	register(name, handler{run: f, batch: func(ctx context.Context, in tandem.Value, _ int, give func(tandem.Value)) error {
		return f(ctx, in, give)
	}})
}

func register(name string, h handler) {
	mu.Lock()
	defer mu.Unlock()
	if _, taken := handlers[name]; taken || name == "" {
		panic(fmt.Sprintf("worker: handler %q is registered twice or has no name", name))
	}
	handlers[name] = h
}

// Handle registers a typed handler under a name. In a step with batch, In is a slice and Out too: one value for each element, in the same
// order. Out may be any; nil then stands for no value for each element.
func Handle[In, Out any](name string, f func(context.Context, In) (Out, error)) {
	do := func(ctx context.Context, in tandem.Value) (out Out, err error) {
		var arg In
		if err := Decode(in, &arg); err != nil {
			return out, err
		}
		return f(ctx, arg)
	}
	run := func(ctx context.Context, in tandem.Value, give func(tandem.Value)) error {
		out, err := do(ctx, in)
		if err != nil {
			return err
		}
		v, err := Encode(out)
		if err != nil {
			return err
		}
		give(v)
		return nil
	}
	batch := func(ctx context.Context, in tandem.Value, n int, give func(tandem.Value)) error {
		out, err := do(ctx, in)
		if err != nil {
			return err
		}
		return giveList(out, n, give)
	}
	register(name, handler{run, batch, reflect.TypeFor[In](), reflect.TypeFor[Out]()})
}

// HandleSeq registers a typed handler that gives 0 to n values; in a step with batch, as many as its slice has elements.
func HandleSeq[In, Out any](name string, f func(context.Context, In) iter.Seq2[Out, error]) {
	run := func(ctx context.Context, in tandem.Value, give func(tandem.Value)) error {
		var arg In
		if err := Decode(in, &arg); err != nil {
			return err
		}
		for out, err := range f(ctx, arg) {
			if err != nil {
				return err
			}
			v, err := Encode(out)
			if err != nil {
				return err
			}
			give(v)
		}
		return nil
	}
	batch := func(ctx context.Context, in tandem.Value, _ int, give func(tandem.Value)) error {
		return run(ctx, in, give)
	}
	register(name, handler{run, batch, reflect.TypeFor[In](), nil})
}

// Decode reads v into dst: *[]byte, *string, *tandem.Value, or what encoding/json can fill. A list is read into a slice of these.
func Decode(v tandem.Value, dst any) error {
	switch d := dst.(type) {
	case *tandem.Value:
		*d = v
		return nil
	case *[]byte:
		if v.Kind == tandem.Bytes || v.Kind == tandem.Text {
			*d = v.Data
			return nil
		}
	case *string:
		if v.Kind == tandem.Text || v.Kind == tandem.Bytes {
			*d = string(v.Data)
			return nil
		}
	case *any:
		switch v.Kind {
		case tandem.Bytes:
			*d = v.Data
			return nil
		case tandem.Text:
			*d = string(v.Data)
			return nil
		}
	}
	switch v.Kind {
	case tandem.JSON:
		if err := json.Unmarshal(v.Data, dst); err != nil {
			return fmt.Errorf("decode the item's value: %w", err)
		}
		return nil
	case tandem.Null:
		return nil
	case tandem.List:
		return decodeList(v, dst)
	}
	return fmt.Errorf("the handler wants %T, the item's value is %s", dst, v.Kind)
}

// Encode is the value of x: see [Decode]. The error is a *tandem.Error of kind unserialisable.
func Encode(x any) (tandem.Value, error) {
	switch x := x.(type) {
	case nil:
		return tandem.Value{}, nil
	case tandem.Value:
		return x, nil
	case []byte:
		return tandem.Value{Kind: tandem.Bytes, Data: x}, nil
	case string:
		return tandem.TextValue(x), nil
	}
	b, err := json.Marshal(x)
	if err != nil {
		return tandem.Value{}, &tandem.Error{Op: "encode the result", Kind: tandem.KindUnserialisable,
			Message: fmt.Sprintf("a value of type %T cannot be sent on: %v", x, err), Hint: "return bytes, text or what encoding/json can carry", Err: err}
	}
	return tandem.Value{Kind: tandem.JSON, Data: b}, nil
}

// Env is the variable that tells a process that it is a worker.
const Env = "TANDEM_WORKER"

// Active reports whether Tandem started this process as a worker.
func Active() bool { return os.Getenv(Env) == "1" }

// Main serves the worker protocol and exits the process, or returns when this process is no worker.
func Main() {
	if !Active() {
		return
	}
	os.Unsetenv(Env) // what a handler starts is no worker
	os.Exit(serve(descriptors{3, 4, 5}, lookup))
}

func lookup(name string) (handler, []string) {
	mu.Lock()
	defer mu.Unlock()
	names := make([]string, 0, len(handlers))
	for n := range handlers {
		names = append(names, n)
	}
	slices.Sort(names)
	return handlers[name], names
}

// call runs the handler and turns a panic into an error with its stack.
func call(ctx context.Context, f Func, in tandem.Value, give func(tandem.Value)) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &tandem.Error{Op: "run the handler", Kind: tandem.KindPanic, Message: fmt.Sprint("panic: ", p), Trace: string(debug.Stack())}
		}
	}()
	return f(ctx, in, give)
}
