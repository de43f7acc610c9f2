package proc

import (
	"errors"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Socket is Tandem's end of a worker's channel. One goroutine may read while another writes.
type Socket struct {
	file *os.File
	raw  syscall.RawConn
	fd   int
	peer string // what the other end is called
}

// SocketPair makes a channel: our end, and the one to hand to the worker, which blocks.
func SocketPair() (*Socket, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	for _, fd := range fds {
		// A wish: the kernel caps it, and nothing relies on it.
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<20)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, nil, err
	}
	f := os.NewFile(uintptr(fds[0]), "worker channel")
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, nil, err
	}
	return &Socket{file: f, raw: raw, fd: fds[0], peer: peerName(fds[1])}, os.NewFile(uintptr(fds[1]), "worker end"), nil
}

// Read blocks until there is something to read; io.EOF when the other end is gone.
func (s *Socket) Read(b []byte) (n int, err error) {
	cerr := s.raw.Read(func(fd uintptr) bool {
		n, err = unix.Read(int(fd), b)
		return err != unix.EAGAIN
	})
	return finishRead(n, err, cerr)
}

// ReadWithin blocks the calling thread, not just the goroutine, until there is something to read, but only for so long; n is 0 when there was nothing. Use it
// where the answer is expected within microseconds: it saves two goroutine switches.
func (s *Socket) ReadWithin(b []byte, d time.Duration) (n int, err error) {
	cerr := s.raw.Control(func(fd uintptr) {
		if n, err = unix.Read(int(fd), b); err != unix.EAGAIN {
			return
		}
		fds := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		ts := unix.NsecToTimespec(int64(d))
		if ready, _ := unix.Ppoll(fds[:], &ts, nil); ready == 1 {
			n, err = unix.Read(int(fd), b)
		}
	})
	if err == unix.EAGAIN || err == unix.EINTR {
		return 0, nil
	}
	return finishRead(n, err, cerr)
}

// TryRead reads what is there; n is 0 when there is nothing now.
func (s *Socket) TryRead(b []byte) (n int, err error) { return s.ReadWithin(b, 0) }

func finishRead(n int, err, cerr error) (int, error) {
	switch {
	case errors.Is(cerr, os.ErrDeadlineExceeded):
		return 0, cerr
	case cerr != nil: // closed by us
		return 0, io.EOF
	case err != nil:
		if errors.Is(err, unix.ECONNRESET) {
			return 0, io.EOF
		}
		return 0, os.NewSyscallError("read", err)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// TryWrite writes as much as fits without waiting.
func (s *Socket) TryWrite(b []byte) (n int, err error) {
	cerr := s.raw.Control(func(fd uintptr) { n, err = writeNow(int(fd), b) })
	if cerr != nil {
		return 0, cerr
	}
	return n, err
}

func writeNow(fd int, b []byte) (n int, err error) {
	for n < len(b) {
		k, err := unix.SendmsgN(fd, b[n:], nil, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
		if err == unix.EAGAIN {
			return n, nil
		}
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return n, os.NewSyscallError("write", err)
		}
		n += k
	}
	return n, nil
}

// Write blocks until all is written or Close.
func (s *Socket) Write(b []byte) (n int, err error) {
	cerr := s.raw.Write(func(fd uintptr) bool {
		var k int
		k, err = writeNow(int(fd), b[n:])
		n += k
		return err != nil || n == len(b)
	})
	if cerr != nil {
		return n, cerr
	}
	return n, err
}

// SetReadDeadline makes a blocked Read fail at t.
func (s *Socket) SetReadDeadline(t time.Time) { _ = s.file.SetReadDeadline(t) }

// Close ends the channel; blocked calls return.
func (s *Socket) Close() { _ = s.file.Close() }

// SetDeadline makes a blocked Read or Write fail at t.
func (s *Socket) SetDeadline(t time.Time) { _ = s.file.SetDeadline(t) }
