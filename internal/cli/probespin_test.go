package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tandem/internal/inside"
	"tandem/internal/proc"
)

// What is probed may end, start and replace its threads, and be killed, while they are held: the probe ends with it, it ends as it does by itself, and nothing stays stopped.
func TestProbeOutlivesWhatHappens(t *testing.T) {
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("SKIPPED, NOT TESTED: no C compiler")
	}
	program := filepath.Join(t.TempDir(), "spin")
	if out, err := exec.Command(cc, "-O1", "-pthread", "-o", program, filepath.Join("testdata", "probe", "spin.c")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, c := range []struct {
		does   string
		kill   time.Duration // it is killed then
		code   int
		signal syscall.Signal
	}{
		{does: "threads", code: 7}, {does: "exec", code: 7}, {does: "leader", code: 7}, {does: "children", code: 7}, {does: "orphan", code: 7},
		{does: "for-ever", kill: 900 * time.Millisecond, code: -1, signal: syscall.SIGKILL},
		{does: "for-ever", kill: 903 * time.Millisecond, code: -1, signal: syscall.SIGTERM},
	} {
		t.Run(c.does+" "+c.signal.String(), func(t *testing.T) {
			child, err := proc.StartForeground([]string{program, c.does})
			if err != nil {
				t.Fatal(err)
			}
			var p probed
			over := make(chan struct{})
			go func() {
				defer close(over)
				p.watch(child, 800*time.Millisecond)
			}()
			var left []int
			if c.kill > 0 {
				time.Sleep(c.kill)
				child.Signal(c.signal)
			} else {
				time.Sleep(time.Second)
				left = inside.Descendants(child.PID())
			}
			select {
			case <-over:
			case <-time.After(20 * time.Second):
				threads, _ := filepath.Glob("/proc/" + strconv.Itoa(child.PID()) + "/task/*/stat")
				for _, f := range threads {
					b, _ := os.ReadFile(f)
					t.Logf("%.60s", b)
				}
				child.Signal(syscall.SIGKILL)
				t.Fatal("the probe goes on")
			}
			x, _ := child.Reap()
			if x.Code != c.code || x.Signal != c.signal {
				t.Errorf("it ended with %v", x)
			}
			if p.refused {
				t.Skip("SKIPPED, NOT TESTED: threads may not be looked at here")
			}
			if !p.circled || p.stopped < 50*time.Millisecond {
				t.Errorf("circled %v, held for %v: nothing was probed", p.circled, p.stopped)
			}
			stopped(t, left)
		})
	}
}

// stopped looks for threads that stay stopped, and ends the processes that are left.
func stopped(t *testing.T, pids []int) {
	for _, pid := range pids {
		threads, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/stat")
		for _, f := range threads {
			b, err := os.ReadFile(f)
			if err != nil {
				continue
			}
			if _, state, _ := strings.Cut(string(b), ") "); strings.HasPrefix(state, "t") || strings.HasPrefix(state, "T") {
				t.Errorf("a thread is left stopped: %s", b)
			}
		}
		if exe, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/exe"); err == nil && filepath.Base(exe) == "spin" {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			_, _ = syscall.Wait4(pid, nil, 0, nil)
		}
	}
}
