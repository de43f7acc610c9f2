package measure_test

import (
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"tandem/internal/measure"
	"tandem/internal/proc"
)

// Who only watches is in the same states all the time, who computes is not, however short its loop.
func TestCirclesAreOfWhoSpins(t *testing.T) {
	if _, err := exec.LookPath("cc"); err != nil {
		t.Skip(err)
	}
	bin := t.TempDir()
	build(t, bin, "spin_flag_c", "sum_c", "matrix_c")
	for name, spins := range map[string]bool{"spin_flag_c": true, "sum_c": false, "matrix_c": false} {
		cmd := exec.Command(filepath.Join(bin, name), "1")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var c measure.Circles
		held, refused := 0, false
		over := make(chan struct{})
		go func() { // its thread ends with it
			defer close(over)
			runtime.LockOSThread()
			f := proc.NewFreezer(cmd.Process.Pid)
			for range 300 {
				still, no := f.Freeze(measure.Ready([]int{cmd.Process.Pid}))
				refused = refused || no
				for _, s := range still {
					if c.Seen(s.TID, s.State) {
						held++
					}
				}
				f.Thaw(still)
				time.Sleep(time.Millisecond)
			}
		}()
		<-over
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if refused {
			t.Skip("threads may not be traced here")
		}
		if c.Looks() < 50 {
			t.Errorf("%s: %d looks", name, c.Looks())
		}
		if spins != (c.Share() > .9 && c.Any() && held > 0) || !spins && (c.Share() > .1 || held > 0) {
			t.Errorf("%s: in a circle at %.2f of %d looks, held %d times", name, c.Share(), c.Looks(), held)
		}
	}
}
