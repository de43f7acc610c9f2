package measure

import (
	"os"
	"strings"
	"time"

	"tandem/internal/proc"
)

// Foreign tells how many of the processors that this process may use were busy for others, from call to call. The kernel counts in hundredths of a second, so
// that over less than a tenth of one the figure means little. It is for one goroutine.
type Foreign struct {
	allowed []int
	busy    []uint64
	at      time.Time
}

// NewForeign begins to measure; nil where the kernel does not tell.
func NewForeign() *Foreign {
	f := &Foreign{busy: busyCPUs(), at: time.Now()}
	if len(f.busy) == 0 {
		return nil
	}
	if b, err := os.ReadFile("/proc/self/status"); err == nil {
		for line := range strings.Lines(string(b)) {
			if list, ok := strings.CutPrefix(line, "Cpus_allowed_list:"); ok {
				f.allowed = listCPUs(strings.TrimSpace(list))
			}
		}
	}
	if f.allowed == nil {
		for i := range f.busy {
			f.allowed = append(f.allowed, i)
		}
	}
	return f
}

// Since is the figure since the last call, or since NewForeign; own is the processor time that is not foreign. It is -1 where it cannot be told.
func (f *Foreign) Since(own time.Duration) float64 {
	if f == nil {
		return -1
	}
	now, busy := time.Now(), busyCPUs()
	total := time.Duration(0)
	for _, i := range f.allowed {
		if i < len(busy) && i < len(f.busy) && busy[i] > f.busy[i] {
			total += time.Duration(busy[i]-f.busy[i]) * tick
		}
	}
	wall := now.Sub(f.at)
	f.busy, f.at = busy, now
	if wall <= 0 || len(busy) == 0 {
		return -1
	}
	return min(max(0, (total-own).Seconds()/wall.Seconds()), float64(len(f.allowed)))
}

// KinCPU is the processor time that this process has used, and all that it started and that has ended. What others started for it has its place, too: the
// warden of internal/proc is one of its children.
func KinCPU() time.Duration {
	total := proc.SelfCPU()
	for _, pid := range OwnChildren() {
		p := process{pid: pid}
		var buf [1024]byte
		if p.stat(buf[:]) {
			total += p.used.user + p.used.system + p.used.childUser + p.used.childSystem
		}
	}
	return total
}
