package proc

import "golang.org/x/sys/unix"

// SyscallName names the system calls in which programs wait, by this machine's numbers; others are "".
func SyscallName(nr int) string { return waiting[nr] }

var waiting = func() map[int]string {
	m := map[int]string{
		unix.SYS_READ: "read", unix.SYS_PREAD64: "read", unix.SYS_READV: "read", unix.SYS_PREADV: "read", unix.SYS_PREADV2: "read",
		unix.SYS_RECVFROM: "read", unix.SYS_RECVMSG: "read", unix.SYS_RECVMMSG: "read",
		unix.SYS_WRITE: "write", unix.SYS_PWRITE64: "write", unix.SYS_WRITEV: "write", unix.SYS_PWRITEV: "write", unix.SYS_PWRITEV2: "write",
		unix.SYS_SENDTO: "write", unix.SYS_SENDMSG: "write", unix.SYS_SENDMMSG: "write", unix.SYS_SENDFILE: "write", unix.SYS_SPLICE: "read",
		unix.SYS_COPY_FILE_RANGE: "file", unix.SYS_CONNECT: "connect", unix.SYS_ACCEPT: "accept", unix.SYS_ACCEPT4: "accept",
		unix.SYS_PPOLL: "poll", unix.SYS_PSELECT6: "select", unix.SYS_EPOLL_PWAIT: "epoll", unix.SYS_EPOLL_PWAIT2: "epoll2",
		unix.SYS_FUTEX: "futex", unix.SYS_NANOSLEEP: "sleep", unix.SYS_CLOCK_NANOSLEEP: "sleep", unix.SYS_RESTART_SYSCALL: "sleep",
		unix.SYS_FSYNC: "file", unix.SYS_FDATASYNC: "file", unix.SYS_SYNC: "file", unix.SYS_SYNCFS: "file", unix.SYS_MSYNC: "file",
		unix.SYS_SYNC_FILE_RANGE: "file", unix.SYS_OPENAT: "file", unix.SYS_OPENAT2: "file", unix.SYS_GETDENTS64: "file", unix.SYS_STATX: "file",
		unix.SYS_FTRUNCATE: "file", unix.SYS_TRUNCATE: "file", unix.SYS_FALLOCATE: "file", unix.SYS_UNLINKAT: "file", unix.SYS_RENAMEAT2: "file",
		unix.SYS_MKDIRAT: "file", unix.SYS_IO_GETEVENTS: "file", unix.SYS_READAHEAD: "file", unix.SYS_CLOSE: "file", unix.SYS_FSTAT: "file",
		unix.SYS_FLOCK: "lock", unix.SYS_FCNTL: "fcntl", unix.SYS_SEMOP: "lock", unix.SYS_SEMTIMEDOP: "lock",
		unix.SYS_WAIT4: "wait", unix.SYS_WAITID: "wait", unix.SYS_CLONE: "wait", unix.SYS_EXECVE: "file",
		unix.SYS_RT_SIGSUSPEND: "signal", unix.SYS_RT_SIGTIMEDWAIT: "signal", unix.SYS_MSGRCV: "message", unix.SYS_MSGSND: "message",
		unix.SYS_MMAP: "memory", unix.SYS_MUNMAP: "memory", unix.SYS_MPROTECT: "memory", unix.SYS_BRK: "memory", unix.SYS_MADVISE: "memory", unix.SYS_MREMAP: "memory",
		unix.SYS_IO_URING_ENTER: "uring",
	}
	for nr, name := range older {
		m[nr] = name
	}
	return m
}()
