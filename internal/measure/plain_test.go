package measure

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"tandem/internal/advise"
)

// A kernel without schedstat: less is known, and it is said.
func TestWithoutSchedstat(t *testing.T) {
	for _, c := range []struct {
		cmd   []string
		bound advise.Bound
	}{
		{[]string{"sleep", "1"}, advise.BoundSleep},
		{[]string{"sh", "-c", "i=0; while [ $i -lt 1500000 ]; do i=$((i+1)); done"}, advise.BoundCPU},
	} {
		cmd := exec.Command(c.cmd[0], c.cmd[1:]...)
		begun := time.Now()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		tree := newTree(cmd.Process.Pid, begun, TreeConfig{})
		tree.setPlain(true)
		tree.find(cmd.Process.Pid, nil)
		stop, ended := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			tree.Watch(stop)
		}()
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		close(stop)
		<-ended
		m := tree.End(nil)
		v := advise.Judge(m)
		if v.Bound != c.bound && v.Confidence == advise.High {
			t.Errorf("%s: surely %s\n%+v", c.cmd, v.Bound, v.Split)
		}
		if notes := strings.Join(m.Notes, "\n"); !strings.Contains(notes, "no schedstat") {
			t.Errorf("the notes do not say what is missing: %s", notes)
		}
		for _, th := range m.Threads {
			if th.Queue > th.Life/2 && c.bound == advise.BoundSleep {
				t.Errorf("a run queue was made up: %+v", th)
			}
		}
	}
}

func TestCallsAreRead(t *testing.T) {
	for _, c := range []struct {
		text string
		want call
	}{
		{"230 0x0 0x1 0x7ffe967c29c0 0x7ffe967c2a00 0x0 0xff 0x7ffe967c29a8 0x7f31d73f4503\n", call{230, [6]uint64{0, 1, 0x7ffe967c29c0, 0x7ffe967c2a00, 0, 255}, true}},
		{"-1 0x7ffe967c29a8 0x7f31d73f4503\n", call{}},
		{"running\n", call{}},
		{"", call{}},
		{"x 1 2 3 4 5 6 7 8", call{}},
	} {
		if got := parseCall([]byte(c.text)); got != c.want {
			t.Errorf("%q: %+v, want %+v", c.text, got, c.want)
		}
	}
}

func TestAddressesOfTheKernel(t *testing.T) {
	for text, want := range map[string]string{
		"0100007F:1F90":                         "127.0.0.1:8080",
		"00000000000000000000000001000000:0050": "[::1]:80",
		"0000000000000000FFFF00000100007F:0050": "127.0.0.1:80",
		"B80D0120000000000000000001000000:01BB": "[2001:db8::1]:443",
	} {
		if got := address(text).String(); got != want {
			t.Errorf("%s is %s, want %s", text, got, want)
		}
	}
	for _, bad := range []string{"", "x", "0100007F", "01:02", "0100:0050"} {
		if address(bad).IsValid() {
			t.Errorf("%q is an address", bad)
		}
	}
}

func TestThrottledTimeOfAGroup(t *testing.T) {
	at := plant(t, map[string]string{
		"v2/cpu.stat": "usage_usec 5\nnr_periods 10\nnr_throttled 4\nthrottled_usec 1500000\n",
		"v1/cpu.stat": "nr_periods 10\nnr_throttled 4\nthrottled_time 2500000000\n",
		"no/cpu.stat": "usage_usec 5\n",
	})
	dir := strings.TrimSuffix(at.proc, "proc")
	for name, want := range map[string]time.Duration{"v2": 1500 * time.Millisecond, "v1": 2500 * time.Millisecond, "no": 0, "absent": 0} {
		if got := throttled(dir + name + "/cpu.stat"); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	th := throttle{files: []string{dir + "v2/cpu.stat", dir + "v1/cpu.stat"}, begun: map[string]time.Duration{dir + "v2/cpu.stat": time.Second, dir + "v1/cpu.stat": 2400 * time.Millisecond}}
	if got := th.held(); got != 500*time.Millisecond {
		t.Errorf("held back %v", got)
	}
}

func TestLabel(t *testing.T) {
	for want, argv := range map[string][]string{
		"python3 slow.py":            {"/usr/bin/python3", "-u", "/srv/slow.py", "1"},
		"true":                       {"true"},
		"sh a…":                      {"sh", "-c", "a\nb"},
		"x aaaaaaaaaaaaaaaaaaaaaaa…": {"x", strings.Repeat("a", 50)},
		"ls -l"[:2]:                  {"/bin/ls", "-l"},
	} {
		if got := Label(argv); got != want {
			t.Errorf("%q: %q, want %q", argv, got, want)
		}
	}
}
