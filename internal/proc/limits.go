package proc

import (
	"errors"
	"os"
	"syscall"
)

// Terminate is the signal that asks a process to end.
const Terminate = syscall.SIGTERM

// OpenFiles is how many descriptors this process may have.
func OpenFiles() (uint64, error) {
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		return 0, os.NewSyscallError("getrlimit", err)
	}
	return lim.Cur, nil
}

// Errors of the system that callers tell apart.
var (
	ErrRefused   error = syscall.ECONNREFUSED
	ErrReset     error = syscall.ECONNRESET
	ErrPipe      error = syscall.EPIPE
	ErrOpenFiles error = syscall.EMFILE
	ErrReadOnly  error = syscall.EROFS
)

// Full says that a write failed because there is no room: the disk, a quota or the limit of a file's size.
func Full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}
