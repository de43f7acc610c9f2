package handler

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"tandem"
)

// hogs of other languages: how each ends under a limit is theirs, that it counts as out of memory is ours.
const (
	nodeHog = `const a=[]; for(;;) a.push(new Array(1e5).fill(Math.random()))`
	javaHog = `public class Hog { public static void main(String[] a) { java.util.List<byte[]> l = new java.util.ArrayList<>(); for (;;) l.add(new byte[1 << 20]); } }`
	cppHog  = `#include <vector>
int main() { std::vector<char*> all; for (;;) { char *p = new char[1 << 20]; for (int i = 0; i < 1 << 20; i += 4096) p[i] = 1; all.push_back(p); } }`
)

func TestWhatACommandMayUse(t *testing.T) {
	dir := t.TempDir()
	place := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cpp := place("hog.cc", cppHog)
	built := exec.Command("g++", cpp, "-o", filepath.Join(dir, "hog")).Run() == nil
	java := place("Hog.java", javaHog)
	for name, c := range map[string]struct {
		argv    []string // or
		script  string
		caps    tandem.Caps
		timeout time.Duration
		outcome tandem.Outcome
		kind    string
		reason  string
		message string
		died    tandem.ExitReason // of the report; empty for no report
		needs   string
	}{
		"memory in time":      {script: `python3 -c 'bytearray(50<<20)'; echo x`, caps: tandem.Caps{Memory: 100 << 20}, outcome: tandem.OK},
		"python":              {argv: []string{"python3", "-c", "bytearray(400<<20)"}, caps: tandem.Caps{Memory: 100 << 20}, outcome: tandem.OutOfMemory, kind: tandem.KindMemory, message: "limit of 100 MiB", died: tandem.ExitMemoryOfRuntime},
		"python in a script":  {script: `python3 -c 'bytearray(400<<20)'`, caps: tandem.Caps{Memory: 100 << 20}, outcome: tandem.OutOfMemory, kind: tandem.KindMemory, message: "limit of 100 MiB", died: tandem.ExitMemoryOfRuntime},
		"tree":                {script: `for i in 1 2 3; do python3 -c 'import time; b=bytearray(60<<20); time.sleep(30)' & done; wait`, caps: tandem.Caps{Memory: 100 << 20}, outcome: tandem.OutOfMemory, kind: tandem.KindMemory, message: "the limit is 100 MiB", died: tandem.ExitMemoryLimit},
		"c++":                 {argv: []string{filepath.Join(dir, "hog")}, caps: tandem.Caps{Memory: 100 << 20}, outcome: tandem.OutOfMemory, kind: tandem.KindMemory, message: "bad_alloc", died: tandem.ExitMemoryOfRuntime, needs: "g++"},
		"node":                {argv: []string{"node", "-e", nodeHog}, caps: tandem.Caps{Memory: 200 << 20}, outcome: tandem.OutOfMemory, kind: tandem.KindMemory, message: "limit of 200 MiB", died: "any", needs: "node"},
		"java":                {argv: []string{"java", java}, caps: tandem.Caps{Memory: 1 << 30, JVM: 64 << 20}, outcome: tandem.OutOfMemory, kind: tandem.KindMemory, message: "OutOfMemoryError", died: tandem.ExitMemoryOfRuntime, needs: "java"},
		"killed all the same": {script: `kill -9 $$`, caps: tandem.Caps{Memory: 100 << 20}, outcome: tandem.Crashed, kind: tandem.KindCrash, reason: "SIGKILL", died: tandem.ExitKilledExternally},
		"processor time":      {script: `while :; do :; done`, caps: tandem.Caps{CPUTime: time.Second}, outcome: tandem.TimedOut, kind: tandem.KindTimeout, reason: tandem.ReasonCPUTime, message: "more than 1s of processor time", died: tandem.ExitCPULimit},
		"of children":         {script: `for i in 1 2 3; do (while :; do :; done) & done; wait`, caps: tandem.Caps{CPUTime: time.Second}, outcome: tandem.TimedOut, kind: tandem.KindTimeout, reason: tandem.ReasonCPUTime, died: tandem.ExitCPULimit},
		"sleeping is free":    {script: `sleep 1.2; echo x`, caps: tandem.Caps{CPUTime: 500 * time.Millisecond}, outcome: tandem.OK},
		"hung":                {script: `echo x; sleep 60`, caps: tandem.Caps{Hang: time.Second}, outcome: tandem.TimedOut, kind: tandem.KindTimeout, reason: tandem.ReasonHung, died: tandem.ExitHung},
		"stopped":             {script: `kill -STOP $$`, caps: tandem.Caps{Hang: time.Second}, outcome: tandem.TimedOut, kind: tandem.KindTimeout, reason: tandem.ReasonHung, died: tandem.ExitHung},
		"speaks":              {script: `for i in 1 2 3 4 5 6; do sleep 0.4; echo x; done`, caps: tandem.Caps{Hang: time.Second}, outcome: tandem.OK},
		"computes":            {argv: []string{"python3", "-c", "import time\nwhile time.process_time() < 2: pass"}, caps: tandem.Caps{Hang: time.Second}, outcome: tandem.OK},
		"asked":               {script: `sleep 60`, caps: tandem.Caps{Soft: 500 * time.Millisecond}, timeout: 20 * time.Second, outcome: tandem.TimedOut, kind: tandem.KindTimeout, reason: tandem.ReasonSoft, died: tandem.ExitTimeout},
		"asked, ends well":    {script: `trap 'echo x; exit 0' TERM; sleep 60 & wait`, caps: tandem.Caps{Soft: 500 * time.Millisecond}, timeout: 20 * time.Second, outcome: tandem.OK},
		"asked, deaf":         {script: `trap '' TERM; sleep 60`, caps: tandem.Caps{Soft: 500 * time.Millisecond}, timeout: 2 * time.Second, outcome: tandem.TimedOut, kind: tandem.KindTimeout, message: "not done in time, killed", died: tandem.ExitTimeout},
		"output":              {script: `head -c 3000000 /dev/zero | tr '\0' x`, caps: tandem.Caps{Output: 1 << 20}, outcome: tandem.Failed, kind: tandem.KindTooLarge, reason: tandem.ReasonOutput, message: "more than 1 MiB", died: tandem.ExitKilledByUs},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath(c.needs); c.needs != "" && err != nil || c.needs == "g++" && !built {
				t.Skipf("no %s", c.needs)
			}
			do := Shell(ShellConfig{Step: "s", Script: c.script, Caps: c.caps})
			if c.argv != nil {
				argv := make([]func(*tandem.Task) (string, error), len(c.argv))
				for i, a := range c.argv {
					argv[i] = func(*tandem.Task) (string, error) { return a, nil }
				}
				do = Command(CommandConfig{Step: "s", Argv: argv, Caps: c.caps})
			}
			ctx := t.Context()
			if c.timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, c.timeout)
				defer cancel()
			}
			begun := time.Now()
			r := do(ctx, &tandem.Task{ID: "a"})
			if r.Outcome != c.outcome {
				t.Fatalf("%s %v, want %s", r.Outcome, r.Err, c.outcome)
			}
			if e := r.Err; e != nil && (e.Kind != c.kind || c.reason != "" && e.Reason != c.reason || !strings.Contains(e.Message, c.message)) {
				t.Errorf("%s %s %q, want %s %s %q", e.Kind, e.Reason, e.Message, c.kind, c.reason, c.message)
			}
			if time.Since(begun) > 30*time.Second {
				t.Errorf("took %v", time.Since(begun))
			}
			switch {
			case c.died == "" && r.Crash != nil:
				t.Errorf("a report: %+v", *r.Crash)
			case c.died == "":
			case r.Crash == nil:
				t.Error("no report")
			case c.died != "any" && r.Crash.Reason != c.died, r.Crash.Outcome != c.outcome, c.caps.Memory > 0 && r.Crash.Memory == "":
				t.Errorf("report %+v", *r.Crash)
			}
		})
	}
}

