package cli

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"time"

	"tandem/internal/advise"
	"tandem/internal/inside"
	"tandem/internal/measure"
	"tandem/internal/proc"
)

// The duty of the probe, and the shortest run that it says something about.
const (
	halfDuty   = 4 * time.Millisecond
	lookEvery  = time.Millisecond // at the states of threads
	spinnable  = 300 * time.Millisecond
	lookAround = 25 // duties between two looks for new processes
	learning   = 600 * time.Millisecond
)

// probed is what became of the second run.
type probed struct {
	circles measure.Circles
	circled bool          // threads were held in their circles; else all were stopped
	stopped time.Duration // that something was, of the whole
	held    time.Duration // of all threads together
	refused bool          // threads could not be looked at
}

// probeSpin runs the command again. It looks at the registers of threads that run: who is in the same few states again and again goes in a circle, and is held there half
// of the time. Where nobody does, or nobody can tell, everything is stopped half of the time. Who computes needs longer by that, who spins does not.
func (a *app) probeSpin(r *profiled, args []string, took time.Duration, signals <-chan os.Signal, typed bool) {
	note := func(format string, args ...any) { r.m.Notes = append(r.m.Notes, fmt.Sprintf(format, args...)) }
	switch {
	case r.signal != "" || *r.exit != 0:
		note("--probe-spin: not run again, because the command failed")
		return
	case took < spinnable:
		note("--probe-spin: not run again: %s is too short to tell anything", brief(took))
		return
	case r.m.CPU.Seconds() < .2*took.Seconds():
		note("--probe-spin: not run again: it is not busy")
		return
	}
	begun := time.Now()
	child, err := proc.StartForeground(args)
	if err != nil {
		note("--probe-spin: %s", err)
		return
	}
	var p probed
	over := make(chan struct{})
	go func() {
		defer close(over)
		p.watch(child, took)
	}()
	for running := true; running; {
		select {
		case s := <-signals:
			if !typed || !proc.Typed(s) {
				child.Signal(s)
			}
		case <-child.Gone():
			running = false
		}
	}
	long := time.Since(begun)
	<-over
	x, used := child.Reap()
	if x.Signal != 0 || x.Code != 0 {
		note("--probe-spin: the second run failed (%s), so it says nothing", x)
		return
	}
	if p.refused {
		note("--probe-spin: its threads may not be looked at, so only the whole program was stopped")
	}
	if p.stopped < long/10 {
		note("--probe-spin: it stood too little of the second run to tell anything")
		return
	}
	r.m.Probe = p.found(r.m.CPU, used.User+used.System, took, long)
	r.v = advise.Judge(r.m)
	what := "stopped"
	if p.circled {
		what = fmt.Sprintf("at %.0f %% of %d looks a thread that ran was where it had often been, with the same in its registers; held there", 100*p.circles.Share(), p.circles.Looks())
	}
	note("--probe-spin: %s %.0f %% of the time it took %s in place of %s, and used %s of the processors in place of %s", what,
		100*p.stopped.Seconds()/long.Seconds(), brief(long), brief(took), brief(used.User+used.System), brief(r.m.CPU))
}

// found says how much of what was taken away was missed: of the time, and of the processor time, which others disturb less.
func (p *probed) found(before, now, took, long time.Duration) *advise.Probe {
	round := func(x float64) float64 { return math.Round(100*x) / 100 }
	f := &advise.Probe{
		Sensitivity: round((long - took).Seconds() / p.stopped.Seconds()),
		Spent:       round(1 - (before-now).Seconds()/max(p.held.Seconds(), 1e-9)),
		Ratio:       round(now.Seconds() / max(before.Seconds(), 1e-9)),
	}
	if p.circled {
		f.Circling = round(p.circles.Share())
	}
	return f
}

// watch looks and stops until the child is gone. Its thread ends with it, and with that nothing of the child is stopped any more.
func (p *probed) watch(child *proc.Foreground, took time.Duration) {
	runtime.LockOSThread()
	f := proc.NewFreezer(child.PID())
	var all proc.Halted
	defer all.Close()
	pause := func(d time.Duration) bool {
		select {
		case <-child.Gone():
			return false
		case <-time.After(d):
			return true
		}
	}
	begun, decided := time.Now(), false
	pids := []int{child.PID()}
	for n := 0; ; n++ {
		if n%lookAround == 0 {
			pids = inside.Descendants(child.PID())
		}
		f.Bury()
		switch {
		case !decided:
			p.look(f, pids, false)
			if time.Since(begun) >= min(learning, took/4) {
				p.circled, decided = p.circles.Any(), true
			}
			if !pause(lookEvery) {
				return
			}
		case p.circled:
			for range halfDuty / lookEvery {
				p.look(f, pids, false)
				if !pause(lookEvery) {
					return
				}
			}
			if held := p.look(f, pids, true); len(held) > 0 {
				since := time.Now()
				pause(halfDuty)
				f.Thaw(held)
				p.stopped += time.Since(since)
				p.held += time.Duration(min(len(held), runtime.NumCPU())) * time.Since(since)
			}
		default:
			since, ran := time.Now(), len(measure.Ready(pids))
			all.Halt(pids)
			gone := !pause(halfDuty)
			all.Continue()
			p.stopped += time.Since(since)
			p.held += time.Duration(min(ran, runtime.NumCPU())) * time.Since(since)
			if gone || !pause(halfDuty) {
				return
			}
		}
		select {
		case <-child.Gone():
			return
		default:
		}
	}
}

// look notes the states of the threads that run. With hold those that are in a circle stay frozen.
func (p *probed) look(f *proc.Freezer, pids []int, hold bool) (held []proc.Frozen) {
	still, refused := f.Freeze(measure.Ready(pids))
	p.refused = p.refused || refused
	var on []proc.Frozen
	for _, t := range still {
		if p.circles.Seen(t.TID, t.State) && hold {
			held = append(held, t)
		} else {
			on = append(on, t)
		}
	}
	f.Thaw(on)
	return held
}
