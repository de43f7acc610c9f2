package proc

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// WardenName is what the warden and its shims are called in the table of processes.
const WardenName = "tandem-warden"

// Other is a process that Tandem need not have started. It is held by a descriptor, so that its id cannot come to mean another.
type Other struct {
	pid int
	fd  int // -1 where the kernel has no such descriptors
}

// ErrNoProcess says that there is no such process.
var ErrNoProcess = errors.New("no such process")

// Hold takes hold of a process.
func Hold(pid int) (*Other, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	switch {
	case err == nil:
		return &Other{pid, fd}, nil
	case err == unix.ESRCH, err == unix.EINVAL:
		return nil, ErrNoProcess
	case err != unix.ENOSYS && err != unix.EPERM:
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	if unix.Kill(pid, 0) == unix.ESRCH {
		return nil, ErrNoProcess
	}
	return &Other{pid, -1}, nil
}

// Terminate asks it to end.
func (o *Other) Terminate() error { return o.signal(unix.SIGTERM) }

// Kill ends it, not what it has started.
func (o *Other) Kill() error { return o.signal(unix.SIGKILL) }

// Ask sends the signal by which it says where it is; it must be one that MayAsk allows. It is false when it was not sent.
func (o *Other) Ask(signal int) bool { return MayAsk(signal) && o.signal(unix.Signal(signal)) == nil }

func (o *Other) signal(s unix.Signal) error {
	var err error
	if o.fd >= 0 {
		err = unix.PidfdSendSignal(o.fd, s, nil, 0)
	} else {
		err = unix.Kill(o.pid, s)
	}
	if err == unix.ESRCH {
		return ErrNoProcess
	}
	if err != nil {
		return os.NewSyscallError("kill", err)
	}
	return nil
}

// Ended waits up to so long for its end and tells whether it has come.
func (o *Other) Ended(within time.Duration) bool {
	for deadline := time.Now().Add(within); ; time.Sleep(10 * time.Millisecond) {
		if o.fd >= 0 {
			fds := []unix.PollFd{{Fd: int32(o.fd), Events: unix.POLLIN}}
			if n, err := unix.Poll(fds, 0); err == nil && n == 1 {
				return true
			}
		} else if unix.Kill(o.pid, 0) == unix.ESRCH {
			return true
		}
		if !time.Now().Before(deadline) {
			return false
		}
	}
}

// Close lets it go.
func (o *Other) Close() {
	if o.fd >= 0 {
		unix.Close(o.fd)
	}
}

// Owner is the user to whom a process belongs.
func Owner(pid int) (uid int, err error) {
	var st unix.Stat_t
	if err := unix.Stat("/proc/"+itoa(pid), &st); err != nil {
		return 0, os.NewSyscallError("stat", err)
	}
	return int(st.Uid), nil
}

// Denied says that a process belongs to somebody else.
func Denied(err error) bool { return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) }
