//go:build amd64 || arm64

package proc

import "unsafe"

// sharesMemory says that a shim runs in the warden's memory.
const sharesMemory = true

// vfork is clone with flags that let the caller wait and share its memory until the child executes or ends. It returns twice, in the child with pid 0.
//
//go:noescape
func vfork(flags uintptr) (pid, errno uintptr)

// fork is clone with shared memory. The child runs shim on a stack of its own.
//
//go:noescape
func fork(flags uintptr, stack unsafe.Pointer, s *shimState) (pid, errno uintptr)
