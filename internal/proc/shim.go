package proc

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This file runs in processes that were forked and not executed: the shim, and its child until it becomes the program. They are no threads of the runtime, but
// share its memory: that saves the copy of the page tables, which costs more than all else of a start, at the fork, at each first write and at the end. So
// nothing here may allocate, grow the stack, enter the scheduler or write to anything but the shim's own state, on whose stack it runs: only raw system calls,
// on numbers and on memory that the warden prepared. The linker holds the functions to it by their nosplit mark.

// What a shim says to the application, as the first of eight numbers in a packet. The kernel adds who sent it, as a pid of the reader's namespace.
const (
	sayHello   = iota + 1 // from the process that will be the program
	sayFailed             // stage, errno: it will not be
	sayRunning            // from the shim: the program runs, or its failure has been told
	sayExit               // wait status, user and system time in microseconds, kilobytes of memory
	sayEmpty              // nothing of its tree is left
	sayAble               // the answer to a trial
)

// Stages at which a start may fail.
const (
	atFork = iota + 1
	atUser
	atMount
	atProc
	atDir
	atFiles
	atExec
	atIPC
	atNet
	atJoin
	atLimit
	atIdentity
	atCaps
	atNoNew
	atRules
	atFilter
	atDeath = 100
)

const (
	maxFiles = 240 // the kernel passes at most 253 descriptors at once
	// rounds of killing before a shim gives up on what cannot be killed, of about two milliseconds each.
	maxRounds = 5000
)

type packet [8]int64

// order is what the warden wants of the next shim.
type order struct {
	flags           uintptr // for clone
	trial           bool    // only try the isolation
	spare           bool    // wait for the rest of the order
	keep            bool    // what the program has started lives on when it ends
	ctl, dir        uintptr
	dirPath         uintptr // where dir is by name; 0 when it has none
	n               uintptr // descriptors 0 to n-1 of the program
	fds             [maxFiles]uintptr
	path, argv, env uintptr
	uidMap, gidMap  uintptr
	uidLen, gidLen  uintptr
	cage            cage
	limits          rlimits
}

// Constants in C's spelling, their addresses, and the shim's own memory.
var (
	cEmpty                                     = cString("")
	cName, cRoot, cProc, cNone, cDeny          = cString("tandem-shim"), cString("/"), cString("proc"), cString("none"), cString("deny")
	cProcDir, cUIDMap, cGIDMap, cGroups, cKids = cString("/proc"), cString("/proc/self/uid_map"), cString("/proc/self/gid_map"), cString("/proc/self/setgroups"), cString("/proc/thread-self/children")

	everySignal        = ^uint64(0)
	childSignal uint64 = 1 << (unix.SIGCHLD - 1)
	// The signals that were ignored when the warden began: a program inherits that.
	ignoredSignals uint64
	defaultAction  sigaction
)

// sigaction is the kernel's; all zero means the default.
type sigaction struct {
	handler, flags, restorer uintptr
	mask                     uint64
}

func noteIgnored() {
	for sig := uintptr(1); sig <= 64; sig++ {
		var now sigaction
		_, _, err := syscall.RawSyscall6(unix.SYS_RT_SIGACTION, sig, 0, uintptr(unsafe.Pointer(&now)), 8, 0, 0)
		if err == 0 && now.handler == 1 {
			ignoredSignals |= 1 << (sig - 1)
		}
	}
}

func cString(s string) uintptr {
	b := append([]byte(s), 0)
	cStrings = append(cStrings, b)
	return uintptr(unsafe.Pointer(&b[0]))
}

var cStrings [][]byte // keeps them alive

