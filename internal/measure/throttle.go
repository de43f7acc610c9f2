package measure

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// throttle is how long control groups of a process have been held back by a quota.
type throttle struct {
	files []string
	begun map[string]time.Duration
}

// throttleOf finds the group of the process and those above it, v2 and v1.
func throttleOf(pid int) throttle {
	th := throttle{begun: map[string]time.Duration{}}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return th
	}
	for line := range strings.Lines(string(b)) {
		part := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(part) != 3 {
			continue
		}
		var roots []string
		switch {
		case part[1] == "":
			roots = []string{machine.cgroup, filepath.Join(machine.cgroup, "unified")}
		case slices.Contains(strings.Split(part[1], ","), "cpu"):
			roots = []string{filepath.Join(machine.cgroup, part[1]), filepath.Join(machine.cgroup, "cpu")}
		}
		for _, root := range roots {
			for dir := filepath.Join("/", part[2]); ; dir = filepath.Dir(dir) {
				if file := filepath.Join(root, dir, "cpu.stat"); !slices.Contains(th.files, file) {
					th.files = append(th.files, file)
				}
				if dir == "/" {
					break
				}
			}
		}
	}
	for _, f := range th.files {
		th.begun[f] = throttled(f)
	}
	return th
}

// held is the most that one of the groups was held back since then.
func (th throttle) held() (most time.Duration) {
	for _, f := range th.files {
		most = max(most, throttled(f)-th.begun[f])
	}
	return most
}

func throttled(file string) time.Duration {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) != 2 {
			continue
		}
		n, _ := strconv.ParseInt(f[1], 10, 64)
		switch f[0] {
		case "throttled_usec":
			return time.Duration(n) * time.Microsecond
		case "throttled_time":
			return time.Duration(n)
		}
	}
	return 0
}

// busyCPUs is the time each processor has been in use since boot, in ticks.
func busyCPUs() (busy []uint64) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return nil
	}
	for line := range bytes.Lines(b) {
		f := strings.Fields(string(line))
		if len(f) < 9 || !strings.HasPrefix(f[0], "cpu") || f[0] == "cpu" {
			continue
		}
		n, err := strconv.Atoi(f[0][3:])
		if err != nil || n > 1<<16 {
			continue
		}
		for len(busy) <= n {
			busy = append(busy, 0)
		}
		for k, s := range f[1:9] { // user nice system idle iowait irq softirq steal
			if v, err := strconv.ParseUint(s, 10, 64); err == nil && k != 3 && k != 4 {
				busy[n] += v
			}
		}
	}
	return busy
}
