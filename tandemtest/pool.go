// Package tandemtest holds the conformance suites of the contracts in package tandem, to be run on every implementation. Import it from tests only.
//
// The suite of pools names what it needs by word, so that goroutines and worker processes in any language can run it: the handlers "echo" (gives its value
// back), "fail" (an error), "none" (no value), "three" (three values: the text and 0, 1, 2) and "sleep" (sleeps for the duration that is its text).
package tandemtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"tandem"
)

// PoolConfig is what the suite asks of a pool.
type PoolConfig struct {
	Handler     string
	Concurrency int           // tasks at a time
	Timeout     time.Duration // zero means none
}

// tally is a completer that counts.
type tally struct {
	mu    sync.Mutex
	ended map[string]int
	all   chan struct{}
	want  int
}

func (c *tally) Complete(ended []*tandem.Task) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range ended {
		c.ended[t.ID]++
		if c.want--; c.want == 0 {
			close(c.all)
		}
	}
}

// runner is a pool that runs for one test.
type runner struct {
	t     *testing.T
	p     tandem.Pool
	stop  context.CancelCauseFunc
	ended chan error
}

func start(t *testing.T, p tandem.Pool) *runner {
	t.Helper()
	ctx, cancel := context.WithCancelCause(context.Background())
	r := &runner{t, p, cancel, make(chan error, 1)}
	go func() { r.ended <- p.Run(ctx) }()
	select {
	case <-p.Ready():
	case <-time.After(30 * time.Second):
		t.Fatal("the pool does not get ready")
	}
	return r
}

func (r *runner) wait() error {
	r.t.Helper()
	select {
	case err := <-r.ended:
		return err
	case <-time.After(30 * time.Second):
		r.t.Fatal("Run does not return")
		return nil
	}
}

func tasks(c *tally, texts ...string) []*tandem.Task {
	list := make([]*tandem.Task, len(texts))
	for i, s := range texts {
		list[i] = &tandem.Task{ID: fmt.Sprint(i, " ", s), Value: tandem.TextValue(s), Owner: c}
	}
	return list
}

// do runs texts through a pool and returns the tasks when all have ended.
func do(t *testing.T, p tandem.Pool, texts ...string) []*tandem.Task {
	t.Helper()
	c := &tally{ended: map[string]int{}, all: make(chan struct{}), want: len(texts)}
	list := tasks(c, texts...)
	for rest := list; len(rest) > 0; {
		n, err := p.Submit(t.Context(), rest)
		if err != nil || n < 1 {
			t.Fatalf("Submit: %d, %v; want at least one", n, err)
		}
		rest = rest[n:]
	}
	select {
	case <-c.all:
	case <-time.After(30 * time.Second):
		t.Fatalf("%d of %d tasks have not ended", c.want, len(texts))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, n := range c.ended {
		if n != 1 {
			t.Errorf("task %s was completed %d times", id, n)
		}
	}
	return list
}

// ExercisePool checks the promises of tandem.Pool.
func ExercisePool(t *testing.T, open func(t *testing.T, c PoolConfig) tandem.Pool) {
	t.Run("every accepted task ends once, with its own value", func(t *testing.T) {
		r := start(t, open(t, PoolConfig{Handler: "echo", Concurrency: 4}))
		texts := make([]string, 3000)
		for i := range texts {
			texts[i] = fmt.Sprint("item ", i)
		}
		for i, task := range do(t, r.p, texts...) {
			if res := task.Result; res.Outcome != tandem.OK || res.Count != 1 || string(res.Value.Data) != texts[i] || task.Attempts != 1 {
				t.Fatalf("%s: %+v after %d attempts", texts[i], res, task.Attempts)
			}
		}
		if s := r.p.State(); s.Running != 0 || s.Attempts != 3000 || s.Concurrency != 4 {
			t.Errorf("state %+v", s)
		}
		r.p.Close()
		r.p.Close() // a second time does nothing
		if err := r.wait(); err != nil {
			t.Errorf("Run of a pool that was closed and empty: %v", err)
		}
		if n, err := r.p.Submit(t.Context(), tasks(nil, "late")); n != 0 || !errors.Is(err, tandem.ErrClosed) {
			t.Errorf("Submit after the end: %d, %v; want ErrClosed", n, err)
		}
	})
	t.Run("outcomes", func(t *testing.T) {
		for handler, want := range map[string]tandem.Outcome{"fail": tandem.Failed, "none": tandem.Filtered, "three": tandem.OK} {
			r := start(t, open(t, PoolConfig{Handler: handler, Concurrency: 2}))
			res := do(t, r.p, "x")[0].Result
			if res.Outcome != want || (want == tandem.Failed) != (res.Err != nil) {
				t.Errorf("%s: %+v", handler, res)
			}
			if handler == "three" && (res.Count != 3 || len(res.Rest) != 2 || string(res.Value.Data) != "x0" || string(res.Rest[1].Data) != "x2") {
				t.Errorf("three values: %+v", res)
			}
			r.p.Close()
			if err := r.wait(); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("a full pool makes its submitter wait", func(t *testing.T) {
		r := start(t, open(t, PoolConfig{Handler: "sleep", Concurrency: 2}))
		c := &tally{ended: map[string]int{}, all: make(chan struct{}), want: -1}
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		accepted := 0
		for {
			n, err := r.p.Submit(ctx, tasks(c, "1m", "1m", "1m"))
			accepted += n
			if err != nil {
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Submit: %v, want the cause of its context", err)
				}
				break
			}
		}
		if accepted > 20 {
			t.Errorf("%d tasks of a minute were accepted by a pool of 2", accepted)
		}
		stopped := errors.New("stopped")
		r.stop(stopped)
		if err := r.wait(); !errors.Is(err, stopped) {
			t.Errorf("Run: %v, want the cause of its context", err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		n := 0
		for _, k := range c.ended {
			n += k
		}
		if n != accepted {
			t.Errorf("%d tasks were accepted, %d completed when Run returned", accepted, n)
		}
	})
	t.Run("a timeout ends a task and nothing else", func(t *testing.T) {
		r := start(t, open(t, PoolConfig{Handler: "sleep", Concurrency: 3, Timeout: 400 * time.Millisecond}))
		list := do(t, r.p, "1m", "1ms", "2ms", "3ms", "1m", "4ms", "5ms")
		for i, task := range list {
			want := tandem.OK
			if i == 0 || i == 4 {
				want = tandem.TimedOut
			}
			if task.Result.Outcome != want {
				t.Errorf("%s: %s %v, want %s", task.ID, task.Result.Outcome, task.Result.Err, want)
			}
		}
		r.p.Close()
		if err := r.wait(); err != nil {
			t.Error(err)
		}
	})
}
