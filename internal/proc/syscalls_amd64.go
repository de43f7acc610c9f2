package proc

import "golang.org/x/sys/unix"

// older are system calls that newer machines never had.
var older = map[int]string{
	unix.SYS_POLL: "poll", unix.SYS_SELECT: "select", unix.SYS_EPOLL_WAIT: "epoll", unix.SYS_OPEN: "file", unix.SYS_STAT: "file", unix.SYS_LSTAT: "file",
	unix.SYS_UNLINK: "file", unix.SYS_RENAME: "file", unix.SYS_MKDIR: "file", unix.SYS_RMDIR: "file", unix.SYS_GETDENTS: "file",
	unix.SYS_PAUSE: "signal", unix.SYS_FORK: "wait", unix.SYS_VFORK: "wait",
}
