package evidence

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Kills counts what the kernel has killed for memory.
type Kills struct {
	Machine int64 // on the whole machine, or in this container's view of it; -1 when it is not shown
	Group   int64 // in the control group of this process and below; -1 when it is not shown
	Stalls  int64 // how often somebody had to wait for memory of the whole machine, which comes before the kernel kills for it; -1 when it is not shown
}

// Memory remembers counts, so that a death can be compared with what was counted before it. Safe for many callers; the zero value is ready.
type Memory struct {
	mu   sync.Mutex
	at   time.Time
	seen Kills
}

// fresh is how old a count may be that stands for the time before a process.
const fresh = time.Second

// Before is the count for a process that is about to start. It reads the system at most once a second: a kill in the second before is then taken for one after.
func (m *Memory) Before() Kills {
	m.mu.Lock()
	defer m.mu.Unlock()
	if time.Since(m.at) > fresh {
		m.at, m.seen = time.Now(), Counted()
	}
	return m.seen
}

// Counted reads the counts now.
func Counted() Kills {
	k := Kills{Machine: -1, Group: -1, Stalls: -1}
	if b, err := os.ReadFile("/proc/vmstat"); err == nil {
		k.Machine, k.Stalls = field(string(b), "oom_kill"), stalls(string(b))
	}
	if b, err := os.ReadFile("/proc/self/cgroup"); err == nil {
		k.Group = groupKills(string(b), "/sys/fs/cgroup")
	}
	return k
}

// groupKills finds the count of the group that lines of /proc/PID/cgroup name.
func groupKills(lines, root string) int64 {
	for line := range strings.Lines(lines) {
		part := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(part) < 3 {
			continue
		}
		file := ""
		switch {
		case part[1] == "":
			// Tandem may have moved into a group of its own below the one it was started in; its programs are beside it.
			group, own := part[2], filepath.Base(part[2])
			if strings.HasPrefix(own, "tandem-self-") {
				group = filepath.Dir(group)
			}
			file = filepath.Join(root, group, "memory.events")
		case strings.Contains(","+part[1]+",", ",memory,"):
			file = filepath.Join(root, "memory", part[2], "memory.oom_control")
		default:
			continue
		}
		if b, err := os.ReadFile(file); err == nil {
			// oom_kill counts what was killed in it for whatever memory was short of, oom in version 2 how often a limit in it was reached: a kill without that is the machine's.
			if n := field(string(b), "oom_kill"); n >= 0 {
				if reached := field(string(b), "oom"); reached >= 0 {
					n = min(n, reached)
				}
				return n
			}
		}
	}
	return -1
}

// stalls is the sum over the zones, or -1.
func stalls(text string) int64 {
	sum := int64(-1)
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseInt(rest, 10, 64); err == nil && strings.HasPrefix(name, "allocstall") {
			sum = max(sum, 0) + n
		}
	}
	return sum
}

// field is the number after name at the beginning of a line, or -1.
func field(text, name string) int64 {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			if n, err := strconv.ParseInt(strings.TrimSpace(rest), 10, 64); err == nil {
				return n
			}
		}
	}
	return -1
}
