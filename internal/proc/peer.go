package proc

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// Peer is the process at the other end of a Unix socket, as the kernel noted it when the connection was made, and its user. The process is 0 when it cannot be
// named here: it is in a PID namespace that is not below ours.
func Peer(c syscall.Conn) (pid, uid int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, 0, err
	}
	var who *unix.Ucred
	cerr := raw.Control(func(fd uintptr) { who, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if cerr != nil {
		return 0, 0, cerr
	}
	if err != nil {
		return 0, 0, err
	}
	return int(who.Pid), int(who.Uid), nil
}
