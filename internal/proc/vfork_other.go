//go:build !amd64 && !arm64

package proc

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sharesMemory says that a shim runs in the warden's memory.
const sharesMemory = false

// vfork, without sharing memory: that needs a return address which the child cannot overwrite.
//
//go:nosplit
//go:norace
func vfork(flags uintptr) (pid, errno uintptr) {
	pid, _, err := syscall.RawSyscall6(unix.SYS_CLONE, flags&^unix.CLONE_VM, 0, 0, 0, 0, 0)
	return pid, uintptr(err)
}

// fork, with a copy of the memory.
//
//go:nosplit
//go:norace
//go:nocheckptr
func fork(flags uintptr, _ unsafe.Pointer, s *shimState) (pid, errno uintptr) {
	pid, _, err := syscall.RawSyscall6(unix.SYS_CLONE, flags, 0, 0, 0, 0, 0)
	if err == 0 && pid == 0 {
		shim(s)
	}
	return pid, uintptr(err)
}
