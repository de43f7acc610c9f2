package proc

import (
	"errors"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// peerName is what the kernel calls the end of the channel that the worker has, as the links in /proc/PID/fd show it; empty when that cannot be told.
func peerName(fd int) string {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return ""
	}
	return "socket:[" + strconv.FormatUint(st.Ino, 10) + "]"
}

// Dropped says that neither the program nor anything it has started holds the worker's end of s any more, though the program lives. One that closes it while a thread
// of its own reads it sends no end of file: the kernel keeps a file for as long as somebody is inside a call on it. It is false where that cannot be seen.
func (p *Process) Dropped(s *Socket) bool {
	if s.peer == "" {
		return false
	}
	const usual = "/fd/3"
	if link, err := os.Readlink("/proc/" + strconv.Itoa(p.pid) + usual); err == nil && link == s.peer {
		return false
	}
	seen := 0
	for pids := p.roots(); len(pids) > 0; pids = pids[1:] {
		dir := "/proc/" + strconv.Itoa(pids[0])
		files, err := os.ReadDir(dir + "/fd")
		if seen++; err != nil && (pids[0] == p.pid || !errors.Is(err, fs.ErrNotExist)) || seen > maxTree {
			return false // it has ended, or may not be looked at
		}
		for _, f := range files {
			if link, err := os.Readlink(dir + "/fd/" + f.Name()); err == nil && link == s.peer {
				return false
			}
		}
		pids = append(pids, children(pids[0])...)
	}
	return seen > 0 && !p.Exiting() // what dies has no files
}
