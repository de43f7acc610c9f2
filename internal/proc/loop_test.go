package proc

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tandem"
)

// outputs of programs by id and stream.
type heard map[[2]int]string

func openLoop(t *testing.T, got heard) *Loop {
	t.Helper()
	l, err := NewLoop(LoopConfig{Output: func(id, stream int, b []byte) { got[[2]int{id, stream}] += string(b) }})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func startIn(t *testing.T, l *Loop, id int, script string) {
	t.Helper()
	if err := l.Start(id, "/bin/sh", []string{"sh", "-c", script}); err != nil {
		t.Fatal(err)
	}
}

// await waits for n ends.
func await(t *testing.T, l *Loop, n int) map[int]Ending {
	t.Helper()
	ends := map[int]Ending{}
	for deadline := time.Now().Add(20 * time.Second); len(ends) < n; {
		got, err := l.Wait(time.Second)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range got {
			ends[e.ID] = e
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d ended: %v", len(ends), n, ends)
		}
	}
	return ends
}

func descriptorCount() int {
	all, _ := filepath.Glob("/proc/self/fd/*")
	return len(all)
}

func TestLoopTellsOutputsAndEnds(t *testing.T) {
	before := descriptorCount()
	got := heard{}
	l := openLoop(t, got)
	startIn(t, l, 0, `echo out; echo err >&2; exit 7`)
	startIn(t, l, 3, `kill -SEGV $$`)
	startIn(t, l, 1, `head -c 3000000 /dev/zero; sleep 0.05; echo end`)
	startIn(t, l, 2, `read x; echo "read $?"`)
	ends := await(t, l, 4)
	if e := ends[0]; e.Code != 7 || e.Signal != 0 || got[[2]int{0, 1}] != "out\n" || got[[2]int{0, 2}] != "err\n" {
		t.Errorf("program 0: %v, %v", e.Exit, got)
	}
	if e := ends[3]; e.Signal != unix.SIGSEGV || e.Code != -1 || e.Reason() != "SIGSEGV" {
		t.Errorf("program 3: %+v", e.Exit)
	}
	if s := got[[2]int{1, 1}]; len(s) != 3000004 || !strings.HasSuffix(s, "end\n") {
		t.Errorf("program 1 wrote %d bytes", len(s))
	}
	if e := ends[1]; e.Wall < 50*time.Millisecond || e.RunQueue < 0 || e.RunQueue > e.Wall || e.CPU <= 0 || e.CPU > e.Wall || e.MaxRSS < 1<<20 {
		t.Errorf("program 1: %+v", e)
	}
	if s := got[[2]int{2, 1}]; s != "read 1\n" {
		t.Errorf("there was something to read: %q", s)
	}
	l.Close()
	if after := descriptorCount(); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

// Thousands of programs through few places: none is lost, none is taken for another.
func TestLoopReusesPlaces(t *testing.T) {
	got := heard{}
	l := openLoop(t, got)
	defer l.Close()
	want := [4]string{}
	running := map[int]int{}
	for n := 0; n < 800 || len(running) > 0; {
		for id := range 4 {
			if _, busy := running[id]; !busy && n < 800 {
				startIn(t, l, id, fmt.Sprintf("echo %d; exit %d", n, n%100))
				want[id] += fmt.Sprintln(n)
				running[id] = n % 100
				n++
			}
		}
		ends, err := l.Wait(-1)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range ends {
			if code, ok := running[e.ID]; !ok || code != e.Code {
				t.Fatalf("end of %d with code %d, want %d", e.ID, e.Code, code)
			}
			delete(running, e.ID)
		}
	}
	for id := range want {
		if got[[2]int{id, 1}] != want[id] {
			t.Errorf("place %d: the output differs", id)
		}
	}
}

func alive(mark string) (pids []string) {
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range all {
		if b, _ := os.ReadFile(f); strings.Contains(string(b), mark) && !strings.HasPrefix(f, fmt.Sprintf("/proc/%d/", os.Getpid())) {
			pids = append(pids, f)
		}
	}
	return pids
}

func gone(t *testing.T, mark string) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Second); len(alive(mark)) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("left: %v", alive(mark))
		}
	}
}

