package procpool

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"tandem"
)

// A frozen process ignores SIGKILL until it is thawed, as one that waits for a dead disk does. It is left behind and replaced, its item ends, and the pool too. It needs root
// and the freezer of cgroup v1.
func TestAnUnkillableWorkerIsLeftBehind(t *testing.T) {
	dir := filepath.Join("/sys/fs/cgroup/freezer", "tandem-test-"+strconv.Itoa(os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skipf("no freezer here: %v", err)
	}
	set := func(name, value string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(value), 0); err != nil {
			t.Skipf("the freezer cannot be used: %v", err)
		}
	}
	t.Cleanup(func() {
		for end := time.Now().Add(10 * time.Second); os.Remove(dir) != nil && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		}
	})
	set("freezer.state", "THAWED")
	events := make(chan tandem.Event, 200)
	var l log
	cfg := testConfig("behave")
	cfg.Workers, cfg.Timeout = 1, 400*time.Millisecond
	cfg.OnEvent = func(e tandem.Event) { l.add(e); events <- e }
	thawed := false
	thaw := func() {
		if !thawed {
			thawed = true
			set("freezer.state", "THAWED")
		}
	}
	defer thaw()
	t.Run("pool", func(t *testing.T) {
		p := started(t, cfg)
		pid := pidOf(t, events)
		item := make(chan *tandem.Task)
		go func() { item <- call(t, p, "sleep 1m") }()
		time.Sleep(100 * time.Millisecond)
		set("cgroup.procs", strconv.Itoa(pid))
		set("freezer.state", "FROZEN")
		if task := <-item; task.Result.Outcome != tandem.TimedOut {
			t.Errorf("%s %v", task.Result.Outcome, task.Result.Err)
		}
		if task := call(t, p, "next"); task.Result.Outcome != tandem.OK {
			t.Errorf("its place is not filled: %v", task.Result.Err)
		}
		l.wait(t, "unkillable", "", 1)
		if s := p.State(); s.Crashes != 1 {
			t.Errorf("%+v", s)
		}
	})
	thaw() // the pool has ended while it was frozen
}
