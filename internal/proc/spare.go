package proc

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The warden keeps one shim ready that has its namespaces, which take longer than all else, and waits for an order. It makes it when there is nothing else to do,
// so a start that comes while others are under way may not find one, and forks as ever. What is mounted or unmounted meanwhile a spare would not see where
// mounts are private, so it is thrown away then.

// spare is a shim that waits.
type spare struct {
	pid   int
	block *block
	line  int // orders to it, and its word that it is ready
	late  int // how often it was not ready when it was wanted
}

const (
	spareWait = 5_000 // microseconds that a start waits for a spare that is not ready
	spareLate = 20    // times; then something holds it
)

// prepare makes a spare.
func (w *warden) prepare() {
	if !sharesMemory || w.spare != nil || w.mounts < 0 {
		return
	}
	w.remounted()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fds[1])
	_ = unix.SetsockoptTimeval(fds[0], unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: spareWait})
	b, err := w.take(0)
	if err != nil {
		_ = unix.Close(fds[0])
		return
	}
	s := b.state
	s.order = order{flags: w.flags, spare: true, ctl: uintptr(fds[1])}
	w.maps(s)
	s.vector.Base = &s.buffer[0]
	s.vector.SetLen(1)
	s.message.Iov, s.message.Iovlen = &s.vector, 1
	s.message.Control = (*byte)(unsafe.Pointer(&s.rights))
	s.message.SetControllen(int(unsafe.Sizeof(s.rights)))
	pid, errno := w.start(b, true)
	if errno != 0 {
		_ = unix.Close(fds[0])
		return
	}
	w.spare = &spare{pid: pid, block: b, line: fds[0]}
}

// remounted says whether mounts have changed since it was last asked.
func (w *warden) remounted() bool {
	fds := []unix.PollFd{{Fd: int32(w.mounts), Events: unix.POLLPRI}}
	n, err := unix.Poll(fds, 0)
	return err != nil || n > 0
}

// hand gives an order to the spare; false when there is none that can carry it out.
func (w *warden) hand(r wish, fds []int) bool {
	p := w.spare
	if p == nil || stateSize+len(r.body) > blockSize || r.open() {
		return false
	}
	var word packet
	n, err := unix.Read(p.line, unsafe.Slice((*byte)(unsafe.Pointer(&word)), unsafe.Sizeof(word)))
	if p.late++; (err == unix.EAGAIN || err == unix.EINTR) && p.late < spareLate {
		return false
	}
	w.spare = nil
	defer unix.Close(p.line)
	if n > 0 && word[0] == sayFailed { // the next would fail, too
		_ = unix.Close(w.mounts)
		w.mounts = -1
	}
	if err != nil || n == 0 || word[0] != sayAble || w.remounted() {
		w.discard(p)
		return false
	}
	w.order(p.block, r, fds, nil)
	for {
		if err = unix.Sendmsg(p.line, []byte{1}, unix.UnixRights(fds...), nil, unix.MSG_NOSIGNAL); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		w.discard(p)
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, lives := w.shims[p.pid]; lives {
		w.shims[p.pid] = p.block
	} else {
		w.give(p.block, false)
	}
	return true
}

// discard ends a spare. Its block is given back when it is buried.
func (w *warden) discard(p *spare) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, lives := w.shims[p.pid]; !lives {
		w.give(p.block, false)
		return
	}
	w.shims[p.pid] = p.block
	_ = unix.Kill(p.pid, unix.SIGKILL)
}

// wait is what a spare does until it has its order, which then stands in its state; the descriptors come with the message. They take the lowest numbers, so
// that each lies above the one it will become.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (s *shimState) wait() {
	_, _, _ = syscall.RawSyscall(unix.SYS_DUP3, s.ctl, 0, unix.O_CLOEXEC)
	s.ctl = 0
	if _, _, err := syscall.RawSyscall(unix.SYS_CLOSE_RANGE, 1, uintptr(^uint32(0)), 0); err != 0 {
		s.fail(atFiles, err) // it would keep the warden's files open
	}
	s.say(0, sayAble, 0, 0, 0, 0)
	for {
		n, _, err := syscall.RawSyscall(unix.SYS_RECVMSG, 0, uintptr(unsafe.Pointer(&s.message)), unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != 0 || n == 0 || s.message.Flags&unix.MSG_CTRUNC != 0 || s.rights.kind != unix.SCM_RIGHTS {
			_, _, _ = syscall.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0) // the warden is gone, or wants it no more
		}
		break
	}
	all := 2 + s.n + s.cage.joins
	ctl, _, err := syscall.RawSyscall(unix.SYS_FCNTL, uintptr(s.rights.fd[0]), unix.F_DUPFD_CLOEXEC, all+8)
	s.ctl, s.dir = ctl, uintptr(s.rights.fd[1])
	if err != 0 {
		s.ctl = uintptr(s.rights.fd[0])
		s.fail(atFiles, err)
	}
	for i := uintptr(0); i < s.n && i < maxFiles; i++ {
		if s.fds[i] = uintptr(s.rights.fd[2+i]); s.fds[i] <= i {
			s.fail(atFiles, unix.EBADF)
		}
	}
	for i := uintptr(0); i < s.cage.joins && i < maxJoins; i++ {
		s.cage.join[i] = uintptr(s.rights.fd[2+s.n+i])
	}
}
