package procpool

import (
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
	"tandem/internal/supervise"
)

// log gathers events.
type log struct {
	mu  sync.Mutex
	all []tandem.Event
}

func (l *log) add(e tandem.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, e)
}

// count is how many events go to a state, with a reason that contains says.
func (l *log) count(to, says string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.all {
		if e.To == to && strings.Contains(e.Reason, says) {
			n++
		}
	}
	return n
}

func (l *log) wait(t *testing.T, to, says string, n int) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); l.count(to, says) < n; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			l.mu.Lock()
			defer l.mu.Unlock()
			t.Fatalf("%d events to %q with %q, want %d: %+v", 0, to, says, n, l.all)
		}
	}
}

func texts(n int, format string) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(format, i)
	}
	return list
}

// Workers that are replaced after each item lose none, kill none, and count as recycled.
func TestRecycleUnderLoadLosesNothing(t *testing.T) {
	for name, mode := range map[string]struct {
		threads int
		config  func(*testing.T) Config
	}{
		"go": {1, func(*testing.T) Config { return testConfig("behave") }}, "threads": {4, func(*testing.T) Config { return testConfig("behave") }},
		"python": {1, func(t *testing.T) Config { return pyConfig(t, "echo") }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var r reports
			var l log
			cfg := mode.config(t)
			cfg.Threads, cfg.Recycle, cfg.OnCrash, cfg.OnEvent = mode.threads, Recycle{Items: 1}, r.add, l.add
			p := started(t, cfg)
			items := append(texts(2000, "item %d"), texts(60, "sleep 20ms %d")...)
			rand.Shuffle(len(items), func(i, j int) { items[i], items[j] = items[j], items[i] })
			begun := time.Now()
			for time.Since(begun) < 20*time.Second {
				for id, task := range run(t, p, items...) {
					if task.Result.Outcome != tandem.OK || task.Attempts != 1 || string(task.Result.Value.Data) != id {
						t.Fatalf("%s: %s %v after %d attempts", id, task.Result.Outcome, task.Result.Err, task.Attempts)
					}
				}
				if p.State().Recycled >= 5 {
					break
				}
			}
			s := p.State()
			if s.Recycled < 2 || s.Crashes+s.Losses+s.BootFailures != 0 || len(r.all) > 0 {
				t.Errorf("%+v, %d reports", s, len(r.all))
			}
			if l.count("draining", "it has done") < 2 || l.count("starting", "to recycle the one before: it has done") < 2 {
				t.Errorf("events do not say why: %+v", l.all)
			}
		})
	}
}

// One at a time, the replacement first, and a worker that works is left to end.
func TestRecycleReplacesFirst(t *testing.T) {
	var l log
	cfg := testConfig("behave")
	cfg.Workers, cfg.Recycle, cfg.OnEvent = 3, Recycle{Items: 1}, l.add
	p := started(t, cfg)
	for id, task := range run(t, p, append(texts(3, "sleep 700ms %d"), texts(9, "sleep 30ms %d")...)...) {
		if task.Result.Outcome != tandem.OK || task.Attempts != 1 {
			t.Errorf("%s: %s %v", id, task.Result.Outcome, task.Result.Err)
		}
	}
	l.wait(t, "dead", "", 1)
	l.mu.Lock()
	defer l.mu.Unlock()
	coming, up := map[string]bool{}, map[string]int{}
	for _, e := range l.all {
		switch {
		case e.To == "starting" && strings.HasPrefix(e.Reason, "to recycle"):
			if coming[e.ID] = true; len(coming) > 1 {
				t.Fatalf("two are recycled at a time: %v", coming)
			}
		case e.To == "idle" && e.From == "starting":
			up[e.ID]++
		case e.To == "draining" && strings.HasPrefix(e.Reason, "it has done"):
			if up[e.ID] != 2 {
				t.Errorf("%s is to go while its place has %d ready workers", e.ID, up[e.ID])
			}
			up[e.ID]--
		case e.To == "dead":
			delete(coming, e.ID)
		}
	}
}

