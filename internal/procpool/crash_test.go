package procpool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tandem"
)

const pyCrashes = `
import ctypes, os, sys, threading, time
def parse(x):
    ctypes.string_at(0)
def spin():
    while True: pass
def lock():
    l = threading.Lock(); l.acquire(); l.acquire()
def nap():
    time.sleep(100)
def event():
    threading.Event().wait()
def gil():
    sum(range(10**15))
def work(x):
    what, _, arg = x.partition(" ")
    if what == "segv": parse(x)
    if what == "abort": os.abort()
    if what == "exit": os._exit(int(arg))
    if what == "hang": globals()[arg]()
    if what == "flood":
        # 1 GB on standard error without a newline; it may block on the pipe, never for good
        b = b"x" * (1 << 20)
        for _ in range(1 << 10): os.write(2, b)
        os._exit(9)
    if what == "deaf":
        import signal
        signal.signal(60, signal.SIG_IGN)
        spin()
    return x
async def awork(x):
    if x == "hang": spin()
    return x
`

// reports gathers crash reports.
type reports struct {
	mu  sync.Mutex
	all []tandem.Crash
}

func (r *reports) add(c tandem.Crash) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, c)
}

// wait gives the reports once there are n.
func (r *reports) wait(t *testing.T, n int) []tandem.Crash {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		r.mu.Lock()
		all := slices.Clone(r.all)
		r.mu.Unlock()
		if len(all) >= n {
			return all
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d reports, want %d", len(all), n)
		}
	}
}

