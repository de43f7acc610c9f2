//go:build !amd64 && !arm64

package proc

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// vfork, without sharing memory: that needs a return address which the child cannot overwrite.
//
//go:nosplit
//go:norace
func vfork(flags uintptr) (pid, errno uintptr) {
	pid, _, err := syscall.RawSyscall6(unix.SYS_CLONE, flags&^unix.CLONE_VM, 0, 0, 0, 0, 0)
	return pid, uintptr(err)
}
