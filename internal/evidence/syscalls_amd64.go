package evidence

// syscalls names the system calls in which a process may be found waiting.
var syscalls = map[int]string{
	0: "read", 1: "write", 2: "open", 3: "close", 4: "stat", 5: "fstat", 6: "lstat", 7: "poll", 8: "lseek", 9: "mmap", 10: "mprotect", 11: "munmap",
	12: "brk", 15: "rt_sigreturn", 16: "ioctl", 17: "pread64", 18: "pwrite64", 19: "readv", 20: "writev", 23: "select", 24: "sched_yield", 25: "mremap",
	26: "msync", 28: "madvise", 34: "pause", 35: "nanosleep", 39: "getpid", 40: "sendfile", 41: "socket", 42: "connect", 43: "accept", 44: "sendto",
	45: "recvfrom", 46: "sendmsg", 47: "recvmsg", 48: "shutdown", 56: "clone", 57: "fork", 58: "vfork", 59: "execve", 60: "exit", 61: "wait4",
	62: "kill", 65: "semop", 69: "msgsnd", 70: "msgrcv", 72: "fcntl", 73: "flock", 74: "fsync", 75: "fdatasync", 76: "truncate", 77: "ftruncate",
	78: "getdents", 82: "rename", 83: "mkdir", 84: "rmdir", 87: "unlink", 101: "ptrace", 103: "syslog", 128: "rt_sigtimedwait", 130: "rt_sigsuspend",
	131: "sigaltstack", 162: "sync", 165: "mount", 166: "umount2", 186: "gettid", 187: "readahead", 202: "futex", 203: "sched_setaffinity",
	208: "io_getevents", 209: "io_submit", 217: "getdents64", 219: "restart_syscall", 220: "semtimedop", 221: "fadvise64", 230: "clock_nanosleep",
	231: "exit_group", 232: "epoll_wait", 242: "mq_timedsend", 243: "mq_timedreceive", 247: "waitid", 250: "keyctl", 254: "inotify_add_watch",
	257: "openat", 258: "mkdirat", 262: "newfstatat", 263: "unlinkat", 265: "linkat", 266: "symlinkat", 270: "pselect6", 271: "ppoll", 275: "splice",
	276: "tee", 277: "sync_file_range", 278: "vmsplice", 281: "epoll_pwait", 285: "fallocate", 288: "accept4", 295: "preadv", 296: "pwritev",
	299: "recvmmsg", 306: "syncfs", 307: "sendmmsg", 310: "process_vm_readv", 316: "renameat2", 317: "seccomp", 318: "getrandom", 319: "memfd_create",
	322: "execveat", 326: "copy_file_range", 327: "preadv2", 328: "pwritev2", 332: "statx", 426: "io_uring_enter", 435: "clone3", 437: "openat2",
	439: "faccessat2", 441: "epoll_pwait2", 446: "landlock_restrict_self", 449: "futex_waitv",
}
