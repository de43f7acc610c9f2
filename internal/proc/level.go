package proc

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Level says what it takes to leave a process of ours behind.
type Level string

const (
	// Kernel: nothing does. The kernel ends the tree of a program with its shim, and the shim ends with the application.
	Kernel Level = "kernel"
	// SingleFault: the warden and the shim killed at the same moment do, and a program that forks and exits faster than it can be followed may. The next run
	// ends what is left.
	SingleFault Level = "single-fault"
	// BestEffort: the program itself ends with the application; what it moved out of its process group stays.
	BestEffort Level = "best-effort"
)

// Missing is something that this machine does not allow.
type Missing struct {
	What   string
	Errno  string // EPERM
	Effect string
}

func (m Missing) String() string {
	return m.What + " (" + m.Errno + ")"
}

// Contained is how the processes that Start makes are held.
type Contained struct {
	Level   Level
	How     string // what holds them
	UserNS  bool   // each has a user namespace
	Missing []Missing
}

// String is one line: the level and why it is no better.
func (c Contained) String() string {
	s := string(c.Level) + ": " + c.How
	for i, m := range c.Missing {
		if i == 0 {
			s += "; missing "
		} else {
			s += ", "
		}
		s += m.String()
	}
	return s
}

// probe finds the best isolation by doing it: a shim is forked with it and says how far it came.
func (w *warden) probe() Contained {
	const spaces = unix.CLONE_NEWPID | unix.CLONE_NEWNS
	c := Contained{Level: Kernel}
	for _, try := range []struct {
		flags uintptr
		what  string
		how   string
	}{
		{spaces, "PID namespace", "a PID namespace for each program"},
		{spaces | unix.CLONE_NEWUSER, "user and PID namespace", "a user and a PID namespace for each program"},
	} {
		stage, errno := w.trial(try.flags)
		if errno == 0 {
			w.flags, c.How, c.UserNS = try.flags, try.how, try.flags&unix.CLONE_NEWUSER != 0
			// What the first way lacked costs nothing when the second gives the same.
			c.Missing = nil
			return c
		}
		what := try.what
		switch stage {
		case atUser:
			what += " (mapping the user)"
		case atMount, atProc:
			what += " (mounting /proc in it)"
		}
		c.Missing = append(c.Missing, Missing{what, errnoName(errno),
			"when warden and shim are killed at the same moment, processes that left their group stay until the next run"})
	}
	c.Level, c.How = SingleFault, "a reaper for each program, and one above them"
	if _, err := os.Stat("/proc/thread-self/children"); err != nil {
		c.Level = BestEffort
		c.How = "a reaper for each program that ends its process group"
		c.Missing = append(c.Missing, Missing{"/proc/thread-self/children", errnoOf(err), "a program's processes that left its group are not found"})
	}
	return c
}

// trial forks a shim that goes as far as its isolation.
func (w *warden) trial(flags uintptr) (stage int64, errno syscall.Errno) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return atFiles, err.(syscall.Errno)
	}
	defer unix.Close(fds[0])
	b, err := w.take(0)
	if err != nil {
		_ = unix.Close(fds[1])
		return atFork, unix.ENOMEM
	}
	b.state.order = order{flags: flags, trial: true, ctl: uintptr(fds[1])}
	w.maps(b.state)
	// The shim closes the warden's socket, of which it has a copy, and its own copies of these end with it.
	pid, errno := launch(b.state)
	_ = unix.Close(fds[1])
	if errno != 0 {
		return atFork, errno
	}
	var p packet
	n, err := unix.Read(fds[0], unsafe.Slice((*byte)(unsafe.Pointer(&p)), unsafe.Sizeof(p)))
	for _, werr := unix.Wait4(int(pid), nil, 0, nil); werr == unix.EINTR; _, werr = unix.Wait4(int(pid), nil, 0, nil) {
	}
	w.give(b, true)
	switch {
	case err != nil || n == 0:
		return atFork, unix.EIO
	case p[0] == sayAble:
		return 0, 0
	}
	return p[1], syscall.Errno(p[2])
}

func errnoName(e syscall.Errno) string {
	if name := unix.ErrnoName(e); name != "" {
		return name
	}
	return e.Error()
}

// children are the processes that pid has started or inherited, of all its threads.
func children(pid int) []int {
	var list []int
	dir := "/proc/" + strconv.Itoa(pid) + "/task"
	tasks, _ := os.ReadDir(dir)
	for _, t := range tasks {
		b, _ := os.ReadFile(dir + "/" + t.Name() + "/children")
		for _, f := range strings.Fields(string(b)) {
			if n, err := strconv.Atoi(f); err == nil {
				list = append(list, n)
			}
		}
	}
	return list
}
