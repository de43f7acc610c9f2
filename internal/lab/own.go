package lab

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// own is how many kilobytes would be free if a process ended; false while it is still a copy of this program.
func own(pid int) (kb float64, ok bool) {
	ours, _ := os.Readlink("/proc/self/exe")
	theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil || ours == theirs {
		time.Sleep(time.Millisecond)
		return 0, false
	}
	time.Sleep(20 * time.Millisecond) // until it has loaded
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "Private_Clean:") || strings.HasPrefix(line, "Private_Dirty:") {
			var n float64
			if f := strings.Fields(line); len(f) > 1 {
				_, _ = fmt.Sscan(f[1], &n)
			}
			kb += n
		}
	}
	return kb, kb > 0
}
