package proc

import (
	"fmt"
	"syscall"
	"time"

	"tandem"
)

// Over is the proof that a program reached its limit of memory.
type Over struct {
	Method tandem.Memory
	From   string // who says so
	Says   string
}

// lookEvery is how often a tree is looked at that the kernel does not bound. A look costs some ten microseconds for a process of a few threads.
const lookEvery = 100 * time.Millisecond

// lookClosely is how old a close look may be, which costs a millisecond for some hundred megabytes, while the tree may be over its limit by what it shares.
const lookClosely = time.Second

// Memory is how the program's memory is limited, MemoryNone when it is not.
func (p *Process) Memory() tandem.Memory { return p.memory }

// method is how a limit is held that no control group holds.
func (l Limits) method() tandem.Memory {
	switch {
	case l.Memory <= 0:
		return tandem.MemoryNone
	case l.Data > 0:
		return tandem.MemoryRlimit
	}
	return tandem.MemoryPolled
}

// bound kills the tree when it has more memory than the limit. It ends with the program.
func (p *Process) bound(limit int64) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var looked time.Time
	var sum, exact int64
	for {
		select {
		case <-p.gone:
			return
		case <-tick.C:
		}
		u := p.Use()
		if u.Memory > p.peak.Load() {
			p.peak.Store(u.Memory)
		}
		if u.Memory+u.Shared <= limit {
			continue
		}
		// What they share is a bound, and most often much too high a one. It is looked at closely only when it has grown by half of what was left, or is old.
		if u.Memory <= limit && time.Since(looked) < lookClosely && u.Memory+u.Shared-sum <= (limit-exact)/2 {
			continue
		}
		sum, exact = u.Memory+u.Shared, p.exact(u)
		if exact > limit { // a process that forks while its tree is added up counts whole before, and in parts after: the second look decides
			exact = min(exact, p.exact(p.Use()))
		}
		looked = time.Now()
		if u.Memory = exact; exact <= limit {
			continue
		}
		o := &Over{Method: tandem.MemoryPolled, From: "/proc/PID/smaps of its tree",
			Says: fmt.Sprintf("%s in %d processes, the limit is %s", Bytes(u.Memory), u.Processes, Bytes(limit))}
		if u.Processes == 1 {
			o.Says = fmt.Sprintf("%s, the limit is %s", Bytes(u.Memory), Bytes(limit))
		}
		select {
		case <-p.gone: // it ended by itself
			return
		default:
		}
		p.over.CompareAndSwap(nil, o)
		p.Kill()
		return
	}
}

// proof is what the control group says, when the kernel has killed in it for memory and the program ended by that. A program may outlive what it had
// started.
func (e Exit) proof() *Over {
	const shellKilled = 128 + 9 // what a shell makes of SIGKILL in what it started
	g := e.Group
	if g.MemoryKills == 0 || e.Signal != syscall.SIGKILL && e.Code != shellKilled {
		return nil
	}
	says := fmt.Sprintf("the kernel killed in it for memory (oom_kill went from 0 to %d), the limit is %s", g.MemoryKills, Bytes(g.MemoryLimit))
	if g.MemoryPeak > 0 {
		says += ", the most it had was " + Bytes(g.MemoryPeak)
	}
	return &Over{Method: tandem.MemoryKernel, From: "its control group of memory", Says: says}
}

// Over is the proof that the program reached its limit of memory, or nil. It may be there before the program has ended.
func (p *Process) Over() *Over { return p.over.Load() }

// Peak is the most memory that the tree was seen with, zero when nobody looked.
func (p *Process) Peak() int64 { return p.peak.Load() }

// Seen says it for people; empty when nobody looked.
func Seen(peak int64) string {
	if peak == 0 {
		return ""
	}
	return Bytes(peak)
}

// Bytes is a size for people.
func Bytes(n int64) string {
	for _, u := range []struct {
		name string
		size int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= u.size {
			if n%u.size == 0 {
				return fmt.Sprintf("%d %s", n/u.size, u.name)
			}
			return fmt.Sprintf("%.1f %s", float64(n)/float64(u.size), u.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}
