package proc

import "golang.org/x/sys/unix"

const (
	auditArch    = unix.AUDIT_ARCH_X86_64
	firstForeign = 0x40000000 // the calls of the x32 convention
	cloneFlags   = 0          // the argument of clone that holds its flags
)

var (
	forks         = []int{unix.SYS_FORK, unix.SYS_VFORK}
	forbiddenHere = []int{unix.SYS_IOPL, unix.SYS_IOPERM, unix.SYS_KEXEC_FILE_LOAD, unix.SYS_MODIFY_LDT, unix.SYS_USELIB, unix.SYS_USTAT, unix.SYS_LOOKUP_DCOOKIE}
)
