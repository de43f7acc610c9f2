package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const onceFlow = `
tandem: v1
name: once
from: {range: 1..150}
steps:
  - {name: pay, python: "h.py:pay", mode: process, workers: 2, idempotent: false}
  - {name: told, run: [sh, -c, "echo ${{ item }} >> told.log"], concurrency: 4, idempotent: false}
  - {name: after, python: "h.py:after", mode: process, workers: 1}
into: {jsonl: out.jsonl}
`

const onceHandlers = `
import os, time
def note(name, what):
    f = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(f, what.encode())
    os.close(f)
def pay(n):
    note("fan.log", f"{n}\n")
    time.sleep(0.004)
    return n
def after(x):
    return x
`

// A run with steps that must not run an item twice is killed at random moments and goes on: nothing is done twice, and nothing ends without a word.
func TestKilledRunsDoNothingTwice(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"flow.yaml": onceFlow, "h.py": onceHandlers} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	killed := 0
	for args := []string{"run", "flow.yaml", "-q"}; ; args = []string{"run", "flow.yaml", "-q", "--resume"} {
		after := time.Duration(-1)
		if killed < 8 {
			after = time.Duration(rand.IntN(150)) * time.Millisecond
		}
		code, said := killRun(t, dir, after, args...)
		if code < 0 {
			killed++
			continue
		}
		if code != exitItems && code != exitOK {
			t.Fatalf("exit code %d\n%s", code, said)
		}
		break
	}
	times := func(name string) map[string]int {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		n := map[string]int{}
		for line := range strings.Lines(string(b)) {
			n[strings.TrimSpace(line)]++
		}
		return n
	}
	b, err := os.ReadFile(filepath.Join(dir, "out.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	ends, unknown := map[string]int{}, 0
	paid, told := times("fan.log"), times("told.log")
	for line := range bytes.Lines(b) {
		var item struct {
			ID, Outcome string
			Error       struct{ Message string }
		}
		if err := json.Unmarshal(line, &item); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		ends[item.ID]++
		switch {
		case item.Outcome == "ok" && paid[item.ID] == 1 && told[item.ID] == 1:
		case item.Outcome == "crashed" && strings.Contains(item.Error.Message, "may or may not have been done"):
			unknown++
		default:
			t.Errorf("%s, paid %d times, told %d times: %s", item.ID, paid[item.ID], told[item.ID], line)
		}
	}
	for i := range 150 {
		if id := fmt.Sprint(i + 1); ends[id] != 1 || paid[id] > 1 || told[id] > 1 {
			t.Errorf("%s: paid %d times, told %d times, %d lines", id, paid[id], told[id], ends[id])
		}
	}
	t.Logf("killed %d times, of %d items may or may not be done", killed, unknown)
	if unknown > 90 {
		t.Errorf("%d of 150 items may or may not be done", unknown)
	}
}

const drainFlow = `
tandem: v1
name: drain
from: {range: 1..200}
steps:
  - {name: work, python: "h.py:work", mode: process, workers: 2}
into: {jsonl: out.jsonl}
`

const drainHandlers = `
import os, signal, time
for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP): signal.signal(s, signal.SIG_IGN)
def work(n):
    open("began", "w").close()
    if n == 1:
        while True: time.sleep(1)
    time.sleep(0.005)
    return n
`

// With an item that hangs and workers that ignore every polite signal a run ends: at once at the second SIGTERM, and the third changes nothing; with one alone when --drain is over.
func TestSigtermIsBounded(t *testing.T) {
	for name, c := range map[string]struct {
		drain   string
		signals int
	}{"second": {"1h", 2}, "third": {"1h", 3}, "limit": {"500ms", 1}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for name, text := range map[string]string{"flow.yaml": drainFlow, "h.py": drainHandlers} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.Command("tandem", "run", "flow.yaml", "-q", "--drain", c.drain)
			cmd.Dir, cmd.Env = dir, append(os.Environ(), "TANDEM_HOME="+filepath.Join(dir, ".tandem"))
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
				if _, err := os.Stat(filepath.Join(dir, "began")); err == nil {
					break
				}
				if time.Now().After(end) {
					t.Fatal("no item begins")
				}
			}
			time.Sleep(100 * time.Millisecond)
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			for i := range c.signals {
				if i > 0 {
					time.Sleep(200 * time.Millisecond)
				}
				_ = cmd.Process.Signal(syscall.SIGTERM)
			}
			select {
			case <-ended:
			case <-time.After(20 * time.Second):
				_ = cmd.Process.Kill()
				t.Fatal("it does not end")
			}
			if code := cmd.ProcessState.ExitCode(); code != exitTerminated {
				t.Errorf("exit code %d", code)
			}
			if left := leftover(dir); len(left) > 0 {
				t.Errorf("still running: %v", left)
			}
			b, err := os.ReadFile(filepath.Join(dir, "out.jsonl"))
			if err != nil || !bytes.Contains(b, []byte(`"id":"1","outcome":"canceled"`)) {
				t.Errorf("%v, item 1 is not canceled: %.300s", err, b)
			}
		})
	}
}

// A queue gives the items of a lost node to another one: such a flow is not submitted.
func TestOnceIsNotSubmitted(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "flow.yaml"), []byte(onceFlow), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("tandem", "submit", "flow.yaml", "--nats", "nats://127.0.0.1:1")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "TANDEM_HOME="+filepath.Join(dir, ".tandem"))
	said, err := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); err == nil || code != exitUsage || !bytes.Contains(said, []byte("step pay is idempotent: false")) {
		t.Errorf("exit code %d: %s", code, said)
	}
}
