package evidence

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tandem"
)

// until looks at a process until its main thread is in a state, and says what holds it then.
func until(t *testing.T, pid int, state string) []tandem.Evidence {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if all := Threads(pid); len(all) > 0 && all[0].State == state {
			return Holds(all)
		}
	}
	t.Fatalf("process %d does not come to state %s: %+v", pid, state, Threads(pid))
	return nil
}

func TestWhatHoldsAProcessIsTold(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	if got := until(t, pid, "S"); got != nil {
		t.Errorf("asleep is held by nothing, got %+v", got)
	}
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if got := until(t, pid, "T"); len(got) != 1 || !strings.HasPrefix(got[0].Says, "stopped by a signal") {
		t.Errorf("stopped: %+v", got)
	}
	if got := Holds(nil); got != nil {
		t.Errorf("nobody: %+v", got)
	}
}

// What traces a process holds it, and is named.
func TestATracedProcessNamesItsTracer(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("SKIPPED, NOT TESTED: needs strace")
	}
	cmd := exec.Command(strace, "-qq", "-o", "/dev/null", "sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		b, _ := os.ReadFile(filepath.Join("/proc", itoa(cmd.Process.Pid), "task", itoa(cmd.Process.Pid), "children"))
		if pids := strings.Fields(string(b)); len(pids) > 0 {
			n := 0
			for _, c := range pids[0] {
				n = n*10 + int(c-'0')
			}
			if got := Holds(Threads(n)); len(got) == 1 && got[0].Says == "traced by process "+itoa(cmd.Process.Pid)+" (strace)" {
				_ = syscall.Kill(n, syscall.SIGKILL)
				return
			} else if time.Now().After(end) {
				t.Fatalf("got %+v", got)
			}
		} else if time.Now().After(end) {
			t.Fatal("strace starts nothing")
		}
	}
}

// A frozen process does not take SIGKILL before it is thawed. It needs root and the freezer of cgroup v1.
func TestAFrozenProcessNamesItsGroup(t *testing.T) {
	dir, err := os.MkdirTemp("/sys/fs/cgroup/freezer", "tandem-evidence-")
	if err != nil {
		t.Skip("SKIPPED, NOT TESTED: no freezer here: ", err)
	}
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	set := func(file, value string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, file), []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
	defer func() {
		set("freezer.state", "THAWED")
		_ = cmd.Wait()
		for end := time.Now().Add(5 * time.Second); os.Remove(dir) != nil && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		}
	}()
	set("cgroup.procs", itoa(cmd.Process.Pid))
	set("freezer.state", "FROZEN")
	_ = cmd.Process.Kill()
	got := until(t, cmd.Process.Pid, "D")
	if len(got) != 2 || !strings.HasPrefix(got[0].Says, "frozen with the control group /tandem-evidence-") || got[0].From != filepath.Join(dir, "freezer.state") || got[1].Says != "SIGKILL is pending" {
		t.Errorf("got %+v", got)
	}
}

func TestWhatIsStillThereIsNoExit(t *testing.T) {
	var c tandem.Crash
	Judge(Death{Exit: Exit{Code: -1}, Alive: true, Killed: "an item ran longer than 3s", As: tandem.ExitTimeout}, &c)
	if c.Reason != tandem.ExitUnkillable || c.Confidence != tandem.Proven || c.What != "killed, and still there" || c.Why != "an item ran longer than 3s" {
		t.Errorf("%+v", c)
	}
	for _, e := range c.Evidence {
		if e.From == "wait status" {
			t.Errorf("nobody has waited for it: %+v", e)
		}
	}
}

// The thread dump and the report are of a real machine, openjdk 17.
func TestAJavaMachineIsUnderstood(t *testing.T) {
	dump := capture(t, "java_dump")
	if s := Hung("what the program wrote before\n" + dump); s == nil || s.Language != "java" || s.Kind != "hung" || Where(s) != "Fault.main (Fault.java:31)" || strings.Contains(s.Text, "VM Thread") {
		t.Errorf("%+v", s)
	}
	said := capture(t, "java_hserr_said")
	report := []byte(capture(t, "java_hserr"))
	find := func() *tandem.Stack { return Find(said, aborted) }
	read := func(path string, _ int64) []byte {
		if path != "/job/hs_err.log" {
			t.Errorf("it reads %s", path)
		}
		return report
	}
	s := find()
	JavaReport(s, "/job", read)
	if s.Function != "Fault.main" || !strings.Contains(s.Text, "Java frames:") {
		t.Errorf("%+v", s)
	}
	report = []byte(strings.Replace(string(report), "pid=", "pid=9", 1)) // of another process
	s = find()
	JavaReport(s, "/job", read)
	if s.Function == "Fault.main" || strings.Contains(s.Text, "Java frames:") {
		t.Errorf("a report of another process is believed: %+v", s)
	}
	report = []byte("root:x:0:0\n")
	JavaReport(find(), "/job", read)
	JavaReport(nil, "/job", read)
}
