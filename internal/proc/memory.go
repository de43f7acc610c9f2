package proc

import (
	"bytes"
	"os"
	"strconv"
)

// RSS is the memory that the process holds now, in bytes; 0 when it is not known.
func (p *Process) RSS() int64 {
	return kilobytes("/proc/"+strconv.Itoa(p.pid)+"/status", "VmRSS:") << 10
}

// PageTables is how much memory the kernel needs to know where the process's memory is, in bytes: what a fork of it costs at once. 0 when it is gone.
func (p *Process) PageTables() int64 {
	return kilobytes("/proc/"+strconv.Itoa(p.pid)+"/status", "VmPTE:") << 10
}

// FreeMemory is what the machine could give without paging, in bytes; 0 when it is not known.
func FreeMemory() int64 { return kilobytes("/proc/meminfo", "MemAvailable:") << 10 }

func kilobytes(file, field string) int64 {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	_, rest, found := bytes.Cut(text, []byte(field))
	if !found {
		return 0
	}
	fields := bytes.Fields(rest[:min(len(rest), 40)])
	if len(fields) == 0 {
		return 0
	}
	n, _ := strconv.ParseInt(string(fields[0]), 10, 64) // 0 where it is no number
	return n
}
