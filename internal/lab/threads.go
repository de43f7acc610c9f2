package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// threadsLeft is how many threads may still be started, as far as limits can be read; half of it, because others want some, too.
func threadsLeft() int {
	left := 1 << 20
	limit := func(text string, used int) {
		var n int
		if _, err := fmt.Sscan(text, &n); err == nil && n > 0 {
			left = min(left, max(0, n-used))
		}
	}
	read := func(file string) string { b, _ := os.ReadFile(file); return strings.TrimSpace(string(b)) }
	limit(read("/proc/sys/kernel/threads-max"), 0)
	limit(read("/proc/sys/kernel/pid_max"), 0)
	limit(read("/proc/sys/vm/max_map_count"), 0) // a stack is a mapping or two
	for line := range strings.Lines(read("/proc/self/limits")) {
		if rest, ok := strings.CutPrefix(line, "Max processes"); ok {
			limit(rest, 0)
		}
	}
	for line := range strings.Lines(read("/proc/self/cgroup")) {
		part := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(part) != 3 || part[1] != "" && part[1] != "pids" {
			continue
		}
		for dir := part[2]; ; dir = filepath.Dir(dir) {
			at := filepath.Join("/sys/fs/cgroup", part[1], dir)
			used := 0
			_, _ = fmt.Sscan(read(filepath.Join(at, "pids.current")), &used)
			limit(read(filepath.Join(at, "pids.max")), used)
			if dir == "/" || dir == "." {
				break
			}
		}
	}
	return left / 2
}
