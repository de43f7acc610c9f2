package proc

import (
	"bufio"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// hierarchy is a mounted tree of control groups, and the group in it that ours are made in.
type hierarchy struct {
	version     int
	top         string    // where it is mounted
	dir         string    // our own group, or one above it, that groups are made in
	controllers []string  // memory, cpu, pids: what groups below dir can be told
	fault       error     // why some cannot
	outer       bool      // dir is above our own
	name        string    // of this process's group in it
	self        *runGroup // where this process has moved; nil when it stays where it was
}

// groups keeps this process's place in each hierarchy. It is found at the first program that wants a group.
var groups struct {
	mu    sync.Mutex
	found bool
	trees []*hierarchy
	runs  map[*hierarchy]*runGroup
}

// runGroup is the group of this process, above those of its programs. It is locked as long as this process lives: who finds it unlocked may remove it.
type runGroup struct {
	dir  string
	lock *os.File
	live int
	next int
}

var limiting = []string{"memory", "cpu", "pids"}

// findHierarchies reads where groups are mounted and where we are in them. root is put in front of every path, for tests.
func findHierarchies(root string) (list []*hierarchy) {
	own := map[string]string{} // by controllers as they are mounted; "" for version 2
	if f, err := os.Open(root + "/proc/self/cgroup"); err == nil {
		for s := bufio.NewScanner(f); s.Scan(); {
			if part := strings.SplitN(s.Text(), ":", 3); len(part) == 3 {
				for c := range strings.SplitSeq(part[1], ",") {
					own[c] = part[2]
				}
			}
		}
		f.Close()
	}
	f, err := os.Open(root + "/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		// 31 24 0:27 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
		before, after, ok := strings.Cut(s.Text(), " - ")
		at, kind := strings.Fields(before), strings.Fields(after)
		if !ok || len(at) < 5 || len(kind) < 3 {
			continue
		}
		h := &hierarchy{version: 2}
		name := ""
		switch kind[0] {
		case "cgroup":
			h.version = 1
			for o := range strings.SplitSeq(kind[2], ",") {
				if slices.Contains(limiting, o) {
					h.controllers, name = append(h.controllers, o), o
				}
			}
			if h.controllers == nil {
				continue
			}
		case "cgroup2":
		default:
			continue
		}
		path, known := own[name]
		if !known {
			continue
		}
		// A container's mount may begin at its own group.
		h.top = root + at[4]
		h.dir = filepath.Join(h.top, path)
		if rel, ok := strings.CutPrefix(path, at[3]); ok && at[3] != "/" {
			h.dir = filepath.Join(root+at[4], rel)
		}
		if _, err := os.Stat(h.dir); err != nil {
			h.dir = root + at[4]
		}
		list = append(list, h)
	}
	return list
}

// open finds what groups below a hierarchy's own can be told. In version 2 a group that gives to others what it has must not have members: so this process moves into a
// group of its own, when there is nobody beside it; else the nearest group above is taken that can be had, as long as that takes nothing from the limits that we are under.
func (h *hierarchy) open() {
	if h.version == 1 {
		return
	}
	h.give()
	above := func() bool { return errors.Is(h.fault, unix.EBUSY) || h.fault == nil && len(h.controllers) == 0 }
	for dir := h.dir; above() && h.top != "" && strings.HasPrefix(dir, h.top+"/") && !limited(dir); {
		dir = filepath.Dir(dir)
		next := hierarchy{version: 2, top: h.top, dir: dir, outer: true}
		if next.give(); len(next.controllers) > 0 {
			h.dir, h.controllers, h.fault = dir, next.controllers, next.fault
		} else if next.fault != nil && !errors.Is(next.fault, unix.EBUSY) {
			return
		}
	}
}

// limited tells whether a group holds its members to anything.
func limited(dir string) bool {
	for file, none := range map[string]string{"memory.max": "max", "memory.high": "max", "memory.swap.max": "max", "cpu.max": "max ", "pids.max": "max", "io.max": "", "cpuset.cpus": "", "cgroup.freeze": "0"} {
		b, err := os.ReadFile(filepath.Join(dir, file))
		if said := strings.TrimSuffix(string(b), "\n"); err == nil && said != none && (none != "max " || !strings.HasPrefix(said, none)) {
			return true
		}
	}
	return false
}

// give lets groups below dir have what it has.
func (h *hierarchy) give() {
	b, err := os.ReadFile(h.dir + "/cgroup.controllers")
	if err != nil {
		h.fault = err
		return
	}
	has := strings.Fields(string(b))
	var want, given []string
	b, _ = os.ReadFile(h.dir + "/cgroup.subtree_control")
	for _, c := range limiting {
		switch {
		case slices.Contains(strings.Fields(string(b)), c):
			given = append(given, c)
		case slices.Contains(has, c):
			want = append(want, c)
		}
	}
	if len(want)+len(given) == 0 {
		return
	}
	for range 5 { // what is forked meanwhile is moved in the next round
		if h.occupied() {
			if err = unix.EBUSY; h.outer {
				break
			}
			if err = h.stepAside(); err != nil {
				break
			}
			err = unix.EBUSY
			continue
		}
		if err = nil; len(want) == 0 {
			break
		}
		if err = os.WriteFile(h.dir+"/cgroup.subtree_control", []byte("+"+strings.Join(want, " +")), 0); err == nil {
			given = append(given, want...)
			break
		}
		if !errors.Is(err, unix.EBUSY) { // one of them, perhaps: cpu is refused while anything runs in real time
			for _, c := range want {
				if os.WriteFile(h.dir+"/cgroup.subtree_control", []byte("+"+c), 0) == nil {
					given = append(given, c)
				}
			}
			break
		}
	}
	if errors.Is(err, unix.EBUSY) {
		given = nil // what has members and gives to groups below makes them groups of threads, which no process can enter
	}
	h.controllers, h.fault = given, err
}

// occupied tells whether a group has members, but for the root of all, which may.
func (h *hierarchy) occupied() bool {
	if _, err := os.Stat(h.dir + "/cgroup.type"); err != nil {
		return false
	}
	b, err := os.ReadFile(h.dir + "/cgroup.procs")
	return err != nil || len(b) > 0
}

// stepAside moves this process and what it has started out of its group into one below, when nobody else is in it.
func (h *hierarchy) stepAside() error {
	b, err := os.ReadFile(h.dir + "/cgroup.procs")
	if err != nil {
		return err
	}
	ours := map[string]bool{}
	for list := []int{os.Getpid()}; len(list) > 0; list = list[1:] {
		ours[itoa(list[0])] = true
		list = append(list, children(list[0])...)
	}
	members := strings.Fields(string(b))
	if slices.ContainsFunc(members, func(pid string) bool { return !ours[pid] }) {
		return unix.EBUSY // others would be moved with us, or cannot be seen
	}
	if h.self == nil {
		if h.self, err = newRunGroup(h, "self"); err != nil {
			return err
		}
	}
	for _, pid := range members {
		if err := os.WriteFile(h.self.dir+"/cgroup.procs", []byte(pid), 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}

// treeOf finds the hierarchy that can be told c, or why there is none.
func treeOf(c string) (*hierarchy, error) {
	groups.mu.Lock()
	defer groups.mu.Unlock()
	if !groups.found {
		groups.found, groups.runs = true, map[*hierarchy]*runGroup{}
		groups.trees = findHierarchies("")
		for _, h := range groups.trees {
			h.open()
		}
	}
	var fault error = unix.ENOENT
	for _, h := range groups.trees {
		if slices.Contains(h.controllers, c) || c == "" && h.version == 2 {
			return h, nil
		}
		if h.fault != nil {
			fault = h.fault
		}
	}
	return nil, fault
}

// group is the control group of one program, in one or several hierarchies.
type group struct {
	parts  []part
	memory int64 // its limit
}

type part struct {
	h     *hierarchy
	dir   string
	procs *os.File // its list of members
	what  []string // what it limits
}

// newGroup makes a group with these limits; cpu in processors. What it cannot hold is in lacks, and the rest holds.
func newGroup(memory int64, cpu float64, pids int) (g *group, lacks map[string]error) {
	g, lacks = &group{}, map[string]error{}
	for _, c := range []struct {
		what string
		want bool
		set  func(p part) error
	}{
		{"memory", memory > 0, func(p part) error { return p.setMemory(memory) }},
		{"cpu", cpu > 0, func(p part) error { return p.setCPU(cpu) }},
		{"pids", pids > 0, func(p part) error { return write(p.dir+"/pids.max", int64(pids)) }},
	} {
		if !c.want {
			continue
		}
		err := lacking("cgroup:" + c.what)
		if err == nil {
			var h *hierarchy
			if h, err = treeOf(c.what); err == nil {
				var p *part
				if p, err = g.in(h); err == nil {
					if err = c.set(*p); err == nil {
						p.what = append(p.what, c.what)
					}
				}
			}
		}
		if err != nil {
			lacks[c.what] = err
		}
	}
	if memory > 0 && lacks["memory"] == nil {
		g.memory = memory
	}
	for i := len(g.parts) - 1; i >= 0; i-- {
		if len(g.parts[i].what) == 0 {
			g.parts[i].drop()
			g.parts = slices.Delete(g.parts, i, i+1)
		}
	}
	if len(g.parts) == 0 {
		g = nil
	}
	return g, lacks
}

// in is the part of g in a hierarchy.
func (g *group) in(h *hierarchy) (*part, error) {
	for i := range g.parts {
		if g.parts[i].h == h {
			return &g.parts[i], nil
		}
	}
	groups.mu.Lock()
	defer groups.mu.Unlock()
	var err error
	for range 3 { // somebody may have removed the run's group between its making and its locking
		r := groups.runs[h]
		if r == nil {
			if r, err = newRunGroup(h, "run"); err != nil {
				return nil, err
			}
			groups.runs[h] = r
			sweepGroups(h.dir)
		}
		r.next++
		dir := filepath.Join(r.dir, itoa(r.next))
		if err = os.Mkdir(dir, 0o755); err == nil {
			var procs *os.File
			if procs, err = os.OpenFile(h.members(dir), os.O_WRONLY, 0); err == nil {
				r.live++
				g.parts = append(g.parts, part{h: h, dir: dir, procs: procs})
				return &g.parts[len(g.parts)-1], nil
			}
			_ = os.Remove(dir)
		}
		if !errors.Is(err, os.ErrNotExist) {
			break
		}
		r.lock.Close()
		delete(groups.runs, h)
	}
	return nil, err
}

// members is the list of a group that a process joins by. In version 1 it is the list of threads: a process that has but one and writes itself into it moves
// at once, where cgroup.procs first waits until nobody on the machine forks, for which the kernel needs an RCU grace period of 5 to 25 ms.
func (h *hierarchy) members(dir string) string {
	if tasks := dir + "/tasks"; h.version == 1 {
		if _, err := os.Stat(tasks); err == nil {
			return tasks
		}
	}
	return dir + "/cgroup.procs"
}

func write(file string, n int64) error { return os.WriteFile(file, []byte(itoa(int(n))), 0) }

func (p part) setMemory(n int64) error {
	if p.h.version == 1 {
		if err := write(p.dir+"/memory.limit_in_bytes", n); err != nil {
			return err
		}
		if err := write(p.dir+"/memory.memsw.limit_in_bytes", n); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, os.ErrPermission) {
			return err
		}
		return nil
	}
	if err := write(p.dir+"/memory.max", n); err != nil {
		return err
	}
	_ = write(p.dir+"/memory.swap.max", 0)  // not there without swap
	_ = write(p.dir+"/memory.oom.group", 1) // not there before 4.19
	return nil
}

func (p part) setCPU(cores float64) error {
	const period = 100_000
	quota := max(int64(cores*period), 1000)
	if p.h.version == 1 {
		if err := write(p.dir+"/cpu.cfs_period_us", period); err != nil {
			return err
		}
		return write(p.dir+"/cpu.cfs_quota_us", quota)
	}
	return os.WriteFile(p.dir+"/cpu.max", []byte(itoa(int(quota))+" "+itoa(period)), 0)
}
