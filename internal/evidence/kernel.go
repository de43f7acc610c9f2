package evidence

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"tandem"
)

// maxThreads bounds how many threads of a process are looked at.
const maxThreads = 64

// Wanted is how long the threads of a process have had a processor or waited for one that they could have used, in all; 0 where the kernel does not say.
func Wanted(pid int) (sum time.Duration) {
	tasks := "/proc/" + strconv.Itoa(pid) + "/task/"
	list, _ := os.ReadDir(tasks)
	for _, t := range list {
		b, _ := os.ReadFile(tasks + t.Name() + "/schedstat")
		if f := strings.Fields(string(b)); len(f) > 1 {
			for _, s := range f[:2] {
				n, _ := strconv.ParseInt(s, 10, 64)
				sum += time.Duration(n)
			}
		}
	}
	return sum
}

// Threads is what the threads of a process do now, the main one first, and then those of the processes that it started. What the kernel does not show to
// this user stays empty; a process that is gone has none. It costs four small reads for each thread.
func Threads(pid int) []tandem.ThreadView {
	all := threads(pid, nil)
	for i := 0; i < len(all) && len(all) < maxThreads; i++ {
		b, _ := os.ReadFile(filepath.Join("/proc", itoa(all[i].PID), "task", itoa(all[i].ID), "children"))
		for _, child := range strings.Fields(string(b)) {
			if n, err := strconv.Atoi(child); err == nil && len(all) < maxThreads {
				all = threads(n, all)
			}
		}
	}
	return all
}

func threads(pid int, all []tandem.ThreadView) []tandem.ThreadView {
	dirs, err := os.ReadDir(filepath.Join("/proc", itoa(pid), "task"))
	if err != nil {
		return all
	}
	for _, d := range dirs {
		if len(all) == maxThreads {
			break
		}
		if t, ok := thread(filepath.Join("/proc", itoa(pid), "task", d.Name())); ok {
			t.PID = pid
			all = append(all, t)
		}
	}
	return all
}

func thread(dir string) (t tandem.ThreadView, ok bool) {
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(b))
	}
	// 4711 (a name (with anything)) S 1 …
	stat := read("stat")
	open, end := strings.IndexByte(stat, '('), strings.LastIndex(stat, ") ")
	if open < 1 || end < open || end+2 >= len(stat) {
		return t, false
	}
	t.ID, _ = strconv.Atoi(strings.TrimSpace(stat[:open]))
	t.Name, t.State = strings.ToValidUTF8(stat[open+1:end], "?"), stat[end+2:end+3]
	if w := read("wchan"); w != "0" {
		t.Wait = w
	}
	t.Number = -1
	if first, _, _ := strings.Cut(read("syscall"), " "); first != "" {
		if n, err := strconv.Atoi(first); err == nil && n >= 0 {
			t.Number, t.Syscall = n, syscalls[n]
		}
	}
	return t, true
}

// SyscallName is the name of a system call in which a process may be found waiting, or empty.
func SyscallName(number int) string { return syscalls[number] }