func TestACoreOfACommandGoesWithItsReport(t *testing.T) {
	dir, into := t.TempDir(), t.TempDir()
	r := Shell(ShellConfig{Step: "s", Script: `kill -SEGV $$`, Dir: dir, Caps: tandem.Caps{Core: 1 << 20}, Cores: into})(t.Context(), &tandem.Task{ID: "a"})
	if r.Crash == nil || (r.Crash.Core == "") == (r.Crash.NoCore == "") {
		t.Fatalf("report %+v: want a core or why there is none", r.Crash)
	}
	if c := r.Crash.Core; c != "" && !strings.HasPrefix(c, into) {
		t.Errorf("core at %s", c)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left beside: %v %v", fmt.Sprint(left), err)
	}
}

// A script that is deaf, forks and spins is gone with all it has started, wherever that went.
func TestATimeoutEndsTheTreeOfAScript(t *testing.T) {
	for _, body := range []string{`while :; do :; done`, `sleep 300`} {
		t.Run(body, func(t *testing.T) {
			t.Parallel()
			token := fmt.Sprintf("TREE=%d-%d", os.Getpid(), time.Now().UnixNano())
			script := `trap '' TERM INT HUP; setsid sh -c 'sleep 300 & while :; do sleep 1; done' & (setsid sleep 300 &) ; ` + body
			do := Shell(ShellConfig{Step: "s", Script: script, Extra: func(*tandem.Task) []string { return []string{token} }, Caps: tandem.Caps{Soft: 500 * time.Millisecond}})
			ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
			defer cancel()
			var were int
			var look sync.WaitGroup
			look.Go(func() {
				time.Sleep(700 * time.Millisecond)
				were = len(having(t, token))
			})
			r := do(ctx, &tandem.Task{ID: "a"})
			look.Wait()
			if r.Outcome != tandem.TimedOut || were < 4 {
				t.Errorf("%s %v, of %d processes", r.Outcome, r.Err, were)
			}
			for deadline := time.Now().Add(5 * time.Second); len(having(t, token)) > 0; time.Sleep(20 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("left: %v", having(t, token))
				}
			}
			if c := r.Crash; c == nil || c.Reason != tandem.ExitTimeout || len(c.Threads) < 4 {
				t.Errorf("report %+v", c)
			}
		})
	}
}

// having finds the processes that have this in their environment.
func having(t *testing.T, text string) (pids []string) {
	all, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Error(err)
	}
	for _, file := range all {
		if b, err := os.ReadFile(file); err == nil && strings.Contains(string(b), text) {
			pids = append(pids, strings.Split(file, "/")[2])
		}
	}
	return pids
}