func TestRecycleByAgeAndMemory(t *testing.T) {
	for why, c := range map[string]struct {
		recycle Recycle
		item    string
	}{"old": {Recycle{Age: 1500 * time.Millisecond}, "x"}, "MiB of memory": {Recycle{Memory: 150 << 20}, "grow 200"}} {
		t.Run(why, func(t *testing.T) {
			t.Parallel()
			var l log
			cfg := testConfig("behave")
			cfg.Workers, cfg.Recycle, cfg.OnEvent = 1, c.recycle, l.add
			p := started(t, cfg)
			call(t, p, c.item)
			l.wait(t, "draining", why, 1)
			call(t, p, "x")
			for end := time.Now().Add(10 * time.Second); p.State().Recycled == 0; time.Sleep(5 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("%+v", p.State())
				}
			}
			if s := p.State(); s.Crashes+s.Losses != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// Idle workers go, down to the floor, and come back when there is something to do.
func TestIdleWorkersGoAndComeBack(t *testing.T) {
	var l log
	cfg := testConfig("behave")
	cfg.Workers, cfg.OnEvent, cfg.Recycle = 4, l.add, Recycle{Idle: 300 * time.Millisecond, Floor: 2}
	p := started(t, cfg)
	l.wait(t, "new", "until there is more to do", 2)
	time.Sleep(1500 * time.Millisecond)
	p.mu.Lock()
	n := len(p.workers)
	p.mu.Unlock()
	if n != 2 {
		t.Fatalf("%d workers are left, want the floor, 2", n)
	}
	for id, task := range run(t, p, texts(40, "sleep 50ms %d")...) {
		if task.Result.Outcome != tandem.OK {
			t.Errorf("%s: %v", id, task.Result.Err)
		}
	}
	l.wait(t, "idle", "ready", 6)
	if s := p.State(); s.Crashes+s.Losses+s.Recycled+s.BootFailures != 0 || s.Stopped < 2 || s.Workers != 4 {
		t.Errorf("%+v", s)
	}
}

// switched is a worker that starts only while a file is there.
func switched(t *testing.T, cfg Config) (Config, string) {
	flag := filepath.Join(t.TempDir(), "flag")
	if err := os.WriteFile(flag, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	cfg.Argv = []string{"/bin/sh", "-c", `test -e "$0" || { echo "the licence has run out" >&2; exit 3; }; exec "$@"`, flag, os.Args[0]}
	return cfg, flag
}

// When workers cannot start any more, items fail at once with the diagnosis; a canary finds out when they can again.
func TestTheBreakerOpensAndCloses(t *testing.T) {
	t.Parallel()
	var l log
	cfg, flag := switched(t, testConfig("behave"))
	cfg.OnEvent = l.add
	p := started(t, cfg)
	run(t, p, "a", "b")
	if err := os.Remove(flag); err != nil {
		t.Fatal(err)
	}
	got := run(t, p, append(texts(100, "item %d"), "kill 1", "kill 2", "kill 3")...)
	var refused int
	for id, task := range got {
		r := task.Result
		switch {
		case strings.HasPrefix(id, "kill") && r.Outcome == tandem.Crashed:
		case r.Outcome == tandem.OK:
		case r.Outcome == tandem.Failed && r.Err.Kind == tandem.KindStart && strings.Contains(r.Err.Message, "exit code 3") && strings.Contains(r.Err.Trace, "licence"):
			refused++
		default:
			t.Errorf("%s: %s %v after %d attempts", id, r.Outcome, r.Err, task.Attempts)
		}
	}
	l.wait(t, "open", "exit code 3", 1)
	begun := time.Now()
	for _, task := range run(t, p, texts(1000, "late %d")...) {
		if r := task.Result; r.Outcome != tandem.Failed || r.Err.Kind != tandem.KindStart || task.Attempts > 0 || !strings.Contains(r.Err.Message, "was not run") {
			t.Fatalf("%s %v, want it refused", r.Outcome, r.Err)
		}
	}
	if time.Since(begun) > 4*time.Second {
		t.Error("they have waited for the canary")
	}
	if s := p.State(); s.BootFailures < 3 || s.Crashes < 2 || s.Failed {
		t.Errorf("%+v, %d refused", s, refused)
	}
	if err := os.WriteFile(flag, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if call(t, p, "again").Result.Outcome == tandem.OK {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the pool does not come back")
		}
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		p.mu.Lock()
		n, state := len(p.workers), p.sup.Breaker()
		p.mu.Unlock()
		if n == 2 && state == supervise.Closed {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d workers, breaker %s", n, state)
		}
	}
}

// A worker that serves goes on while its replacement cannot start.
func TestAWorkerWithoutReplacementStays(t *testing.T) {
	var l log
	cfg, flag := switched(t, testConfig("behave"))
	cfg.Workers, cfg.Recycle, cfg.OnEvent = 1, Recycle{Items: 5}, l.add
	p := started(t, cfg)
	if err := os.Remove(flag); err != nil {
		t.Fatal(err)
	}
	run(t, p, texts(20, "item %d")...)
	l.wait(t, "idle", "kept for another 30s", 1)
	for id, task := range run(t, p, texts(20, "item %d")...) {
		if task.Result.Outcome != tandem.OK {
			t.Errorf("%s: %v", id, task.Result.Err)
		}
	}
	if s := p.State(); s.Recycled+s.Crashes+s.Losses != 0 || s.BootFailures != 1 {
		t.Errorf("%+v", s)
	}
}

// Of several that run in a worker when it dies only the one to blame is quarantined.
func TestOnlyTheCulpritIsConvicted(t *testing.T) {
	for name, config := range map[string]func(*testing.T) Config{
		"go": func(*testing.T) Config { c := testConfig("behave"); c.Threads = 8; return c },
		"python": func(t *testing.T) Config {
			c := pyCrashConfig(t, "work", &reports{})
			c.Mode, c.Threads = tandem.Thread, 8
			return c
		},
	} {
		for _, workers := range []int{1, 2} {
			t.Run(fmt.Sprint(name, workers), func(t *testing.T) {
				t.Parallel()
				cfg := config(t)
				cfg.Workers = workers
				p := started(t, cfg)
				bad := map[string]string{"go": "kill", "python": "abort"}[name]
				items := append(texts(120, "sleep 3ms %d"), bad+" 1", bad+" 2", bad+" 3")
				rand.Shuffle(len(items), func(i, j int) { items[i], items[j] = items[j], items[i] })
				again := 0
				for id, task := range run(t, p, items...) {
					want := tandem.OK
					if strings.HasPrefix(id, bad) {
						want = tandem.Quarantined
						if task.Attempts < 2 || task.Result.Err == nil || task.Result.Err.Again != tandem.AgainNever {
							t.Errorf("%s: %d attempts, %+v", id, task.Attempts, task.Result.Err)
						}
					} else if task.Attempts > 1 {
						again++
					}
					if task.Result.Outcome != want {
						t.Errorf("%s: %s %v", id, task.Result.Outcome, task.Result.Err)
					}
				}
				s := p.State()
				if s.Crashes < 4 || s.Crashes > 9 {
					t.Errorf("%d workers died for 3 items", s.Crashes)
				}
				t.Logf("%d died, %d innocent ones ran again", s.Crashes, again)
				p.mu.Lock()
				defer p.mu.Unlock()
				if len(p.accused) > 0 || p.trial.len() > 0 {
					t.Errorf("%d are still accused, %d on trial", len(p.accused), p.trial.len())
				}
			})
		}
	}
}

// Workers with threads are killed at random while items run, workers are recycled and their number changes: none is lost, none ends twice, none is convicted that did nothing.
func TestRandomKillsBesideOthers(t *testing.T) {
	seen := pids{seen: map[int]bool{}}
	cfg := testConfig("behave")
	cfg.Threads, cfg.OnEvent, cfg.Recycle = 4, seen.add, Recycle{Items: 50}
	p := started(t, cfg)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for n, done := 1, time.Duration(-1); ; n++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(30+rand.IntN(60)) * time.Millisecond):
				// A pool in which nothing is done between one death and the next would be right to open its breaker.
				if s := p.State(); s.Service > done {
					done = s.Service
					seen.kill()
				}
				if n%7 == 0 {
					p.Resize(1 + rand.IntN(3))
				}
			}
		}
	}()
	good, bad := 0, 0
	for range 8 {
		for id, task := range run(t, p, texts(60, "sleep 5ms %d")...) {
			switch {
			case task.Result.Outcome == tandem.OK:
				good++
			case task.Result.Outcome == tandem.Quarantined && task.Attempts > 1 && strings.Contains(task.Result.Err.Message, "it was alone in it, after"): // nobody can tell by whom
				bad++
			default:
				t.Errorf("%s: %s %v after %d attempts", id, task.Result.Outcome, task.Result.Err, task.Attempts)
			}
		}
	}
	close(stop)
	<-done
	if good+bad != 480 || bad > good/10 {
		t.Errorf("%d good, %d quarantined", good, bad)
	}
	t.Logf("%d good, %d quarantined, %+v", good, bad, p.State())
}

