package proc

import (
	"bytes"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// look is the pause between two looks at a process, from the third on. It is the thread that sleeps, not the goroutine: a timer of the Go scheduler may take a
// millisecond. The kernel makes a pause longer by its slack, so the first looks only let others run.
const look = 20 * time.Microsecond

// ExitingWithin waits until the kernel says that the process is on its way out, but no longer than limit, and tells whether it has said so.
func (p *Process) ExitingWithin(limit time.Duration) bool {
	end := time.Now().Add(limit)
	for n := 0; !p.Exiting(); n++ {
		if time.Now().After(end) {
			return false
		}
		if n < 3 {
			_, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
			continue
		}
		pause := unix.NsecToTimespec(int64(look))
		_ = unix.Nanosleep(&pause, nil)
	}
	return true
}

// Exiting asks the kernel whether the process is on its way out; its memory may still be there, and its exit not known.
func (p *Process) Exiting() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reaped || isExiting(p.pid)
}

// Falling says that the kernel has begun to end the program and everything that it had started: on a loaded machine that may take seconds, for memory and namespaces go with it.
func (p *Process) Falling() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped {
		return true
	}
	for _, pid := range p.roots() {
		if _, err := os.Stat("/proc/" + strconv.Itoa(pid)); err == nil && !isExiting(pid) {
			return false
		}
	}
	return true
}

func isExiting(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	const exiting, flags = 4, 6 // PF_EXITING; the field, counted behind the name, which may hold anything
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) <= flags {
		return false
	}
	n, err := strconv.ParseUint(string(fields[flags]), 10, 64)
	return err == nil && n&exiting != 0
}
