package procpool

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tandem"
	"tandem/tandemtest"
)

func TestPoolsCanBeResized(t *testing.T) {
	tandemtest.ExerciseResize(t, func(_ *testing.T, c tandemtest.PoolConfig) tandemtest.Resizer {
		cfg := testConfig(c.Handler)
		cfg.Workers, cfg.Timeout = c.Concurrency, c.Timeout
		return New(cfg)
	})
}

// pids are the workers that a pool has started, from its events.
type pids struct {
	mu   sync.Mutex
	seen map[int]bool // whether we killed it
}

func (l *pids) add(e tandem.Event) {
	if _, pid, ok := strings.Cut(e.Reason, "ready, pid "); ok {
		n, _ := strconv.Atoi(pid)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.seen[n] = false
	}
}

func (l *pids) kill() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for pid, killed := range l.seen {
		if !killed {
			l.seen[pid] = true
			return syscall.Kill(pid, syscall.SIGKILL) == nil
		}
	}
	return false
}

func (l *pids) checkGone(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for pid := range l.seen {
		if b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline")); err == nil && strings.Contains(string(b), os.Args[0]) {
			t.Errorf("worker %d is still there", pid)
		}
	}
}

// worker finds the worker of a place; it must be there.
func (p *Pool) atPlace(place int) *worker {
	for _, w := range p.workers {
		if w.place == place {
			return w
		}
	}
	return nil
}

// What waits behind a slow task in a worker that goes is run by another one while the slow task is still running.
func TestShrinkingGivesBackWhatWaits(t *testing.T) {
	goes := func(threads int) func(*testing.T) Config {
		return func(*testing.T) Config {
			cfg := testConfig("behave")
			cfg.Threads = threads
			return cfg
		}
	}
	python := func(handler string, mode tandem.Mode, threads int) func(*testing.T) Config {
		return func(t *testing.T) Config {
			cfg := pyConfig(t, handler)
			cfg.Mode, cfg.Threads, cfg.Concurrency, cfg.Loops = mode, threads, threads, 2
			return cfg
		}
	}
	for name, c := range map[string]struct {
		config func(*testing.T) Config
		slow   int
	}{
		"go": {goes(1), 1}, "go in threads": {goes(2), 2}, "python": {python("sleepy", tandem.Process, 1), 1},
		"python in threads": {python("sleepy", tandem.Thread, 2), 2}, "python on a loop": {python("asleepy", tandem.Async, 2), 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := started(t, c.config(t))
			for {
				p.mu.Lock()
				w := p.atPlace(1)
				p.mu.Unlock()
				if w != nil && p.atPlaceReady(0) {
					break
				}
				time.Sleep(time.Millisecond)
			}
			slowEnded, quickEnded := &counter{want: c.slow, done: make(chan struct{})}, &counter{want: 50, done: make(chan struct{})}
			var tasks []*tandem.Task
			for range c.slow {
				tasks = append(tasks, &tandem.Task{ID: "slow", Value: tandem.TextValue("sleep 1500ms"), Owner: slowEnded})
			}
			for i := range 50 {
				tasks = append(tasks, &tandem.Task{ID: fmt.Sprint(i), Value: tandem.TextValue("quick"), Owner: quickEnded})
			}
			var do chores
			p.mu.Lock()
			w := p.atPlace(1)
			for _, task := range tasks {
				if !p.assign(w, task, &do) {
					t.Error("no room")
				}
				p.held++
			}
			p.mu.Unlock()
			p.finish(&do, true)
			for running := 0; running < c.slow; time.Sleep(time.Millisecond) {
				running = int(w.ctl.Started())
			}
			p.Resize(1)
			<-quickEnded.done
			if n := slowEnded.ended(); n != 0 {
				t.Errorf("the tasks that waited ended after %d of the slow ones", n)
			}
			<-slowEnded.done
			for _, task := range tasks {
				if task.Result.Outcome != tandem.OK || task.Attempts != 1 {
					t.Errorf("%s: %s %v after %d attempts", task.ID, task.Result.Outcome, task.Result.Err, task.Attempts)
				}
			}
			if s := p.State(); s.Crashes != 0 || s.Workers != 1 || s.Running != 0 {
				t.Errorf("state %+v", s)
			}
		})
	}
}

func (p *Pool) atPlaceReady(place int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.atPlace(place) != nil
}

// An async handler found by mode auto has loops, and their number can be changed.
func TestResizingLoops(t *testing.T) {
	cfg := pyConfig(t, "anap")
	cfg.Workers, cfg.Loops = 3, 1
	p := started(t, cfg)
	serving := func(want int) {
		t.Helper()
		for begun := time.Now(); ; time.Sleep(5 * time.Millisecond) {
			p.mu.Lock()
			here := len(p.workers)
			p.mu.Unlock()
			if here == want {
				break
			}
			if time.Since(begun) > 20*time.Second {
				t.Fatalf("%d workers serve, want %d", here, want)
			}
		}
		if s := p.State(); s.Workers != want || s.Concurrency != want*64 {
			t.Errorf("state %+v, want %d workers", s, want)
		}
		run(t, p, "0.01", "0.02")
	}
	serving(1)
	for _, n := range []int{3, 2, 4, 1} {
		p.Resize(n)
		serving(n)
	}
}

