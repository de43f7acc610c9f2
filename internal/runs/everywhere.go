package runs

import (
	"bufio"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Elsewhere finds the runs that are going on whose directories lie in other roots than these, as far as this user may see: root sees those of all. It asks the kernel
// who holds locks, and looks which of them are on a run; a kernel that does not tell shows none.
func Elsewhere(roots ...string) []Entry {
	var all []Entry
	for _, dir := range locked() {
		if slices.Contains(roots, filepath.Dir(dir)) {
			continue
		}
		info, err := os.Lstat(dir)
		if err != nil {
			continue
		}
		if e, err := look(dir, dirEntry{info}); err == nil && e.State == Running {
			all = append(all, e)
		}
	}
	return all
}

// locked are the directories of lock files that somebody holds.
func locked() (dirs []string) {
	f, err := os.Open("/proc/locks")
	if err != nil {
		return nil
	}
	defer f.Close()
	seen := map[string]bool{}
	for s := bufio.NewScanner(f); s.Scan(); {
		// 1: FLOCK  ADVISORY  WRITE 1234 fe:00:5678 0 EOF
		part := strings.Fields(s.Text())
		if len(part) < 6 || part[1] != "FLOCK" || part[3] != "WRITE" || seen[part[4]] {
			continue
		}
		seen[part[4]] = true
		if pid, err := strconv.Atoi(part[4]); err != nil || pid <= 0 {
			continue
		}
		fds, _ := filepath.Glob(filepath.Join("/proc", part[4], "fd", "*"))
		for _, fd := range fds {
			link, _ := os.Readlink(fd)
			if dir, name := filepath.Split(link); name == lockName {
				if dir = filepath.Clean(dir); !slices.Contains(dirs, dir) {
					dirs = append(dirs, dir)
				}
			}
		}
	}
	return dirs
}

// dirEntry is a directory by its info.
type dirEntry struct{ os.FileInfo }

func (d dirEntry) Type() os.FileMode          { return d.FileInfo.Mode().Type() }
func (d dirEntry) Info() (os.FileInfo, error) { return d.FileInfo, nil }

// IsGoing says whether somebody works on the run in dir.
func IsGoing(dir string) bool {
	_, held, err := holder(dir)
	return err == nil && held
}
