package procpool

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"tandem"
)

// ends counts how often each task has ended, and how.
type ends struct {
	mu    sync.Mutex
	times map[*tandem.Task]int
	how   map[tandem.Outcome]int
}

func (e *ends) Complete(list []*tandem.Task) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, t := range list {
		e.times[t]++
		e.how[t.Result.Outcome]++
	}
}

// However often the setting changes, every task ends once and runs once.
func TestRetuneLosesNothing(t *testing.T) {
	for name, config := range map[string]func(*testing.T) Config{
		"go": func(*testing.T) Config { return testConfig("behave") },
		"python": func(t *testing.T) Config {
			cfg := pyConfig(t, "nap")
			cfg.Mode = tandem.Auto
			return cfg
		},
		"python on a loop": func(t *testing.T) Config {
			cfg := pyConfig(t, "anap")
			cfg.Mode, cfg.Loops = tandem.Auto, 1
			return cfg
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := config(t)
			cfg.Measure = true
			p := started(t, cfg)
			shake(t, p, 400, nil)
			if st := p.State(); st.Retries > 0 || st.Used.Tasks == 0 {
				t.Errorf("%d ran twice, measured %+v", st.Retries, st.Used)
			}
		})
	}
}

// Workers that are killed while it changes cost what they ran, and nothing is lost.
func TestRetuneAndKill(t *testing.T) {
	cfg := pyConfig(t, "nap")
	cfg.Mode, cfg.Measure = tandem.Auto, true
	p := started(t, cfg)
	kills, killed := 0, map[*worker]bool{}
	shake(t, p, 300, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		// One that is killed when it runs a suspect alone convicts an innocent one: nobody can tell by whom it died. So none is killed while there are
		// suspects, or one that was killed may still leave some.
		if len(p.accused) > 0 || len(p.workers) == 0 || slices.ContainsFunc(p.roll.there, func(w *worker) bool { return killed[w] }) {
			return false
		}
		w := p.workers[rand.IntN(len(p.workers))]
		killed[w] = true
		kills++
		return syscall.Kill(w.process.PID(), syscall.SIGKILL) == nil
	})
	if kills == 0 {
		t.Error("none was killed")
	}
}

// shake submits tasks while the setting changes all the time.
func shake(t *testing.T, p *Pool, n int, kill func() bool) {
	t.Helper()
	e := &ends{times: map[*tandem.Task]int{}, how: map[tandem.Outcome]int{}}
	ctx, cancel := context.WithCancel(t.Context())
	var beside sync.WaitGroup
	beside.Go(func() {
		r := rand.New(rand.NewPCG(7, uint64(n)))
		for i := 0; ctx.Err() == nil; i++ {
			p.Retune(1+r.IntN(3), []int{1, 1, 2, 4, 32}[r.IntN(5)])
			if kill != nil && i%6 == 5 {
				kill()
			}
			time.Sleep(time.Duration(r.IntN(30)) * time.Millisecond)
		}
	})
	var tasks []*tandem.Task
	for i := range n {
		text := "0.00" + fmt.Sprint(i%8)
		if p.cfg.Handler == "behave" {
			text = fmt.Sprintf("sleep %dms", i%8)
		}
		tasks = append(tasks, &tandem.Task{ID: fmt.Sprint(i), Value: tandem.TextValue(text), Owner: e})
	}
	for left := tasks; len(left) > 0; {
		got, err := p.Submit(t.Context(), left[:min(len(left), 16)])
		if err != nil {
			t.Fatal(err)
		}
		left = left[got:]
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		e.mu.Lock()
		done := len(e.times) == n
		e.mu.Unlock()
		if done {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d of %d tasks ended: %v", len(e.times), n, e.how)
		}
	}
	cancel()
	beside.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	for task, times := range e.times {
		if times != 1 {
			t.Errorf("task %s ended %d times", task.ID, times)
		}
	}
	killed := e.how[tandem.Crashed]
	if bad := n - e.how[tandem.OK] - killed; bad > 0 || kill == nil && killed > 0 {
		t.Errorf("%v", e.how)
	}
}

// What a handler is made of is measured as it is: exactly, for tasks of a few milliseconds.
func TestTasksAreMeasuredOneByOne(t *testing.T) {
	for name, config := range map[string]func(*testing.T) Config{
		"go":     func(*testing.T) Config { return testConfig("behave") },
		"python": func(t *testing.T) Config { return pyConfig(t, "nap") },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t)
			cfg.Measure = true
			p := started(t, cfg)
			text := "0.005"
			if p.cfg.Handler == "behave" {
				text = "sleep 5ms"
			}
			for range 20 {
				task := &tandem.Task{ID: "x", Value: tandem.TextValue(text)}
				if err := p.Call(t.Context(), task); err != nil {
					t.Fatal(err)
				}
				u := task.Result.Used
				if u == nil || u.Tasks != 1 || u.Wall < 5*time.Millisecond || u.CPU >= u.Wall || u.In != int64(len(text)) || u.Out == 0 {
					t.Fatalf("%+v", u)
				}
				if d := task.Result.Service - u.Wall; d < -time.Millisecond || d > time.Millisecond {
					t.Errorf("measured %v of %v", u.Wall, task.Result.Service)
				}
			}
		})
	}
}

// A worker that neither measures nor changes, of an older build or in another language, is run as before, one task at a time.
func TestOldWorkersKeepTheirNumber(t *testing.T) {
	cfg := testConfig("")
	cfg.Argv, cfg.Workers, cfg.Mode = []string{os.Args[0], "evil", "plain"}, 2, tandem.Auto
	p := started(t, cfg)
	p.Retune(2, 8)
	e := &ends{times: map[*tandem.Task]int{}, how: map[tandem.Outcome]int{}}
	var tasks []*tandem.Task
	for range 4 {
		tasks = append(tasks, &tandem.Task{Owner: e})
	}
	begun := time.Now()
	for left := tasks; len(left) > 0; {
		n, err := p.Submit(t.Context(), left)
		if err != nil {
			t.Fatal(err)
		}
		left = left[n:]
	}
	for done := 0; done < len(tasks); time.Sleep(time.Millisecond) {
		e.mu.Lock()
		done = e.how[tandem.OK]
		e.mu.Unlock()
	}
	if took := time.Since(begun); took < 400*time.Millisecond { // each takes 200 ms and tells of the next only then
		t.Errorf("four tasks of 200 ms in two workers took %v", took)
	}
	if st := p.State(); st.Most != 0 || st.Used.Tasks != 0 {
		t.Errorf("%+v", st)
	}
}
