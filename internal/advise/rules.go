package advise

import (
	"math"
	"slices"
	"strings"
)

// figures are the inputs of the rules: shares of the time of the threads that count, and rates per second.
type figures struct {
	Split
	life, work   float64 // seconds: of the threads that count; on a processor or ready, of all threads
	raw          float64 // the queue's share before starvation was taken out
	sys          float64 // of the processor time
	minor, major float64 // page faults per second of processor time; per second
	bytes        float64 // per second of processor time
	switches     float64 // per second
	cores        float64 // processors in use on average
	demand       float64 // processors wanted on average
	allowed      float64
	waiters      float64 // share of the looks with a thread waiting for the interpreter lock
	apart        float64 // share of sleep in processes without such threads
	churning     int     // the most threads of one process that go in and out of futex waits that tell nothing
	idle         bool    // nothing but structural waits
	starved      bool
	scarce       bool    // and left it next to nothing of them
	gone         float64 // share of the time in processes too short to follow
}

// internal threads of runtimes serve the program, they are not its work. The names are given by the runtimes, not by programs.
var internal = []string{"GC Thread", "G1 ", "VM Thread", "VM Periodic", "C1 Compiler", "C2 Compiler", "Signal Dispatch", "Finalizer", "Reference Handl",
	"Common-Cleaner", "Notification T", "Service Thread", "Monitor Deflati", "Sweeper thread", "Attach Listener", "ZWorker", "Shenandoah", "Cleaner-",
	"V8Worker", "DelayedTaskSche", "SignalInspector", "node-V8"}

// Internal says whether a thread of that name belongs to the runtime.
func Internal(runtime, name string) bool {
	if runtime != "jvm" && runtime != "node" {
		return false
	}
	return slices.ContainsFunc(internal, func(s string) bool { return strings.HasPrefix(name, s) })
}

func isInternal(t Thread) bool { return Internal(t.Runtime, t.Name) }

func seconds(t Thread, c Cause) float64 { return t.Wait[c].Seconds() }

func (t Thread) structural() (s float64) {
	for c, d := range t.Wait {
		if c.structural() {
			s += d.Seconds()
		}
	}
	return s
}

// counting drops the threads that say nothing about the work. Of threads that only wait for other threads nothing is learned, unless there are no others.
func counting(m *Measurement) []Thread {
	list := make([]Thread, 0, len(m.Threads))
	total := 0.0
	for _, t := range m.Threads {
		if t.Life > 0 && !isInternal(t) {
			list = append(list, t)
			total += (t.On + t.Queue).Seconds()
		}
	}
	kept := drop(list, func(t Thread) bool {
		life := t.Life.Seconds()
		return (t.On+t.Queue).Seconds() < .10*life && t.structural() > .80*life
	})
	// A heartbeat, a watchdog, a timer: a thread that sleeps and hardly computes while others work.
	on, worker := 0.0, false
	for _, t := range kept {
		if t.On.Seconds() >= .03*t.Life.Seconds() {
			on += t.On.Seconds()
		}
		worker = worker || (t.On+t.Queue).Seconds() >= .60*t.Life.Seconds() && t.Life >= m.Wall/2
	}
	if worker || on > .10*m.Wall.Seconds() {
		kept = drop(kept, func(t Thread) bool {
			if !worker && t.Runtime != "go" {
				return false
			}
			off := t.Life.Seconds() - t.Queue.Seconds()
			return t.On.Seconds() < .03*t.Life.Seconds() && t.structural()+seconds(t, Sleep) > .90*off
		})
	}
	return kept
}

func drop(list []Thread, out func(Thread) bool) []Thread {
	kept := make([]Thread, 0, len(list))
	for _, t := range list {
		if !out(t) {
			kept = append(kept, t)
		}
	}
	if len(kept) == 0 {
		return list
	}
	return kept
}

