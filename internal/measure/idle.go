package measure

import (
	"os"
	"strconv"
	"strings"
)

// Idle tells which share of the machine's processor time nobody used, from call to call.
type Idle struct {
	file        string
	idle, total uint64
}

// NewIdle begins to measure; nil when the share would say nothing about this process, because it may use only some of the processors.
func NewIdle(c Cores) *Idle {
	if c.Quota > 0 || c.Affinity < c.Online {
		return nil
	}
	i := &Idle{file: "/proc/stat"}
	i.Share()
	return i
}

// Share is the share since the last call, 0 to 1; -1 when it cannot be told. Time waiting for disks counts as idle: a processor was free.
func (i *Idle) Share() float64 {
	if i == nil {
		return -1
	}
	b, err := os.ReadFile(i.file)
	if err != nil {
		return -1
	}
	line, _, _ := strings.Cut(string(b), "\n")
	f := strings.Fields(line)
	if len(f) < 9 || f[0] != "cpu" {
		return -1
	}
	var idle, total uint64
	for k, s := range f[1:9] { // user nice system idle iowait irq softirq steal
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			return -1
		}
		total += n
		if k == 3 || k == 4 {
			idle += n
		}
	}
	di, dt := float64(idle)-float64(i.idle), float64(total)-float64(i.total)
	i.idle, i.total = idle, total
	if dt <= 0 {
		return -1
	}
	return min(1, max(0, di/dt))
}
