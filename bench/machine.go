package main

import (
	"bufio"
	"context"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// machine is what must be known to compare two results. It holds no name and no path.
type machine struct {
	When      string `json:"when"`
	Cores     int    `json:"cores"`
	Processor string `json:"processor"`
	MemoryGB  int    `json:"memory_gb"`
	Kernel    string `json:"kernel"`
	Go        string `json:"go"`
	Python    string `json:"python"`
	C         string `json:"c"`
	Commit    string `json:"commit"`
	Load      string `json:"load_at_start"` // a shared machine has other work: one more reason for ratios
}

func machineFacts(ctx context.Context, b *bench) machine {
	m := machine{
		When: time.Now().UTC().Format(time.RFC3339), Cores: b.cores, Processor: runtime.GOARCH, Go: runtime.Version(),
		Python: "no Python", C: said(ctx, compilerName(), "--version"),
		Commit: said(ctx, "git", "describe", "--always", "--dirty"),
	}
	if python, err := b.python(); err == nil {
		m.Python = said(ctx, python, "--version")
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		m.MemoryGB = int(uint64(info.Totalram) * uint64(info.Unit) >> 30)
	}
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load = strings.Join(strings.Fields(string(load))[:3], " ")
	}
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		defer f.Close()
		for s := bufio.NewScanner(f); s.Scan(); {
			if key, value, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(key) == "model name" {
				m.Processor = strings.TrimSpace(value)
				break
			}
		}
	}
	return m
}

// said is the first line that a program prints, or "unknown": a fact that is missing does not stop a measurement.
func said(ctx context.Context, name string, args ...string) string {
	out, err := command(ctx, name, args...).Output()
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line
}
