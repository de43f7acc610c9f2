package measure

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// plant makes a tree of files for the test. A file whose text is empty is not there.
func plant(t *testing.T, files map[string]string) tree {
	t.Helper()
	dir := t.TempDir()
	at := tree{filepath.Join(dir, "proc"), filepath.Join(dir, "cgroup"), filepath.Join(dir, "online")}
	write(t, dir, files)
	return at
}

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCoresOfATree(t *testing.T) {
	const status = "Name:\ttandem\nCpus_allowed:\tff\nCpus_allowed_list:\t0-7\nMems_allowed_list:\t0\n"
	here := runtime.NumCPU()
	for _, c := range []struct {
		name             string
		files            map[string]string
		effective        int
		affinity, online int
		quota            float64
		source           string // a part of it
	}{
		{"v2", map[string]string{"proc/self/status": status, "online": "0-15\n", "proc/self/cgroup": "0::/app\n", "cgroup/app/cpu.max": "250000 100000\n"}, 3, 8, 16, 2.5, "/app"},
		{"v2 without a limit", map[string]string{"proc/self/status": status, "online": "0-15\n", "proc/self/cgroup": "0::/app\n", "cgroup/app/cpu.max": "max 100000\n"}, 8, 8, 16, 0, "no cgroup quota"},
		{"v2: the limit of a parent holds", map[string]string{"proc/self/status": status, "proc/self/cgroup": "0::/a/b/c\n", "cgroup/a/cpu.max": "100000 100000", "cgroup/a/b/cpu.max": "max 100000", "cgroup/a/b/c/cpu.max": "400000 100000"}, 1, 8, here, 1, "/a"},
		{"v2: the smaller one holds", map[string]string{"proc/self/status": status, "proc/self/cgroup": "0::/a/b\n", "cgroup/a/cpu.max": "600000 100000", "cgroup/a/b/cpu.max": "200000 100000"}, 2, 8, here, 2, "/a/b"},
		{"v2: a path of the host inside a container", map[string]string{"proc/self/status": status, "proc/self/cgroup": "0::/docker/123\n", "cgroup/cpu.max": "300000 100000"}, 3, 8, here, 3, "cgroup"},
		{"v2 beside v1", map[string]string{"proc/self/status": status, "proc/self/cgroup": "1:name=systemd:/x\n0::/app\n", "cgroup/unified/app/cpu.max": "50000 100000"}, 1, 8, here, 0.5, "unified"},
		{"v1", map[string]string{"proc/self/status": status, "proc/self/cgroup": "5:cpuset:/job\n4:cpu,cpuacct:/job\n", "cgroup/cpu,cpuacct/job/cpu.cfs_quota_us": "350000\n", "cgroup/cpu,cpuacct/job/cpu.cfs_period_us": "100000\n"}, 4, 8, here, 3.5, "/job"},
		{"v1 under its short name, limited above", map[string]string{"proc/self/status": status, "proc/self/cgroup": "4:cpu,cpuacct:/a/b\n", "cgroup/cpu/a/cpu.cfs_quota_us": "200000", "cgroup/cpu/a/cpu.cfs_period_us": "100000", "cgroup/cpu/a/b/cpu.cfs_quota_us": "-1", "cgroup/cpu/a/b/cpu.cfs_period_us": "100000"}, 2, 8, here, 2, "/a"},
		{"v1 without a limit", map[string]string{"proc/self/status": status, "proc/self/cgroup": "4:cpu:/\n", "cgroup/cpu/cpu.cfs_quota_us": "-1\n", "cgroup/cpu/cpu.cfs_period_us": "100000\n"}, 8, 8, here, 0, "no cgroup quota"},
		{"affinity below the quota", map[string]string{"proc/self/status": "Cpus_allowed_list:\t2,5\n", "proc/self/cgroup": "0::/\n", "cgroup/cpu.max": "400000 100000"}, 2, 2, here, 4, "cgroup"},
		{"nothing is there", nil, here, here, here, 0, "not readable"},
		{"nothing makes sense", map[string]string{"proc/self/status": "Cpus_allowed_list:\t7-3,x\n", "online": "many", "proc/self/cgroup": "what\n0::/app\n4:cpu:/app\n::\n", "cgroup/app/cpu.max": "lots of it\n", "cgroup/cpu/app/cpu.cfs_quota_us": "1e999", "cgroup/cpu/app/cpu.cfs_period_us": "0"}, here, here, here, 0, "no cgroup quota"},
		{"a quota of nothing is none", map[string]string{"proc/self/status": status, "proc/self/cgroup": "0::/\n", "cgroup/cpu.max": "0 100000"}, 8, 8, here, 0, "no cgroup quota"},
		{"a range without end", map[string]string{"proc/self/status": "Cpus_allowed_list:\t0-99999999999\n"}, here, here, here, 0, "not readable"},
		{"a quota of a hundredth", map[string]string{"proc/self/status": status, "proc/self/cgroup": "0::/\n", "cgroup/cpu.max": "1000 100000"}, 1, 8, here, 0.01, "cgroup"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := plant(t, c.files).find()
			if got.Effective() != c.effective || got.Affinity != c.affinity || got.Online != c.online || got.Quota != c.quota || !strings.Contains(got.Source, c.source) {
				t.Errorf("got %+v, effective %d; want affinity %d, online %d, quota %g, source with %q, effective %d", got, got.Effective(), c.affinity, c.online, c.quota, c.source, c.effective)
			}
		})
	}
}