// A timeout holds in a worker that is on its way out too.
func TestATimeoutInAWorkerThatGoes(t *testing.T) {
	for _, threads := range []int{1, 3} {
		cfg := testConfig("behave")
		cfg.Workers, cfg.Threads, cfg.Timeout, cfg.Grace = 4, threads, 500*time.Millisecond, 200*time.Millisecond
		p := started(t, cfg)
		texts := []string{}
		for i := range 4 * threads {
			texts = append(texts, fmt.Sprint("sleep 1m ", i))
		}
		time.AfterFunc(100*time.Millisecond, func() { p.Resize(1) })
		for id, task := range run(t, p, texts...) {
			if task.Result.Outcome != tandem.OK && task.Result.Outcome != tandem.TimedOut {
				t.Errorf("%s: %s %v", id, task.Result.Outcome, task.Result.Err)
			}
		}
	}
}

// Everything at once: resizes, items that kill their worker, kills from outside, timeouts, and an end by closing or by canceling. Every accepted task
// ends once, and no process and no goroutine stays (main_test looks for the latter).
func TestResizingWhileWorkersDie(t *testing.T) {
	for round, threads := range []int{1, 3, 1, 3} {
		cancels := round >= 2
		t.Run(fmt.Sprintf("threads %d, canceled %v", threads, cancels), func(t *testing.T) {
			t.Parallel()
			cfg := testConfig("behave")
			cfg.Threads, cfg.Timeout, cfg.Grace = threads, 300*time.Millisecond, 100*time.Millisecond
			cfg.ArenaSize = 1 << 20
			list := &pids{seen: map[int]bool{}}
			cfg.OnEvent = list.add
			p := New(cfg)
			ctx, cancel := context.WithCancelCause(context.Background())
			defer cancel(nil)
			ended := make(chan error, 1)
			go func() { ended <- p.Run(ctx) }()
			<-p.Ready()

			stop := make(chan struct{})
			var chaos sync.WaitGroup
			often := func(pause time.Duration, f func()) {
				chaos.Go(func() {
					for {
						select {
						case <-stop:
							return
						case <-time.After(pause/2 + rand.N(pause)):
							f()
						}
					}
				})
			}
			often(10*time.Millisecond, func() { p.Resize(rand.IntN(6)) })
			often(15*time.Millisecond, func() { p.Resize(1 + rand.IntN(3)) })
			often(60*time.Millisecond, func() { list.kill() })

			seen := &tally{ended: map[*tandem.Task]int{}}
			accepted := 0
			for begun := time.Now(); time.Since(begun) < 3*time.Second; {
				batch := make([]*tandem.Task, 1+rand.IntN(64))
				for i := range batch {
					text := "item"
					switch n := rand.IntN(400); {
					case n == 0:
						text = "exit"
					case n == 1:
						text = "sleep 1m"
					case n < 20:
						text = "sleep 1ms"
					case n < 24:
						text = "item " + strings.Repeat("x", 20_000)
					}
					batch[i] = &tandem.Task{Value: tandem.TextValue(text), Owner: seen}
				}
				n, err := p.Submit(ctx, batch)
				if err != nil {
					t.Fatalf("Submit: %v; the pool gave up: %v", err, p.State().Failed)
				}
				accepted += n
			}
			enough := errors.New("enough")
			if cancels {
				cancel(enough)
			} else {
				p.Close()
			}
			select {
			case err := <-ended:
				if cancels != errors.Is(err, enough) || !cancels && err != nil {
					t.Errorf("Run: %v", err)
				}
			case <-time.After(30 * time.Second):
				t.Fatalf("Run does not end: %+v", p.State())
			}
			close(stop)
			chaos.Wait()
			p.Resize(3)
			list.checkGone(t)
			seen.mu.Lock()
			defer seen.mu.Unlock()
			if len(seen.ended) != accepted {
				t.Errorf("%d of %d accepted tasks ended", len(seen.ended), accepted)
			}
			outcomes := map[tandem.Outcome]int{}
			for task, n := range seen.ended {
				outcomes[task.Result.Outcome]++
				if n != 1 {
					t.Errorf("%q ended %d times", task.Value.Data, n)
				}
				if o := task.Result.Outcome; o == tandem.Failed || o == tandem.Canceled && !cancels {
					t.Errorf("%.20q: %s %v", task.Value.Data, o, task.Result.Err)
				}
			}
			if s := p.State(); s.Running != 0 || len(p.lost) != 0 || len(p.leaving)+len(p.workers) != 0 {
				t.Errorf("left behind: %+v, %d lost, %d leaving, %d workers", s, len(p.lost), len(p.leaving), len(p.workers))
			}
			t.Logf("%d tasks, %v, %d crashes, %d workers", accepted, outcomes, p.State().Crashes, len(list.seen))
		})
	}
}

type tally struct {
	mu    sync.Mutex
	ended map[*tandem.Task]int
}

func (c *tally) Complete(ended []*tandem.Task) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range ended {
		c.ended[t]++
	}
}

// A worker that does not know the halt word ends all it holds, and still goes.
func TestAWorkerThatDoesNotHaltIsDrained(t *testing.T) {
	cfg := testConfig("")
	cfg.Argv = []string{os.Args[0], "evil", "plain"}
	p := started(t, cfg)
	time.AfterFunc(100*time.Millisecond, func() { p.Resize(1) })
	for id, task := range run(t, p, "a", "b", "c", "d") {
		if task.Result.Outcome != tandem.OK || task.Attempts != 1 {
			t.Errorf("%s: %s %v after %d attempts", id, task.Result.Outcome, task.Result.Err, task.Attempts)
		}
	}
	if s := p.State(); s.Crashes != 0 {
		t.Errorf("state %+v", s)
	}
}
