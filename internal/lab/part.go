package lab

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"tandem"
)

// Part runs the Go side of one experiment and prints its rows. It is to have a process of its own.
func Part(name string, quick bool, w io.Writer) error {
	i := slices.IndexFunc(Experiments, func(e Experiment) bool { return e.Name == name && e.in != nil })
	if i < 0 {
		return &tandem.Error{Op: "measure", On: name, Kind: tandem.KindInvalid, Message: "no such experiment"}
	}
	out := json.NewEncoder(w)
	var failed error
	err := Experiments[i].in(part{quick: quick, row: func(model, measure string, value float64, unit string, n int, note string) {
		failed = cmp.Or(failed, out.Encode(Row{Model: model, Measure: measure, Value: value, Unit: unit, N: n, Note: note}))
	}})
	return cmp.Or(err, failed)
}

// part is what the Go side of an experiment is given.
type part struct {
	quick bool
	row   func(model, measure string, value float64, unit string, n int, note string)
}

// of is a size: the small one for a quick look.
func (p part) of(quick, whole int) int {
	if p.quick {
		return quick
	}
	return whole
}

func micros(d time.Duration, n int) float64 { return float64(d.Nanoseconds()) / 1e3 / float64(n) }

// onThread runs f on an operating-system thread of its own, which ends with it: a locked goroutine takes its thread along.
func onThread(f func()) {
	go func() {
		runtime.LockOSThread()
		f()
	}()
}

// resident is the memory of this process in kilobytes.
func resident() float64 {
	var kb float64
	_, _ = fmt.Sscan(field("/proc/self/status", "VmRSS"), &kb)
	return kb
}

// waiting starts n that wait until stop is closed, and tells how much memory each has taken.
func waiting(n int, start func(func()), stop <-chan struct{}) (each float64, ended *sync.WaitGroup) {
	debug.SetMaxThreads(n + 1000)
	var ready sync.WaitGroup
	ended = &sync.WaitGroup{}
	ready.Add(n)
	ended.Add(n)
	runtime.GC()
	before := resident()
	for range n {
		start(func() {
			ready.Done()
			<-stop
			ended.Done()
		})
	}
	ready.Wait()
	return (resident() - before) / float64(n), ended
}

func goroutine(f func()) { go f() }

// exe is this program.
func exe() (string, error) { return os.Executable() }
