package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// command prepares a child that cannot outlive the benchmark: it leads its own process group, which is killed when ctx is done, and the
// kernel kills it when the benchmark dies.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, name, args...)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = 2 * time.Second
	return c
}

// measuredBy runs a child that prints one JSON line: {"figures": {…}} or {"left_out": "why"}.
func measuredBy(ctx context.Context, name string, args ...string) (figures, error) {
	c := command(ctx, name, args...)
	var errs bytes.Buffer
	c.Stderr = &errs
	out, err := c.Output()
	what := strings.Join(append([]string{filepath.Base(name)}, args...), " ")
	if err != nil {
		return nil, fmt.Errorf("run %s: %w: %s", what, err, tail(errs.String()))
	}
	var said struct {
		Figures figures `json:"figures"`
		LeftOut string  `json:"left_out"`
	}
	if err := json.Unmarshal(out, &said); err != nil {
		return nil, fmt.Errorf("read what %s printed: %w: %q", what, err, tail(string(out)))
	}
	if said.LeftOut != "" {
		return nil, leftOut(said.LeftOut)
	}
	return said.Figures, nil
}

// tail is the last line or two of some output, for an error message.
func tail(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-2):], " / ")
}

// adopt makes orphaned grandchildren ours, so that sweep sees them.
func adopt() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("adopt orphaned processes (prctl): %w", err)
	}
	return nil
}

// sweep is called when no child should be left. It gives late ones a second (Python's resource tracker ends shortly after its
// parent), kills what is still there, reaps everything and says what it had to kill.
func (b *bench) sweep() []string {
	if !b.adopting {
		return nil // a test: its process has children of its own
	}
	var killed []string
	for deadline := time.Now().Add(time.Second); ; time.Sleep(5 * time.Millisecond) {
		for { // only orphans are here: every row waits for its own children before it returns
			pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
			if pid <= 0 || err != nil {
				break
			}
		}
		left := childrenOf(os.Getpid())
		if len(left) == 0 {
			return killed
		}
		if time.Now().After(deadline) {
			for pid, name := range left {
				killed = append(killed, fmt.Sprintf("%s (%d)", name, pid))
				_ = unix.Kill(pid, unix.SIGKILL) // already gone is as good
			}
			deadline = time.Now().Add(time.Second)
		}
	}
}

// childrenOf gives the names of the living and dead children of a process, by process id, without Tandem's warden.
func childrenOf(parent int) map[int]string {
	children := make(map[int]string)
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is good; an unreadable /proc has no children
	for _, path := range stats {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // ended meanwhile
		}
		// pid (name) state ppid …; the name may hold anything, so look from the last bracket
		open, shut := bytes.IndexByte(data, '('), bytes.LastIndexByte(data, ')')
		fields := bytes.Fields(data[shut+1:])
		if open < 0 || len(fields) < 2 || string(fields[1]) != strconv.Itoa(parent) {
			continue
		}
		name := string(data[open+1 : shut])
		if name == "tandem-warden" {
			continue // of the rows that run Tandem inside this process: it starts their workers, and ends with us
		}
		if pid, err := strconv.Atoi(string(bytes.TrimSpace(data[:open]))); err == nil {
			children[pid] = name
		}
	}
	return children
}
