package main

import (
	"context"
	"fmt"
	"os/exec"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"tandem/internal/proc"
)

// This file measures what it costs to start a program that is held, beside one that is not.

var spawned = []figure{{"start", "ms"}, {"ended", "ms"}}

const (
	spawnPause = 2 * time.Millisecond  // between two starts, as they come from a pool that replaces a worker
	coldPause  = 60 * time.Millisecond // before a start that finds the machine quiet: what waits for an RCU grace period then waits long
	largeHeap  = 2 << 30
	starters   = 4
)

// everything that can be asked for at once.
var everything = proc.Spec{Limits: proc.Limits{Memory: 1 << 30}, Isolation: proc.Isolation{Sandbox: true, CPU: 1, PIDs: 100, User: "65534"}}

func spawnRows() []row {
	plain, held := plainStart, heldStart(proc.Spec{})
	return []row{
		{name: "limit/os-exec-spawn", about: "os/exec: Start of the program true until it executes, and until its end is known, 2 ms apart", gives: spawned, measure: spawns(plain, spawnPause, 0)},
		{name: "tandem/spawn", about: "the same with isolation: process, in a PID namespace with a shim", gives: spawned, measure: spawns(held, spawnPause, 0)},
		{name: "limit/os-exec-spawn-2GB", about: "os/exec with 2 GiB in the memory of the one who starts", gives: spawned, every: 2, measure: spawns(plain, spawnPause, largeHeap)},
		{name: "tandem/spawn-2GB", about: "isolation: process, the same", gives: spawned, every: 2, measure: spawns(held, spawnPause, largeHeap)},
		{name: "tandem/spawn-sandboxed", about: "isolation: sandbox with memory, cpu, pids and user, each on a machine that was quiet for 60 ms", gives: spawned, minutes: 2, measure: spawns(heldStart(everything), coldPause, 0)},
		{name: "limit/os-exec-burst", about: "os/exec: true, started and waited for by 4 goroutines without a pause", gives: starts, measure: bursts(plain)},
		{name: "tandem/spawn-burst", about: "the same with isolation: process", gives: starts, measure: bursts(held)},
	}
}

// A starter starts the program and returns when it executes; wait returns when its end is known.
type starter func() (wait func() error, err error)

func plainStart() (func() error, error) {
	c := exec.Command("/bin/true")
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return c.Wait, c.Start()
}

func heldStart(spec proc.Spec) starter {
	spec.Argv = []string{"/bin/true"}
	return func() (func() error, error) {
		p, err := proc.Start(spec)
		if err != nil {
			return nil, err
		}
		return func() error {
			<-p.Done()
			var missing []string
			for _, m := range p.Isolation().Missing {
				missing = append(missing, m.String())
			}
			if missing != nil {
				return leftOut("this machine does not give: " + strings.Join(missing, ", "))
			}
			if x := p.Exit(); x.Code != 0 {
				return fmt.Errorf("true ended with %v", x)
			}
			return nil
		}, nil
	}
}

// spawns takes the medians of single starts.
func spawns(start starter, pause time.Duration, heap int) func(context.Context, *bench) (figures, error) {
	return func(ctx context.Context, b *bench) (figures, error) {
		if heap > 0 {
			defer debug.FreeOSMemory()
		}
		hold := make([]byte, heap)
		for i := 0; i < len(hold); i += 4096 {
			hold[i] = 1
		}
		if wait, err := start(); err != nil { // the first makes the warden
			return nil, err
		} else if err := wait(); err != nil {
			return nil, err
		}
		var started, ended []time.Duration
		for end := time.Now().Add(2 * b.duration()); time.Now().Before(end) || len(ended) < 10; {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			time.Sleep(pause)
			at := time.Now()
			wait, err := start()
			if err != nil {
				return nil, err
			}
			started = append(started, time.Since(at))
			if err := wait(); err != nil {
				return nil, err
			}
			ended = append(ended, time.Since(at))
		}
		if len(hold) != heap {
			return nil, fmt.Errorf("the memory is %d bytes", len(hold))
		}
		return figures{"start": middle(started), "ended": middle(ended)}, nil
	}
}

func middle(all []time.Duration) float64 {
	slices.Sort(all)
	return all[len(all)/2].Seconds() * 1e3
}

// bursts counts starts a second.
func bursts(start starter) func(context.Context, *bench) (figures, error) {
	return func(ctx context.Context, b *bench) (figures, error) {
		var done atomic.Int64
		var once sync.Once
		var failed error
		var wg sync.WaitGroup
		begun := time.Now()
		end := begun.Add(2 * b.duration())
		for range starters {
			wg.Go(func() {
				for time.Now().Before(end) && ctx.Err() == nil {
					wait, err := start()
					if err == nil {
						err = wait()
					}
					if err != nil {
						once.Do(func() { failed = err })
						return
					}
					done.Add(1)
				}
			})
		}
		wg.Wait()
		return figures{"rate": float64(done.Load()) / time.Since(begun).Seconds()}, failed
	}
}
