package proc

import (
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// held is our end of a program that has a shim. Closing ctl kills the program's tree, and so does our death, which closes it.
type held struct {
	ctl   *os.File // packets from the shim; any packet to it is the order to kill
	raw   syscall.RawConn
	shim  int
	pidfd *os.File // of the shim; nil where the kernel has none
	timer *time.Timer
	oob   [64]byte
}

// killAfter is how long a shim has to carry out the order to kill before it is killed itself, which ends its namespace but loses the account.
const killAfter = 500 * time.Millisecond

// One that is at it, on a machine that is busy or because the kernel takes down much memory, has longer. Whether it is, a look of so long shows.
const (
	mostKilling = 4 * time.Second
	killLook    = 50 * time.Millisecond
)

// startHeld starts cmd through the warden. It tries again once when the warden was lost before it began; direct says that there is none to be had.
func startHeld(cmd *exec.Cmd, cage *plan, keep bool) (h *held, pid int, direct bool, err error) {
	if cmd.Err != nil {
		return nil, 0, false, cmd.Err
	}
	body, err := encode(cmd, keep, cage.rlimits(), cage.encode())
	if err != nil {
		return nil, 0, false, err
	}
	dir := cmd.Dir
	if dir == "" {
		dir = "."
	}
	dirfd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, 0, false, &os.PathError{Op: "chdir", Path: dir, Err: err}
	}
	defer unix.Close(dirfd)
	for range 2 {
		h, pid, direct, err = tryHeld(cmd, body, dirfd, cage)
		if err != errWarden {
			break
		}
	}
	return h, pid, direct, err
}

func tryHeld(cmd *exec.Cmd, body []byte, dirfd int, cage *plan) (_ *held, pid int, direct bool, err error) {
	h, theirs, err := newHeld()
	if err != nil {
		return nil, 0, false, err
	}
	defer func() {
		if err != nil || direct {
			h.close()
		}
	}()
	files, done, err := descriptors(cmd)
	if err != nil {
		_ = unix.Close(theirs)
		return nil, 0, false, err
	}
	serial, direct, err := request(body, slices.Concat([]int{theirs, dirfd}, files, cage.joins()))
	done()
	_ = unix.Close(theirs)
	if err != nil || direct {
		return nil, 0, direct, err
	}
	pid, err = h.await(cmd)
	if err == errWarden {
		lose(serial)
	}
	return h, pid, false, err
}

// newHeld makes both ends of what a shim speaks through.
func newHeld() (h *held, theirs int, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, 0, os.NewSyscallError("socketpair", err)
	}
	_ = unix.SetNonblock(fds[0], true)
	h = &held{ctl: os.NewFile(uintptr(fds[0]), "shim")}
	if err = unix.SetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err == nil {
		h.raw, err = h.ctl.SyscallConn()
	}
	if err != nil {
		h.close()
		_ = unix.Close(fds[1])
		return nil, 0, err
	}
	return h, fds[1], nil
}

// descriptors are those of the program, from 0 on.
func descriptors(cmd *exec.Cmd) (fds []int, done func(), err error) {
	null := -1
	done = func() {
		if null >= 0 {
			_ = unix.Close(null)
		}
	}
	list := make([]*os.File, 3, 3+len(cmd.ExtraFiles))
	list[0], _ = cmd.Stdin.(*os.File)
	list[1], _ = cmd.Stdout.(*os.File)
	list[2], _ = cmd.Stderr.(*os.File)
	list = append(list, cmd.ExtraFiles...)
	if len(list) > maxFiles {
		return nil, done, &os.PathError{Op: "fork/exec", Path: cmd.Path, Err: unix.EMFILE}
	}
	for _, f := range list {
		if f == nil {
			if null < 0 {
				if null, err = unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
					return nil, done, &os.PathError{Op: "open", Path: os.DevNull, Err: err}
				}
			}
			fds = append(fds, null)
			continue
		}
		fds = append(fds, int(f.Fd())) // Fd makes it blocking, which programs expect
	}
	return fds, done, nil
}

// await reads until the program runs or is known not to.
func (h *held) await(cmd *exec.Cmd) (pid int, err error) {
	_ = h.ctl.SetReadDeadline(time.Now().Add(patience))
	for running := false; !running || pid == 0; {
		p, from, err := h.read()
		switch {
		case err != nil && pid == 0: // nothing has begun: closing ctl keeps it so
			return 0, errWarden
		case err != nil: // it ran, and its shim was killed at once
			return pid, nil
		}
		switch p[0] {
		case sayHello:
			pid = from
		case sayAble:
			return pid, nil
		case sayFailed:
			if p[1] >= atIPC && p[1] <= atFilter {
				return 0, &cageFault{p[1], p[3], syscall.Errno(p[2])}
			}
			return 0, stageError(cmd, p[1], syscall.Errno(p[2]))
		case sayRunning:
			running = true
			h.shim = from
			h.watch()
		}
	}
	_ = h.ctl.SetReadDeadline(time.Time{})
	return pid, nil
}

