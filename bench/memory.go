package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// statusMB reads one line of /proc/PID/status that is in kB: VmRSS (now) or VmHWM (the most so far). Unlike the rusage of a waited-for
// child these begin at exec and hold no other process.
func statusMB(pid int, line string) (float64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("read the memory of process %d: %w", pid, err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		name, value, _ := strings.Cut(s.Text(), ":")
		if name != line {
			continue
		}
		kb, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64)
		if err != nil {
			return 0, fmt.Errorf("read the memory of process %d: %s: %w", pid, line, err)
		}
		return kb / 1024, nil
	}
	return 0, fmt.Errorf("read the memory of process %d: no %s: it has ended", pid, line)
}

// roomForFiles says whether n connections fit under this process's limit of open files, which its children inherit.
func roomForFiles(n int) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("read the limit of open files: %w", err)
	}
	if limit.Max < uint64(n)+200 {
		return leftOut(fmt.Sprintf("at most %d open files (ulimit -Hn); %d are needed", limit.Max, n+200))
	}
	return nil
}
