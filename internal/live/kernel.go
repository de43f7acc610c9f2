package live

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"tandem/internal/proc"
)

// Process is a process as the kernel shows it.
type Process struct {
	PID     int           `json:"pid"`
	Parent  int           `json:"parent"`
	UID     int           `json:"uid"`
	State   string        `json:"state"` // R, S, D, T, Z
	Name    string        `json:"name"`
	Command []string      `json:"command,omitempty"` // empty when it has ended or is of the kernel
	CPU     time.Duration `json:"cpu_ns"`
	RSS     int64         `json:"rss_bytes"`
	Age     time.Duration `json:"age_ns"`
	Threads int           `json:"threads"`
	Step    string        `json:"step,omitempty"`  // of the step of a run that started it, as its environment says
	Place   int           `json:"place,omitempty"` // the number of the worker
	Item    string        `json:"item,omitempty"`  // for which a command runs
	Run     string        `json:"run,omitempty"`
}

const tick = 10 * time.Millisecond // of the times in stat, on every machine Go runs on

// Look reads one process; ok is false when there is none.
func Look(pid int) (p Process, ok bool) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	name, field, ok := stat(filepath.Join(dir, "stat"))
	if !ok {
		return p, false
	}
	p = Process{PID: pid, Name: name, State: field(3), Threads: atoi(field(20)), Parent: atoi(field(4))}
	p.CPU = time.Duration(atoi(field(14))+atoi(field(15))) * tick
	p.RSS = int64(atoi(field(24))) * int64(os.Getpagesize())
	p.Age = max(0, uptime()-time.Duration(atoi(field(22)))*tick)
	p.UID, _ = proc.Owner(pid)
	if b, err := os.ReadFile(filepath.Join(dir, "cmdline")); err == nil && len(b) > 0 {
		p.Command = strings.Split(strings.TrimRight(string(b), "\x00"), "\x00")
	}
	p.environment(dir)
	return p, true
}

// environment finds what Tandem gave the process to know itself by. Nothing else of it is kept: it may hold secrets.
func (p *Process) environment(dir string) {
	b, err := os.ReadFile(filepath.Join(dir, "environ"))
	if err != nil {
		return
	}
	for kv := range bytes.SplitSeq(b, []byte{0}) {
		name, v, _ := strings.Cut(string(kv[:min(len(kv), 4096)]), "=")
		switch name {
		case "TANDEM_RUN_ID":
			p.Run = v
		case "TANDEM_STEP":
			p.Step = v
		case "TANDEM_PLACE":
			p.Place = atoi(v)
		case "TANDEM_ITEM_ID":
			p.Item = v
		}
	}
}

// Tree is a process and all that came of it, parents before their children.
func Tree(pid int) []Process {
	first, ok := Look(pid)
	if !ok {
		return nil
	}
	all := []Process{first}
	for i := 0; i < len(all) && len(all) < mostItems; i++ {
		for _, child := range children(all[i].PID) {
			if p, ok := Look(child); ok {
				all = append(all, p)
			}
		}
	}
	return all
}

// children are the processes that any thread of a process has started.
func children(pid int) (pids []int) {
	dirs, _ := os.ReadDir(filepath.Join("/proc", strconv.Itoa(pid), "task"))
	for _, d := range dirs {
		b, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "task", d.Name(), "children"))
		for _, s := range strings.Fields(string(b)) {
			pids = append(pids, atoi(s))
		}
	}
	slices.Sort(pids)
	return pids
}

// Ancestors are a process's parent, that one's parent, and so on.
func Ancestors(pid int) (pids []int) {
	for len(pids) < 1000 {
		_, field, ok := stat(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
		if !ok {
			return pids
		}
		if pid = atoi(field(4)); pid <= 0 {
			return pids
		}
		pids = append(pids, pid)
	}
	return pids
}

// stat reads a stat file: 4711 (a name (with anything)) S 1 … Its fields are numbered as in proc(5).
func stat(path string) (name string, field func(int) string, ok bool) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", nil, false
	}
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return "", nil, false
	}
	rest := strings.Fields(string(b[end+1:]))
	return strings.ToValidUTF8(string(b[open+1:end]), "?"), func(n int) string {
		if n-3 < len(rest) {
			return rest[n-3]
		}
		return ""
	}, len(rest) > 20
}

func uptime() time.Duration {
	b, _ := os.ReadFile("/proc/uptime")
	first, _, _ := strings.Cut(string(b), " ")
	s, _ := strconv.ParseFloat(first, 64)
	return time.Duration(s * float64(time.Second))
}

func atoi(s string) int { n, _ := strconv.Atoi(s); return n }
