package measure

import (
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"tandem/internal/advise"
)

// descriptor says what waiting on one descriptor means.
func (t *Tree) descriptor(p *process, fd int, call string, now time.Time) wait {
	link, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", p.pid, fd))
	if err != nil {
		return wait{cause: advise.Blind}
	}
	kind, rest, _ := strings.Cut(link, ":")
	switch {
	case kind == "socket":
		return t.socket(p, strings.Trim(rest, "[]"), now)
	case kind == "pipe":
		return t.pipe(link, now)
	case kind == "anon_inode":
		switch {
		case strings.Contains(rest, "timerfd"):
			return wait{cause: advise.Sleep}
		case strings.Contains(rest, "eventpoll"):
			return t.epollSet(p, fd, 0, now)
		}
		return wait{cause: advise.Event}
	case strings.HasPrefix(link, "/dev/pts/"), strings.HasPrefix(link, "/dev/tty"), link == "/dev/console":
		return wait{cause: advise.Input}
	case strings.HasPrefix(link, "/"):
		if call != "read" && call != "write" {
			return wait{cause: advise.Event}
		}
		if info, err := os.Stat(fmt.Sprintf("/proc/%d/fd/%d", p.pid, fd)); err == nil && info.Mode()&os.ModeNamedPipe != 0 {
			return t.pipe(link, now)
		}
		return wait{cause: advise.Disk, what: link}
	}
	return wait{cause: advise.Event}
}

// pipe is a wait inside the tree when a process of it holds another end, else for whoever does.
func (t *Tree) pipe(link string, now time.Time) wait {
	known := t.pipes[link]
	if !known.inTree && now.Sub(known.looked) > 250*time.Millisecond {
		known = pipeEnds{t.bothEnds(link), now}
		t.pipes[link] = known
	}
	if known.inTree {
		return wait{cause: advise.Pipe}
	}
	return wait{cause: advise.Net, peer: advise.PipePeer, mayChange: true} // a process that has the other end may not have been found yet
}

// pipeEnds is whether the tree holds both ends of a pipe.
type pipeEnds struct {
	inTree bool
	looked time.Time
}

func (t *Tree) bothEnds(link string) bool {
	ends := 0
	for _, p := range t.list() {
		dir := fmt.Sprintf("/proc/%d/fd", p.pid)
		f, err := os.Open(dir)
		if err != nil {
			continue
		}
		names, _ := f.Readdirnames(256)
		f.Close()
		for _, name := range names {
			if to, err := os.Readlink(dir + "/" + name); err == nil && to == link {
				ends |= endOf(p.pid, name)
			}
		}
		if ends == 3 {
			return true
		}
	}
	return false
}

// endOf is 1 for a descriptor that reads, 2 for one that writes.
func endOf(pid int, fd string) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%s", pid, fd))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "flags:"); ok {
			n, _ := strconv.ParseUint(strings.TrimSpace(v), 8, 64)
			return []int{1, 2, 3, 0}[n&3]
		}
	}
	return 0
}

// set says what a call waits for that watches several descriptors: for a peer if there is one, else for its timeout.
func (t *Tree) set(th *thread, name string, c call, now time.Time) wait {
	w := wait{cause: advise.Event}
	timed := false
	switch name {
	case "epoll":
		timed = int32(c.args[3]) > 0
		w = t.epollSet(th.p, int(int32(c.args[0])), 0, now)
	case "epoll2":
		timed = c.args[3] != 0
		w = t.epollSet(th.p, int(int32(c.args[0])), 0, now)
	case "poll":
		timed = int32(c.args[2]) > 0 // of ppoll a pointer, which is no less true
		n := min(c.args[1], 64)
		buf := make([]byte, 8*n)
		if n > 0 && t.memory(th.p, c.args[0], buf) {
			for i := range n {
				if fd := int32(binary.NativeEndian.Uint32(buf[8*i:])); fd >= 0 {
					w = stronger(w, t.descriptor(th.p, int(fd), name, now))
				}
			}
		} else if n > 0 {
			w.cause = advise.Blind
		}
		if ptr := c.args[2]; ptr > 1<<32 {
			timed = true
		}
	case "select":
		timed = c.args[4] != 0
		n := min(c.args[0], 1024)
		for _, ptr := range c.args[1:3] {
			buf := make([]byte, (n+63)/64*8)
			if ptr == 0 || len(buf) == 0 || !t.memory(th.p, ptr, buf) {
				continue
			}
			for fd := range n {
				if buf[fd/8]>>(fd%8)&1 != 0 {
					w = stronger(w, t.descriptor(th.p, int(fd), name, now))
				}
			}
		}
	}
	if (w.cause == advise.Event || w.cause == advise.Pipe && name != "poll") && timed {
		w.cause = advise.Sleep
	}
	w.mayChange = true
	return w
}

// epollSet looks at the members of an event queue; queues inside queues to a depth.
func (t *Tree) epollSet(p *process, fd, depth int, now time.Time) wait {
	w := wait{cause: advise.Event, mayChange: true}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", p.pid, fd))
	if err != nil {
		w.cause = advise.Blind
		return w
	}
	members := 0
	for line := range strings.Lines(string(b)) {
		rest, ok := strings.CutPrefix(line, "tfd:")
		if !ok {
			continue
		}
		if members++; members > 64 {
			break
		}
		f := strings.Fields(rest)
		if len(f) == 0 {
			continue
		}
		n, err := strconv.Atoi(f[0])
		if err != nil || depth > 3 {
			continue
		}
		link, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", p.pid, n))
		if err == nil && strings.Contains(link, "eventpoll") {
			w = stronger(w, t.epollSet(p, n, depth+1, now))
			continue
		}
		w = stronger(w, t.descriptor(p, n, "epoll", now))
	}
	w.mayChange = true
	return w
}

// stronger is the wait that says more of two that a thread has at the same time.
func stronger(a, b wait) wait {
	rank := func(w wait) int {
		switch w.cause {
		case advise.Net:
			if w.peer == "" || w.peer == advise.PipePeer {
				return 6
			}
			return 7
		case advise.Sleep:
			return 5
		case advise.Pipe:
			return 4
		case advise.Input:
			return 3
		case advise.Accept:
			return 2
		case advise.Event:
			return 1
		}
		return 0
	}
	if rank(b) > rank(a) {
		return b
	}
	return a
}
