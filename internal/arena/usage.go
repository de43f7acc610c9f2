package arena

import (
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Usage is what the kernel counted of this process.
type Usage struct {
	CPU                    time.Duration // of all threads and of the children that were waited for
	Voluntary, Involuntary int64         // switches
}

// Used reads the counters of this process. It costs two system calls, about a microsecond.
func Used() (u Usage) {
	var own, kids unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &own) != nil || unix.Getrusage(unix.RUSAGE_CHILDREN, &kids) != nil {
		return u
	}
	for _, t := range []unix.Timeval{own.Utime, own.Stime, kids.Utime, kids.Stime} {
		u.CPU += time.Duration(t.Nano())
	}
	u.Voluntary, u.Involuntary = own.Nvcsw, own.Nivcsw
	return u
}

// ThreadCPU is the processor time of the calling thread. Whoever takes a difference keeps the goroutine on its thread meanwhile.
func ThreadCPU() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// Queued is how long each thread of this process was ready to run without a processor, by its id. It opens a file for each, by the kernel's calls: package os would
// have each looked at by the poller, and this stands before the first task of a worker that had nothing to do.
func Queued() map[int]time.Duration {
	tasks, err := unix.Open("/proc/self/task", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(tasks)
	by := make(map[int]time.Duration, 16)
	var list [4096]byte
	for {
		n, err := unix.ReadDirent(tasks, list[:])
		if err != nil || n <= 0 {
			return by
		}
		_, _, names := unix.ParseDirent(list[:n], -1, nil)
		for _, name := range names {
			id, err := strconv.Atoi(name)
			if err != nil {
				continue
			}
			if waited, ok := queuedOf(tasks, name); ok {
				by[id] = waited
			}
		}
	}
}

// queuedOf is that of one thread; false when it has ended, or the kernel does not count.
func queuedOf(tasks int, name string) (time.Duration, bool) {
	fd, err := unix.Openat(tasks, name+"/schedstat", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, false
	}
	defer unix.Close(fd)
	var text [96]byte
	n, err := unix.Read(fd, text[:])
	if err != nil {
		return 0, false
	}
	f := strings.Fields(string(text[:max(n, 0)]))
	if len(f) != 3 {
		return 0, false
	}
	waited, err := strconv.ParseInt(f[1], 10, 64)
	return time.Duration(waited), err == nil
}
