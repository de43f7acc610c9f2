package gopool

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"tandem"
	"tandem/tandemtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func handler(name string) func(context.Context, *tandem.Task) tandem.Result {
	return func(ctx context.Context, t *tandem.Task) tandem.Result {
		switch name {
		case "fail":
			return tandem.Result{Outcome: tandem.Failed, Err: &tandem.Error{Kind: tandem.KindException, Message: "no"}}
		case "none":
			return tandem.Result{Outcome: tandem.Filtered}
		case "three":
			v := func(n int) tandem.Value { return tandem.TextValue(fmt.Sprint(string(t.Value.Data), n)) }
			return tandem.Result{Outcome: tandem.OK, Value: v(0), Rest: []tandem.Value{v(1), v(2)}, Count: 3}
		case "sleep":
			d, _ := time.ParseDuration(string(t.Value.Data))
			select {
			case <-time.After(d):
			case <-ctx.Done():
				return tandem.Result{Outcome: tandem.Failed, Err: &tandem.Error{Message: ctx.Err().Error()}}
			}
		case "deaf":
			d, _ := time.ParseDuration(string(t.Value.Data))
			time.Sleep(d)
		case "panic":
			panic("oh")
		}
		return tandem.Give(t.Value)
	}
}

func TestPoolKeepsItsPromises(t *testing.T) {
	tandemtest.ExercisePool(t, func(_ *testing.T, c tandemtest.PoolConfig) tandem.Pool {
		return New(Config{Name: "test", Handle: handler(c.Handler), Concurrency: c.Concurrency, Timeout: c.Timeout})
	})
}

type collect struct {
	mu    sync.Mutex
	ended map[*tandem.Task]int
}

func (c *collect) Complete(ended []*tandem.Task) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range ended {
		c.ended[t]++
	}
}

// A handler that does not listen keeps its place, and its task ends in time all the same.
func TestADeafHandlerKeepsItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running, most atomic.Int32
		deaf := handler("deaf")
		p := New(Config{Name: "test", Concurrency: 2, Timeout: time.Second, Handle: func(ctx context.Context, task *tandem.Task) tandem.Result {
			if n := running.Add(1); n > most.Load() {
				most.Store(n)
			}
			defer running.Add(-1)
			return deaf(ctx, task)
		}})
		ended := make(chan error, 1)
		go func() { ended <- p.Run(context.Background()) }()
		<-p.Ready()
		c := &collect{ended: map[*tandem.Task]int{}}
		var list []*tandem.Task
		for range 6 {
			list = append(list, &tandem.Task{Value: tandem.TextValue("10s"), Owner: c})
		}
		begun := time.Now()
		for rest := list; len(rest) > 0; {
			n, err := p.Submit(context.Background(), rest)
			if err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		p.Close()
		// The last two begin after 20 s and go on until 30 s; Run has waited for them for its grace of 5 s, and says so.
		err := <-ended
		if e, ok := err.(*tandem.Error); !ok || e.Kind != tandem.KindTimeout || time.Since(begun) > 27*time.Second {
			t.Errorf("Run: %v after %v", err, time.Since(begun))
		}
		time.Sleep(time.Minute)
		if most.Load() > 2 {
			t.Errorf("%d handlers ran at a time, the limit is 2", most.Load())
		}
		for i, task := range list {
			if c.ended[task] != 1 || task.Result.Outcome != tandem.TimedOut {
				t.Errorf("task %d: %s, completed %d times", i, task.Result.Outcome, c.ended[task])
			}
		}
	})
}

func TestAPanicIsAnOutcome(t *testing.T) {
	p := New(Config{Name: "test", Handle: handler("panic")})
	ended := make(chan error, 1)
	go func() { ended <- p.Run(context.Background()) }()
	<-p.Ready()
	done := make(chan *tandem.Task, 1)
	task := &tandem.Task{Owner: tell(done)}
	if _, err := p.Submit(t.Context(), []*tandem.Task{task}); err != nil {
		t.Fatal(err)
	}
	<-done
	if e := task.Result.Err; task.Result.Outcome != tandem.Failed || e.Kind != tandem.KindPanic || e.Trace == "" {
		t.Errorf("%+v", task.Result)
	}
	p.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

type tell chan *tandem.Task

func (c tell) Complete(ended []*tandem.Task) {
	for _, t := range ended {
		c <- t
	}
}

// Whatever mix of sleeps, timeouts, panics and an early stop: what was accepted is completed exactly once.
func TestAcceptedIsCompletedOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		kinds := rapid.SliceOfN(rapid.SampledFrom([]string{"echo", "fail", "sleep", "panic", "none"}), 1, 60).Draw(rt, "kinds")
		conc := rapid.IntRange(1, 8).Draw(rt, "concurrency")
		limit := time.Duration(rapid.SampledFrom([]int{0, 5}).Draw(rt, "timeout")) * time.Millisecond
		stopAfter := rapid.IntRange(-1, 20).Draw(rt, "stop after ms")
		synctest.Test(t, func(t *testing.T) {
			p := New(Config{Name: "test", Concurrency: conc, Timeout: limit, Handle: func(ctx context.Context, task *tandem.Task) tandem.Result {
				return handler(task.ID)(ctx, task)
			}})
			ctx, cancel := context.WithCancelCause(context.Background())
			ended := make(chan error, 1)
			go func() { ended <- p.Run(ctx) }()
			<-p.Ready()
			if stopAfter >= 0 {
				time.AfterFunc(time.Duration(stopAfter)*time.Millisecond, func() { cancel(errors.New("stop")) })
			}
			c := &collect{ended: map[*tandem.Task]int{}}
			accepted := map[*tandem.Task]bool{}
			for i, k := range kinds {
				task := &tandem.Task{ID: k, Value: tandem.TextValue(fmt.Sprint(i%20, "ms")), Owner: c}
				if n, _ := p.Submit(ctx, []*tandem.Task{task}); n == 1 {
					accepted[task] = true
				}
			}
			p.Close()
			<-ended
			cancel(nil)
			synctest.Wait()
			if len(c.ended) != len(accepted) {
				t.Errorf("%d accepted, %d completed", len(accepted), len(c.ended))
			}
			for task, n := range c.ended {
				if n != 1 || !accepted[task] || task.Result.Outcome == "" {
					t.Errorf("%s: completed %d times as %q", task.ID, n, task.Result.Outcome)
				}
			}
		})
	})
}

func BenchmarkNoop(b *testing.B) {
	p := New(Config{Name: "bench", Handle: handler("echo"), Concurrency: 64})
	ended := make(chan error, 1)
	go func() { ended <- p.Run(context.Background()) }()
	<-p.Ready()
	c := &count{}
	for i := 0; i < b.N; {
		batch := make([]tandem.Task, min(64, b.N-i))
		list := make([]*tandem.Task, len(batch))
		for j := range batch {
			batch[j].Owner = c
			list[j] = &batch[j]
		}
		i += len(list)
		for len(list) > 0 {
			n, err := p.Submit(context.Background(), list)
			if err != nil {
				b.Fatal(err)
			}
			list = list[n:]
		}
	}
	p.Close()
	if err := <-ended; err != nil || int(c.n.Load()) != b.N {
		b.Fatal(err, c.n.Load())
	}
}

type count struct{ n atomic.Int64 }

func (c *count) Complete(ended []*tandem.Task) { c.n.Add(int64(len(ended))) }
