package advise

import (
	"fmt"
	"math"
	"sort"
	"time"

	"tandem"
)

// Kind is what a step's tasks run in.
type Kind int

const (
	Workers  Kind = iota // worker processes, each with one or several tasks at a time
	Loops                // event loops in worker processes
	Commands             // a program for each task
	Routines             // goroutines of this process
)

// Setting is how many workers a step has and how many tasks each runs at a time. Commands and goroutines have one worker.
type Setting struct{ Workers, AtOnce int }

// Total is how many tasks are in flight at most.
func (s Setting) Total() int { return s.Workers * s.AtOnce }

// Words is the setting as people read it.
func (k Kind) Words(s Setting) string {
	switch {
	case k == Loops:
		return fmt.Sprintf("async %d × %d", s.Workers, s.AtOnce)
	case k == Commands, k == Routines:
		return fmt.Sprintf("%d at a time", s.AtOnce)
	case s.AtOnce == 1:
		return fmt.Sprintf("process × %d", s.Workers)
	}
	return fmt.Sprintf("thread %d × %d", s.Workers, s.AtOnce)
}

// Mode is what a worker with that many tasks at a time is called.
func (k Kind) Mode(s Setting) tandem.Mode {
	switch {
	case k == Loops:
		return tandem.Async
	case k != Workers:
		return tandem.Goroutine
	case s.AtOnce > 1:
		return tandem.Thread
	}
	return tandem.Process
}

// Stretch is what a step did in a stretch of time, under one setting.
type Stretch struct {
	At      time.Duration // its end, since the step could run tasks
	Length  time.Duration
	Ended   int64         // tasks
	Bad     int64         // of those, did not end well
	Crashes int64         // workers that died
	Service time.Duration // of the tasks that ended
	Used    tandem.Usage  // what workers measured
	Waiting float64       // share of the looks at which tasks waited for a place, 0 to 1
	Cores   float64       // processors that may be used
}

func (s *Stretch) add(t Stretch) {
	if n := s.Length + t.Length; n > 0 {
		s.Waiting = (s.Waiting*s.Length.Seconds() + t.Waiting*t.Length.Seconds()) / n.Seconds()
	}
	s.At, s.Length, s.Cores = t.At, s.Length+t.Length, t.Cores
	s.Ended += t.Ended
	s.Bad += t.Bad
	s.Crashes += t.Crashes
	s.Service += t.Service
	s.Used.Add(t.Used)
}

// Plus is s and the span behind it.
func (s Stretch) Plus(t Stretch) Stretch {
	s.add(t)
	return s
}

// rate is tasks per second.
func (s *Stretch) rate() float64 {
	if s.Length <= 0 {
		return 0
	}
	return float64(s.Ended) / s.Length.Seconds()
}

// work is what one task is made of, in seconds: what it would take alone.
type work struct {
	cpu, wait float64
	held      float64 // share of cpu with the interpreter lock held: of that there is one in each worker
	known     bool    // held was looked at often enough
	crowd     bool    // processors were not there when they were wanted
}

func (w work) total() float64 { return w.cpu + w.wait }

// share is the part of its time that a task computes; above 1 when it computes on several processors at a time.
func (w work) share() float64 {
	if w.total() <= 0 {
		return 1
	}
	return w.cpu / w.total()
}

const (
	fewTasks   = 5
	enoughWall = 100 * time.Millisecond
	longWall   = 500 * time.Millisecond // of tasks none of which has ended
	fewLooksAt = 6                      // looks at the interpreter lock while a task computed
	tellsLock  = 8 * time.Millisecond   // of a task, for looks at the lock to tell anything
)

// workOf is what a span that ran one task at a time in each worker says about a task; no when that is too little.
func workOf(s *Stretch) (w work, ok bool) {
	u := s.Used
	if !(u.Tasks >= fewTasks && u.Wall >= enoughWall || u.Wall >= longWall) || u.Wall <= 0 {
		return w, false
	}
	one := u.Wall.Seconds() / max(float64(u.Tasks), 1)
	if s.Ended > 0 { // short tasks are measured as a sample, their time is known of all
		one = s.Service.Seconds() / float64(s.Ended)
	}
	if u.Queue.Seconds() > .95*u.Wall.Seconds() {
		return w, false // it hardly ran
	}
	part := u.CPU.Seconds() / u.Wall.Seconds()
	queue := min(u.Queue.Seconds()/u.Wall.Seconds(), 1-min(part, 1))
	w.cpu = part * one
	w.wait = max(0, 1-queue-part) * one
	if u.Voluntary+u.Involuntary > 0 && float64(u.Voluntary) < .3*float64(u.Tasks) {
		w.wait = 0 // it never gave up its processor, so it did not wait: the time went to who runs below the kernel
	}
	w.held, w.known = heldShare(u, one)
	w.crowd = u.Queue.Seconds() > crowded*u.CPU.Seconds()
	return w, true
}

