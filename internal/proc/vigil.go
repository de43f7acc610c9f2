package proc

import (
	"sync/atomic"
	"time"
)

// vigil is the watch over a command: what it may use beyond memory.
type vigil struct {
	p     *Process
	c     *Command
	heard atomic.Int64 // bytes that it has written

	asked, hung, spent bool
}

// keep watches until the command has ended. What it killed it for is in v then.
func (v *vigil) keep() {
	every := time.Duration(0)
	for _, limit := range []struct{ d, most time.Duration }{{v.c.Soft, time.Second}, {v.c.CPUTime, 100 * time.Millisecond}, {v.c.Hang, time.Second}} {
		if d := min(max(limit.d/20, time.Millisecond), limit.most); limit.d > 0 && (every == 0 || d < every) {
			every = d
		}
	}
	if every == 0 {
		return
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	begun := time.Now()
	moved, looked, cpu, heard := begun, begun, time.Duration(0), int64(0)
	for {
		select {
		case <-v.p.gone:
			return
		case <-v.p.doomed:
			return
		case <-tick.C:
		}
		now := time.Now()
		if v.c.Soft > 0 && !v.asked && now.Sub(begun) > v.c.Soft {
			v.asked = true
			v.doom(false)
			v.p.Terminate()
		}
		if v.c.CPUTime <= 0 && v.c.Hang <= 0 {
			continue
		}
		u := v.p.Use()
		if v.c.CPUTime > 0 && u.CPU > v.c.CPUTime {
			v.spent = true
			v.doom(true)
			v.p.Kill()
			return
		}
		if v.c.Hang <= 0 {
			continue
		}
		if late := now.Sub(looked) - 2*every; late > 0 {
			moved = moved.Add(late) // a time in which we could not look
		}
		looked = now
		if n, used := v.heard.Load(), u.CPU-cpu; n != heard || u.Running || used > 0 && used > now.Sub(moved)/100 {
			moved, cpu, heard = now, u.CPU, n
		}
		if now.Sub(moved) > v.c.Hang {
			v.hung = true
			v.doom(true)
			v.p.Kill()
			return
		}
	}
}

func (v *vigil) doom(last bool) {
	if v.c.Doomed != nil {
		v.c.Doomed(v.p.PID(), last)
	}
}
