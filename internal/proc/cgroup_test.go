package proc

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Where groups are mounted and where we are in them is read as different machines write it.
func TestHierarchiesAreFound(t *testing.T) {
	for name, c := range map[string]struct {
		cgroup, mounts string
		dirs           []string
		want           string
	}{
		"version 2": {"0::/user.slice/x.scope\n", "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n", []string{"/sys/fs/cgroup/user.slice/x.scope"}, "2 /sys/fs/cgroup/user.slice/x.scope []"},
		"version 1": {"4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n1:name=systemd:/\n", "31 24 0:27 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n32 24 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n33 24 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n",
			[]string{"/sys/fs/cgroup/memory", "/sys/fs/cgroup/cpu,cpuacct/docker/abc"}, "1 /sys/fs/cgroup/memory [memory], 1 /sys/fs/cgroup/cpu,cpuacct/docker/abc [cpu]"},
		"both": {"4:pids:/\n0::/\n", "31 24 0:27 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n30 23 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
			[]string{"/sys/fs/cgroup/pids", "/sys/fs/cgroup/unified"}, "1 /sys/fs/cgroup/pids [pids], 2 /sys/fs/cgroup/unified []"},
		"a namespace of its own": {"0::/../../elsewhere\n", "30 23 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup ro\n", []string{"/sys/fs/cgroup"}, "2 /sys/fs/cgroup []"},
		"nothing":                {"", "broken\n1 2 3\n", nil, ""},
	} {
		root := t.TempDir()
		for _, d := range append(c.dirs, "/proc/self") {
			if err := os.MkdirAll(root+d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		_ = os.WriteFile(root+"/proc/self/cgroup", []byte(c.cgroup), 0o644)
		_ = os.WriteFile(root+"/proc/self/mountinfo", []byte(c.mounts), 0o644)
		var got []string
		for _, h := range findHierarchies(root) {
			got = append(got, fmt.Sprint(h.version, strings.TrimPrefix(h.dir, root), h.controllers))
		}
		if want := strings.NewReplacer("2 /", "2/", "1 /", "1/", "] ", "]", " [", "[").Replace(c.want); strings.NewReplacer(" [", "[").Replace(strings.Join(got, ", ")) != want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// What is written and read in version 2, where this machine may have no such controllers.
func TestVersionTwoFiles(t *testing.T) {
	dir := t.TempDir()
	p := part{h: &hierarchy{version: 2}, dir: dir, what: []string{"memory", "cpu", "pids"}}
	if err := p.setMemory(64 << 20); err != nil {
		t.Fatal(err)
	}
	if err := p.setCPU(0.5); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"memory.max": "67108864", "memory.swap.max": "0", "memory.oom.group": "1", "cpu.max": "50000 100000"} {
		if b, err := os.ReadFile(filepath.Join(dir, file)); string(b) != want {
			t.Errorf("%s: %q %v, want %q", file, b, err, want)
		}
	}
	for file, text := range map[string]string{"memory.events": "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 1\n", "memory.peak": "67108864\n", "cpu.stat": "usage_usec 5\nthrottled_usec 1500\n", "pids.events": "max 4\n"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	g := group{parts: []part{p}, memory: 64 << 20}
	if c := g.counted(); c != (Counted{64 << 20, 64 << 20, 2, 1500 * time.Microsecond, 4}) {
		t.Errorf("%+v", c)
	}
	// Killed for somebody else's want of memory: this group's limit was not reached.
	if err := os.WriteFile(filepath.Join(dir, "memory.events"), []byte("max 0\noom 0\noom_kill 2\noom_group_kill 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if c := g.counted(); c.MemoryKills != 0 {
		t.Errorf("%+v", c)
	}
}

// unifiedRoot is where version 2 is mounted.
func unifiedRoot() string {
	for _, h := range findHierarchies("") {
		if h.version == 2 {
			return h.top
		}
	}
	return "/no/such"
}

// unified is a group in a bare hierarchy of version 2.
func unified(t *testing.T) string {
	t.Helper()
	root := unifiedRoot()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED, NOT TESTED: only root can delegate a group")
	}
	dir := root + "/test-" + itoa(os.Getpid())
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skip("SKIPPED, NOT TESTED: no version 2: ", err)
	}
	t.Cleanup(func() {
		below, _ := filepath.Glob(dir + "/*")
		for _, b := range below {
			removeTree(b)
		}
		emptyGroup(dir)
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// Without namespaces, and where groups can be made: a program that nobody limits has one, too, and by it the tree is killed when shim and warden are.
func TestAGroupKillsTheTree(t *testing.T) {
	w := everybody[2]
	a := w.run(t, "")
	a.ready(w)
	a.line("started")
	a.settle(4)
	// The program is in a group of version 2, although nobody asked for a limit: by it the next run, or the warden, ends what is left.
	group := groupOf(t, a.parts()["worker"])
	if !strings.Contains(group, groupPrefix+"run-") {
		a.kill()
		t.Skipf("SKIPPED, NOT TESTED: it is in %q", group)
	}
	found := a.parts()
	_ = syscall.Kill(found["warden"], syscall.SIGSTOP) // or it may be the quicker one
	for _, part := range []string{"shim", "warden"} {
		_ = syscall.Kill(found[part], syscall.SIGKILL)
	}
	a.line("ended")
	a.settle(0) // what the level does not promise, the group gives: the application was there to kill it
	a.kill()
	if left := a.vanished(); left != nil {
		t.Error(left)
	}
	if _, err := os.Stat(unifiedRoot() + group); err == nil {
		t.Errorf("%s is left", group)
	}
}

func groupOf(t *testing.T, pid int) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "0::"); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// A process in a delegated group gives its controllers to groups below only after it has left it, and does not move others.
func TestStepAside(t *testing.T) {
	top := unifiedRoot() + "/"
	b, _ := os.ReadFile(top + "cgroup.controllers")
	list := strings.Fields(string(b))
	if len(list) == 0 || os.Geteuid() != 0 {
		t.Skip("SKIPPED, NOT TESTED: version 2 has no controllers here, or they are not ours to give")
	}
	before, _ := os.ReadFile(top + "cgroup.subtree_control")
	if !slices.Contains(strings.Fields(string(before)), list[0]) {
		if err := os.WriteFile(top+"cgroup.subtree_control", []byte("+"+list[0]), 0); err != nil {
			t.Skip("SKIPPED, NOT TESTED: ", err)
		}
		t.Cleanup(func() { _ = os.WriteFile(top+"cgroup.subtree_control", []byte("-"+list[0]), 0) }) // when the group below is gone
	}
	dir := unified(t)
	former := limiting
	limiting = []string{list[0]}
	home := groupOf(t, os.Getpid())
	defer func() {
		limiting = former
		_ = os.WriteFile(unifiedRoot()+home+"/cgroup.procs", []byte("0"), 0)
	}()
	other := exec.Command("sleep", "60")
	other.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := os.WriteFile(dir+"/cgroup.procs", []byte("0"), 0); err != nil {
		t.Fatal(err)
	}
	outsider := exec.Command("sh", "-c", "setsid sleep 60 >/dev/null 2>&1 & echo $!") // its parent ends: it is nobody's child of ours
	out, err := outsider.Output()
	if err != nil {
		t.Fatal(err)
	}
	h := &hierarchy{version: 2, dir: dir}
	if h.open(); h.fault != unix.EBUSY || h.self != nil {
		t.Errorf("with somebody else in the group: %v", h.fault)
	}
	var pid int
	_, _ = fmt.Sscan(string(out), &pid)
	_ = syscall.Kill(pid, syscall.SIGKILL)
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Process.Kill(); _ = other.Wait() }()
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if h = (&hierarchy{version: 2, dir: dir}); !memberOf(dir, itoa(pid)) {
			break
		}
	}
	h.open()
	if h.fault != nil || !slices.Contains(h.controllers, list[0]) || h.self == nil {
		t.Fatalf("%v, %v", h.fault, h.controllers)
	}
	defer h.self.lock.Close()
	if g := groupOf(t, os.Getpid()); !strings.Contains(g, groupPrefix+"self-") || groupOf(t, other.Process.Pid) != g {
		t.Errorf("we are in %q, our child in %q", g, groupOf(t, other.Process.Pid))
	}
	r, err := newRunGroup(h, "run")
	if err != nil {
		t.Fatal(err)
	}
	defer r.lock.Close()
	if b, _ := os.ReadFile(r.dir + "/cgroup.subtree_control"); !strings.Contains(string(b), list[0]) {
		t.Errorf("the run's group gives %q on", b)
	}
}

// Where others share our group, the one above is taken, but not when that takes away a limit.
func TestTheGroupAboveIsTaken(t *testing.T) {
	dir := unified(t)
	if b, _ := os.ReadFile(dir + "/cgroup.controllers"); !slices.Contains(strings.Fields(string(b)), "memory") {
		t.Skip("SKIPPED, NOT TESTED: version 2 has no controllers here")
	}
	inner := dir + "/inner"
	if err := os.Mkdir(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	pid := stranger(t)
	if err := os.WriteFile(inner+"/cgroup.procs", []byte(itoa(pid)), 0); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ file, text, dir string }{{"pids.max", "max", dir}, {"cpu.max", "max 50000", dir}, {"memory.max", "104857600", inner}, {"cpu.max", "50000 100000", inner}, {"pids.max", "100", inner}} {
		if c.dir == inner { // the group above must give it first
			on := []byte("+" + strings.Split(c.file, ".")[0])
			if err := os.WriteFile(dir+"/cgroup.subtree_control", on, 0); err != nil {
				t.Fatal(err)
			}
		}
		was, _ := os.ReadFile(inner + "/" + c.file)
		if was != nil {
			if err := os.WriteFile(inner+"/"+c.file, []byte(c.text), 0); err != nil {
				t.Fatal(c.file, err)
			}
		}
		h := &hierarchy{version: 2, top: unifiedRoot(), dir: inner}
		h.open()
		if h.dir != c.dir || (h.fault == unix.EBUSY) != (c.dir == inner) || h.self != nil {
			t.Errorf("%s %s: groups are made in %s, %v", c.file, c.text, h.dir, h.fault)
		}
		if was != nil {
			if err := os.WriteFile(inner+"/"+c.file, was, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	if groupOf(t, pid) != strings.TrimPrefix(inner, unifiedRoot()) {
		t.Error("a stranger was moved")
	}
}

// stranger is a process that is nobody's child of ours.
func stranger(t *testing.T) (pid int) {
	t.Helper()
	out, err := exec.Command("sh", "-c", "setsid sleep 60 >/dev/null 2>&1 & echo $!").Output()
	if err == nil {
		_, err = fmt.Sscan(string(out), &pid)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	return pid
}

// Who may write to a group may make others in it and hide there. They end, and are removed, with it.
func TestGroupsInAGroup(t *testing.T) {
	dir := unified(t)
	deep := dir + "/run/1/own/deeper"
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{deep, dir + "/run/1"} {
		if err := os.WriteFile(d+"/cgroup.procs", []byte(itoa(stranger(t))), 0); err != nil {
			t.Fatal(err)
		}
	}
	removeTree(dir + "/run")
	if _, err := os.Stat(dir + "/run"); err == nil {
		left, _ := os.ReadFile(deep + "/cgroup.procs")
		t.Errorf("it is left, with %q", left)
	}
}
