//go:build amd64 || arm64

package proc

// vfork is clone with flags that let the caller wait and share its memory until the child executes or ends. It returns twice, in the child with pid 0.
//
//go:noescape
func vfork(flags uintptr) (pid, errno uintptr)