// watch opens the shim's descriptor. As long as the shim has not ended it holds ctl, so asking for that afterwards makes sure that the pid was still its own.
func (h *held) watch() {
	fd, err := unix.PidfdOpen(h.shim, unix.PIDFD_NONBLOCK)
	if err != nil {
		return
	}
	ended := true
	_ = h.raw.Control(func(ctl uintptr) {
		fds := []unix.PollFd{{Fd: int32(ctl)}}
		n, err := unix.Poll(fds, 0)
		ended = err != nil || n > 0 && fds[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
	})
	if ended {
		_ = unix.Close(fd)
		return
	}
	h.pidfd = os.NewFile(uintptr(fd), "shim")
}

// read reads one packet and who sent it. The error is an end, or the deadline.
func (h *held) read() (p packet, from int, err error) {
	buf := unsafe.Slice((*byte)(unsafe.Pointer(&p)), unsafe.Sizeof(p))
	var n, oobn int
	cerr := h.raw.Read(func(fd uintptr) bool {
		for {
			n, oobn, _, _, err = unix.Recvmsg(int(fd), buf, h.oob[:], unix.MSG_CMSG_CLOEXEC)
			// A shim that ended with an order unread leaves this error, once, before what it had said.
			if err != unix.EINTR && err != unix.ECONNRESET {
				return err != unix.EAGAIN
			}
		}
	})
	if err == nil {
		err = cerr
	}
	if err == nil && n != len(buf) {
		err = os.ErrClosed
	}
	if err != nil {
		return p, 0, err
	}
	list, err := unix.ParseSocketControlMessage(h.oob[:oobn])
	if err != nil || len(list) != 1 {
		return p, 0, os.ErrClosed
	}
	cred, err := unix.ParseUnixCredentials(&list[0])
	if err != nil {
		return p, 0, err
	}
	return p, int(cred.Pid), nil
}

// kill orders the shim to kill the tree and, when it does not answer, kills it. The caller makes sure that it is not closed meanwhile.
func (h *held) kill() {
	if h.timer != nil {
		return
	}
	h.timer = time.AfterFunc(killAfter, h.force)
	one := [1]byte{}
	_ = h.raw.Control(func(fd uintptr) { _ = unix.Sendto(int(fd), one[:], unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT, nil) })
}

func (h *held) force() {
	if h.pidfd == nil {
		return
	}
	for end := time.Now().Add(mostKilling - killAfter); time.Now().Before(end) && moves(h.shim, killLook); {
	}
	raw, err := h.pidfd.SyscallConn()
	if err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.PidfdSendSignal(int(fd), unix.SIGKILL, nil, 0) })
	}
}

// bury waits for the end of the program, calls gone, and then for that of its tree.
func (h *held) bury(gone func()) Exit {
	x := Exit{Code: -1, Signal: unix.SIGKILL, Lost: true} // what the kernel does to a program whose shim is killed
	told := false
	for {
		p, _, err := h.read()
		if err != nil {
			break
		}
		if told && p[0] == sayEmpty { // the shim has only itself to end, and that takes a while: its namespaces go with it
			return x
		}
		if p[0] == sayExit {
			ws := syscall.WaitStatus(p[1])
			x = Exit{Code: ws.ExitStatus(), CPU: time.Duration(p[2]+p[3]) * time.Microsecond, MaxRSS: p[4] << 10}
			if ws.Signaled() {
				x.Signal = ws.Signal()
			}
			told = true
			gone()
		}
	}
	h.ended()
	if !told {
		gone()
	}
	return x
}

// ended waits until the kernel has buried the shim's namespace with it: its own descriptors are closed before that.
func (h *held) ended() {
	if h.pidfd == nil {
		return
	}
	raw, err := h.pidfd.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Read(func(fd uintptr) bool {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		return n > 0 || err != nil && err != unix.EINTR
	})
}

func (h *held) close() {
	if h.timer != nil {
		h.timer.Stop()
	}
	h.ctl.Close()
	if h.pidfd != nil {
		h.pidfd.Close()
	}
}