// What a program starts in its group ends with it, whether it ends by itself, is killed, or the loop is closed.
func TestLoopLeavesNothingBehind(t *testing.T) {
	l := openLoop(t, heard{})
	mark := fmt.Sprintf("4711.%d", os.Getpid())
	startIn(t, l, 0, "sleep "+mark+" & exit 0")
	await(t, l, 1)
	gone(t, mark)
	startIn(t, l, 0, "sleep "+mark+" & sleep "+mark)
	l.Kill(0)
	if e := await(t, l, 1)[0]; e.Signal != unix.SIGKILL {
		t.Errorf("%+v", e.Exit)
	}
	gone(t, mark)
	startIn(t, l, 0, "sleep "+mark+" & sleep "+mark)
	startIn(t, l, 1, "sleep "+mark)
	time.Sleep(20 * time.Millisecond)
	l.Close()
	gone(t, mark)
}

// A process that has left the group holds neither the end of its program up, nor can it write under the name of the next one.
func TestLoopIsNotHeldByADaemon(t *testing.T) {
	if _, err := exec.LookPath("setsid"); err != nil {
		t.Skip("no setsid")
	}
	got := heard{}
	l := openLoop(t, got)
	defer l.Close()
	startIn(t, l, 0, "setsid sh -c 'sleep 0.3; echo daemon' & sleep 0.1; echo first")
	await(t, l, 1)
	startIn(t, l, 0, "sleep 0.4; echo second")
	await(t, l, 1)
	if s := got[[2]int{0, 1}]; s != "first\nsecond\n" {
		t.Errorf("heard %q", s)
	}
}

// Held, a program that writes more than its pipe holds waits; nothing is lost when it goes on.
func TestLoopHolds(t *testing.T) {
	got := heard{}
	l := openLoop(t, got)
	defer l.Close()
	startIn(t, l, 0, "head -c 1000000 /dev/zero")
	l.Hold(true)
	for deadline := time.Now().Add(200 * time.Millisecond); time.Now().Before(deadline); {
		if ends, _ := l.Wait(50 * time.Millisecond); len(ends) > 0 {
			t.Fatal("it ended although nobody read")
		}
	}
	if n := len(got[[2]int{0, 1}]); n > 0 {
		t.Errorf("%d bytes were read", n)
	}
	l.Hold(false)
	await(t, l, 1)
	if n := len(got[[2]int{0, 1}]); n != 1000000 {
		t.Errorf("%d bytes came", n)
	}
}

func TestLoopSaysWhyAProgramCannotStart(t *testing.T) {
	before := descriptorCount()
	l := openLoop(t, heard{})
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("no program"), 0o755); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "absent"): "no such program",
		dir:                          "not allowed to run it",
		file:                         "not a program this system can run",
	} {
		err := l.Start(0, path, []string{path})
		var e *tandem.Error
		if !errors.As(err, &e) || e.Message != want || e.Kind != tandem.KindStart || Exhausted(err) || NotFound(err) != (want == "no such program") {
			t.Errorf("%s: %v", path, err)
		}
	}
	if err := l.Start(0, "/bin/true", []string{"true", strings.Repeat("x", 1<<20)}); err == nil {
		t.Error("an argument of a mebibyte passed")
	}
	startIn(t, l, 0, "sleep 0.1")
	if err := l.Start(0, "/bin/true", []string{"true"}); err == nil {
		t.Error("one place was given twice")
	}
	l.Close()
	if after := descriptorCount(); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func TestLoopWakes(t *testing.T) {
	l := openLoop(t, heard{})
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		time.Sleep(20 * time.Millisecond)
		l.Wake()
	}()
	if ends, err := l.Wait(-1); len(ends) != 0 || err != nil {
		t.Errorf("%v %v", ends, err)
	}
	<-done
}

// A Read that waits ends with Stop, on a pipe that knows no deadlines.
func TestStoppable(t *testing.T) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	r, w := os.NewFile(uintptr(p[0]), "r"), os.NewFile(uintptr(p[1]), "w")
	defer r.Close()
	defer w.Close()
	s, err := NewStoppable(r)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, _ = w.WriteString("here")
	b := make([]byte, 10)
	if n, err := s.Read(b); string(b[:n]) != "here" || err != nil {
		t.Errorf("%q %v", b[:n], err)
	}
	time.AfterFunc(20*time.Millisecond, s.Stop)
	if n, err := s.Read(b); n != 0 || err == nil {
		t.Errorf("%d %v", n, err)
	}
}