// heldShare is the share of the processor time in which the interpreter lock was held. All of it is assumed where nobody looked often enough, and of tasks so
// short that they let go of it by themselves before who looks has waited long enough to tell: then a worker computes on one processor.
func heldShare(u tandem.Usage, task float64) (share float64, known bool) {
	computes := min(1, u.CPU.Seconds()/max(u.Wall.Seconds(), 1e-9))
	if float64(u.Looks)*computes < fewLooksAt || task < tellsLock.Seconds() {
		return 1, false
	}
	return min(1, float64(u.Held)/float64(u.Looks)/max(computes, .01)), true
}

// expect is how many tasks a second a setting would end on so many processors.
func (w work) expect(s Setting, cores float64, k Kind) float64 {
	if w.total() <= 0 {
		return 0
	}
	n, share := float64(s.Total()), w.share()
	x := min(n, cores/share) / w.total()
	if share <= 1 {
		x = throughput(share, cores, n) / w.total()
	}
	if k == Workers {
		if lock := w.held * w.cpu; lock > 0 && s.AtOnce > 1 {
			x = min(x, throughput(min(1, lock/w.total()), 1, float64(s.AtOnce))*float64(s.Workers)/w.total())
		}
	}
	return x
}

const (
	nearly   = .96 // of what the processors allow: from there on more in flight hardly help
	lockBusy = .5  // a worker whose interpreter lock is held more than this makes its threads wait
	alone    = 8   // processes for each processor, at most, where each runs one task at a time
	pure     = .85 // share of computing from which on more than one task per processor does not help
	crowded  = .25 // of the processor time spent ready without a processor: from there on others want them, too
	free     = .15 // share of computing below which holding the interpreter lock does not matter
)

// inflight is how many tasks at a time use the processors nearly fully, at most so many.
func (w work) inflight(cores float64, most int) int {
	share := w.share()
	switch {
	case share >= pure:
		return max(1, int(math.Round(cores/max(share, 1))))
	case share <= cores/float64(most)/2:
		return most
	}
	least := max(1, int(math.Ceil(cores)))
	n := least + sort.Search(max(most-least, 0), func(more int) bool { return throughput(share, cores, float64(least+more)) >= nearly*cores/share })
	if w.crowd { // a processor comes when it comes: then something has to be ready for it
		n = min(2*n, most)
	}
	return n
}

// setting is the one that fits w, and why.
func (w work) setting(l Limits, cores float64) (Setting, string) {
	share := w.share()
	n := w.inflight(cores, l.Most)
	how := fmt.Sprintf("it computes %s of its time", percent(min(share, 1)))
	if share > 1.2 {
		how = fmt.Sprintf("each task computes on %.1f processors", share)
	}
	switch l.Kind {
	case Commands, Routines:
		if share >= pure {
			return Setting{1, n}, how + ": one for each processor"
		}
		return Setting{1, n}, fmt.Sprintf("%s and waits the rest: %d at a time use the processors", how, n)
	}
	procs := max(1, int(math.Ceil(cores)))
	if share > 1 {
		procs = max(1, int(math.Round(cores/share)))
	}
	because := how
	lock := min(float64(n)/w.total(), cores/max(w.cpu, 1e-9)) * w.cpu
	if !w.crowd { // else processes: the kernel shares processors out between them
		lock *= w.held
	}
	switch {
	case share >= pure && (w.crowd || !w.known || w.held > free):
		because += ": a process for each processor, one task in each"
	case share >= pure:
		procs = min(procs, max(1, int(math.Ceil(lock/lockBusy))))
		because += " without the interpreter lock: threads in fewer processes do the same with less memory"
	default:
		procs = min(procs, max(1, int(math.Ceil(lock/lockBusy))))
		because += fmt.Sprintf(" and waits the rest: %d in flight use the processors", n)
	}
	if l.AtOnce == 1 { // processes instead of threads: dearer, so not as many
		procs = max(1, min(n, alone*int(math.Ceil(cores))))
	}
	procs = l.workers(procs)
	return Setting{procs, l.atOnce((n + procs - 1) / procs)}, because
}

// Limits of what a tuner may choose.
type Limits struct {
	Kind    Kind
	Most    int // tasks in flight
	AtOnce  int // tasks at a time in one worker; 1 where several are not safe or not possible
	Workers int // fixed number of workers; zero means that it may be chosen
	Fixed   int // fixed number of tasks at a time in each; zero means that it may be chosen
}

func (l Limits) workers(n int) int {
	if l.Workers > 0 {
		return l.Workers
	}
	return max(n, 1)
}

func (l Limits) atOnce(n int) int {
	if l.Fixed > 0 {
		return l.Fixed
	}
	return max(1, min(n, l.AtOnce))
}
