package procpool

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tandem"
	"tandem/internal/arena"
)

const pyCaps = `
import ctypes, os, threading, time
def parse(x):
    what, _, arg = x.partition(" ")
    if what == "big": return len(bytearray(int(arg) << 20))
    if what == "numpy":
        class _ArrayMemoryError(MemoryError): pass
        raise _ArrayMemoryError("Unable to allocate 9 TiB")
    if what == "child":
        for _ in range(2):
            if os.fork() == 0:
                try: b = bytearray(int(arg) << 20); time.sleep(30)
                finally: os._exit(1)
        time.sleep(30)
    if what == "segv": ctypes.string_at(0)
    if what == "spin":
        while True: pass
    if what == "children":
        for _ in range(2):
            if os.fork() == 0:
                while True: pass
        time.sleep(30)
    if what == "burn":
        end = time.process_time() + float(arg)
        while time.process_time() < end: pass
    if what == "lock":
        l = threading.Lock(); l.acquire(); l.acquire()
    if what == "stop": os.kill(os.getpid(), 19)
    if what == "gil": sum(range(int(arg)))
    if what == "sleep": time.sleep(float(arg))
    if what == "tick":
        end = time.monotonic() + float(arg)
        while time.monotonic() < end: time.sleep(0.02); sum(range(20000))
    if what == "text": return "x" * int(arg)
    if what == "many": return ("x" * 1000 for _ in range(int(arg)))
    return x
`

