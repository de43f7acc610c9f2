package proc

import (
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Stoppable reads a file in such a way that another goroutine can end a Read that waits, also on a terminal or an inherited pipe, where deadlines do
// not work. After Stop, Read gives io.EOF. It does not close the file.
type Stoppable struct {
	file *os.File
	stop *os.File // the end to write to
	seen *os.File
	once sync.Once
}

// NewStoppable wraps a file.
func NewStoppable(f *os.File) (*Stoppable, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	return &Stoppable{file: f, stop: w, seen: r}, nil
}

// Read blocks until there is something to read, the end, or Stop.
func (s *Stoppable) Read(b []byte) (int, error) {
	file, err := s.file.SyscallConn()
	if err != nil {
		return 0, err
	}
	stop, err := s.seen.SyscallConn()
	if err != nil {
		return 0, io.EOF
	}
	stopped := false
	cerr := stop.Control(func(end uintptr) {
		err = file.Control(func(in uintptr) {
			fds := []unix.PollFd{{Fd: int32(in), Events: unix.POLLIN}, {Fd: int32(end), Events: unix.POLLIN}}
			for {
				if _, err := unix.Poll(fds, -1); err != unix.EINTR {
					break
				}
			}
			stopped = fds[1].Revents != 0
		})
	})
	switch {
	case cerr != nil || stopped:
		return 0, io.EOF
	case err != nil:
		return 0, err
	}
	return s.file.Read(b)
}

// Stop ends a Read that waits and all that follow.
func (s *Stoppable) Stop() { s.once.Do(func() { _ = s.stop.Close() }) }

// Close frees what Stoppable holds, after the last Read.
func (s *Stoppable) Close() {
	s.Stop()
	_ = s.seen.Close()
}