// What may have begun does not begin again, whoever kills the worker and whenever.
func TestOnceIsOnce(t *testing.T) {
	for _, threads := range []int{1, 3} {
		t.Run(fmt.Sprint(threads), func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "begun")
			seen := pids{seen: map[int]bool{}}
			cfg := testConfig("behave")
			cfg.Threads, cfg.OnEvent, cfg.Once, cfg.Recycle = threads, seen.add, true, Recycle{Items: 40}
			p := started(t, cfg)
			stop, done := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(done)
				for n := 1; ; n++ {
					select {
					case <-stop:
						return
					case <-time.After(time.Duration(20+rand.IntN(40)) * time.Millisecond):
						if n%9 == 0 {
							p.Resize(1 + n%3)
						}
						seen.kill()
					}
				}
			}()
			items := texts(300, "note "+file+" sleep 4ms %d")
			got := run(t, p, append(items, "note "+file+" kill")...)
			close(stop)
			<-done
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			begun := map[string]int{}
			for line := range strings.Lines(string(b)) {
				begun[strings.TrimSpace(line)]++
			}
			crashed := 0
			for id, task := range got {
				r := task.Result
				if begun[id] > 1 {
					t.Errorf("%s has begun %d times", id, begun[id])
				}
				switch {
				case r.Outcome == tandem.OK && begun[id] == 1:
				case r.Outcome == tandem.Crashed && strings.Contains(r.Err.Message, "may or may not have been done") && r.Err.Again == tandem.AgainNever && task.Attempts == 1:
					crashed++
				default:
					t.Errorf("%s, begun %d times: %s %v", id, begun[id], r.Outcome, r.Err)
				}
			}
			if crashed < 2 || crashed > 150 {
				t.Errorf("%d of %d crashed", crashed, len(got))
			}
			t.Logf("%d of %d crashed, %+v", crashed, len(got), p.State())
		})
	}
}

