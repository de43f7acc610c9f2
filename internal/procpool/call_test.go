package procpool

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"tandem"
)

func call(t testing.TB, p *Pool, s string) *tandem.Task {
	t.Helper()
	task := &tandem.Task{ID: s, Value: tandem.TextValue(s)}
	if err := p.Call(t.Context(), task); err != nil {
		t.Fatalf("Call %s: %v", s, err)
	}
	return task
}

func TestCallGivesTheAnswerBack(t *testing.T) {
	p := started(t, testConfig("echo"))
	for i := range 1000 {
		s := fmt.Sprint("item ", i)
		if r := call(t, p, s).Result; r.Outcome != tandem.OK || string(r.Value.Data) != s || r.Value.Kind != tandem.Text {
			t.Fatalf("%s: got %+v", s, r)
		}
	}
}

func TestManyCallersAndSizes(t *testing.T) {
	p := started(t, testConfig("echo"))
	var wg sync.WaitGroup
	for c := range 32 {
		wg.Go(func() {
			for i := range 200 {
				b := bytes.Repeat([]byte{byte(c), byte(i)}, (c*i*37)%40000/2+1)
				task := &tandem.Task{Value: tandem.Value{Kind: tandem.Bytes, Data: b}}
				if err := p.Call(context.Background(), task); err != nil {
					t.Error(err)
					return
				}
				if task.Result.Outcome != tandem.OK || !bytes.Equal(task.Result.Value.Data, b) {
					t.Errorf("caller %d item %d of %d bytes came back wrong: %v", c, i, len(b), task.Result.Outcome)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestCrashCostsOneItem(t *testing.T) {
	p := started(t, testConfig("behave"))
	var wg sync.WaitGroup
	var mu sync.Mutex
	got := map[tandem.Outcome]int{}
	for i := range 200 {
		wg.Go(func() {
			s := fmt.Sprint("item ", i)
			if i%50 == 25 {
				s = []string{"exit", "kill"}[i/50%2]
			}
			task := call(t, p, s)
			mu.Lock()
			defer mu.Unlock()
			got[task.Result.Outcome]++
			if task.Result.Outcome == tandem.Crashed {
				t.Log(task.Result.Err)
			}
		})
	}
	wg.Wait()
	if got[tandem.OK] != 196 || got[tandem.Crashed] != 4 {
		t.Fatalf("got %v, want 196 ok and 4 crashed", got)
	}
}

func BenchmarkCallSync(b *testing.B) { benchSync(b, started(b, testConfig("echo"))) }

func benchSync(b *testing.B, p *Pool) {
	task := &tandem.Task{Value: tandem.Value{Kind: tandem.Bytes, Data: make([]byte, 64)}}
	for b.Loop() {
		if err := p.Call(context.Background(), task); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCall256(b *testing.B) { bench256(b, started(b, testConfig("echo"))) }

func bench256(b *testing.B, p *Pool) {
	b.SetParallelism(128)
	b.RunParallel(func(pb *testing.PB) {
		task := &tandem.Task{Value: tandem.Value{Kind: tandem.Bytes, Data: make([]byte, 64)}}
		for pb.Next() {
			if err := p.Call(context.Background(), task); err != nil {
				b.Error(err)
			}
		}
	})
}

type counter struct {
	n, want int
	mu      sync.Mutex
	done    chan struct{}
}

func (c *counter) Complete(ts []*tandem.Task) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n += len(ts); c.n == c.want {
		close(c.done)
	}
}

func (c *counter) ended() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

func BenchmarkSubmit(b *testing.B) { benchSubmit(b, started(b, testConfig("echo"))) }

func benchSubmit(b *testing.B, p *Pool) {
	c := &counter{want: b.N, done: make(chan struct{})}
	payload := make([]byte, 64)
	b.ResetTimer()
	batch := make([]*tandem.Task, 0, 64)
	for i := 0; i < b.N; {
		batch = batch[:0]
		for range min(64, b.N-i) {
			batch = append(batch, &tandem.Task{Value: tandem.Value{Kind: tandem.Bytes, Data: payload}, Owner: c})
		}
		i += len(batch)
		for ts := batch; len(ts) > 0; {
			n, err := p.Submit(context.Background(), ts)
			if err != nil {
				b.Fatal(err)
			}
			ts = ts[n:]
		}
	}
	<-c.done
}

// What a worker has finished reaches its owner while the worker is still inside a slow task.
func TestASlowTaskKeepsNoResultBack(t *testing.T) {
	for name, cfg := range map[string]Config{"go": testConfig("behave"), "python": pyConfig(t, "sleepy")} {
		t.Run(name, func(t *testing.T) {
			cfg.Workers = 1
			p := started(t, cfg)
			c := &counter{want: 3020, done: make(chan struct{})}
			tasks := make([]*tandem.Task, 3010) // enough to open the window wide
			for i := range tasks {
				tasks[i] = &tandem.Task{Value: tandem.TextValue("quick"), Owner: c}
			}
			tasks = append(tasks, &tandem.Task{Value: tandem.TextValue("sleep 1500ms"), Owner: c})
			for range 9 {
				tasks = append(tasks, &tandem.Task{Value: tandem.TextValue("quick"), Owner: c})
			}
			for rest := tasks; len(rest) > 0; {
				n, err := p.Submit(t.Context(), rest)
				if err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
			for c.ended() < 3010 {
				time.Sleep(time.Millisecond)
			}
			before := time.Now()
			<-c.done
			if d := time.Since(before); d < 500*time.Millisecond {
				t.Errorf("the results before the slow task came %v before its own, want about 1.5s", d)
			}
		})
	}
}
