package measure

import (
	"os"
	"strconv"
	"time"
)

const (
	usageThreads = 32                     // of a process that are followed one by one
	usageList    = 200 * time.Millisecond // between two looks for new ones
)

// Usage follows what one process uses: the time of all its threads on a processor, and ready for one without having it, as the kernel counts them. A look
// costs about two microseconds a thread. It is for one goroutine.
//
// A thread that ends between two looks takes what it used since the first of them along, and a process with more than 32 threads is not followed.
type Usage struct {
	dir     string
	threads map[string]*used
	listed  time.Time
	gone    used // of threads that have ended
	buf     [128]byte
}

type used struct {
	file      *os.File
	cpu, runq time.Duration
}

// NewUsage follows the process with this id.
func NewUsage(pid int) *Usage {
	return &Usage{dir: "/proc/" + strconv.Itoa(pid) + "/task", threads: map[string]*used{}}
}

// Look gives the totals so far. It is false where they cannot be told: no schedstat, too many threads, no such process.
func (u *Usage) Look(now time.Time) (cpu, runq time.Duration, ok bool) {
	if now.Sub(u.listed) >= usageList {
		u.listed = now
		u.list()
	}
	cpu, runq = u.gone.cpu, u.gone.runq
	for name, t := range u.threads {
		n, err := t.file.ReadAt(u.buf[:], 0)
		if n == 0 && err != nil {
			u.gone.cpu += t.cpu
			u.gone.runq += t.runq
			t.file.Close()
			delete(u.threads, name)
		} else {
			on, rest := decimal(u.buf[:n])
			wait, _ := decimal(rest)
			t.cpu, t.runq = time.Duration(on), time.Duration(wait)
		}
		cpu += t.cpu
		runq += t.runq
	}
	return cpu, runq, len(u.threads) > 0
}

// list opens the threads that are new.
func (u *Usage) list() {
	names, err := os.ReadDir(u.dir)
	if err != nil || len(names) > usageThreads {
		u.Close()
		return
	}
	for _, n := range names {
		if u.threads[n.Name()] != nil {
			continue
		}
		if f, err := os.Open(u.dir + "/" + n.Name() + "/schedstat"); err == nil {
			u.threads[n.Name()] = &used{file: f}
		}
	}
}

// Close lets go of the process.
func (u *Usage) Close() {
	for name, t := range u.threads {
		t.file.Close()
		delete(u.threads, name)
	}
}
