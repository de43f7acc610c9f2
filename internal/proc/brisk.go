package proc

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// briskTurn is a turn of a thread that is to go ahead of the others, in nanoseconds: the shortest that the kernel takes.
const briskTurn = 100_000

// Brisk shortens the turns of the process's threads, or makes them as long as usual again. They have no more of the processors by it, but what wakes them puts them ahead of a thread whose
// turn is longer, such as one of a process that is being taken down. What they start while it lasts has such turns, too. Kernels before 6.12 do not know it, and nothing happens.
func (p *Process) Brisk(yes bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped {
		return
	}
	threads, err := os.ReadDir("/proc/" + strconv.Itoa(p.pid) + "/task")
	if err != nil {
		return
	}
	for _, t := range threads {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			continue
		}
		a, err := unix.SchedGetAttr(tid, 0)
		if err != nil || a.Policy != unix.SCHED_NORMAL { // whoever chose another has his reasons
			continue
		}
		a.Runtime = 0 // as usual
		if yes {
			a.Runtime = briskTurn
		}
		_ = unix.SchedSetAttr(tid, a, 0)
	}
}