// weigh turns a measurement into the figures that rules compare.
func weigh(m *Measurement) figures {
	f := figures{allowed: max(m.Cores, .01)}
	wall := max(m.Wall.Seconds(), 1e-6)
	for _, t := range m.Threads {
		f.work += (t.On + t.Queue).Seconds()
	}
	cpu := m.CPU.Seconds()
	f.cores, f.demand = cpu/wall, max(f.work, cpu)/wall
	if cpu > 0 {
		f.sys, f.minor, f.bytes = m.System.Seconds()/cpu, float64(m.Minor)/cpu, float64(m.Bytes)/cpu
	}
	f.major, f.switches = float64(m.Major)/wall, float64(m.Switches)/wall
	running := 1.0
	if m.Looks > 0 {
		running = float64(m.Running) / float64(m.Looks)
		f.waiters = float64(m.GILWaits) / float64(m.Looks)
	}
	threads := counting(m)
	var s Split
	structural, brief, idle := 0.0, 0.0, true
	for _, t := range threads {
		life := t.Life.Seconds()
		f.life += life
		if t.Brief {
			brief += life
		}
		s.CPU += t.On.Seconds()
		s.RunQueue += t.Queue.Seconds()
		s.Network += seconds(t, Net)
		s.Disk += seconds(t, Disk)
		s.Lock += seconds(t, Lock)
		s.GIL += seconds(t, GIL)
		s.Sleep += seconds(t, Sleep)
		s.Faults += seconds(t, Fault)
		s.Input += seconds(t, Input)
		s.Opaque += seconds(t, Blind)
		churns := float64(t.Slices) >= 2.5*life
		// Threads that wait on one word are a lock's queue when they get on now and then while hardly anybody runs; else they are an idle pool.
		if word := seconds(t, Word); running < .50 && (churns || t.On.Seconds() >= .005*life) {
			s.Lock += word
		} else {
			structural += word
		}
		structural += t.structural()
		if t.structural() < .80*life || (t.On+t.Queue).Seconds() >= .10*life {
			idle = false
		}
	}
	f.idle = idle && len(threads) > 0
	churners := churning(m)
	apart := 0.0
	for _, t := range threads {
		if churners[t.PID] < 2 {
			apart += seconds(t, Sleep)
		}
	}
	for _, n := range churners {
		f.churning = max(f.churning, n)
	}
	left := f.life - structural
	if f.life > 0 {
		f.gone = brief / f.life
	}
	if f.idle || left < .02*f.life { // what is left is noise
		f.idle = len(threads) > 0
		s.Opaque += structural
	}
	f.throttle(m, &s)
	if total := s.sum(); total > 0 {
		s.scale(1 / total)
		f.apart = apart / total
	}
	f.Split, f.raw = s, s.RunQueue
	return f
}

// churning counts, by process, threads that go in and out of waits on words of which nothing is known. Go's threads park like that when they have nothing to do.
func churning(m *Measurement) map[int]int {
	n := map[int]int{}
	for _, t := range m.Threads {
		life := t.Life.Seconds()
		if t.Runtime != "go" && !isInternal(t) && float64(t.Slices) >= 2.5*life && seconds(t, Futex)+seconds(t, Word) > .5*life {
			n[t.PID]++
		}
	}
	return n
}

// throttle tells apart what the quota of the control group took: a thread held back by it looks as if it waited for a processor.
func (f *figures) throttle(m *Measurement, s *Split) {
	if held := min(m.Throttled.Seconds(), s.RunQueue); held > 0 {
		s.Throttled, s.RunQueue = held, s.RunQueue-held
	} else if m.Throttled > 0 && s.RunQueue == 0 && s.Opaque > 0 {
		held := min(m.Throttled.Seconds(), s.Opaque)
		s.Throttled, s.Opaque = held, s.Opaque-held
	}
}

func (s *Split) each() []*float64 {
	return []*float64{&s.CPU, &s.RunQueue, &s.Throttled, &s.Network, &s.Disk, &s.Lock, &s.GIL, &s.Sleep, &s.Faults, &s.Spin, &s.Input, &s.Opaque}
}

func (s *Split) sum() (total float64) {
	for _, x := range s.each() {
		total += *x
	}
	return total
}

func (s *Split) scale(by float64) {
	for _, x := range s.each() {
		*x *= by
	}
}

// unstarve takes out the run queue that others caused, so that the program's own kind stays visible on a busy machine.
func (f *figures) unstarve() {
	ready := f.CPU + f.RunQueue
	if ready < .20 || f.RunQueue < .15*ready || f.demand > 1.25*f.allowed {
		return
	}
	f.starved, f.scarce = true, f.CPU < .10*ready
	f.RunQueue = 0
	if total := f.sum(); total > 0 {
		f.scale(1 / total)
	}
}

// Rounded is s with four digits after the point.
func (s Split) Rounded() Split {
	for _, x := range s.each() {
		*x = math.Round(*x*1e4) / 1e4
	}
	return s
}
