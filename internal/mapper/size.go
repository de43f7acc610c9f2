package mapper

import (
	"fmt"
	"time"
)

// Sizer decides how many commands run at a time, from how they ran: pure, no clock of its own.
//
// It begins with one per core. At the end of each span (enough commands have ended, and a fifth of a second has passed) it asks whether more could
// help: the machine has processor time left, or the commands hardly need any; and keeping the cores busy needs more of them. Then it doubles, and
// keeps that when it brought a seventh more commands a second; else it goes back and stays, and tries again only after a while, each time
// later, or when the commands have become different. When the cores are full it does the same downwards, but never below one per core.
type Sizer struct {
	cores float64
	most  int

	size     int
	trying   int // +1: a larger size is on trial, -1: a smaller one
	before   int // the size before the trial
	rate     float64
	quiet    int // spans until the next trial
	patience int
	nothing  string  // what the last trial upwards that brought nothing was
	settled  figures // of the span after which it settled
	why      figures // of the last span

	begun   time.Time
	span    figures
	starved bool
}

// figures are what the commands of a span did.
type figures struct {
	n                   int
	wall, cpu           time.Duration
	knownWall, runQueue time.Duration // of those whose time in the run queue is known
	rate                float64       // commands a second
	busy                float64       // share of the cores' time in which they computed
	idle                float64       // share of the machine's time that nobody used
}

const (
	leastSpan  = 200 * time.Millisecond
	fullCores  = 0.85 // of the cores' time: Tandem's own work and the system's take the rest
	leastIdle  = 0.1  // of the machine's time must be free before commands that compute get more
	waits      = 0.05 // commands that compute less of their time than this may get more on a busy machine too
	slack      = 1.5  // over what keeps the cores busy by the figures, for commands that are not all alike
	worthMore  = 1.15 // a larger size must bring this to stay
	worthLess  = 0.97 // a smaller size must keep this to stay
	mostQuiet  = 256
	firstQuiet = 8
)

// NewSizer sizes for these cores; most bounds the size.
func NewSizer(cores, most int) *Sizer {
	s := &Sizer{cores: float64(max(cores, 1)), most: max(most, 1), patience: firstQuiet}
	s.size = min(max(cores, 1), s.most)
	return s
}

// Size is how many commands may run now.
func (s *Sizer) Size() int { return s.size }

// Most lowers (or raises) the bound, for memory or descriptors that have become scarce.
func (s *Sizer) Most(most int) {
	s.most = max(most, 1)
	if s.size > s.most {
		s.size, s.trying = s.most, 0
		s.restart(s.begun)
	}
}

// Starved says that there was nothing to start although there was room: what is measured then says nothing about the size.
func (s *Sizer) Starved() { s.starved = true }

// Ended adds a command that has ended at now. runQueue is negative where it is not known. It says whether the span is over: then Judge is due.
func (s *Sizer) Ended(now time.Time, wall, cpu, runQueue time.Duration) bool {
	if s.begun.IsZero() {
		s.begun = now.Add(-wall)
	}
	s.span.n++
	s.span.wall += wall
	s.span.cpu += cpu
	if runQueue >= 0 {
		s.span.knownWall += wall
		s.span.runQueue += min(runQueue, wall)
	}
	return s.span.n >= max(s.size, 4) && now.Sub(s.begun) >= leastSpan
}

// Judge ends a span. idle is the share of the machine's processor time that nobody used, or negative where that is not known.
func (s *Sizer) Judge(now time.Time, idle float64) {
	took := now.Sub(s.begun).Seconds()
	s.span.rate = float64(s.span.n) / took
	s.span.busy = s.span.cpu.Seconds() / (took * s.cores)
	s.span.idle = idle
	if idle < 0 {
		s.span.idle = max(0, 1-s.span.busy/fullCores)
	}
	if !s.starved {
		s.judge(s.span)
	} else if s.trying != 0 {
		s.size, s.trying = s.before, 0
	}
	s.restart(now)
}

