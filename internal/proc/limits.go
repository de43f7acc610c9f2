package proc

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
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
	ErrPipe      error = syscall.EPIPE // nobody reads
	ErrOpenFiles error = syscall.EMFILE
	ErrReadOnly  error = syscall.EROFS
)

// Full says that a write failed because there is no room: the disk, a quota or the limit of a file's size.
func Full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}

// NotFound says whether a start failed because there is no such program.
func NotFound(err error) bool {
	return errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist)
}

// BrokenPipe is the signal for a write that nobody reads any more.
const BrokenPipe = syscall.SIGPIPE
