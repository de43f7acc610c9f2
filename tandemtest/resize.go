package tandemtest

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"tandem"
)

// Resizer is a pool whose number of workers can be changed while it runs.
type Resizer interface {
	tandem.Pool
	Resize(n int)
}

// ExerciseResize checks what Resize promises beyond the promises of tandem.Pool.
func ExerciseResize(t *testing.T, open func(t *testing.T, c PoolConfig) Resizer) {
	t.Run("the state shows the new number, which is at least 1", func(t *testing.T) {
		p := open(t, PoolConfig{Handler: "echo", Concurrency: 3})
		p.Resize(2) // before Run
		r := start(t, p)
		for _, c := range [][2]int{{2, 2}, {5, 5}, {1, 1}, {0, 1}, {-3, 1}, {4, 4}, {4, 4}} {
			p.Resize(c[0])
			if s := p.State(); s.Concurrency != c[1] {
				t.Errorf("Resize(%d): concurrency %d, want %d", c[0], s.Concurrency, c[1])
			}
			if res := do(t, p, "x")[0].Result; res.Outcome != tandem.OK {
				t.Errorf("a task after Resize(%d): %+v", c[0], res)
			}
		}
		r.p.Close()
		if err := r.wait(); err != nil {
			t.Error(err)
		}
		p.Resize(7) // after the end: nothing starts
	})
	t.Run("what runs in a worker that goes is finished", func(t *testing.T) {
		p := open(t, PoolConfig{Handler: "sleep", Concurrency: 4})
		r := start(t, p)
		time.AfterFunc(100*time.Millisecond, func() { p.Resize(1) })
		for _, task := range do(t, p, "400ms", "401ms", "402ms", "403ms", "1ms", "2ms", "3ms") {
			if task.Result.Outcome != tandem.OK || task.Attempts != 1 {
				t.Errorf("%s: %s %v after %d attempts", task.ID, task.Result.Outcome, task.Result.Err, task.Attempts)
			}
		}
		r.p.Close()
		if err := r.wait(); err != nil {
			t.Error(err)
		}
		if s := p.State(); s.Crashes != 0 || s.Attempts != 7 || s.Running != 0 {
			t.Errorf("state %+v, want 7 attempts and no crash", s)
		}
	})
	t.Run("under load nothing is lost and nothing runs twice", func(t *testing.T) {
		p := open(t, PoolConfig{Handler: "echo", Concurrency: 2})
		r := start(t, p)
		stop := make(chan struct{})
		var resizing sync.WaitGroup
		for range 2 {
			resizing.Go(func() {
				for {
					p.Resize(rand.IntN(5))
					select {
					case <-stop:
						return
					case <-time.After(time.Duration(rand.IntN(20)) * time.Millisecond):
					}
				}
			})
		}
		for round := range 10 {
			texts := make([]string, 2000)
			for i := range texts {
				texts[i] = fmt.Sprint("item ", round, " ", i)
			}
			for i, task := range do(t, p, texts...) {
				if res := task.Result; res.Outcome != tandem.OK || string(res.Value.Data) != texts[i] || task.Attempts != 1 {
					t.Fatalf("%s: %+v after %d attempts", texts[i], res, task.Attempts)
				}
			}
		}
		close(stop)
		resizing.Wait()
		r.p.Close()
		if err := r.wait(); err != nil {
			t.Error(err)
		}
		if s := p.State(); s.Crashes != 0 || s.Attempts != 20000 || s.Running != 0 {
			t.Errorf("state %+v, want 20000 attempts and no crash", s)
		}
	})
}