func (s *Sizer) restart(now time.Time) { s.begun, s.span, s.starved = now, figures{}, false }

func (s *Sizer) judge(f figures) {
	s.why = f
	switch {
	case s.trying > 0 && f.rate >= worthMore*s.rate, s.trying < 0 && f.rate >= worthLess*s.rate:
		s.nothing = ""
		s.quiet, s.patience = 0, firstQuiet
	case s.trying != 0:
		if s.trying > 0 {
			s.nothing = fmt.Sprintf("%d brought no more", s.size)
		}
		s.size, s.trying = s.before, 0
		s.quiet, s.patience = s.patience, min(2*s.patience, mostQuiet)
		s.settled = figures{} // the first span at this size says what is normal
		return
	}
	s.trying = 0
	if s.settled.n == 0 || s.quiet == 0 {
		s.settled = f
	} else if different(s.settled, f) {
		s.quiet, s.patience, s.settled = 0, firstQuiet, f
	}
	if s.quiet > 0 {
		s.quiet--
		return
	}
	switch {
	case s.size < s.useful(f):
		s.try(+1, min(2*s.size, s.useful(f)), f)
	case f.full() && s.size > int(s.cores):
		s.try(-1, max(s.size/2, int(s.cores)), f)
	}
}

// useful is the most that could help by the figures of a span.
func (s *Sizer) useful(f figures) int {
	share := f.share()
	if f.full() || f.idle < leastIdle && share > waits {
		return s.size
	}
	return int(min(float64(s.most), slack*s.cores/max(share, 1e-6)))
}

func (f figures) full() bool { return f.busy >= fullCores }

func (s *Sizer) try(way, size int, f figures) {
	s.trying, s.before, s.rate = way, s.size, f.rate
	s.size = size
}

// different says whether the commands have become others: twice as long or as short, or computing another quarter of their time.
func different(a, b figures) bool {
	x, y := a.wall.Seconds()/float64(a.n), b.wall.Seconds()/float64(b.n)
	d := a.share() - b.share()
	return x > 2*y || y > 2*x || d > 0.25 || d < -0.25
}

// share is the part of their time in which the commands computed. Time in the run queue is left out: it says how full the cores are.
func (f figures) share() float64 {
	own := f.wall.Seconds()
	if f.knownWall > 0 {
		own *= 1 - f.runQueue.Seconds()/f.knownWall.Seconds()
	}
	if own <= 0 {
		return 1
	}
	return min(1, f.cpu.Seconds()/own)
}

// Because is the reason for the size, with figures.
func (s *Sizer) Because() string {
	f := s.why
	if f.n == 0 {
		f = s.span
	}
	cores := fmt.Sprintf("%d cores", int(s.cores))
	if s.cores == 1 {
		cores = "1 core"
	}
	if f.n == 0 {
		return "one per core of " + cores + "; no command has ended yet"
	}
	share := f.share()
	var why string
	switch {
	case f.full() && s.size <= int(s.cores):
		return fmt.Sprintf("the commands computed %.0f %% of their time on %s", 100*share, cores)
	case share >= 0.5:
		why = fmt.Sprintf("the commands computed %.0f %% of their time", 100*share)
	default:
		why = fmt.Sprintf("they waited %.0f %% of their time", 100*(1-share))
	}
	switch {
	case s.size >= s.most && s.most > int(s.cores):
		why += fmt.Sprintf("; %d is the most that memory and open files allow", s.most)
	case s.trying > 0:
		why += fmt.Sprintf("; trying %d after %d", s.size, s.before)
	case s.nothing != "":
		why += "; " + s.nothing
	case f.full():
		why += "; the " + cores + " are full"
	case s.span.n > 0 && s.why.n == 0:
		why += "; too few commands ended to try more"
	case f.idle < leastIdle && share > waits:
		why += fmt.Sprintf("; others use the rest of the %s", cores)
	case s.size >= s.useful(f):
		why += fmt.Sprintf("; %d keep the %s busy", s.size, cores)
	}
	return why
}
