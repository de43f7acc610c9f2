package proc

import (
	"bytes"
	"os"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// look is the pause between two looks at a process. It is the thread that sleeps, not the goroutine: a timer of the Go scheduler may take a millisecond.
const look = 20 * time.Microsecond

// ExitingWithin waits until the kernel says that the process is on its way out, but no longer than limit, and tells whether it has said so.
func (p *Process) ExitingWithin(limit time.Duration) bool {
	for end := time.Now().Add(limit); !p.Exiting(); {
		if time.Now().After(end) {
			return false
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
	// Without a word to Go's scheduler, which takes a call that lasts a little for one that waits, and starts a thread in its stead: a replacement waits for this.
	name := append(strconv.AppendInt([]byte("/proc/"), int64(pid), 10), "/stat\x00"...)
	here := unix.AT_FDCWD
	fd, _, e := unix.RawSyscall6(unix.SYS_OPENAT, uintptr(here), uintptr(unsafe.Pointer(&name[0])), unix.O_RDONLY|unix.O_CLOEXEC, 0, 0, 0)
	if e != 0 {
		return false
	}
	var text [1024]byte
	n, _, e := unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&text[0])), uintptr(len(text)))
	_, _, _ = unix.RawSyscall(unix.SYS_CLOSE, fd, 0, 0)
	if e != 0 || n == 0 {
		return false
	}
	stat := text[:n]
	const exiting, flags = 4, 6 // PF_EXITING; the field, counted behind the name, which may hold anything
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) <= flags {
		return false
	}
	set, err := strconv.ParseUint(string(fields[flags]), 10, 64)
	return err == nil && set&exiting != 0
}