// Each end is counted as what it was.
func TestEndsAreCountedApart(t *testing.T) {
	events := make(chan tandem.Event, 200)
	cfg := testConfig("behave")
	cfg.Workers, cfg.OnEvent = 1, func(e tandem.Event) { events <- e }
	var at tandem.PoolState
	t.Run("pool", func(t *testing.T) {
		p := started(t, cfg)
		t.Cleanup(func() { at = p.State() })
		first := pidOf(t, events)
		run(t, p, "a", "panic")
		if err := syscall.Kill(first, syscall.SIGKILL); err != nil { // with no item in it
			t.Fatal(err)
		}
		pidOf(t, events)
		run(t, p, "kill")
		run(t, p, "b")
	})
	p := New(cfg)
	_ = p
	if at.Crashes != 1 || at.Losses != 1 || at.Errors != 1 || at.BootFailures != 0 || at.Recycled != 0 {
		t.Errorf("%+v", at)
	}
}

// parent is the process that started pid.
func parent(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	n, _ := strconv.Atoi(f[1])
	return n
}

// When the shim that holds a worker dies, the item is not to blame: it runs again. One that must not run twice says that it may be done. The warden's death touches
// nothing that runs.
func TestWhatHoldsAWorkerDies(t *testing.T) {
	for name, up := range map[string]int{"shim": 1, "warden": 2} {
		for _, once := range []bool{false, true} {
			t.Run(fmt.Sprint(name, once), func(t *testing.T) {
				events := make(chan tandem.Event, 200)
				cfg := testConfig("behave")
				cfg.Workers, cfg.Once, cfg.OnEvent = 1, once, func(e tandem.Event) { events <- e }
				p := started(t, cfg)
				victim := pidOf(t, events)
				for range up {
					victim = parent(t, victim)
				}
				if victim <= 1 || victim == os.Getpid() {
					t.Skip("no warden here")
				}
				item := make(chan *tandem.Task)
				go func() { item <- call(t, p, "sleep 300ms") }()
				time.Sleep(100 * time.Millisecond)
				if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
				task := <-item
				want, attempts, lost := tandem.OK, 2, int64(1)
				switch {
				case name == "warden":
					attempts, lost = 1, 0
				case once:
					want, attempts = tandem.Crashed, 1
				}
				if task.Result.Outcome != want || task.Attempts != attempts {
					t.Errorf("%s %v after %d attempts", task.Result.Outcome, task.Result.Err, task.Attempts)
				}
				if s := p.State(); s.Losses != lost || s.Crashes != 0 {
					t.Errorf("%+v", s)
				}
			})
		}
	}
}
