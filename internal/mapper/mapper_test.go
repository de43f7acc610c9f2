package mapper

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tandem"
	"tandem/internal/proc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func openFiles(t *testing.T) int {
	t.Helper()
	all, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func mustParse(t *testing.T, words ...string) *Template {
	t.Helper()
	tm, err := Parse(words)
	if err != nil {
		t.Fatal(err)
	}
	return tm
}

func mustShell(t *testing.T, script string) *Template {
	t.Helper()
	tm, err := ParseShell(script)
	if err != nil {
		t.Fatal(err)
	}
	return tm
}

// endless gives the numbers from 0 in portions of ten and counts how many it gave.
func endless(given *atomic.Int64, stop *atomic.Bool) func(func([]string, error) bool) {
	return func(yield func([]string, error) bool) {
		for !stop.Load() {
			var portion []string
			for range 10 {
				portion = append(portion, fmt.Sprint(given.Add(1)-1))
			}
			if !yield(portion, nil) {
				return
			}
		}
	}
}

// blocked is a reader who does not read.
type blocked struct{ until chan struct{} }

func (b blocked) Write(p []byte) (int, error) { <-b.until; return len(p), nil }

func TestOrderIsKeptAndNothingLost(t *testing.T) {
	if _, err := proc.Run(t.Context(), proc.Command{Argv: []string{"true"}}); err != nil { // the warden has a descriptor
		t.Fatal(err)
	}
	for _, contained := range []bool{false, true} {
		t.Run(fmt.Sprint("contained ", contained), func(t *testing.T) { orderIsKept(t, contained) })
	}
}

func orderIsKept(t *testing.T, contained bool) {
	before := openFiles(t)
	var inputs []string
	var want strings.Builder
	for i := range 300 {
		inputs = append(inputs, fmt.Sprint(i))
		fmt.Fprintf(&want, "%d\n", i)
	}
	var out, errs bytes.Buffer
	m := New(Config{Command: mustShell(t, `[ $(($1 % 50)) = 0 ] && sleep 0.05; echo $1; [ $1 != 77 ]`), Inputs: List(inputs), Stdout: &out, Stderr: &errs, Jobs: 8, Keep: true, Contained: contained})
	r, err := m.Run(t.Context())
	if err != nil || out.String() != want.String() || r.In != 300 || r.OK != 299 || r.Failed != 1 {
		t.Errorf("%v, %+v, printed %d bytes, want %d", err, r.Counts, out.Len(), want.Len())
	}
	if len(r.Reasons) != 1 || r.Reasons[0] != (Reason{"exit 1", 1, "77"}) {
		t.Errorf("reasons %+v", r.Reasons)
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d open files before, %d after", before, after)
	}
}

// Inputs are not read ahead of the commands, whoever is slow: the commands, or the reader of their output.
func TestInputsAreNotReadAhead(t *testing.T) {
	for name, c := range map[string]struct {
		command string
		most    int64
	}{
		"commands": {`sleep 10`, 100},
		"reader":   {`echo $1; head -c 200000 /dev/zero`, maxUnprinted + 500},
	} {
		t.Run(name, func(t *testing.T) {
			var given atomic.Int64
			var stop atomic.Bool
			wall := blocked{make(chan struct{})}
			ctx, cancel := context.WithCancelCause(t.Context())
			m := New(Config{Command: mustShell(t, c.command), Inputs: endless(&given, &stop), Stdout: wall, Stderr: wall, Jobs: 4})
			done := make(chan error, 1)
			go func() {
				_, err := m.Run(ctx)
				done <- err
			}()
			last := int64(-1)
			for given.Load() != last { // until nothing moves any more
				last = given.Load()
				time.Sleep(300 * time.Millisecond)
			}
			if last > c.most {
				t.Errorf("%d inputs were read, want no more than %d", last, c.most)
			}
			cancel(tandem.ErrInterrupted)
			close(wall.until)
			if err := <-done; err != tandem.ErrInterrupted {
				t.Error(err)
			}
			stop.Store(true)
		})
	}
}

// Stop lets what runs end; the context kills it. Each input that was taken is counted once either way.
func TestStopping(t *testing.T) {
	for i := range 4 {
		kill, contained := i%2 == 1, i > 1
		var given atomic.Int64
		var stop atomic.Bool
		var out bytes.Buffer
		ctx, cancel := context.WithCancelCause(t.Context())
		m := New(Config{Command: mustShell(t, `echo a; sleep 0.3; echo b`), Inputs: endless(&given, &stop), Stdout: &out, Stderr: &out, Jobs: 3, Contained: contained})
		time.AfterFunc(450*time.Millisecond, func() {
			if kill {
				cancel(tandem.ErrInterrupted)
			} else {
				m.Stop()
			}
		})
		r, err := m.Run(ctx)
		cancel(nil)
		stop.Store(true)
		if err != tandem.ErrInterrupted || r.In != r.Ended() || (r.Canceled > 0) != kill || r.OK < 3 || r.Failed+r.Crashed > 0 {
			t.Errorf("kill %v, contained %v: %v %+v", kill, contained, err, r.Counts)
		}
		if got := int64(strings.Count(out.String(), "b")); got != r.OK {
			t.Errorf("kill %v: %d wrote their end, %d are ok", kill, got, r.OK)
		}
	}
}

