package evidence

// syscalls names the system calls in which a process may be found waiting.
var syscalls = map[int]string{
	2: "io_submit", 4: "io_getevents", 22: "epoll_pwait", 25: "fcntl", 27: "inotify_add_watch", 29: "ioctl", 32: "flock", 34: "mkdirat", 35: "unlinkat",
	36: "symlinkat", 37: "linkat", 39: "umount2", 40: "mount", 45: "truncate", 46: "ftruncate", 47: "fallocate", 56: "openat", 57: "close",
	61: "getdents64", 62: "lseek", 63: "read", 64: "write", 65: "readv", 66: "writev", 67: "pread64", 68: "pwrite64", 69: "preadv", 70: "pwritev",
	71: "sendfile", 72: "pselect6", 73: "ppoll", 75: "vmsplice", 76: "splice", 77: "tee", 79: "newfstatat", 80: "fstat", 81: "sync", 82: "fsync",
	83: "fdatasync", 84: "sync_file_range", 93: "exit", 94: "exit_group", 95: "waitid", 98: "futex", 101: "nanosleep", 115: "clock_nanosleep",
	116: "syslog", 117: "ptrace", 122: "sched_setaffinity", 124: "sched_yield", 128: "restart_syscall", 129: "kill", 132: "sigaltstack",
	133: "rt_sigsuspend", 137: "rt_sigtimedwait", 139: "rt_sigreturn", 172: "getpid", 178: "gettid", 182: "mq_timedsend", 183: "mq_timedreceive",
	188: "msgrcv", 189: "msgsnd", 192: "semtimedop", 193: "semop", 198: "socket", 202: "accept", 203: "connect", 206: "sendto", 207: "recvfrom",
	210: "shutdown", 211: "sendmsg", 212: "recvmsg", 213: "readahead", 214: "brk", 215: "munmap", 216: "mremap", 219: "keyctl", 220: "clone",
	221: "execve", 222: "mmap", 223: "fadvise64", 226: "mprotect", 227: "msync", 233: "madvise", 242: "accept4", 243: "recvmmsg", 260: "wait4",
	267: "syncfs", 269: "sendmmsg", 270: "process_vm_readv", 276: "renameat2", 277: "seccomp", 278: "getrandom", 279: "memfd_create", 281: "execveat",
	285: "copy_file_range", 286: "preadv2", 287: "pwritev2", 291: "statx", 426: "io_uring_enter", 435: "clone3", 437: "openat2", 439: "faccessat2",
	441: "epoll_pwait2", 446: "landlock_restrict_self", 449: "futex_waitv",
}