func pyCrashConfig(t *testing.T, handler string, r *reports) Config {
	cfg := pyConfig(t, "")
	cfg.Handler, cfg.Workers, cfg.OnCrash = "crash.py:"+handler, 1, r.add
	cfg.AskWithin = 10 * time.Second // how fast it is, is not what is tested
	if err := os.WriteFile(filepath.Join(cfg.Home, "crash.py"), []byte(pyCrashes), 0o644); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func says(c tandem.Crash) (all string) {
	for _, e := range c.Evidence {
		all += e.From + ": " + e.Says + "\n"
	}
	return all
}

func TestEveryDeathHasItsReport(t *testing.T) {
	python := func(t *testing.T, r *reports) Config { return pyCrashConfig(t, "work", r) }
	golang := func(t *testing.T, r *reports) Config {
		cfg := testConfig("behave")
		cfg.Workers, cfg.OnCrash = 1, r.add
		cfg.AskWithin = 10 * time.Second // as above: the race detector on a machine with a load of 30 takes more than the 300 ms of everybody to write the stacks
		return cfg
	}
	for _, c := range []struct {
		config  func(*testing.T, *reports) Config
		item    string
		timeout time.Duration
		outcome tandem.Outcome
		message string // of the item's error
		trace   string
		reason  tandem.ExitReason
		sure    tandem.Confidence
		what    string
		place   string
		says    string
	}{
		{python, "segv", 0, tandem.Crashed, "SIGSEGV (segmentation fault) in parse (crash.py:4)", "Fatal Python error", tandem.ExitSignal, tandem.Proven, "SIGSEGV", "parse", "wait status: SIGSEGV"},
		{python, "abort", 0, tandem.Crashed, "SIGABRT (aborted) in work (crash.py:18)", "Aborted", tandem.ExitSignal, tandem.Proven, "SIGABRT", "work", "SIGABRT"},
		{python, "exit 0", 0, tandem.Crashed, "exit code 0 (exited without result)", "", tandem.ExitApp, tandem.Proven, "exit code 0", "", "exited without result"},
		{python, "exit 1", 0, tandem.Crashed, "exit code 1 (exited without result)", "", tandem.ExitApp, tandem.Proven, "exit code 1", "", "exited without result"},
		{python, "exit 255", 0, tandem.Crashed, "exit code 255", "", tandem.ExitApp, tandem.Proven, "exit code 255", "", "showed exit 255 as running"},
		{python, "flood", 0, tandem.Crashed, "exit code 9", "", tandem.ExitApp, tandem.Proven, "exit code 9", "", ""},
		{python, "hang spin", 400 * time.Millisecond, tandem.TimedOut, "killed in spin (crash.py:6)", "in work", tandem.ExitTimeout, tandem.Proven, "SIGKILL", "spin", "an item ran longer than 400ms"},
		{python, "hang lock", 400 * time.Millisecond, tandem.TimedOut, "killed in lock (crash.py:8)", "in work", tandem.ExitTimeout, tandem.Proven, "SIGKILL", "lock", ""},
		{python, "hang nap", 400 * time.Millisecond, tandem.TimedOut, "killed in nap (crash.py:10)", "in work", tandem.ExitTimeout, tandem.Proven, "SIGKILL", "nap", ""},
		{python, "hang event", 400 * time.Millisecond, tandem.TimedOut, "killed in event (crash.py:12)", "in work", tandem.ExitTimeout, tandem.Proven, "SIGKILL", "event", ""},
		{python, "hang gil", 400 * time.Millisecond, tandem.TimedOut, "killed in gil (crash.py:14)", "in work", tandem.ExitTimeout, tandem.Proven, "SIGKILL", "gil", ""},
		{python, "deaf", 400 * time.Millisecond, tandem.TimedOut, "not done after 400ms, killed", "", tandem.ExitTimeout, tandem.Proven, "SIGKILL", "", ""},
		{golang, "exit", 0, tandem.Crashed, "exit code 7 (exited without result)", "", tandem.ExitApp, tandem.Proven, "exit code 7", "", ""},
		{golang, "kill", 0, tandem.Crashed, "died under it: SIGKILL", "", tandem.ExitKilledExternally, tandem.Unknown, "SIGKILL", "", "did not send SIGKILL"},
		{golang, "panic-beside", 0, tandem.Crashed, "panic: runtime error: index out of range [7] with length 0 in tandem/internal/procpool.parse (main_test.go:", "created by", tandem.ExitApp, tandem.Proven, "exit code 2", "tandem/internal/procpool.parse", ""},
		{golang, "deadlock", 0, tandem.Crashed, "exit code 2 (exited without result): all goroutines are asleep - deadlock! in tandem/internal/procpool.behave", "sync.Mutex.Lock", tandem.ExitApp, tandem.Proven, "exit code 2", "tandem/internal/procpool.behave", "deadlock"},
		{golang, "sleep 1m", 500 * time.Millisecond, tandem.TimedOut, "killed in tandem/internal/procpool.behave", "time.Sleep", tandem.ExitTimeout, tandem.Proven, "exit code 2", "tandem/internal/procpool.behave", "an item ran longer"},
		{golang, "spin", 500 * time.Millisecond, tandem.TimedOut, "killed in tandem/internal/procpool.behave", "behave", tandem.ExitTimeout, tandem.Proven, "exit code 2", "tandem/internal/procpool.behave", ""},
	} {
		t.Run(strings.ReplaceAll(c.item, " ", "-"), func(t *testing.T) {
			if c.item == "deadlock" && raced {
				t.Skip("the race detector keeps the runtime from finding deadlocks")
			}
			t.Parallel()
			var r reports
			cfg := c.config(t, &r)
			cfg.Timeout = c.timeout
			cfg.Redact = func(v tandem.Value) tandem.Value { return tandem.TextValue("<" + string(v.Data) + ">") }
			p := started(t, cfg)
			run(t, p, "good 1", "good 2")
			got := run(t, p, c.item, "good 3")
			task := got[c.item]
			if task.Result.Outcome != c.outcome || got["good 3"].Result.Outcome != tandem.OK {
				t.Fatalf("%s %v; its neighbour %s", task.Result.Outcome, task.Result.Err, got["good 3"].Result.Outcome)
			}
			if e := task.Result.Err; !strings.Contains(e.Message, c.message) || !strings.Contains(e.Trace, c.trace) {
				t.Errorf("message %q, want %q; trace %q, want %q", e.Message, c.message, e.Trace, c.trace)
			}
			all := r.wait(t, 1)
			crash := all[0]
			if len(all) != 1 || crash.Reason != c.reason || crash.Confidence != c.sure || !strings.Contains(crash.What, c.what) || !strings.Contains(says(crash), c.says) {
				t.Errorf("%d reports, %s, %s, %s\n%s", len(all), crash.Reason, crash.Confidence, crash.What, says(crash))
			}
			if (crash.Stack == nil) != (c.place == "") || crash.Stack != nil && crash.Stack.Function != c.place {
				t.Errorf("place %q: stack %+v\nstderr %s", c.place, crash.Stack, crash.Stderr)
			}
			if crash.Item != c.item || crash.Outcome != c.outcome || crash.Attempt != 1 || crash.Done < 2 || crash.Input != "<"+c.item+">" ||
				crash.PID <= 0 || crash.Worker != cfg.Step+"/1" || crash.PeakRSS < 1<<20 || crash.Age <= 0 || crash.Seconds < c.timeout.Seconds() {
				t.Errorf("%+v", crash)
			}
			if hung := c.outcome == tandem.TimedOut; hung != (len(crash.Threads) > 0) || hung && !slices.Contains([]string{"R", "S"}, crash.Threads[0].State) {
				t.Errorf("threads %+v", crash.Threads)
			}
			if len(crash.Stderr) > 9<<10 || len(crash.Input) > 2<<10 {
				t.Errorf("%d bytes of stderr, %d of input", len(crash.Stderr), len(crash.Input))
			}
		})
	}
}

// pidOf waits for the worker to be ready.
func pidOf(t *testing.T, events chan tandem.Event) int {
	t.Helper()
	for {
		select {
		case e := <-events:
			if _, pid, ok := strings.Cut(e.Reason, "pid "); ok && e.To == "idle" && e.What == "worker" {
				n, _ := strconv.Atoi(pid)
				return n
			}
		case <-time.After(10 * time.Second):
			t.Fatal("no worker is ready")
		}
	}
}

func TestKilledFromOutsideIsSaid(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		for _, busy := range []bool{false, true} {
			t.Run(fmt.Sprint(sig, " ", busy), func(t *testing.T) {
				var r reports
				events := make(chan tandem.Event, 100)
				cfg := pyCrashConfig(t, "work", &r)
				cfg.OnEvent = func(e tandem.Event) { events <- e }
				p := started(t, cfg)
				pid := pidOf(t, events)
				item := make(chan *tandem.Task)
				if busy {
					go func() { item <- call(t, p, "hang nap") }()
					for p.State().Running == 0 {
						time.Sleep(time.Millisecond)
					}
					time.Sleep(50 * time.Millisecond)
				}
				if err := syscall.Kill(pid, sig); err != nil {
					t.Fatal(err)
				}
				want := ""
				if busy {
					want = "hang nap"
					if task := <-item; task.Result.Outcome != tandem.Crashed {
						t.Errorf("%s", task.Result.Outcome)
					}
				}
				c := r.wait(t, 1)[0]
				sure := map[syscall.Signal]tandem.Confidence{syscall.SIGKILL: tandem.Unknown, syscall.SIGTERM: tandem.Probable}[sig]
				if c.Reason != tandem.ExitKilledExternally || c.Confidence != sure || c.PID != pid || c.Input != want || !strings.Contains(says(c), "did not send SIG") {
					t.Errorf("%+v\n%s", c, says(c))
				}
				pidOf(t, events) // it is replaced
			})
		}
	}
}

