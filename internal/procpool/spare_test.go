package procpool

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"testing"
	"time"

	"tandem"
)

// spareIs waits for a spare that is ready; 0 when there is none.
func (p *Pool) spareIs(within time.Duration) int {
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(time.Millisecond) {
		p.mu.Lock()
		if len(p.spares) > 0 {
			defer p.mu.Unlock()
			return p.spares[0].process.PID()
		}
		p.mu.Unlock()
	}
	return 0
}

func (p *Pool) pids() (list []int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.workers {
		list = append(list, w.process.PID())
	}
	return list
}

func TestASpareTakesThePlaceOfTheDead(t *testing.T) {
	cfg := testConfig("env")
	cfg.Workers, cfg.Spares = 2, 1
	p := started(t, cfg)
	for round := range 5 {
		spare := p.spareIs(10 * time.Second)
		for end := time.Now().Add(10 * time.Second); len(p.pids()) < 2 && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		pids := p.pids()
		if spare == 0 || len(pids) != 2 || slices.Contains(pids, spare) {
			t.Fatalf("round %d: workers %v, spare %d", round, pids, spare)
		}
		_ = syscall.Kill(pids[0], syscall.SIGKILL)
		for end := time.Now().Add(10 * time.Second); !slices.Contains(p.pids(), spare); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("round %d: workers %v, the spare was %d", round, p.pids(), spare)
			}
		}
		places := map[string]bool{}
		for end := time.Now().Add(10 * time.Second); len(places) < 2 && time.Now().Before(end); {
			done := make(chan string)
			for range 2 {
				go func() {
					r := call(t, p, "x").Result
					done <- string(regexp.MustCompile(`TANDEM_PLACE=\d+`).Find(r.Value.Data))
				}()
			}
			places[<-done], places[<-done] = true, true
		}
		if len(places) != 2 { // each has a number of its own, the spare's among them
			t.Errorf("places %v", places)
		}
	}
	if spare := p.spareIs(10 * time.Second); spare > 0 { // one that dies is replaced as well
		_ = syscall.Kill(spare, syscall.SIGKILL)
		for end := time.Now().Add(10 * time.Second); p.spareIs(time.Second) == spare && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		if next := p.spareIs(10 * time.Second); next == 0 || next == spare {
			t.Errorf("after the death of spare %d there is %d", spare, next)
		}
	}
}

// Who does not say how many gets a spare when it is cheap or starting takes long, and workers do die, not before.
func TestASpareWhereItIsWorthOne(t *testing.T) {
	for _, c := range []struct {
		name, source string
		fork         bool
		spares       int
		want         bool
	}{{"slow", "import time; time.sleep(0.15)\n", false, 0, true}, {"slow, none wanted", "import time; time.sleep(0.15)\n", false, -1, false}, {"quick", "", false, 0, false},
		{"forked", "", true, 0, true}, {"forked, none wanted", "", true, -1, false}} {
		t.Run(c.name, func(t *testing.T) {
			cfg := pyConfig(t, "")
			cfg.Handler, cfg.Workers, cfg.Spares, cfg.MustFork = "slow.py:f", 1, c.spares, c.fork
			if !c.fork {
				cfg.Template = nil
			}
			source := c.source + "import os\ndef f(x):\n    if x == 'die': os._exit(1)\n    return x\n"
			if err := os.WriteFile(filepath.Join(cfg.Home, "slow.py"), []byte(source), 0o644); err != nil {
				t.Fatal(err)
			}
			p := started(t, cfg)
			if r := call(t, p, "x").Result; r.Outcome != tandem.OK {
				t.Fatal(r.Err)
			}
			if p.spareIs(100*time.Millisecond) != 0 {
				t.Error("a spare before anything has died")
			}
			if c.name == "quick" {
				p.mu.Lock()
				p.spareCosts = 0 // on a machine that is busy nothing starts quickly
				p.mu.Unlock()
			}
			call(t, p, "die")
			within := 500 * time.Millisecond
			if c.want {
				within = 10 * time.Second
			}
			if got := p.spareIs(within) != 0; got != c.want {
				t.Errorf("a spare: %v, want %v", got, c.want)
			}
		})
	}
}

// What waits in a worker that dies goes elsewhere, and not back into it because it has room now.
func TestWhatADyingWorkerHoldsGoesElsewhere(t *testing.T) {
	cfg := testConfig("behave")
	cfg.Workers = 1
	p := started(t, cfg)
	p.mu.Lock()
	w := p.workers[0]
	p.mu.Unlock()
	var tasks []*tandem.Task
	ended := &counter{want: 2, done: make(chan struct{})}
	for _, item := range []string{"sleep 1m", "sleep 1ms"} {
		tasks = append(tasks, &tandem.Task{ID: item, Value: tandem.TextValue(item), Owner: ended})
	}
	if n, err := p.Submit(t.Context(), tasks); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if _, since := w.ctl.Slot(0); since != 0 {
			break
		}
	}
	w.fell() // as if its page had been marked
	p.mu.Lock()
	if w.inflight != 1 || w.slots[0].task != tasks[0] {
		t.Errorf("%d tasks are in the worker that dies", w.inflight)
	}
	p.mu.Unlock()
	_ = syscall.Kill(w.process.PID(), syscall.SIGKILL)
	<-ended.done
	if a, b := tasks[0].Result, tasks[1].Result; a.Outcome != tandem.Crashed || b.Outcome != tandem.OK || tasks[1].Attempts != 1 {
		t.Errorf("%s and %s after %d attempts: %v, %v", a.Outcome, b.Outcome, tasks[1].Attempts, a.Err, b.Err)
	}
}

// A worker that has just come gets its share beside one that has answered often, however little there is to do.
func TestANewcomerGetsItsShare(t *testing.T) {
	old, young := &worker{window: 64, inflight: 1}, &worker{window: 2}
	for _, w := range []*worker{old, young} {
		w.p = &Pool{cfg: Config{ArenaSize: 1 << 20}}
	}
	p := &Pool{workers: []*worker{old, young}}
	if p.best() != young {
		t.Error("the old one gets everything")
	}
	young.inflight = 2
	if p.best() != old {
		t.Error("one without room gets something")
	}
}
