package proc

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// ReadPlain reads the beginning of a file that a program has named, and cannot be made to wait or to follow a link: only a regular file is read. Nil when it is none.
func ReadPlain(path string, most int64) []byte {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	if i, err := f.Stat(); err != nil || !i.Mode().IsRegular() {
		return nil
	}
	b, _ := io.ReadAll(io.LimitReader(f, most))
	return b
}
