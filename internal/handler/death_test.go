package handler

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tandem"
)

const overrun = `
#include <stdlib.h>
__attribute__((noinline)) static int parse(char *p, int n) { return p[n]; }
int main(int argc, char **argv) { char *p = malloc(8); return parse(p, argc > 1 ? 8 : 0); }
`

func TestCommandsThatDieHaveAReport(t *testing.T) {
	for name, c := range map[string]struct {
		argv    []string
		script  string
		outcome tandem.Outcome
		message string
		reason  tandem.ExitReason // empty for no report
		sure    tandem.Confidence
		says    string
	}{
		"segfault":         {argv: []string{"sh", "-c", "kill -SEGV $$"}, outcome: tandem.Crashed, message: "killed by SIGSEGV", reason: tandem.ExitSignal, sure: tandem.Proven, says: "SIGSEGV"},
		"killed":           {argv: []string{"sh", "-c", "kill -9 $$"}, outcome: tandem.Crashed, message: "killed by SIGKILL", reason: tandem.ExitKilledExternally, sure: tandem.Unknown, says: "did not send SIGKILL"},
		"child killed":     {script: `sh -c 'kill -9 $$'; exit $?`, outcome: tandem.Failed, message: "exit code 137", reason: tandem.ExitKilledExternally, sure: tandem.Unknown, says: "was ended by SIGKILL"},
		"child segfaults":  {script: `sh -c 'kill -SEGV $$'`, outcome: tandem.Failed, message: "exit code 139", reason: tandem.ExitSignal, sure: tandem.Probable, says: "was ended by SIGSEGV"},
		"hung":             {script: `sleep 60 | cat`, outcome: tandem.TimedOut, message: "not done in time", reason: tandem.ExitTimeout, sure: tandem.Proven, says: "not done in time"},
		"exit 3":           {script: `echo no >&2; exit 3`, outcome: tandem.Failed, message: "exit code 3: no"},
		"exit 200":         {script: `exit 200`, outcome: tandem.Failed, message: "exit code 200"},
		"137 of a program": {argv: []string{"python3", "-c", "import os; os._exit(137)"}, outcome: tandem.Failed, message: "exit code 137"},
		"a traceback":      {argv: []string{"python3", "-c", "def f(): raise ValueError('bad')\nf()"}, outcome: tandem.Failed, message: "exit code 1: ValueError: bad in f (<string>:1)"},
	} {
		t.Run(name, func(t *testing.T) {
			do := Shell(ShellConfig{Step: "s", Script: c.script})
			if c.argv != nil {
				argv := make([]func(*tandem.Task) (string, error), len(c.argv))
				for i, a := range c.argv {
					argv[i] = func(*tandem.Task) (string, error) { return a, nil }
				}
				do = Command(CommandConfig{Step: "s", Argv: argv})
			}
			ctx, cancel := context.WithTimeout(t.Context(), map[bool]time.Duration{true: 500 * time.Millisecond, false: time.Minute}[name == "hung"])
			defer cancel()
			r := do(ctx, &tandem.Task{ID: "a/1", Root: "a", Attempts: 2})
			if r.Outcome != c.outcome || !strings.Contains(r.Err.Message, c.message) {
				t.Errorf("%s %v", r.Outcome, r.Err)
			}
			if c.reason == "" {
				if r.Crash != nil {
					t.Errorf("a report: %+v", *r.Crash)
				}
				return
			}
			if r.Crash == nil {
				t.Fatal("no report")
			}
			all := ""
			for _, e := range r.Crash.Evidence {
				all += e.From + ": " + e.Says + "\n"
			}
			if r.Crash.Reason != c.reason || r.Crash.Confidence != c.sure || !strings.Contains(all, c.says) || r.Crash.Item != "a/1" || r.Crash.Root != "a" || r.Crash.Attempt != 2 || r.Crash.PID == 0 {
				t.Errorf("%+v\n%s", *r.Crash, all)
			}
			if name == "hung" {
				names := ""
				for _, th := range r.Crash.Threads {
					names += th.Name + " "
				}
				if !strings.Contains(names, "sleep") || !strings.Contains(names, "cat") {
					t.Errorf("the kernel's view of what the script started: %q", names)
				}
			}
		})
	}
}

// A sanitizer's report says what the exit code does not.
func TestASanitizerIsUnderstood(t *testing.T) {
	dir := t.TempDir()
	source, program := filepath.Join(dir, "a.c"), filepath.Join(dir, "a")
	if err := os.WriteFile(source, []byte(overrun), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("gcc", "-g", "-fsanitize=address", source, "-o", program).CombinedOutput(); err != nil {
		t.Skipf("no gcc with ASan: %v %s", err, out)
	}
	say := func(s string) func(*tandem.Task) (string, error) {
		return func(*tandem.Task) (string, error) { return s, nil }
	}
	r := Command(CommandConfig{Step: "s", Argv: []func(*tandem.Task) (string, error){say(program), say("x")}})(t.Context(), &tandem.Task{ID: "a"})
	if r.Outcome != tandem.Failed || !strings.Contains(r.Err.Message, "heap-buffer-overflow") || !strings.Contains(r.Err.Message, " in parse (a.c:3)") || !strings.Contains(r.Err.Trace, "allocated by thread") {
		t.Errorf("%s %v\n%s", r.Outcome, r.Err, r.Err.Trace)
	}
	if c := r.Crash; c == nil || c.Reason != tandem.ExitApp || c.Stack == nil || c.Stack.Kind != "heap-buffer-overflow" || c.Stack.Function != "parse" {
		t.Errorf("%+v", c)
	}
}
