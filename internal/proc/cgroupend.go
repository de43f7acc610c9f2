package proc

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const groupPrefix = "tandem-"

// newRunGroup makes and locks a group below ours.
func newRunGroup(h *hierarchy, kind string) (*runGroup, error) {
	if h.name == "" {
		h.name = rand.Text()[:12]
	}
	dir := filepath.Join(h.dir, groupPrefix+kind+"-"+h.name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		h.name = ""
		return nil, err
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if _, err := Lock(f); err != nil {
		f.Close()
		_ = os.Remove(dir)
		return nil, err
	}
	if h.version == 2 && len(h.controllers) > 0 && kind == "run" {
		if err := os.WriteFile(dir+"/cgroup.subtree_control", []byte("+"+strings.Join(h.controllers, " +")), 0); err != nil {
			f.Close()
			_ = os.Remove(dir)
			return nil, err
		}
	}
	return &runGroup{dir: dir, lock: f}, nil
}

// sweepGroups ends and removes what dead runs have left below dir; it says what it found.
func sweepGroups(dir string) (found []string) {
	list, _ := filepath.Glob(filepath.Join(dir, groupPrefix+"*"))
	for _, d := range list {
		f, err := os.Open(d)
		if err != nil {
			continue
		}
		if flock(f, unix.LOCK_EX|unix.LOCK_NB) == nil { // nobody's; who holds the others' we need not know, and reading it takes the kernel 10 ms
			found = append(found, d)
			removeTree(d)
		}
		f.Close()
	}
	return found
}

// removeTree kills what is in a group and the groups below, and removes them.
func removeTree(dir string) {
	emptyGroup(dir)
	removeBelow(dir)
	_ = os.Remove(dir)
}

// removeBelow removes the groups below one: who may write to a program's group, as root may and who has it delegated, may make some.
func removeBelow(dir string) {
	list, _ := filepath.Glob(dir + "/*/cgroup.procs")
	for _, b := range list {
		removeTree(filepath.Dir(b))
	}
}

// killGroup kills every member of a group and, in version 2, of those below: at once where the kernel can, else those that are there now.
func killGroup(dir string) (alive bool) {
	b, err := os.ReadFile(dir + "/cgroup.procs")
	if err != nil {
		return false
	}
	if events, err := os.ReadFile(dir + "/cgroup.events"); err == nil && !strings.Contains(string(events), "populated 1") || err != nil && len(b) == 0 {
		return false
	}
	if os.WriteFile(dir+"/cgroup.kill", []byte("1"), 0) == nil {
		return true
	}
	_ = write(dir+"/pids.max", 0) // where it is held so, nothing is born meanwhile
	for pid := range strings.FieldsSeq(string(b)) {
		n, err := strconv.Atoi(pid)
		if err != nil || n <= 0 {
			continue
		}
		// The descriptor first: then it is a member, and not somebody who got its number.
		fd, err := unix.PidfdOpen(n, 0)
		if err != nil {
			continue
		}
		if memberOf(dir, pid) {
			_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		}
		_ = unix.Close(fd)
	}
	below, _ := filepath.Glob(dir + "/*/cgroup.procs")
	for _, b := range below {
		killGroup(filepath.Dir(b))
	}
	return true
}

func memberOf(dir, pid string) bool {
	b, err := os.ReadFile(dir + "/cgroup.procs")
	if err != nil {
		return false
	}
	for p := range strings.FieldsSeq(string(b)) {
		if p == pid {
			return true
		}
	}
	return false
}

// emptyGroup kills until nothing is left, for a second at most.
func emptyGroup(dir string) {
	for end := time.Now().Add(time.Second); killGroup(dir) && time.Now().Before(end); {
		time.Sleep(2 * time.Millisecond)
	}
}

// Counted is what a program's control group says after its end; the zero value says that it had none.
type Counted struct {
	MemoryLimit int64 // bytes
	MemoryPeak  int64 // bytes; 0 where it is not shown
	MemoryKills int64 // processes that the kernel killed in it for memory
	Throttled   time.Duration
	PIDsRefused int64 // times that a process or thread was not made
}

const hugePage = 2 << 20 // what did not fit may have been as large

// counted reads a group.
func (g *group) counted() (c Counted) {
	c.MemoryLimit = g.memory
	for _, p := range g.parts {
		for _, what := range p.what {
			switch {
			case what == "memory" && p.h.version == 1:
				c.MemoryPeak = numberIn(p.dir+"/memory.max_usage_in_bytes", "")
				if c.MemoryPeak >= c.MemoryLimit-hugePage { // memory.failcnt would say that the limit was reached, but some kernels do not count there
					c.MemoryKills = numberIn(p.dir+"/memory.oom_control", "oom_kill")
				}
			case what == "memory":
				c.MemoryPeak = numberIn(p.dir+"/memory.peak", "") // not before 5.19
				if numberIn(p.dir+"/memory.events", "oom") > 0 {  // else it was killed for the limit of a group above, or the whole machine's memory
					c.MemoryKills = numberIn(p.dir+"/memory.events", "oom_kill")
				}
			case what == "cpu" && p.h.version == 1:
				c.Throttled = time.Duration(numberIn(p.dir+"/cpu.stat", "throttled_time"))
			case what == "cpu":
				c.Throttled = time.Duration(numberIn(p.dir+"/cpu.stat", "throttled_usec")) * time.Microsecond
			case what == "pids":
				c.PIDsRefused = numberIn(p.dir+"/pids.events", "max")
			}
		}
	}
	return c
}

// numberIn is the number after a name in a file of the kernel, or in a file that is a number; 0 when it is not there.
func numberIn(file, name string) int64 {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if name != "" {
			rest, ok := strings.CutPrefix(line, name+" ")
			if !ok {
				continue
			}
			line = rest
		}
		if n, err := strconv.ParseInt(line, 10, 64); err == nil {
			return n
		}
	}
	return 0
}

// remove ends what is still in the group and takes it away, and the run's group with the last.
func (g *group) remove() {
	for _, p := range g.parts {
		p.drop()
	}
	g.parts = nil
}

func (p part) drop() {
	p.procs.Close()
	// What has just ended is a member for a moment longer.
	for i := range 500 {
		err := os.Remove(p.dir)
		if err == nil || os.IsNotExist(err) {
			break
		}
		if i >= 5 {
			killGroup(p.dir)
			removeBelow(p.dir)
		}
		time.Sleep(time.Duration(min(i+1, 10)) * 200 * time.Microsecond)
	}
	groups.mu.Lock()
	defer groups.mu.Unlock()
	r := groups.runs[p.h]
	if r == nil || filepath.Dir(p.dir) != r.dir {
		return
	}
	if r.live--; r.live == 0 && os.Remove(r.dir) == nil {
		r.lock.Close()
		delete(groups.runs, p.h)
	}
}

// runs are the groups of this process that the parts of g lie in.
func (g *group) runs() (dirs []string) {
	for _, p := range g.parts {
		dirs = append(dirs, filepath.Dir(p.dir))
	}
	return dirs
}
