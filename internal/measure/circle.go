package measure

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"

	"tandem/internal/proc"
)

// Circles counts in which states threads are found. A state is all registers of a thread with its place in the program. A thread that computes hardly ever is twice in
// the same one: a counter, a sum, a pointer is different each time round. One that only looks whether something has changed is in few, again and again. It is not safe
// for concurrent use.
type Circles struct {
	threads map[int]*circling
	looks   int
}

type circling struct {
	states map[uint64]int
	looks  int
	again  int // of those, in a state that it had often been in
}

const (
	often      = 3  // times seen before, from which on a state is one of a circle
	fewCircles = 40 // looks at a thread, at least, before it may be held
	leastHeld  = .25
	mostStates = 1 << 16 // of one thread; what would be more is not remembered, and so counts as computing
)

// Seen notes the state of a thread, and says whether it is one of a circle in which that thread is much of the time.
func (c *Circles) Seen(tid int, state uint64) bool {
	t := c.threads[tid]
	if t == nil {
		if c.threads == nil {
			c.threads = map[int]*circling{}
		}
		t = &circling{states: map[uint64]int{}}
		c.threads[tid] = t
	}
	c.looks++
	t.looks++
	n := t.states[state]
	if n > 0 || len(t.states) < mostStates {
		t.states[state] = n + 1
	}
	if n < often {
		return false
	}
	t.again++
	return t.looks >= fewCircles && float64(t.again) >= leastHeld*float64(t.looks)
}

// Any says whether some thread goes in a circle much of the time.
func (c *Circles) Any() bool {
	for _, t := range c.threads {
		if t.looks >= fewCircles && float64(t.again) >= leastHeld*float64(t.looks) && 10*t.looks >= c.looks {
			return true
		}
	}
	return false
}

// Share is the part of all looks at which a thread was in a circle.
func (c *Circles) Share() float64 {
	again := 0
	for _, t := range c.threads {
		for _, n := range t.states {
			if n > often {
				again += n
			}
		}
	}
	return float64(again) / float64(max(c.looks, 1))
}

// Looks is how many states were seen.
func (c *Circles) Looks() int { return c.looks }

// Ready lists the threads of these processes that are on a processor or ready for one.
func Ready(pids []int) (list []proc.Frozen) {
	for _, pid := range pids {
		dir, err := os.Open(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			continue
		}
		names, _ := dir.Readdirnames(followMost)
		dir.Close()
		for _, s := range names {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/stat", pid, s))
			if k := bytes.LastIndexByte(b, ')'); err == nil && k > 0 && strings.HasPrefix(string(b[k+1:]), " R") {
				tid, _ := strconv.Atoi(s)
				list = append(list, proc.Frozen{PID: pid, TID: tid})
			}
		}
	}
	return list
}