// shim is the first process of a program's tree. It never returns.
//
//go:nosplit
//go:norace
//go:nocheckptr
func shim(s *shimState) {
	syscall.RawSyscall(unix.SYS_CLOSE, wardenSocket, 0, 0) // or a warden's death could go unseen
	syscall.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_NAME, cName, 0)
	syscall.RawSyscall(unix.SYS_SETPGID, 0, 0, 0)
	// The program gets these from us. Until then all are blocked, and once they are not, none must find the runtime's handlers.
	for sig := uintptr(1); sig <= 64; sig++ {
		if ignoredSignals>>(sig-1)&1 == 0 {
			syscall.RawSyscall6(unix.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&defaultAction)), 0, 8, 0, 0)
		}
	}
	if s.flags&unix.CLONE_NEWUSER != 0 {
		s.put(cGroups, cDeny, 4)
		s.put(cUIDMap, s.uidMap, s.uidLen)
		s.put(cGIDMap, s.gidMap, s.gidLen)
	}
	if s.flags&unix.CLONE_NEWPID != 0 {
		if _, _, err := syscall.RawSyscall6(unix.SYS_MOUNT, cNone, cRoot, 0, unix.MS_REC|unix.MS_SLAVE, 0, 0); err != 0 {
			s.fail(atMount, err)
		}
		if _, _, err := syscall.RawSyscall6(unix.SYS_MOUNT, cProc, cProcDir, cProc, unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, 0, 0); err != 0 {
			s.fail(atProc, err)
		}
	} else {
		if _, _, err := syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0, 0); err != 0 {
			s.fail(atFork, err)
		}
	}
	if s.trial {
		s.say(s.ctl, sayAble, 0, 0, 0, 0)
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
	if s.spare {
		s.wait()
	}
	s.spaces()
	// Nobody may be left who wants it.
	if n, _, err := syscall.RawSyscall6(unix.SYS_RECVFROM, s.ctl, uintptr(unsafe.Pointer(&s.buffer)), 1, unix.MSG_PEEK|unix.MSG_DONTWAIT, 0, 0); err == 0 && n == 0 {
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
	deaths, _, err := syscall.RawSyscall6(unix.SYS_SIGNALFD4, ^uintptr(0), uintptr(unsafe.Pointer(&childSignal)), 8, unix.SFD_CLOEXEC|unix.SFD_NONBLOCK, 0, 0)
	if err != 0 {
		s.fail(atFiles, err)
	}
	self, _, _ := syscall.RawSyscall(unix.SYS_GETPID, 0, 0, 0)
	// Until it executes, the child shares our memory, and we wait: what it writes, it writes for both.
	worker, errno := vfork(unix.CLONE_VFORK | unix.CLONE_VM | uintptr(unix.SIGCHLD))
	if errno != 0 {
		s.fail(atFork, syscall.Errno(errno))
	}
	if worker == 0 {
		s.become(self)
	}
	s.worker = worker
	// What the program reads and writes must end with the program: the shim keeps two descriptors.
	syscall.RawSyscall(unix.SYS_DUP3, s.ctl, 0, unix.O_CLOEXEC)
	syscall.RawSyscall(unix.SYS_DUP3, deaths, 1, unix.O_CLOEXEC)
	if _, _, err := syscall.RawSyscall(unix.SYS_CLOSE_RANGE, 2, uintptr(^uint32(0)), 0); err != 0 {
		for fd := uintptr(2); fd < 4096; fd++ {
			syscall.RawSyscall(unix.SYS_CLOSE, fd, 0, 0)
		}
	}
	s.say(0, sayRunning, 0, 0, 0, 0)
	s.watch()
	if s.purge() {
		s.say(0, sayEmpty, 0, 0, 0, 0)
	}
	syscall.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
}

// become turns the shim's child into the program.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (s *shimState) become(parent uintptr) {
	syscall.RawSyscall(unix.SYS_SETPGID, 0, 0, 0)
	if _, _, err := syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0, 0); err != 0 {
		s.fail(atDeath, err)
	}
	if now, _, _ := syscall.RawSyscall(unix.SYS_GETPPID, 0, 0, 0); now != parent {
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, 127, 0, 0) // the shim died before it could be seen
	}
	s.say(s.ctl, sayHello, 0, 0, 0, 0)
	if !s.named() {
		if _, _, err := syscall.RawSyscall(unix.SYS_FCHDIR, s.dir, 0, 0); err != 0 {
			s.fail(atDir, err)
		}
	}
	for i := uintptr(0); i < s.n; i++ {
		if _, _, err := syscall.RawSyscall(unix.SYS_DUP3, s.fds[i], i, 0); err != 0 {
			s.fail(atFiles, err)
		}
	}
	s.shut(parent)
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, 2, uintptr(unsafe.Pointer(&s.mask)), 0, 8, 0, 0)
	s.bind() // last: the limit of memory is the program's own
	s.sift()
	if s.cage.bits&cageTrial != 0 {
		s.say(s.ctl, sayAble, 0, 0, 0, 0)
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
	_, _, err := syscall.RawSyscall(unix.SYS_EXECVE, s.path, s.argv, s.env)
	s.fail(atExec, err)
}

// named goes to the working directory by its name. The descriptor comes from another mount namespace: through it the program would stand where its own root
// does not lead, and could not be told where it is. It is false when the name leads elsewhere, or nowhere that the user may go.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (s *shimState) named() bool {
	if s.dirPath == 0 {
		return false
	}
	if _, _, err := syscall.RawSyscall(unix.SYS_CHDIR, s.dirPath, 0, 0); err != 0 {
		return false
	}
	const here, emptyPath = ^uintptr(99), unix.AT_EMPTY_PATH // AT_FDCWD
	_, _, err := syscall.RawSyscall6(unix.SYS_STATX, here, cEmpty, emptyPath, unix.STATX_INO, uintptr(unsafe.Pointer(&s.stat[0])), 0)
	if err == 0 {
		_, _, err = syscall.RawSyscall6(unix.SYS_STATX, s.dir, cEmpty, emptyPath, unix.STATX_INO, uintptr(unsafe.Pointer(&s.stat[1])), 0)
	}
	a, b := &s.stat[0], &s.stat[1]
	return err == 0 && a.Ino == b.Ino && a.Dev_major == b.Dev_major && a.Dev_minor == b.Dev_minor
}