func pyCapsConfig(t *testing.T, r *reports) Config {
	cfg := pyConfig(t, "")
	cfg.Handler, cfg.Workers, cfg.OnCrash = "caps.py:parse", 1, r.add
	if err := os.WriteFile(filepath.Join(cfg.Home, "caps.py"), []byte(pyCaps), 0o644); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestWhatAnAttemptMayUse(t *testing.T) {
	python := pyCapsConfig
	golang := func(_ *testing.T, r *reports) Config {
		cfg := testConfig("behave")
		cfg.Workers, cfg.OnCrash = 1, r.add
		return cfg
	}
	const none = ""
	for _, c := range []struct {
		config  func(*testing.T, *reports) Config
		item    string
		caps    tandem.Caps
		outcome tandem.Outcome
		kind    string
		reason  string
		message string
		died    tandem.ExitReason // none when the worker must live on
		place   string            // the function that the report names
		says    string            // part of the evidence
	}{
		{python, "big 50", tandem.Caps{Memory: 150 << 20}, tandem.OK, "", "", "", none, "", ""},
		{python, "big 400", tandem.Caps{Memory: 150 << 20}, tandem.OutOfMemory, tandem.KindMemory, "MemoryError", "limit of 150 MiB: MemoryError", none, "", ""},
		{python, "numpy", tandem.Caps{Memory: 150 << 20}, tandem.OutOfMemory, tandem.KindMemory, "_ArrayMemoryError", "Unable to allocate", none, "", ""},
		{python, "numpy", tandem.Caps{}, tandem.Failed, tandem.KindException, "_ArrayMemoryError", "Unable to allocate", none, "", ""},
		{python, "child 60", tandem.Caps{Memory: 100 << 20}, tandem.OutOfMemory, tandem.KindMemory, "SIGKILL", "the limit is 100 MiB", tandem.ExitMemoryLimit, "", "the limit is 100 MiB"},
		{golang, "hog 20", tandem.Caps{Memory: 200 << 20, Hang: 2 * time.Second}, tandem.TimedOut, tandem.KindTimeout, tandem.ReasonHung, "hung", tandem.ExitHung, "behave", ""},
		{golang, "hog 600", tandem.Caps{Memory: 200 << 20}, tandem.OutOfMemory, tandem.KindMemory, "", "limit of 200 MiB", "any", "", ""},
		{python, "segv", tandem.Caps{Memory: 150 << 20}, tandem.Crashed, tandem.KindCrash, "SIGSEGV", "", tandem.ExitSignal, "parse", ""},
		{python, "burn 0.2", tandem.Caps{CPUTime: 2 * time.Second}, tandem.OK, "", "", "", none, "", ""},
		{python, "spin", tandem.Caps{CPUTime: time.Second}, tandem.TimedOut, tandem.KindTimeout, tandem.ReasonCPUTime, "more than 1s of processor time, killed in parse", tandem.ExitCPULimit, "parse", ""},
		{python, "children", tandem.Caps{CPUTime: time.Second}, tandem.TimedOut, tandem.KindTimeout, tandem.ReasonCPUTime, "", tandem.ExitCPULimit, "parse", ""},
		{python, "sleep 1.2", tandem.Caps{CPUTime: 500 * time.Millisecond}, tandem.OK, "", "", "", none, "", ""},
		{python, "lock", tandem.Caps{Hang: time.Second}, tandem.TimedOut, tandem.KindTimeout, tandem.ReasonHung, "for 1s, killed in parse", tandem.ExitHung, "parse", ""},
		{python, "stop", tandem.Caps{Hang: time.Second}, tandem.TimedOut, tandem.KindTimeout, tandem.ReasonHung, "", tandem.ExitHung, "", ""},
		{golang, "sleep 1m", tandem.Caps{Hang: time.Second}, tandem.TimedOut, tandem.KindTimeout, tandem.ReasonHung, "killed in", tandem.ExitHung, "behave", ""},
		{python, "gil 200000000", tandem.Caps{Hang: time.Second}, tandem.OK, "", "", "", none, "", ""},
		{python, "tick 3", tandem.Caps{Hang: time.Second}, tandem.OK, "", "", "", none, "", ""},
		{python, "text 1000", tandem.Caps{Output: 2000}, tandem.OK, "", "", "", none, "", ""},
		{python, "text 3000", tandem.Caps{Output: 2000}, tandem.Failed, tandem.KindTooLarge, tandem.ReasonOutput, "gave 2.9 KiB, the limit is 2.0 KiB", none, "", ""},
		{python, "text 3000000", tandem.Caps{Output: 2 << 20}, tandem.Failed, tandem.KindTooLarge, tandem.ReasonOutput, "gave 2.9 MiB, the limit is 2 MiB", none, "", ""},
		{python, "many 20", tandem.Caps{Output: 20000}, tandem.OK, "", "", "", none, "", ""},
		{python, "many 9999", tandem.Caps{Output: 20000}, tandem.Failed, tandem.KindTooLarge, tandem.ReasonOutput, "the limit is 19.5 KiB", tandem.ExitKilledByUs, "", ""},
	} {
		t.Run(c.item, func(t *testing.T) {
			t.Parallel()
			var r reports
			cfg := c.config(t, &r)
			cfg.Caps = c.caps
			p := started(t, cfg)
			begun := time.Now()
			got := call(t, p, c.item).Result
			if got.Outcome != c.outcome {
				t.Fatalf("%s: %v, want %s", got.Outcome, got.Err, c.outcome)
			}
			if e := got.Err; e != nil && (e.Kind != c.kind || c.reason != "" && e.Reason != c.reason || !strings.Contains(e.Message, c.message)) {
				t.Errorf("%s %s %q, want %s %s %q", e.Kind, e.Reason, e.Message, c.kind, c.reason, c.message)
			}
			if d := time.Since(begun); d > 20*time.Second {
				t.Errorf("took %v", d)
			}
			if next := call(t, p, "next").Result; next.Outcome != tandem.OK {
				t.Errorf("the next item: %s %v", next.Outcome, next.Err)
			}
			if c.died == none {
				if s := p.State(); s.Crashes != 0 {
					t.Errorf("%d workers lost, want none", s.Crashes)
				}
				return
			}
			report := r.wait(t, 1)[0]
			if c.died != "any" && (report.Reason != c.died || report.Confidence != tandem.Proven) || report.Outcome != c.outcome || !strings.Contains(says(report), c.says) {
				t.Errorf("report %s %s %s:\n%s", report.Reason, report.Confidence, report.Outcome, says(report))
			}
			if c.caps.Memory > 0 && report.Memory == "" {
				t.Error("the report does not say how memory was limited")
			}
			if c.place != "" && (report.Stack == nil || !strings.Contains(report.Stack.Function, c.place)) {
				t.Errorf("stack %+v, want %s", report.Stack, c.place)
			}
			if c.item == "stop" && (report.Stack != nil || len(report.Threads) == 0 || report.Threads[0].State != "T") {
				t.Errorf("a stopped process: stack %v, threads %+v", report.Stack, report.Threads)
			}
		})
	}
}

func TestASoftLimitAsks(t *testing.T) {
	for _, c := range []struct {
		handler string
		item    string
		outcome tandem.Outcome
		reason  string
	}{
		{"sleep", "1m", tandem.TimedOut, tandem.ReasonSoft}, // it listens
		{"behave", "sleep 1500ms", tandem.OK, ""},           // it does not, and ends in time
		{"behave", "sleep 1m", tandem.TimedOut, ""},         // it does not
	} {
		t.Run(c.handler+c.item, func(t *testing.T) {
			t.Parallel()
			cfg := testConfig(c.handler)
			cfg.Workers, cfg.Threads, cfg.Mode = 1, 2, tandem.Thread
			cfg.Caps.Soft, cfg.Timeout = 500*time.Millisecond, 4*time.Second
			asked := make(chan string, 8)
			cfg.OnEvent = func(e tandem.Event) {
				if e.To == "suspect" {
					asked <- e.Reason
				}
			}
			p := started(t, cfg)
			begun := time.Now()
			r := call(t, p, c.item).Result
			if r.Outcome != c.outcome || r.Err != nil && r.Err.Reason != c.reason {
				t.Errorf("%s %+v, want %s %s", r.Outcome, r.Err, c.outcome, c.reason)
			}
			if c.reason == tandem.ReasonSoft && time.Since(begun) > 3*time.Second {
				t.Errorf("took %v: it was killed rather than asked", time.Since(begun))
			}
			select {
			case why := <-asked:
				if !strings.Contains(why, "asked to end after 500ms; it is in "+"tandem/internal/procpool.") && c.handler == "behave" {
					t.Errorf("event %q", why)
				}
			case <-time.After(5 * time.Second):
				t.Error("nobody was told")
			}
		})
	}
}

func TestALimitBelowTheWorkersNeedIsNamed(t *testing.T) {
	var r reports
	cfg := pyCapsConfig(t, &r)
	cfg.Workers, cfg.Caps.Memory = 2, 4<<20
	p := New(cfg)
	err := p.Run(t.Context())
	e, ok := err.(*tandem.Error)
	if !ok || e.Kind != tandem.KindMemory || !strings.Contains(e.Message, "cannot start with memory: 4 MiB") || !strings.Contains(e.Hint, "needs no more than") {
		t.Fatalf("got %v", err)
	}
	_, after, _ := strings.Cut(e.Hint, "needs no more than ")
	var mib int64
	if _, err := fmt.Sscanf(after, "%d MiB", &mib); err != nil {
		t.Fatal(after, err)
	}
	cfg.Caps.Memory = 4 * mib << 20 // an item needs some, too
	if r := call(t, started(t, cfg), "next").Result; r.Outcome != tandem.OK {
		t.Errorf("with four times the limit that it names: %s %v", r.Outcome, r.Err)
	}
}

// What cannot start for another reason is not blamed on the limit.
func TestAWorkerThatCannotStartAnywayIsNotBlamedOnTheLimit(t *testing.T) {
	cfg := testConfig("x")
	cfg.Argv, cfg.Caps.Memory = []string{"/bin/sh", "-c", "exit 3"}, 1<<30
	e, ok := New(cfg).Run(t.Context()).(*tandem.Error)
	if !ok || e.Kind != tandem.KindCrash || strings.Contains(e.Message, "memory") {
		t.Errorf("got %v", e)
	}
}

func TestACoreGoesWithTheReport(t *testing.T) {
	var r reports
	cfg := pyCapsConfig(t, &r)
	cfg.Dir, cfg.CoreDir, cfg.Caps.Core = t.TempDir(), filepath.Join(t.TempDir(), "cores"), 1<<20
	p := started(t, cfg)
	call(t, p, "segv")
	c := r.wait(t, 1)[0]
	if (c.Core == "") == (c.NoCore == "") {
		t.Fatalf("core %q, why not %q: want one of them", c.Core, c.NoCore)
	}
	if c.Core != "" {
		if st, err := os.Stat(c.Core); err != nil || st.Size() > 1<<20 || filepath.Dir(c.Core) != cfg.CoreDir {
			t.Errorf("%s: %v %v", c.Core, st, err)
		}
	} else if b, err := os.ReadFile("/proc/sys/kernel/core_pattern"); err != nil || strings.HasPrefix(string(b), "core") {
		t.Errorf("no core (%s) where the kernel writes them: %s, %v", c.NoCore, b, err)
	}
}

// The parent that was stopped sees no hang in the time that it did not look.
func TestATimeWithoutLooksIsNoHang(t *testing.T) {
	p := New(Config{Caps: tandem.Caps{Hang: time.Second}, Argv: []string{"x"}})
	s := int64(time.Second)
	mem, err := p.takeArenas()
	if err != nil {
		t.Fatal(err)
	}
	defer mem.close()
	w := &worker{p: p, parallel: 1, inflight: 1, ctl: arena.ControlOf(mem.out.Mem)}
	for _, step := range []struct {
		now, late int64
		cpu       time.Duration
		lively    bool
	}{{10 * s, 0, 0, true}, {10*s + s/2, 0, 0, true}, {50 * s, 39 * s, 0, true}, {50*s + s/4, 0, time.Second, true}, {51 * s, 0, time.Second, true}} {
		w.vital.use.CPU = step.cpu
		if w.lifeless(step.now, step.late) == step.lively {
			t.Errorf("at %v: lively %v, want %v", time.Duration(step.now), !step.lively, step.lively)
		}
	}
}

// What an attempt may use does not depend on the worker showing what it runs.
func TestCapsOfAWorkerThatShowsNothing(t *testing.T) {
	for how, c := range map[string]struct {
		caps   tandem.Caps
		reason string
	}{"mute": {tandem.Caps{Hang: time.Second}, tandem.ReasonHung}, "spins": {tandem.Caps{CPUTime: time.Second}, tandem.ReasonCPUTime}} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			cfg := testConfig("")
			cfg.Argv, cfg.Workers, cfg.Caps = []string{os.Args[0], "evil", how}, 1, c.caps
			if r := call(t, started(t, cfg), "x").Result; r.Outcome != tandem.TimedOut || r.Err.Kind != tandem.KindTimeout || r.Err.Reason != c.reason {
				t.Errorf("%s %+v, want timed_out %s", r.Outcome, r.Err, c.reason)
			}
		})
	}
}

// All that a hung worker runs ends with it; what waits in it runs elsewhere.
func TestAHungWorkerEndsWithAllItRuns(t *testing.T) {
	var r reports
	cfg := testConfig("behave")
	cfg.Workers, cfg.Threads, cfg.Mode, cfg.Caps.Hang, cfg.OnCrash = 1, 2, tandem.Thread, time.Second, r.add
	p := started(t, cfg)
	for id, task := range run(t, p, "sleep 1m a", "sleep 1m b", "one", "two", "three") {
		want := tandem.OK
		if strings.HasPrefix(id, "sleep") {
			want = tandem.TimedOut
		}
		if task.Result.Outcome != want || task.Attempts != 1 {
			t.Errorf("%s: %s %v after %d attempts, want %s after 1", id, task.Result.Outcome, task.Result.Err, task.Attempts, want)
		}
	}
	if c := r.wait(t, 1)[0]; c.Reason != tandem.ExitHung || len(c.Others) != 1 || c.Stack == nil {
		t.Errorf("report %+v", c)
	}
}
