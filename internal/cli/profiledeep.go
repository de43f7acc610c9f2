package cli

import (
	"context"
	"fmt"
	"math"
	"os"
	"strings"
	"sync"
	"time"

	"tandem"
	"tandem/internal/advise"
	"tandem/internal/inside"
	"tandem/internal/proc"
)

// records says whether what threads did when is to be kept.
func (f profileFlags) records() bool {
	for _, o := range f.out {
		if strings.HasSuffix(o, ".pftrace") {
			return true
		}
	}
	return false
}

// ending is how the command ended, in words.
func (r *profiled) ending() string {
	switch {
	case r.exit == nil:
		return ""
	case r.signal != "":
		return r.signal
	}
	return fmt.Sprintf("exit code %d", *r.exit)
}

// asking is what --runtime has under way; nil without it.
type asking struct {
	in     *inside.Inside
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// asking prepares what --runtime needs: extra is for the command's environment, stop is to be called in the end.
func (f profileFlags) asking() (k *asking, extra []string, stop func(), err error) {
	if !f.runtime {
		return nil, nil, func() {}, nil
	}
	dir, err := os.MkdirTemp("", "tandem-inside")
	if err == nil {
		k = &asking{}
		k.in, err = inside.New(dir)
	}
	if err != nil {
		return nil, nil, nil, &tandem.Error{Op: "prepare", On: "--runtime", Kind: tandem.KindFile, Message: err.Error(), Err: err}
	}
	return k, k.in.Env(os.Environ()), func() {
		k.end()
		_ = os.RemoveAll(dir) // a process that outlives the command may still write there: it is a temporary directory
	}, nil
}

func (k *asking) begin(pid int) {
	if k == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	k.cancel = cancel
	k.done.Go(func() { k.in.Watch(ctx, pid) })
}

func (k *asking) end() {
	if k != nil && k.cancel != nil {
		k.cancel()
		k.done.Wait()
	}
}

// tell adds what the runtimes said.
func (k *asking) tell(r *profiled) {
	if k == nil {
		return
	}
	functions, notes := k.in.Functions(r.m.Runtimes)
	r.m.Functions, r.m.Notes = functions, append(r.m.Notes, notes...)
	advise.Name(r.m, &r.v)
}

// The duty of the probe, and the shortest run that it says something about.
const (
	halfDuty   = 4 * time.Millisecond
	spinnable  = 300 * time.Millisecond
	lookAround = 25 // duties between two looks for new processes
)

// probeSpin runs the command again and stops it half of the time: who computes needs longer by that, who spins does not.
func (a *app) probeSpin(r *profiled, args []string, took time.Duration, signals <-chan os.Signal, typed bool) {
	note := func(format string, args ...any) { r.m.Notes = append(r.m.Notes, fmt.Sprintf(format, args...)) }
	switch {
	case r.signal != "" || *r.exit != 0:
		note("--probe-spin: not run again, because the command failed")
		return
	case took < spinnable:
		note("--probe-spin: not run again: %s is too short to tell anything", brief(took))
		return
	case r.v.Bound != advise.BoundCPU && r.v.Bound != advise.BoundSpin && r.v.Bound != advise.BoundMixed:
		note("--probe-spin: not run again: it is not busy")
		return
	}
	begun := time.Now()
	child, err := proc.StartForeground(args)
	if err != nil {
		note("--probe-spin: %s", err)
		return
	}
	var h proc.Halted
	pids := []int{child.PID()}
	for n, running := 0, true; running; n++ {
		if n%lookAround == 0 {
			pids = inside.Descendants(child.PID())
		}
		h.Halt(pids)
		for _, on := range []bool{false, true} {
			if on {
				h.Continue()
			}
			select {
			case s := <-signals:
				if !typed || !proc.Typed(s) {
					child.Signal(s)
				}
			case <-child.Gone():
				running = false
			case <-time.After(halfDuty):
			}
		}
	}
	h.Close()
	half := time.Since(begun)
	x, _ := child.Reap()
	if x.Signal != 0 || x.Code != 0 {
		note("--probe-spin: the second run failed (%s), so it says nothing", x)
		return
	}
	e := (half - took).Seconds() / took.Seconds()
	r.m.Probe = &advise.Probe{Sensitivity: math.Round(100*e) / 100}
	r.v = advise.Judge(r.m)
	note("--probe-spin: stopped half of the time it took %s in place of %s", brief(half), brief(took))
}
