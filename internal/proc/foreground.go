package proc

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tandem"
)

// Foreground is a plain child: our standard streams, our process group, our terminal, no containment. What is typed at the terminal reaches it as if
// Tandem were not there. Processes that it leaves behind become our children, so that their time is not lost; nobody kills them.
type Foreground struct {
	cmd  *exec.Cmd
	gone chan struct{}
}

// StartForeground starts argv; extra is added to its environment. The error is a *tandem.Error of kind start; see NotFound. It makes Tandem the parent of what the child orphans.
func StartForeground(argv []string, extra ...string) (*Foreground, error) {
	if len(argv) == 0 || argv[0] == "" {
		return nil, &tandem.Error{Op: "start", Kind: tandem.KindStart, Message: "no program given"}
	}
	_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) // without it orphans are only lost sight of when they end
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if len(extra) > 0 {
		cmd.Env = append(cmd.Environ(), extra...)
	}
	if err := cmd.Start(); err != nil {
		return nil, startError(argv[0], err)
	}
	f := &Foreground{cmd: cmd, gone: make(chan struct{})}
	go func() {
		defer close(f.gone)
		var info unix.Siginfo
		for { // without reaping: a zombie's counters can still be read
			switch err := unix.Waitid(unix.P_PID, cmd.Process.Pid, &info, unix.WEXITED|unix.WNOWAIT, nil); {
			case err == unix.EINTR:
			case err != nil || anEnd(&info):
				return
			default:
				time.Sleep(stoodStill) // a Freezer has it: the kernel tells us, asked or not
			}
		}
	}()
	return f, nil
}

const stoodStill = 2 * time.Millisecond

// PID is the child's id; it is the child's until Reap.
func (f *Foreground) PID() int { return f.cmd.Process.Pid }

// Gone is closed when the child has ended and waits to be reaped.
func (f *Foreground) Gone() <-chan struct{} { return f.gone }

// Signal passes a signal on to the child.
func (f *Foreground) Signal(s os.Signal) { _ = f.cmd.Process.Signal(s) }

// Usage is what a process and the children that it waited for have used.
type Usage struct {
	User, System time.Duration
	Major, Minor int64
	Voluntary    int64
}

// Reap waits for the child and tells how it ended and what it and all its reaped descendants used.
func (f *Foreground) Reap() (Exit, Usage) {
	_ = f.cmd.Wait() // the state below says more
	<-f.gone
	st := f.cmd.ProcessState
	x := Exit{Code: st.ExitCode(), CPU: st.UserTime() + st.SystemTime()}
	if ws, ok := st.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		x.Signal = ws.Signal()
	}
	var u Usage
	if ru, ok := st.SysUsage().(*syscall.Rusage); ok {
		x.MaxRSS = ru.Maxrss << 10
		u = usage(ru.Utime.Nano(), ru.Stime.Nano(), ru.Majflt, ru.Minflt, ru.Nvcsw)
	}
	return x, u
}

func usage(user, system, major, minor, voluntary int64) Usage {
	return Usage{time.Duration(user), time.Duration(system), major, minor, voluntary}
}

// BuryOrphan reaps a process that became our child when its parent ended, if it has ended.
func BuryOrphan(pid int) (Usage, bool) {
	var ru unix.Rusage
	if got, err := unix.Wait4(pid, nil, unix.WNOHANG, &ru); err != nil || got != pid {
		return Usage{}, false
	}
	return usage(ru.Utime.Nano(), ru.Stime.Nano(), ru.Majflt, ru.Minflt, ru.Nvcsw), true
}

// InForeground says whether the terminal's signals reach us, and with us a child in our group.
func InForeground() bool {
	tty, err := os.OpenFile("/dev/tty", os.O_RDONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// Alive says whether a process is there and may be looked at.
func Alive(pid int) error { return unix.Kill(pid, 0) }

// SelfCPU is the processor time that this process has used.
func SelfCPU() time.Duration {
	var ru unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &ru) != nil {
		return 0
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// Monotonic is the reading of the clock that timed waits of the kernel end by.
func Monotonic() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return time.Duration(ts.Nano())
}

// ExitStatus is the code by which a shell tells how a command ended: its own, or 128 and the signal.
func (e Exit) ExitStatus() int {
	if e.Signal != 0 {
		return 128 + int(e.Signal)
	}
	return e.Code
}

// Passed are the signals that are meant for the command and that Tandem, while it measures, does not end by.
var Passed = []os.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2}

// Typed says whether a signal comes from the terminal's keys, which send it to the whole group.
func Typed(s os.Signal) bool { return s == syscall.SIGINT || s == syscall.SIGQUIT }

// ThreadCPU is the processor time that the calling thread has used; the caller is locked to it.
func ThreadCPU() time.Duration {
	var ru unix.Rusage
	if unix.Getrusage(unix.RUSAGE_THREAD, &ru) != nil {
		return 0
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// NotProgram says whether a start failed because the file is none that this system can run.
func NotProgram(err error) bool {
	return errors.Is(err, syscall.ENOEXEC) || errors.Is(err, syscall.EISDIR)
}