// A worker that cannot begin has a report; one that says why it cannot has none, since it did not die.
func TestADeathAtBoot(t *testing.T) {
	for source, c := range map[string]struct {
		kind string
		n    int
		says string
	}{
		"import os; os._exit(3)":                           {tandem.KindCrash, 1, "exit code 3"},
		"import ctypes\ndef f(): ctypes.string_at(0)\nf()": {tandem.KindCrash, 1, "in f (boot.py:2)"},
		"import time; time.sleep(60)":                      {tandem.KindTimeout, 1, "not ready after"},
		"1/0":                                              {tandem.KindImport, 0, "ZeroDivisionError"},
	} {
		var r reports
		cfg := pyCrashConfig(t, "", &r)
		cfg.Handler = "boot.py:work"
		if c.kind == tandem.KindTimeout {
			cfg.StartTimeout = 2 * time.Second
		}
		if err := os.WriteFile(filepath.Join(cfg.Home, "boot.py"), []byte(source), 0o644); err != nil {
			t.Fatal(err)
		}
		err := New(cfg).Run(t.Context())
		e, _ := errors.AsType[*tandem.Error](err)
		if e == nil || e.Kind != c.kind || !strings.Contains(e.Message, c.says) {
			t.Errorf("%s: %v", source, err)
		}
		all := r.wait(t, c.n)
		if c.n == 0 && len(all) > 0 || c.n > 0 && (all[0].Reason != tandem.ExitBoot || all[0].Confidence != tandem.Proven || all[0].Item != "") {
			t.Errorf("%s: %+v", source, all)
		}
	}
}

// A handler in a thread or on a loop that ignores its end is named when its worker is killed for it.
func TestHangsBesideOthersAreNamed(t *testing.T) {
	for _, mode := range []tandem.Mode{tandem.Thread, tandem.Async, "go"} {
		t.Run(string(mode), func(t *testing.T) {
			var r reports
			cfg := pyCrashConfig(t, "work", &r)
			item, place := "hang lock", "lock"
			switch mode {
			case tandem.Async:
				cfg.Handler, item, place = "crash.py:awork", "hang", "spin"
			case "go":
				mode, item, place = tandem.Thread, "spin", "tandem/internal/procpool.behave"
				cfg = testConfig("behave")
				cfg.Workers, cfg.OnCrash, cfg.AskWithin = 1, r.add, 10*time.Second
			}
			cfg.Mode, cfg.Threads, cfg.Concurrency = mode, 4, 4
			cfg.Timeout, cfg.Grace = 400*time.Millisecond, 200*time.Millisecond
			p := started(t, cfg)
			if got := run(t, p, item, "good")[item]; got.Result.Outcome != tandem.TimedOut {
				t.Fatalf("%s", got.Result.Outcome)
			}
			c := r.wait(t, 1)[0]
			if c.Reason != tandem.ExitTimeout || c.Item != item || c.Stack == nil || c.Stack.Function != place || len(c.Threads) == 0 {
				t.Errorf("%s, item %q, stack %+v, %d threads\n%s", c.Reason, c.Item, c.Stack, len(c.Threads), c.Why+says(c)+c.Stderr)
			}
		})
	}
}

// Workers that end as they should, and those of a run that is stopped, are no deaths.
func TestNoReportWithoutADeath(t *testing.T) {
	var r reports
	t.Run("pools", func(t *testing.T) {
		cfg := testConfig("behave")
		cfg.OnCrash = r.add
		p := started(t, cfg)
		run(t, p, "a", "b", "panic") // a panic that the worker catches
		p.Resize(1)
		run(t, p, "c")
	})
	if len(r.all) > 0 {
		t.Errorf("%+v", r.all)
	}
}
