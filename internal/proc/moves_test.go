package proc

import (
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// A process that is killed only when it does not get on is known by it.
func TestWhatGetsOnMoves(t *testing.T) {
	for _, c := range []struct {
		script string
		stop   bool
		want   bool
	}{{"while :; do :; done", false, true}, {"while :; do sleep 0.002; done", false, true}, {"while :; do :; done", true, false}, {"exec sleep 60", false, false}} {
		cmd := exec.Command("sh", "-c", c.script)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if c.stop {
			_ = cmd.Process.Signal(syscall.SIGSTOP)
		}
		got := !c.want
		for end := time.Now().Add(10 * time.Second); got != c.want && time.Now().Before(end); { // sh comes to its loop in its own time
			got = moves(cmd.Process.Pid, killLook)
		}
		if got != c.want {
			t.Errorf("%q, stopped %v: moves %v", c.script, c.stop, got)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if moves(cmd.Process.Pid, time.Millisecond) {
			t.Errorf("%q: moves when it is gone", c.script)
		}
	}
}
