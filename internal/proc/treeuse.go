package proc

import (
	"bytes"
	"os"
	"strconv"
	"time"
)

// TreeUse is what a program and all it has started use now.
type TreeUse struct {
	Processes int
	Memory    int64         // bytes of their own
	Shared    int64         // bytes of programs and libraries, and of what they share with each other, with Tandem or with others; each counted in each process
	CPU       time.Duration // used so far, to the hundredth of a second; that of orphans is forgotten with them
	Running   bool          // one of them has a processor or waits for one
	Stopped   bool          // the program itself is stopped
}

// maxTree bounds how many processes are looked at.
const maxTree = 4096

// Use looks at the program's tree: two small files for each process and one for each thread. It is empty when the program has ended.
func (p *Process) Use() TreeUse {
	p.mu.Lock()
	reaped := p.reaped
	p.mu.Unlock()
	var u TreeUse
	if reaped {
		return u
	}
	for pids := p.roots(); len(pids) > 0 && u.Processes < maxTree; pids = pids[1:] {
		if u.add(pids[0], pids[0] == p.pid) {
			pids = append(pids, children(pids[0])...)
		}
	}
	return u
}

// roots are the program and what has been left to its shim.
func (p *Process) roots() []int {
	if p.held != nil && p.held.shim != 0 {
		if all := children(p.held.shim); len(all) > 0 {
			return all
		}
	}
	return []int{p.pid}
}

func (u *TreeUse) add(pid int, first bool) bool {
	dir := "/proc/" + strconv.Itoa(pid)
	b, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return false
	}
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:]) // state ppid …, from the third field on
	if len(f) < 15 {
		return false
	}
	u.Processes++
	for _, ticks := range f[11:15] { // utime, stime, and those of children that have been waited for
		n, _ := strconv.ParseInt(string(ticks), 10, 64)
		u.CPU += time.Duration(n) * (time.Second / 100) // USER_HZ is 100 on every Linux that Go runs on
	}
	switch state := f[0][0]; {
	case state == 'R':
		u.Running = true
	case state == 'T' && first:
		u.Stopped = true
	}
	if b, err := os.ReadFile(dir + "/statm"); err == nil {
		if f := bytes.Fields(b); len(f) > 2 {
			resident, _ := strconv.ParseInt(string(f[1]), 10, 64)
			shared, _ := strconv.ParseInt(string(f[2]), 10, 64)
			u.Memory += max(resident-shared, 0) * int64(os.Getpagesize())
			u.Shared += shared * int64(os.Getpagesize())
		}
	}
	return true
}

// exact is the memory of the tree with each page counted once, however many of its processes have it, and a page that is shared with others in parts: what is
// private, and shared memory but for that through which Tandem hands values over. It costs a walk over their page tables. Where it cannot be told it is the plain
// sum of what is private.
func (p *Process) exact(u TreeUse) int64 {
	var sum int64
	n := 0
	for pids := p.roots(); len(pids) > 0 && n < maxTree; pids = pids[1:] {
		dir := "/proc/" + strconv.Itoa(pids[0])
		b, err := os.ReadFile(dir + "/smaps_rollup")
		if err != nil || len(b) == 0 {
			continue // it has ended, or may not be looked at
		}
		own, told := sizeIn(b, "Pss_Anon:")
		if !told {
			return u.Memory
		}
		if shared, _ := sizeIn(b, "Pss_Shmem:"); shared > 0 {
			if all, err := os.ReadFile(dir + "/smaps"); err == nil {
				own += max(shared-handedOver(all), 0)
			}
		}
		sum += own
		n++
		pids = append(pids, children(pids[0])...)
	}
	if n == 0 {
		return u.Memory
	}
	return sum
}

// handedOver is what of a process's memory is Tandem's, by the names of the mappings; see the package arena.
func handedOver(smaps []byte) (sum int64) {
	ours := false
	for line := range bytes.Lines(smaps) {
		switch {
		case line[0] >= '0' && line[0] <= '9' || line[0] >= 'a' && line[0] <= 'f': // the addresses that begin a mapping
			ours = bytes.Contains(line, []byte(" /memfd:tandem-"))
		case ours && bytes.HasPrefix(line, []byte("Pss:")):
			n, _ := sizeIn(line, "Pss:")
			sum += n
		}
	}
	return sum
}

// sizeIn is the bytes after a name, which are written in kB.
func sizeIn(text []byte, name string) (n int64, told bool) {
	_, rest, told := bytes.Cut(text, []byte(name))
	if f := bytes.Fields(rest[:min(len(rest), 40)]); told && len(f) > 0 {
		n, _ = strconv.ParseInt(string(f[0]), 10, 64)
	}
	return n << 10, told
}

// Data is what RLIMIT_DATA counts for the program itself, zero when it has ended.
func (p *Process) Data() int64 {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(p.pid) + "/status")
	i := bytes.Index(b, []byte("\nVmData:"))
	if err != nil || i < 0 {
		return 0
	}
	f := bytes.Fields(b[i:])
	kb, _ := strconv.ParseInt(string(f[1]), 10, 64)
	return kb << 10
}
