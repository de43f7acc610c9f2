package proc

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// A filter is a program that the kernel runs at each system call. Ours is a list of what is refused; what is not in it is allowed, and the kernel remembers
// that, so that most calls cost nothing.
type filter struct{ code []unix.SockFilter }

const (
	loadWord  = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	jumpEqual = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	jumpSet   = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
	jumpLess  = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
	answer    = unix.BPF_RET | unix.BPF_K

	atNumber = 0 // struct seccomp_data
	atArch   = 4
	atArg0   = 16 // the lower half of the first argument; the next are 8 bytes apart
)

func (f *filter) add(code uint16, jt, jf uint8, k uint32) {
	f.code = append(f.code, unix.SockFilter{Code: code, Jt: jt, Jf: jf, K: k})
}

func refuse(e unix.Errno) uint32 { return unix.SECCOMP_RET_ERRNO | uint32(e) }

// call refuses a system call. The number of the call is loaded.
func (f *filter) call(nr int, e unix.Errno) {
	f.add(jumpEqual, 0, 1, uint32(nr))
	f.add(answer, 0, 0, refuse(e))
}

// when looks at an argument of a system call: body ends with an answer for each case, or falls through and the call is allowed.
func (f *filter) when(nr, arg int, body func(*filter)) {
	var b filter
	b.add(loadWord, 0, 0, uint32(atArg0+8*arg))
	body(&b)
	b.add(answer, 0, 0, unix.SECCOMP_RET_ALLOW)
	f.add(jumpEqual, 0, uint8(len(b.code)), uint32(nr))
	f.code = append(f.code, b.code...)
}

// spaces are the flags of clone that make namespaces.
const spaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET

// forbidden are system calls that no handler needs, and by which most that ever left a sandbox left it.
var forbidden = append([]int{
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PIDFD_GETFD, unix.SYS_KCMP,
	unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_CHROOT, unix.SYS_PIVOT_ROOT,
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT, unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR,
	unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_NAME_TO_HANDLE_AT,
	unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD, unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
	unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY,
	unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_KEXEC_LOAD, unix.SYS_REBOOT,
	unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT, unix.SYS_QUOTACTL, unix.SYS_FANOTIFY_INIT, unix.SYS_SYSLOG, unix.SYS_VHANGUP,
	unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_ADJTIMEX, unix.SYS_CLOCK_ADJTIME, unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME,
}, forbiddenHere...)

// filtering is what a filter takes away.
type filtering struct {
	rights  bool
	noFork  bool
	sockets []int // families that may be had; nil means all
}

func (w filtering) any() bool { return w.rights || w.noFork || w.sockets != nil }

// compile makes the program.
func (w filtering) compile() []unix.SockFilter {
	var f filter
	f.add(loadWord, 0, 0, atArch)
	f.add(jumpEqual, 1, 0, auditArch)
	f.add(answer, 0, 0, refuse(unix.ENOSYS)) // calls by the convention of another machine, which would have other numbers
	f.add(loadWord, 0, 0, atNumber)
	if firstForeign > 0 {
		f.add(jumpLess, 0, 1, firstForeign)
		f.add(answer, 0, 0, refuse(unix.ENOSYS))
	}
	if w.rights {
		for _, nr := range forbidden {
			f.call(nr, unix.EPERM)
		}
		f.when(unix.SYS_IOCTL, 1, func(b *filter) {
			for _, request := range []int{unix.TIOCSTI, unix.TIOCLINUX} { // typing into somebody's terminal
				b.call(request, unix.EPERM)
			}
		})
	}
	if w.rights || w.noFork {
		// What clone3 is to do lies in memory, where no filter can look. Libraries then use clone.
		f.call(unix.SYS_CLONE3, unix.ENOSYS)
		f.when(unix.SYS_CLONE, cloneFlags, func(b *filter) {
			if w.rights {
				b.add(jumpSet, 0, 1, spaces)
				b.add(answer, 0, 0, refuse(unix.EPERM))
			}
			if w.noFork {
				b.add(jumpSet, 1, 0, unix.CLONE_THREAD)
				b.add(answer, 0, 0, refuse(unix.EPERM))
			}
		})
	}
	if w.noFork {
		for _, nr := range forks {
			f.call(nr, unix.EPERM)
		}
		// Its end with its shim must not be given up.
		f.when(unix.SYS_PRCTL, 0, func(b *filter) { b.call(unix.PR_SET_PDEATHSIG, unix.EPERM) })
	}
	if w.sockets != nil {
		f.when(unix.SYS_SOCKET, 0, func(b *filter) {
			for _, family := range w.sockets {
				b.add(jumpEqual, 0, 1, uint32(family))
				b.add(answer, 0, 0, unix.SECCOMP_RET_ALLOW)
			}
			b.add(answer, 0, 0, refuse(unix.EACCES))
		})
	}
	f.add(answer, 0, 0, unix.SECCOMP_RET_ALLOW)
	return f.code
}

func filterBytes(code []unix.SockFilter) []byte {
	b := make([]byte, 0, 8*len(code))
	for _, c := range code {
		b = binary.NativeEndian.AppendUint16(b, c.Code)
		b = append(b, c.Jt, c.Jf)
		b = binary.NativeEndian.AppendUint32(b, c.K)
	}
	return b
}