// watch returns when the program has ended, is to be killed, or has nobody left who wants it.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (s *shimState) watch() {
	s.poll[0] = unix.PollFd{Fd: 0, Events: unix.POLLIN}
	s.poll[1] = unix.PollFd{Fd: 1, Events: unix.POLLIN}
	for {
		s.reap()
		if s.ended && !s.keep {
			return
		}
		syscall.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&s.poll)), 2, 0, 0, 0, 0)
		if s.poll[0].Revents != 0 { // an order to kill and the application's death mean the same
			return
		}
		syscall.RawSyscall(unix.SYS_READ, 1, uintptr(unsafe.Pointer(&s.buffer)), uintptr(len(s.buffer)))
	}
}

// reap buries every child that has ended; it says whether there may be more to come.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (s *shimState) reap() bool {
	for {
		pid, _, err := syscall.RawSyscall6(unix.SYS_WAIT4, ^uintptr(0), uintptr(unsafe.Pointer(&s.status)), unix.WNOHANG|unix.WALL, uintptr(unsafe.Pointer(&s.usage)), 0, 0)
		if err != 0 {
			return err != unix.ECHILD
		}
		if pid == 0 {
			return true
		}
		if pid == s.worker && !s.ended {
			s.ended = true
			s.say(0, sayExit, int64(s.status), int64(s.usage.Utime.Sec)*1e6+int64(s.usage.Utime.Usec),
				int64(s.usage.Stime.Sec)*1e6+int64(s.usage.Stime.Usec), int64(s.usage.Maxrss))
		}
	}
}

// purge kills the tree until nothing of it is left; false when something cannot be killed.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (s *shimState) purge() bool {
	for round := 0; s.reap(); round++ {
		if round == maxRounds {
			return false
		}
		if s.flags&unix.CLONE_NEWPID != 0 {
			syscall.RawSyscall(unix.SYS_KILL, ^uintptr(0), uintptr(unix.SIGKILL), 0) // all of the namespace but ourselves
		} else {
			s.walk()
		}
		if s.reap() {
			s.interval = unix.Timespec{Nsec: 2e6} // the kernel leaves in it what was not waited
			syscall.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&s.poll[1])), 1, uintptr(unsafe.Pointer(&s.interval)), 0, 0, 0)
			syscall.RawSyscall(unix.SYS_READ, 1, uintptr(unsafe.Pointer(&s.buffer)), uintptr(len(s.buffer)))
		}
	}
	return true
}

// walk kills the shim's children. What they leave behind becomes the shim's, which is the reaper of its tree, and is killed in the next round.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (s *shimState) walk() {
	fd, _, err := syscall.RawSyscall6(unix.SYS_OPENAT, unix.AT_FDCWD&(1<<64-1), cKids, unix.O_RDONLY|unix.O_CLOEXEC, 0, 0, 0)
	if err != 0 {
		if !s.ended { // not reaped: the id is still the program's
			syscall.RawSyscall(unix.SYS_KILL, -s.worker, uintptr(unix.SIGKILL), 0)
		}
		return
	}
	pid := uintptr(0)
	for {
		n, _, err := syscall.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&s.buffer)), uintptr(len(s.buffer)))
		if err != 0 || n == 0 {
			break
		}
		for i := uintptr(0); i < n; i++ {
			if c := s.buffer[i&4095]; c >= '0' && c <= '9' {
				pid = pid*10 + uintptr(c-'0')
			} else if pid != 0 {
				syscall.RawSyscall(unix.SYS_KILL, pid, uintptr(unix.SIGKILL), 0)
				pid = 0
			}
		}
	}
	if pid != 0 {
		syscall.RawSyscall(unix.SYS_KILL, pid, uintptr(unix.SIGKILL), 0)
	}
	syscall.RawSyscall(unix.SYS_CLOSE, fd, 0, 0)
}

//go:nosplit
//go:norace
//go:nocheckptr
func (s *shimState) say(fd uintptr, what, a, b, c, d int64) {
	s.packet[0], s.packet[1], s.packet[2], s.packet[3], s.packet[4] = what, a, b, c, d
	syscall.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(&s.packet)), unsafe.Sizeof(s.packet), unix.MSG_NOSIGNAL, 0, 0)
}

//go:nosplit
//go:norace
//go:nocheckptr
func (s *shimState) fail(stage int64, err syscall.Errno) {
	s.say(s.ctl, sayFailed, stage, int64(err), s.detail, 0)
	syscall.RawSyscall(unix.SYS_EXIT_GROUP, 127, 0, 0)
}

//go:nosplit
//go:norace
//go:nocheckptr
func (s *shimState) put(path, data, n uintptr) {
	fd, _, err := syscall.RawSyscall6(unix.SYS_OPENAT, unix.AT_FDCWD&(1<<64-1), path, unix.O_WRONLY|unix.O_CLOEXEC, 0, 0, 0)
	if err == 0 {
		_, _, err = syscall.RawSyscall(unix.SYS_WRITE, fd, data, n)
		syscall.RawSyscall(unix.SYS_CLOSE, fd, 0, 0)
	}
	if err != 0 {
		s.fail(atUser, err)
	}
}