// With less memory free than asked for, nothing starts, and the reason is told.
func TestMemory(t *testing.T) {
	notice := make(chan string, 8)
	var out bytes.Buffer
	m := New(Config{Command: mustParse(t, "echo"), Inputs: List([]string{"a"}), Stdout: &out, Stderr: &out, Jobs: 1, Memory: 1 << 60, OnNotice: func(s string) { notice <- s }})
	go func() {
		s := <-notice
		if !strings.Contains(s, "is free, --memory wants") {
			t.Errorf("said %q", s)
		}
		m.Stop()
	}()
	r, err := m.Run(t.Context())
	if err != tandem.ErrInterrupted || r.In != 0 || out.Len() != 0 {
		t.Errorf("%v %+v %q", err, r.Counts, &out)
	}
}

// When memory is about to run out the youngest command is killed; it runs again when there is memory, and its outcome is that of the last attempt.
func TestMemoryRunsOut(t *testing.T) {
	var out bytes.Buffer
	m := New(Config{Command: mustShell(t, `echo begun $1; sleep 0.5; echo ended $1`), Inputs: List([]string{"a", "b"}), Stdout: &out, Stderr: &out, Jobs: 2, Keep: true, Memory: 1000})
	begun := time.Now()
	m.free = func() int64 {
		if since := time.Since(begun); since > 150*time.Millisecond && since < 400*time.Millisecond {
			return 10
		}
		return 2000
	}
	r, err := m.Run(t.Context())
	if want := "begun a\nended a\nbegun b\nended b\n"; err != nil || r.OK != 2 || r.Evicted != 1 || out.String() != want {
		t.Errorf("%v %+v evicted %d, printed %q", err, r.Counts, r.Evicted, &out)
	}
}

// A temporary directory that is full fails the run and loses no count.
func TestLargeOutputWithoutRoom(t *testing.T) {
	var out bytes.Buffer
	m := New(Config{Command: mustShell(t, `head -c 3000000 /dev/zero`), Inputs: List([]string{"a", "b"}), Stdout: &out, Stderr: &out, Jobs: 1, Temp: filepath.Join(t.TempDir(), "absent")})
	r, err := m.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "keep the output of a command in a temporary file: no such file or directory") || r.In != r.Ended() {
		t.Errorf("%v %+v", err, r.Counts)
	}
}

// What a contained command leaves behind ends with it, also at its timeout; a plain one is not followed out of its group.
func TestContainedCommandsLeaveNothing(t *testing.T) {
	if proc.Containment().Level != proc.Kernel {
		t.Skip("SKIPPED, NOT TESTED: the level here is ", proc.Containment().Level)
	}
	dir := t.TempDir()
	var out bytes.Buffer
	m := New(Config{Command: mustShell(t, `setsid sh -c 'sleep 1; touch "$0"' `+dir+`/$1 >/dev/null 2>&1 & [ $1 = ends ] || sleep 60`), Inputs: List([]string{"ends", "late"}),
		Stdout: &out, Stderr: &out, Jobs: 2, Timeout: 300 * time.Millisecond, Contained: true})
	r, err := m.Run(t.Context())
	if err != nil || r.OK != 1 || r.TimedOut != 1 {
		t.Fatalf("%v %+v %q", err, r.Counts, &out)
	}
	time.Sleep(1200 * time.Millisecond)
	if left, _ := filepath.Glob(dir + "/*"); len(left) != 0 {
		t.Errorf("what they had started lived on and wrote %v", left)
	}
}

// Limits and isolation hold for each command, and what the machine does not give is told once.
func TestContainedCommandsAreLimited(t *testing.T) {
	var out bytes.Buffer
	var said []string
	run := func(script string, limits proc.Limits, box proc.Isolation) Report {
		out.Reset()
		m := New(Config{Command: mustShell(t, script), Inputs: List([]string{"1", "2", "3"}), Stdout: &out, Stderr: &out, Jobs: 2, Keep: true, Contained: true, Limits: limits, Isolation: box,
			OnNotice: func(s string) { said = append(said, s) }})
		r, err := m.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := run(`head -c 200000000 /dev/zero | tail -c 100000000 >/dev/null; sleep 20`, proc.Limits{Memory: 40 << 20}, proc.Isolation{}); r.Crashed != 3 || len(r.Reasons) != 1 || r.Reasons[0].What != "out of memory" {
		t.Errorf("memory: %+v, %+v, %q", r.Counts, r.Reasons, &out)
	}
	if !slices.ContainsFunc(said, func(s string) bool { return strings.HasPrefix(s, "out of memory: ") && strings.Contains(s, "40 MiB") }) {
		t.Errorf("said %q", said)
	}
	if r := run(`echo $1`, proc.Limits{}, proc.Isolation{Require: []string{"memory"}, Network: "host"}); r.OK != 3 || out.String() != "1\n2\n3\n" {
		t.Errorf("require what is not asked for: %+v %q", r.Counts, &out)
	}
	target := filepath.Join(t.TempDir(), "file")
	r := run(`echo $1 > `+target, proc.Limits{}, proc.Isolation{Sandbox: true})
	_, err := os.Stat(target)
	told := slices.ContainsFunc(said, func(s string) bool {
		return strings.HasPrefix(s, "isolation sandbox") && strings.Contains(s, "missing files")
	})
	if held := err != nil && r.Failed == 3; held == told {
		t.Errorf("files are held: %v, and it is told that they are not: %v", held, said)
	}
}
