package faults

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is one that was seen, by number and by when it began, so that a number that is used again is another one.
type process struct {
	pid   int
	begun string
}

type seen struct {
	parent int
	name   string
	dying  bool // it has been killed, and only the kernel's work on its end is left
	env    map[string]string
	zombie time.Time // since when
}

// watch follows every process that has the run's token in its environment, or was begun by one that has.
type watch struct {
	token string

	mu     sync.Mutex
	ours   map[process]*seen
	others map[process]bool
	groups map[string]bool // control groups that its processes were in
	stop   chan struct{}
	gone   chan struct{}
}

func watching(token string) *watch {
	w := &watch{token: token, ours: map[process]*seen{}, others: map[process]bool{}, groups: map[string]bool{}, stop: make(chan struct{}), gone: make(chan struct{})}
	go func() {
		defer close(w.gone)
		for {
			w.look()
			select {
			case <-w.stop:
				return
			case <-time.After(40 * time.Millisecond):
			}
		}
	}()
	return w
}

func (w *watch) end() { close(w.stop); <-w.gone }

// look gives those of the run that are there now.
func (w *watch) look() map[process]*seen {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := map[process]*seen{}
	names, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range names {
		stat, err := os.ReadFile(dir + "/stat")
		if err != nil {
			continue
		}
		open, shut := strings.IndexByte(string(stat), '('), strings.LastIndexByte(string(stat), ')')
		f := strings.Fields(string(stat[shut+1:]))
		pid, _ := strconv.Atoi(filepath.Base(dir))
		parent, _ := strconv.Atoi(f[1])
		p, zombie := process{pid, f[19]}, f[0] == "Z"
		if w.others[p] {
			continue
		}
		s := w.ours[p]
		if s == nil {
			env, _ := os.ReadFile(dir + "/environ")
			mine := false
			for q := range w.ours {
				mine = mine || q.pid == parent // shims and the warden have no environment
			}
			if !mine && !strings.Contains("\x00"+string(env), "\x00FAULT_TOKEN="+w.token+"\x00") {
				if len(env) > 0 {
					w.others[p] = true
				}
				continue
			}
			s = &seen{env: map[string]string{}}
			for kv := range strings.SplitSeq(string(env), "\x00") {
				k, v, _ := strings.Cut(kv, "=")
				s.env[k] = v
			}
			w.ours[p] = s
		}
		if s.env["TANDEM_STEP"] == "" || string(stat[open+1:shut]) != s.name { // a program has been executed, perhaps
			if env, _ := os.ReadFile(dir + "/environ"); len(env) > 0 {
				for kv := range strings.SplitSeq(string(env), "\x00") {
					k, v, _ := strings.Cut(kv, "=")
					s.env[k] = v
				}
			}
		}
		s.parent, s.name = parent, string(stat[open+1:shut])
		flags, _ := strconv.ParseUint(f[6], 10, 64)
		s.dying = flags&0x4 != 0 // PF_EXITING
		for _, g := range groupsOf(pid) {
			w.groups[g] = true
		}
		if zombie && s.zombie.IsZero() {
			s.zombie = time.Now()
		}
		if zombie && parent == 1 {
			continue // the machine's first process buries it when it likes
		}
		own := *s // the next look may change what it knows
		own.env = maps.Clone(s.env)
		now[p] = &own
	}
	return now
}

// parts of the run: app, warden, shim:STEP, worker:STEP, each with its processes.
func (w *watch) parts() map[string][]int {
	now := w.look()
	found := map[string][]int{}
	by := map[int]*seen{}
	for p, s := range now {
		by[p.pid] = s
	}
	for p, s := range now {
		if !s.zombie.IsZero() {
			continue
		}
		above := by[s.parent]
		switch {
		case s.name == "tandem":
			found["app"] = append(found["app"], p.pid)
		case s.name == "tandem-warden" && (above == nil || above.name != "tandem-warden"):
			found["warden"] = append(found["warden"], p.pid)
		case s.name == "tandem-shim" || s.name == "tandem-warden":
			found["shim"] = append(found["shim"], p.pid)
		case above != nil && (above.name == "tandem-shim" || above.name == "tandem-warden"):
			found["worker"] = append(found["worker"], p.pid)
			found["worker:"+s.env["TANDEM_STEP"]+"/"] = []int{p.pid}
			found["shim:"+s.env["TANDEM_STEP"]+"/"] = []int{s.parent}
		default:
			found["child"] = append(found["child"], p.pid)
		}
	}
	for _, list := range found {
		slices.Sort(list)
	}
	return found
}

// takingDown is how long the kernel may take to end a process that it has begun to end: namespaces and memory go with it, and on a loaded machine that takes seconds.
const takingDown = time.Minute

