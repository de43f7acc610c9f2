package proc

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This file goes on where shim.go stops, under the same rules: no allocation, no stack growth, nothing written but its own state. Each step ends the start when it fails, so
// that nothing ever runs less isolated than it was ordered to be; the application decides whether to try again with less.

const (
	maxRules  = 120
	maxJoins  = 8
	maxRlimit = 8
)

// What a cage holds, as bits.
const (
	cageNet      = 1 << iota // an empty network namespace
	cageLoopback             // with its own loopback
	cageIPC                  // System V memory and queues of its own
	cageUser                 // another user and group, and no others
	cageCaps                 // no capabilities
	cageNoNew                // none to be had, either
	cageRules                // Landlock
	cageFilter               // seccomp
	cageTrial                // go so far and no further
	cageOpen                 // no namespaces at all
)

// cage is what a program is put in, in numbers and addresses of the warden's memory.
type cage struct {
	bits, uid, gid    uintptr
	joins             uintptr
	join              [maxJoins]uintptr // descriptors of control groups' member lists
	rlimits           uintptr
	rlimit            [maxRlimit]struct{ what, soft, hard uint64 }
	ruleset           [3]uint64 // handled rights over files, TCP, scopes
	rulesetSize       uintptr
	rules             uintptr
	rulePath          [maxRules]uintptr
	ruleRights        [maxRules]uint64
	filter, filterLen uintptr
}

var (
	cZero     = cString("0")
	capHeader = [2]uint32{0x20080522, 0} // version 3, ourselves
	capNone   [6]uint32
)

// spaces makes the namespaces that the cage has beside those of the shim.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (s *shimState) spaces() {
	if s.cage.bits&cageIPC != 0 {
		if _, _, err := syscall.RawSyscall(unix.SYS_UNSHARE, unix.CLONE_NEWIPC, 0, 0); err != 0 {
			s.fail(atIPC, err)
		}
	}
	if s.cage.bits&cageNet == 0 {
		return
	}
	if _, _, err := syscall.RawSyscall(unix.SYS_UNSHARE, unix.CLONE_NEWNET, 0, 0); err != 0 {
		s.fail(atNet, err)
	}
	if s.cage.bits&cageLoopback == 0 {
		return
	}
	fd, _, err := syscall.RawSyscall(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == 0 {
		s.ifreq.name[0], s.ifreq.name[1] = 'l', 'o'
		s.ifreq.flags = unix.IFF_UP | unix.IFF_RUNNING
		_, _, err = syscall.RawSyscall(unix.SYS_IOCTL, fd, unix.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&s.ifreq)))
		syscall.RawSyscall(unix.SYS_CLOSE, fd, 0, 0)
	}
	if err != 0 {
		s.fail(atNet, err)
	}
}

// shut shuts the cage around the shim's child. What it still has to do afterwards, the filter must allow.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (s *shimState) shut(parent uintptr) {
	for i := uintptr(0); i < s.cage.joins && i < maxJoins; i++ {
		s.detail = int64(i)
		if _, _, err := syscall.RawSyscall(unix.SYS_WRITE, s.cage.join[i], cZero, 1); err != 0 {
			s.fail(atJoin, err)
		}
	}
	for i := uintptr(0); i < s.cage.rlimits && i < maxRlimit; i++ {
		s.detail = int64(s.cage.rlimit[i].what)
		if _, _, err := syscall.RawSyscall6(unix.SYS_PRLIMIT64, 0, uintptr(s.cage.rlimit[i].what), uintptr(unsafe.Pointer(&s.cage.rlimit[i].soft)), 0, 0, 0); err != 0 {
			s.fail(atLimit, err)
		}
	}
	s.detail = 0
	s.identity(parent)
	if s.cage.bits&cageNoNew != 0 {
		if _, _, err := syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); err != 0 {
			s.fail(atNoNew, err)
		}
	}
	if s.cage.bits&cageRules != 0 {
		s.close()
	}
}

// identity takes the user and the rights away. It clears the parent-death signal, so that is set again, and the parent looked for.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (s *shimState) identity(parent uintptr) {
	if s.cage.bits&(cageUser|cageCaps) == 0 {
		return
	}
	for c := uintptr(0); c < 64; c++ {
		// Without the right to do so it does not matter: no_new_privs keeps what is not there from coming back.
		if _, _, err := syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c, 0, 0, 0, 0); err != 0 {
			break // most often the number behind the last
		}
	}
	if s.cage.bits&cageUser != 0 {
		if _, _, err := syscall.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); err != 0 {
			s.fail(atIdentity, err)
		}
		if _, _, err := syscall.RawSyscall(unix.SYS_SETRESGID, s.cage.gid, s.cage.gid, s.cage.gid); err != 0 {
			s.fail(atIdentity, err)
		}
		if _, _, err := syscall.RawSyscall(unix.SYS_SETRESUID, s.cage.uid, s.cage.uid, s.cage.uid); err != 0 {
			s.fail(atIdentity, err)
		}
	}
	syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0, 0)
	if _, _, err := syscall.RawSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&capHeader)), uintptr(unsafe.Pointer(&capNone)), 0); err != 0 {
		s.fail(atCaps, err)
	}
	if _, _, err := syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0, 0); err != 0 {
		s.fail(atCaps, err)
	}
	if now, _, _ := syscall.RawSyscall(unix.SYS_GETPPID, 0, 0, 0); now != parent {
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, 127, 0, 0)
	}
}

// close closes the files. A name that is not there, or that the user may not look up, gets no rule, and stays closed.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (s *shimState) close() {
	set, _, err := syscall.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&s.cage.ruleset)), s.cage.rulesetSize, 0)
	if err != 0 {
		s.fail(atRules, err)
	}
	for i := uintptr(0); i < s.cage.rules && i < maxRules; i++ {
		fd, _, err := syscall.RawSyscall6(unix.SYS_OPENAT, unix.AT_FDCWD&(1<<64-1), s.cage.rulePath[i], unix.O_PATH|unix.O_CLOEXEC, 0, 0, 0)
		if err != 0 {
			continue
		}
		s.rule.rights, s.rule.fd = s.cage.ruleRights[i], int32(fd)
		_, _, err = syscall.RawSyscall6(unix.SYS_LANDLOCK_ADD_RULE, set, unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&s.rule)), 0, 0, 0)
		syscall.RawSyscall(unix.SYS_CLOSE, fd, 0, 0)
		if err != 0 {
			s.detail = int64(i) + 1
			s.fail(atRules, err)
		}
	}
	if _, _, err := syscall.RawSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, set, 0, 0); err != 0 {
		s.fail(atRules, err)
	}
	syscall.RawSyscall(unix.SYS_CLOSE, set, 0, 0)
}

// sift comes last of all.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (s *shimState) sift() {
	if s.cage.bits&cageFilter == 0 {
		return
	}
	s.prog.n, s.prog.code = uint16(s.cage.filterLen), s.cage.filter
	if _, _, err := syscall.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&s.prog))); err != 0 {
		s.fail(atFilter, err)
	}
}
