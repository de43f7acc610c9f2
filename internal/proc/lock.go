package proc

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrLocked says that another open file holds the lock.
var ErrLocked = errors.New("locked by another process")

// Lock takes the exclusive lock of f without waiting. The kernel gives it back when f is closed or the process ends, however it ends. When it is taken the
// error is ErrLocked and holder the process that has it, or 0 where the system does not show it, as across PID namespaces.
func Lock(f *os.File) (holder int, err error) { return lock(f, unix.LOCK_EX) }

// Locked tells whether somebody holds the exclusive lock of f, and who. For a moment it holds a shared lock itself, so whoever calls Lock at that very moment
// should try again.
func Locked(f *os.File) (holder int, held bool, err error) {
	holder, err = lock(f, unix.LOCK_SH)
	if errors.Is(err, ErrLocked) {
		return holder, true, nil
	}
	if err != nil {
		return 0, false, err
	}
	return 0, false, flock(f, unix.LOCK_UN)
}

func lock(f *os.File, how int) (holder int, err error) {
	err = flock(f, how|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return holderOf(f), ErrLocked
	}
	return 0, err
}

func flock(f *os.File, how int) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	cerr := raw.Control(func(fd uintptr) {
		for err = unix.Flock(int(fd), how); err == unix.EINTR; {
			err = unix.Flock(int(fd), how)
		}
	})
	if cerr != nil {
		return cerr
	}
	return os.NewSyscallError("flock", err)
}

// holderOf looks into the kernel's table of locks. On some file systems the table names another device than stat does; then the inode alone must do, when
// it is the only one.
func holderOf(f *os.File) int {
	info, err := f.Stat()
	if err != nil {
		return 0
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0
	}
	table, err := os.Open("/proc/locks")
	if err != nil {
		return 0
	}
	defer table.Close()
	inode := ":" + strconv.FormatUint(st.Ino, 10)
	exact := fmt.Sprintf("%02x:%02x%s", unix.Major(st.Dev), unix.Minor(st.Dev), inode)
	found := map[int]bool{}
	for s := bufio.NewScanner(table); s.Scan(); {
		// 1: FLOCK  ADVISORY  WRITE 1234 fe:00:5678 0 EOF
		part := strings.Fields(s.Text())
		if len(part) < 6 || part[1] != "FLOCK" || part[3] != "WRITE" || !strings.HasSuffix(part[5], inode) {
			continue
		}
		pid, err := strconv.Atoi(part[4])
		if err != nil || pid <= 0 {
			continue
		}
		if part[5] == exact {
			return pid
		}
		found[pid] = true
	}
	if len(found) == 1 {
		for pid := range found {
			return pid
		}
	}
	return 0
}

// OnDisk is the room a file takes on its disk, which is less than its size when it has holes.
func OnDisk(info fs.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512
	}
	return info.Size()
}