// ending says whether all of these have been ended, and only the kernel's work on it is left: each is dying, or is a warden or shim that waits for such.
func ending(now map[process]*seen) bool {
	var over func(pid int, s *seen) bool
	over = func(pid int, s *seen) bool {
		if s.dying {
			return true
		}
		waits := false
		for p, child := range now {
			if child.parent == pid {
				if waits = true; !over(p.pid, child) {
					return false
				}
			}
		}
		return waits && (s.name == "tandem-warden" || s.name == "tandem-shim")
	}
	for p, s := range now {
		if !over(p.pid, s) {
			return false
		}
	}
	return true
}

// vanished waits until nothing of the run is there, not even as a zombie; what is left is ended here and told. What the kernel has begun to end does nothing more, and has
// longer to be gone.
func (w *watch) vanished(within time.Duration) (left []string) {
	begun := time.Now()
	for ; ; time.Sleep(5 * time.Millisecond) {
		now := w.look()
		if len(now) == 0 {
			return nil
		}
		if took := time.Since(begun); took > takingDown || took > within && !ending(now) {
			for p, s := range now {
				left = append(left, describe(p.pid, s))
				_ = syscall.Kill(p.pid, syscall.SIGKILL)
			}
			return left
		}
	}
}

// describe says what a process that should not be there is about, as the kernel sees it.
func describe(pid int, s *seen) string {
	dir := fmt.Sprintf("/proc/%d/", pid)
	read := func(name string) string {
		b, _ := os.ReadFile(dir + name)
		return strings.TrimSpace(string(b))
	}
	stat := read("stat")
	state, flags := "?", "?"
	if f := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:]); len(f) > 6 {
		state, flags = f[0], f[6]
	}
	var pending []string
	for line := range strings.Lines(read("status")) {
		if strings.HasPrefix(line, "SigPnd") || strings.HasPrefix(line, "ShdPnd") {
			pending = append(pending, strings.Join(strings.Fields(line), " "))
		}
	}
	var stack []string
	for line := range strings.Lines(read("stack")) {
		_, call, _ := strings.Cut(strings.TrimSpace(line), "] ")
		stack = append(stack, call)
	}
	return fmt.Sprintf("%d %s, child of %d, state %s, flags %s, %s, in %s of %s: %s", pid, s.name, s.parent, state, flags, strings.Join(pending, " "), read("syscall"), read("wchan"), strings.Join(stack, " < "))
}

// buried waits until none of the run's processes is a zombie.
func (w *watch) buried(within time.Duration) (left []string) {
	for end := time.Now().Add(within); ; time.Sleep(20 * time.Millisecond) {
		left = nil
		for p, s := range w.look() {
			if !s.zombie.IsZero() {
				left = append(left, fmt.Sprintf("%d %s, child of %d", p.pid, s.name, s.parent))
			}
		}
		if len(left) == 0 || time.Now().After(end) {
			return left
		}
	}
}

// descriptors of a process by kind. Regular files are left out: logs and reports are opened when there is something to write.
func descriptors(pid int) map[string]int {
	kinds := map[string]int{}
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	list, _ := os.ReadDir(dir)
	for _, e := range list {
		to, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err != nil || strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "/memfd:") {
			continue
		}
		kind, _, _ := strings.Cut(to, "[")
		if strings.HasPrefix(to, "anon_inode:") {
			kind = to
		} else if strings.HasPrefix(to, "/memfd:") {
			kind = "memfd"
		}
		kinds[kind]++
	}
	return kinds
}

// more is what there is more of now than there was. A dead worker's shared memory is kept for its replacement's, so of that there may be twice as much; and a template or a
// spare worker may have been started since: one process more, which costs these.
func more(now, was map[string]int) (list []string) {
	for kind, n := range now {
		if most := was[kind] + map[string]int{"memfd": was["memfd"], "anon_inode:[pidfd]": 1, "anon_inode:[eventfd]": 1, "pipe:": 2, "socket:": 2}[kind]; n > most {
			list = append(list, fmt.Sprintf("%s %d, were %d", kind, n, was[kind]))
		}
	}
	slices.Sort(list)
	return list
}

// groupsOf are the control groups made by Tandem that a process is in, as directories.
func groupsOf(pid int) (list []string) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		at := strings.Index(f[len(f)-1], "/tandem-run-")
		if at < 0 {
			continue
		}
		path := f[2][:at+1] + strings.SplitN(f[2][at+1:], "/", 2)[0]
		for _, root := range []string{"/sys/fs/cgroup/" + strings.TrimPrefix(f[1], "name="), "/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
			if _, err := os.Stat(root + path); err == nil {
				list = append(list, root+path)
			}
		}
	}
	return list
}
