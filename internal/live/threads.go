package live

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"tandem"
	"tandem/internal/evidence"
)

// Life is the classic state of a thread.
type Life string

const (
	New          Life = "NEW"
	Runnable     Life = "RUNNABLE"
	Blocked      Life = "BLOCKED"
	Waiting      Life = "WAITING"
	TimedWaiting Life = "TIMED_WAITING"
	Terminated   Life = "TERMINATED"
)

// Thread is a thread as the kernel shows it. Its Life is observed: from a futex alone nobody can tell a lock (BLOCKED) from a wait, so it is WAITING.
type Thread struct {
	tandem.ThreadView
	Life Life          `json:"life"`
	CPU  time.Duration `json:"cpu_ns"`
}

// Threads are those of one process, the main one first, at most so many.
func Threads(pid, most int) (all []Thread) {
	dirs, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(pid), "task"))
	if err != nil {
		return nil
	}
	for _, d := range dirs[:min(most, len(dirs))] {
		dir := filepath.Join("/proc", strconv.Itoa(pid), "task", d.Name())
		name, field, ok := stat(filepath.Join(dir, "stat"))
		if !ok {
			continue
		}
		t := Thread{ThreadView: tandem.ThreadView{PID: pid, ID: atoi(d.Name()), Name: name, State: field(3), Number: -1}}
		t.CPU = time.Duration(atoi(field(14))+atoi(field(15))) * tick
		if b, err := os.ReadFile(filepath.Join(dir, "wchan")); err == nil && string(b) != "0" {
			t.Wait = string(b)
		}
		b, _ := os.ReadFile(filepath.Join(dir, "syscall"))
		call := strings.Fields(string(b))
		if len(call) > 0 {
			if n, err := strconv.Atoi(call[0]); err == nil && n >= 0 {
				t.Number, t.Syscall = n, evidence.SyscallName(n)
			}
		}
		t.Life = lifeOf(t.ThreadView, call)
		all = append(all, t)
	}
	return all
}

// futex operations, as the kernel's headers number them.
const (
	futexLockPI  = 6
	futexLockPI2 = 13
	futexFlags   = 128 | 256
)

// lifeOf maps what the kernel shows to the classic states. call is the thread's system call and its arguments; empty where this user may not see it.
func lifeOf(t tandem.ThreadView, call []string) Life {
	switch t.State {
	case "R":
		return Runnable
	case "D", "T", "t":
		return Blocked
	case "Z", "X", "x":
		return Terminated
	}
	arg := func(i int) uint64 { // 0 is the first
		if i+1 >= len(call) {
			return 0
		}
		n, _ := strconv.ParseUint(strings.TrimPrefix(call[i+1], "0x"), 16, 64)
		return n
	}
	timed := func(yes bool) Life {
		if yes {
			return TimedWaiting
		}
		return Waiting
	}
	switch t.Syscall {
	case "nanosleep", "clock_nanosleep":
		return TimedWaiting
	case "flock":
		return Blocked
	case "fcntl":
		if cmd := arg(1); cmd == 7 || cmd == 38 { // F_SETLKW, F_OFD_SETLKW
			return Blocked
		}
	case "futex":
		if op := arg(1) &^ futexFlags; op == futexLockPI || op == futexLockPI2 {
			return Blocked
		}
		return timed(arg(3) != 0)
	case "poll":
		return timed(int32(arg(2)) >= 0)
	case "epoll_wait", "epoll_pwait":
		return timed(int32(arg(3)) >= 0)
	case "epoll_pwait2", "semtimedop", "futex_waitv":
		return timed(arg(3) != 0)
	case "ppoll", "rt_sigtimedwait":
		return timed(arg(2) != 0)
	case "select", "pselect6", "recvmmsg":
		return timed(arg(4) != 0)
	case "":
		if strings.Contains(t.Wait, "nanosleep") {
			return TimedWaiting
		}
	}
	return Waiting
}

// LifeOf is the classic state of a worker: what its pool knows of it, and where that leaves it open what the kernel shows of its threads. Observed says that the
// kernel had the last word.
func LifeOf(state string, threads []Thread) (life Life, observed bool) {
	switch state {
	case "starting":
		return New, false
	case "dead":
		return Terminated, false
	case "suspect":
		return Blocked, false
	case "idle", "draining":
		return Waiting, false
	}
	if len(threads) == 0 {
		return Runnable, false
	}
	for _, one := range []Life{Runnable, Blocked} {
		for _, t := range threads {
			if t.Life == one {
				return one, true
			}
		}
	}
	return threads[0].Life, true
}
