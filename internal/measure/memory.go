package measure

import (
	"bufio"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// FreeMemory is how many bytes can still be used without swapping: what the system calls available, or what the control group leaves when that is
// less. -1 when neither can be read.
func FreeMemory() int64 { return freeMemory("/proc", "/sys/fs/cgroup") }

func freeMemory(proc, cgroup string) int64 {
	free := int64(-1)
	least := func(n int64) {
		if n >= 0 && (free < 0 || n < free) {
			free = n
		}
	}
	if kb, ok := field(filepath.Join(proc, "meminfo"), "MemAvailable:"); ok {
		least(kb << 10)
	}
	f, err := os.Open(filepath.Join(proc, "self", "cgroup"))
	if err != nil {
		return free
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		part := strings.SplitN(s.Text(), ":", 3)
		if len(part) != 3 {
			continue
		}
		switch {
		case part[1] == "":
			for _, root := range []string{cgroup, filepath.Join(cgroup, "unified")} {
				up(root, part[2], func(dir string) { least(leftIn(dir, "memory.max", "memory.current", "inactive_file")) })
			}
		case slices.Contains(strings.Split(part[1], ","), "memory"):
			for _, root := range []string{filepath.Join(cgroup, part[1]), filepath.Join(cgroup, "memory")} {
				up(root, part[2], func(dir string) {
					least(leftIn(dir, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"))
				})
			}
		}
	}
	return free
}

// up calls look for a group and all above it: a parent's limit holds too.
func up(root, path string, look func(dir string)) {
	for dir := filepath.Join("/", path); ; dir = filepath.Dir(dir) {
		look(filepath.Join(root, dir))
		if dir == "/" {
			return
		}
	}
}

// leftIn is what a group may still use; the page cache that the kernel can drop at once counts as free. -1 when it has no limit.
func leftIn(dir, limit, usage, cache string) int64 {
	most, ok1 := number(filepath.Join(dir, limit))
	used, ok2 := number(filepath.Join(dir, usage))
	if !ok1 || !ok2 || most >= 1<<60 {
		return -1
	}
	droppable, _ := field(filepath.Join(dir, "memory.stat"), cache)
	return max(0, most-used+droppable)
}

func number(file string) (int64, bool) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n, err == nil
}

// field is the number behind a name in a file of lines.
func field(file, name string) (int64, bool) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == name {
			n, err := strconv.ParseInt(f[1], 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}