func TestCountList(t *testing.T) {
	for list, want := range map[string]int{"0": 1, "0-3": 4, "0-3,8": 5, "1,3,5-6": 4, "": 0, "x": 0, "0-": 0, "3-1": 0, "-1": 0, "0,,1": 0} {
		if got := countList(list); got != want {
			t.Errorf("countList(%q) = %d, want %d", list, got, want)
		}
	}
}

// watched gathers what a watch tells, until the test ends; it checks that the watch returns.
func watched(t *testing.T, at tree) <-chan Cores {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	told, ended := make(chan Cores, 100), make(chan struct{})
	go func() {
		defer close(ended)
		at.watch(ctx, 2*time.Millisecond, func(c Cores) { told <- c })
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	time.Sleep(20 * time.Millisecond) // the first look
	return told
}

func next(t *testing.T, told <-chan Cores) Cores {
	t.Helper()
	select {
	case c := <-told:
		return c
	case <-time.After(10 * time.Second):
		t.Fatal("nothing was told")
		return Cores{}
	}
}

func TestWatchTellsWhatChanged(t *testing.T) {
	files := map[string]string{"proc/self/status": "Cpus_allowed_list:\t0-7\n", "proc/self/cgroup": "0::/app\n", "cgroup/app/cpu.max": "max 100000\n"}
	at := plant(t, files)
	dir := filepath.Dir(at.proc)
	told := watched(t, at)
	// Written beside and put in place, as the kernel's files are whole at any time.
	change := func(name, text string) {
		t.Helper()
		write(t, dir, map[string]string{"new": text})
		if err := os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	change("cgroup/app/cpu.max", "300000 100000\n")
	if c := next(t, told); c.Effective() != 3 {
		t.Errorf("after a quota of 3: %v", c)
	}
	change("proc/self/status", "Cpus_allowed_list:\t0-1\n")
	if c := next(t, told); c.Effective() != 2 || c.Affinity != 2 {
		t.Errorf("after an affinity of 2: %v", c)
	}
	change("cgroup/app/cpu.max", "max 100000\n")
	if c := next(t, told); c.Quota != 0 || c.Effective() != 2 {
		t.Errorf("after the quota was lifted: %v", c)
	}
	change("proc/self/status", "Cpus_allowed_list:\t4-5\n") // as many as before
	change("proc/self/status", "Cpus_allowed_list:\t0-7\n")
	if c := next(t, told); c.Effective() != 8 {
		t.Errorf("at the end: %v", c)
	}
	time.Sleep(20 * time.Millisecond)
	if len(told) > 0 {
		t.Errorf("told of %v though nothing changed", <-told)
	}
}

// The real thing: affinity that is changed from outside while we run.
func TestWatchSeesTaskset(t *testing.T) {
	if _, err := exec.LookPath("taskset"); err != nil {
		t.Skip("no taskset here")
	}
	before := FindCores()
	if before.Affinity < 2 {
		t.Skipf("one processor: %v", before)
	}
	taskset := func(list string) {
		t.Helper()
		if out, err := exec.Command("taskset", "-pc", list, strconv.Itoa(os.Getpid())).CombinedOutput(); err != nil {
			t.Fatalf("taskset: %v\n%s", err, out)
		}
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(status), "Cpus_allowed_list:")
	list = strings.TrimSpace(strings.SplitN(list, "\n", 2)[0])
	t.Cleanup(func() { taskset(list) })
	told := watched(t, machine)
	first, _, _ := strings.Cut(strings.ReplaceAll(list, "-", ","), ",")
	taskset(first)
	if c := next(t, told); c.Affinity != 1 || c.Effective() != 1 {
		t.Errorf("on one processor: %v", c)
	}
	taskset(list)
	if c := next(t, told); c.Affinity != before.Affinity {
		t.Errorf("on all again: %v, before %v", c, before)
	}
}

func FuzzCountList(f *testing.F) {
	for _, s := range []string{"0-3,8", "x", "1-", "0-65536", "-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n := countList(s); n < 0 {
			t.Errorf("countList(%q) = %d", s, n)
		}
	})
}
