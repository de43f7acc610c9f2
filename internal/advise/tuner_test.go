package advise

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tandem"
)

// world is a step as it would really go: what a task is made of, and what there is to run it on.
type world struct {
	kind       Kind
	cpu, wait  float64 // seconds
	held       float64 // share of cpu with the interpreter lock
	cores      float64
	server     int     // tasks that whoever they wait for serves at a time; 0: any number
	noise      float64 // spread of each span's counts
	starved    bool    // nothing waits
	crashes    bool    // a worker dies as soon as several run in it
	overloaded int     // with more in flight, tasks fail
	eases      float64 // share of cpu that is waking up, which happens less often the more there is to do at a time
	late       float64 // share of wait more that a task waits when it is not alone, because whom it waits for is woken late
}

// with is the world as it is under a setting.
func (w world) with(s Setting) world {
	n := max(1, float64(s.Total())/w.cores)
	w.cpu *= 1 - w.eases + w.eases/n
	w.wait *= 1 + w.late*(1-1/n)
	return w
}

// rate is tasks a second under a setting.
func (w world) rate(s Setting) float64 {
	w = w.with(s)
	total := w.cpu + w.wait
	x := min(float64(s.Total())/total, w.cores/w.cpu)
	switch w.kind {
	case Loops:
		x = min(x, float64(s.Workers)/w.cpu)
	case Workers:
		x = min(x, float64(s.Workers)/max(w.cpu*w.held, 1e-9))
	}
	if w.server > 0 {
		x = min(x, float64(w.server)/w.wait)
	}
	return x
}

// span is what would be seen of it.
func (w world) span(s Setting, at, length time.Duration, r *rand.Rand) Stretch {
	x := w.rate(s) * (1 + w.noise*(2*r.Float64()-1))
	w = w.with(s)
	whole := func(t time.Duration) float64 { return math.Round(x * t.Seconds()) }
	n := whole(at) - whole(at-length)
	runs := x * length.Seconds() // how much of them, also of those that do not end in this span
	cpu := dur(runs * w.cpu)
	real := dur(float64(s.Total()) * length.Seconds()) // of all in flight: what is not computing or waiting stands in some queue
	sp := Stretch{At: at, Length: length, Ended: int64(math.Round(n)), Service: real, Cores: w.cores, Waiting: 1}
	if w.starved {
		sp.Waiting = 0
	}
	queue := max(0, real-cpu-dur(runs*w.wait))
	if s.AtOnce > 1 || w.server > 0 {
		queue = 0 // the interpreter lock, the server: it looks like waiting
	}
	sp.Used = tandem.Usage{Tasks: sp.Ended, Wall: real, CPU: cpu, Queue: queue, Voluntary: sp.Ended + 1}
	if w.kind == Loops {
		sp.Used.Wall, sp.Used.Queue = dur(float64(s.Workers)*length.Seconds()), 0
	}
	if w.kind == Workers {
		sp.Used.Looks = int64(length / (10 * time.Millisecond))
		busy := min(1, x*w.cpu*w.held/float64(s.Workers))
		sp.Used.Held = int64(math.Round(busy * float64(sp.Used.Looks)))
	}
	if w.crashes && s.AtOnce > 1 {
		sp.Crashes = 1
	}
	if w.overloaded > 0 && s.Total() > w.overloaded {
		sp.Bad = sp.Ended / 2
	}
	return sp
}

// live lets a tuner live in a world for a while; changed is when the last decision fell.
func (w world) live(t *Tuner, long time.Duration) (decisions []Decision, changed time.Duration) {
	r := rand.New(rand.NewPCG(1, 2))
	const step = 50 * time.Millisecond
	for at := step; at < long; at += step {
		if d, yes := t.Observe(w.span(t.Now(), at, step, r)); yes {
			decisions, changed = append(decisions, d), at
		}
	}
	return decisions, changed
}

func (k Kind) start() Setting {
	switch k {
	case Loops:
		return Setting{1, 64}
	case Commands:
		return Setting{1, 2}
	}
	return Setting{2, 1}
}

func (k Kind) within() Limits {
	l := Limits{Kind: k, Most: 256, AtOnce: 4064}
	switch k {
	case Commands:
		l.Most, l.AtOnce, l.Workers = 64, 64, 1
	case Loops:
		l.Most = 1024
	}
	return l
}

func TestTunerFindsWhatFits(t *testing.T) {
	for _, c := range []struct {
		name string
		w    world
		want string // the setting in the end; empty when only its rate counts
		near float64
	}{
		{"computes", world{cpu: .005, held: 1}, "process × 2", 1},
		{"computes a little at a time", world{cpu: .0001, held: 1}, "process × 2", 1},
		{"computes long", world{cpu: 3, held: 1}, "process × 2", 1},
		{"without the interpreter lock", world{cpu: .02, held: 0}, "thread 1 × 2", 1},
		{"waits", world{cpu: .0002, wait: .05, held: 1}, "", .95},
		{"waits for long", world{cpu: .0002, wait: 2, held: 1}, "", .95},
		{"half and half", world{cpu: .01, wait: .01, held: 1}, "", .9},
		{"mostly waits", world{cpu: .002, wait: .018, held: 1}, "", .9},
		{"half without the lock", world{cpu: .01, wait: .01, held: 0}, "", .9},
		{"a server that serves eight", world{cpu: .0002, wait: .02, held: 1, server: 8}, "", .95},
		{"a lock of all", world{cpu: .0002, wait: .005, held: 1, server: 1}, "", .95},
		{"nothing waits for a place", world{cpu: .0002, wait: .05, held: 1, starved: true}, "process × 2", 0},
		{"several at a time kill the worker", world{cpu: .0002, wait: .05, held: 1, crashes: true}, "process × 16", 0},
		{"a loop that waits", world{kind: Loops, cpu: .00005, wait: .05}, "", .9},
		{"a loop that computes", world{kind: Loops, cpu: .003, wait: .01}, "async 2 × 64", .95},
		{"commands that compute", world{kind: Commands, cpu: .05}, "2 at a time", 1},
		{"commands that wait", world{kind: Commands, cpu: .002, wait: .1}, "", .9},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.w.cores, c.w.noise = 2, .05
			tuner := NewTuner(c.w.kind.within(), c.w.kind.start())
			ds, changed := c.w.live(tuner, 30*time.Second)
			if got := c.w.kind.Words(tuner.Now()); c.want != "" && got != c.want {
				t.Errorf("%s, want %s: %v", got, c.want, ds)
			}
			if got, best := c.w.rate(tuner.Now()), c.w.best(); got < c.near*best-1e-9 {
				t.Errorf("%s: %.1f a second, best is %.1f: %v", c.w.kind.Words(tuner.Now()), got, best, ds)
			}
			if soon := 2*time.Second + dur(8*(c.w.cpu+c.w.wait)); changed > soon && c.w.server == 0 {
				t.Errorf("the last decision fell after %v, want %v: %v", changed, soon, ds)
			}
			for _, d := range ds {
				if d.Because == "" || d.From == d.To {
					t.Errorf("%+v", d)
				}
			}
		})
	}
}

// best is the rate of the best setting.
func (w world) best() (best float64) {
	l := w.kind.within()
	for _, p := range []int{1, 2, 4} {
		for n := 1; p*n <= l.Most; n++ {
			if w.kind == Commands && p > 1 {
				break
			}
			best = max(best, w.rate(Setting{p, n}))
		}
	}
	return best
}

func TestTunerTakesBackWhatDoesHarm(t *testing.T) {
	w := world{cpu: .0002, wait: .05, held: 1, cores: 2, noise: .05, overloaded: 40}
	tuner := NewTuner(Workers.within(), Setting{2, 1})
	ds, _ := w.live(tuner, 20*time.Second)
	if tuner.Now().Total() > 40 {
		t.Errorf("%v in flight: %v", tuner.Now(), ds)
	}
	if last := ds[len(ds)-1]; !strings.Contains(last.Because, "ended badly") {
		t.Errorf("%+v", last)
	}
}

// When the work changes, the setting follows.
func TestTunerFollowsTheWork(t *testing.T) {
	tuner := NewTuner(Workers.within(), Setting{2, 1})
	r := rand.New(rand.NewPCG(3, 4))
	waits := world{cpu: .0002, wait: .05, held: 1, cores: 2, noise: .05}
	computes := world{cpu: .02, held: 1, cores: 2, noise: .05}
	for at := 50 * time.Millisecond; at < 60*time.Second; at += 50 * time.Millisecond {
		w := computes
		if at > 20*time.Second {
			w = waits
		}
		if d, yes := tuner.Observe(w.span(tuner.Now(), at, 50*time.Millisecond, r)); yes {
			t.Log(at, d)
		}
		if at == 20*time.Second && tuner.Now() != (Setting{2, 1}) {
			t.Errorf("while it computes: %v", tuner.Now())
		}
	}
	if got := waits.rate(tuner.Now()); got < .9*waits.best() {
		t.Errorf("when it waits: %v, %.0f a second", tuner.Now(), got)
	}
}

// Whatever a task is made of and however noisy the figures are, it does not change for ever, and ends up near the best or where it began.
func TestTunerSettles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := world{kind: Kind(rapid.IntRange(0, 2).Draw(t, "kind")), cpu: math.Pow(10, rapid.Float64Range(-4, 0).Draw(t, "cpu")), wait: math.Pow(10, rapid.Float64Range(-4, .3).Draw(t, "wait")),
			held: rapid.Float64Range(0, 1).Draw(t, "held"), cores: float64(rapid.IntRange(1, 16).Draw(t, "cores")), noise: rapid.Float64Range(0, .3).Draw(t, "noise")}
		tuner := NewTuner(w.kind.within(), w.kind.start())
		ds, _ := w.live(tuner, 2*time.Minute)
		if n := len(ds); n > 14 {
			t.Errorf("%d decisions in two minutes", n)
		}
		for _, d := range ds {
			if d.To.Workers < 1 || d.To.AtOnce < 1 || d.To.Total() > max(w.kind.within().Most, int(w.cores))+int(w.cores) || strings.Contains(d.Because, "NaN") {
				t.Errorf("%+v", d)
			}
		}
		if got, start := w.rate(tuner.Now()), w.rate(w.kind.start()); got < .75*start {
			t.Errorf("slower than it began: %s, %.2f of %.2f a second; %v", w.kind.Words(tuner.Now()), got, start, ds)
		}
	})
}

// However much cheaper tasks get, or later whom they wait for, when there are more of them: it finds out by trying, soon, and does not go on trying for ever.
func TestTunerClimbs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := world{kind: rapid.SampledFrom([]Kind{Workers, Commands}).Draw(t, "kind"), cpu: math.Pow(10, rapid.Float64Range(-4, -2).Draw(t, "cpu")), held: rapid.Float64Range(0, .3).Draw(t, "held"),
			cores: float64(rapid.IntRange(1, 8).Draw(t, "cores")), noise: rapid.Float64Range(0, .02).Draw(t, "noise"), eases: rapid.Float64Range(0, .8).Draw(t, "eases"), late: rapid.Float64Range(0, 3).Draw(t, "late")}
		w.wait = w.cpu * rapid.Float64Range(1, 30).Draw(t, "waits")
		tuner := NewTuner(w.kind.within(), w.kind.start())
		ds, changed := w.live(tuner, 30*time.Second)
		if got, best := w.rate(tuner.Now()), w.best(); got < .9*best {
			t.Errorf("%s: %.1f a second, best is %.1f: %v", w.kind.Words(tuner.Now()), got, best, ds)
		}
		if changed > 6*time.Second || len(ds) > 10 {
			t.Errorf("%d decisions, the last after %v: %v", len(ds), changed, ds)
		}
	})
}

// Of tasks that take long those that run say enough: nobody waits for their ends to go on.
func TestTunerDecidesBeforeLongTasksEnd(t *testing.T) {
	w := world{cpu: .0002, wait: 3, held: 1, cores: 2}
	tuner := NewTuner(Workers.within(), Setting{2, 1})
	ds, changed := w.live(tuner, 20*time.Second)
	if tuner.Now().Total() < 256 || changed > 2*time.Second {
		t.Errorf("%v after %v: %v", tuner.Now(), changed, ds)
	}
	for _, d := range ds {
		if d.Expected < 2 {
			t.Errorf("%+v", d)
		}
	}
}

// More waiting never asks for fewer in flight.
func TestSettingIsMonotone(t *testing.T) {
	for _, cores := range []float64{1, 2, 8, 64} {
		before := 0
		for _, wait := range []float64{0, .001, .002, .005, .01, .02, .05, .1, .5, 1, 5} {
			w := work{cpu: .01, wait: wait, held: 1, known: true}
			n := w.inflight(cores, 256)
			if s, because := w.setting(Workers.within(), cores); n < before || because == "" || s.Total() < n {
				t.Errorf("%v cores, waits %v: %d after %d, %v", cores, wait, n, before, s)
			}
			before = n
		}
	}
}

func TestAdvise(t *testing.T) {
	span := func(change func(*Stretch)) Stretch {
		s := Stretch{At: 3 * time.Second, Length: 3 * time.Second, Ended: 100, Waiting: 1, Cores: 2, Service: 6 * time.Second,
			Used: tandem.Usage{Tasks: 100, Wall: 6 * time.Second, CPU: 6 * time.Second, Voluntary: 100, Looks: 100, Held: 100}}
		change(&s)
		return s
	}
	for _, c := range []struct {
		name string
		s    Stretch
		d    Declared
		want string // of mode: because; empty for nothing
	}{
		{"goroutines that compute", span(func(*Stretch) {}), Declared{Kind: Routines, Setting: Setting{1, 64}}, "process: it runs where work is expected to wait"},
		{"goroutines that wait", span(func(s *Stretch) { s.Used.CPU /= 100 }), Declared{Kind: Routines, Setting: Setting{1, 64}}, ""},
		{"threads that take turns", span(func(s *Stretch) { s.Used.CPU /= 2 }), Declared{Kind: Workers, Setting: Setting{1, 8}}, "process: its threads take turns"},
		{"threads without the lock", span(func(s *Stretch) { s.Used.Held = 3 }), Declared{Kind: Workers, Setting: Setting{1, 8}}, ""},
		{"a loop that computes", span(func(*Stretch) {}), Declared{Kind: Loops, Setting: Setting{1, 64}}, "process: its event loop computes"},
		{"a loop that is blocked", span(func(s *Stretch) { s.Used.CPU, s.Used.Late = s.Used.CPU/100, 4*time.Second }), Declared{Kind: Loops, Setting: Setting{1, 64}}, "thread: its tasks keep the event loop from turning"},
		{"processes that wait", span(func(s *Stretch) { s.Used.CPU, s.Used.Held = s.Used.CPU/100, 1 }), Declared{Kind: Workers, Setting: Setting{2, 1}}, "auto: it computes 1 % of its time"},
		{"processes that compute", span(func(*Stretch) {}), Declared{Kind: Workers, Setting: Setting{2, 1}}, ""},
		{"nothing waits for them", span(func(s *Stretch) { s.Used.CPU, s.Waiting = s.Used.CPU/100, 0 }), Declared{Kind: Workers, Setting: Setting{2, 1}}, ""},
		{"too soon to say", span(func(s *Stretch) { s.Length, s.Used.CPU = time.Second/2, s.Used.CPU/100 }), Declared{Kind: Workers, Setting: Setting{2, 1}}, ""},
		{"commands that wait", span(func(s *Stretch) { s.Used.CPU /= 100 }), Declared{Kind: Commands, Setting: Setting{1, 2}}, "auto: it computes 1 %"},
	} {
		h, yes := Advise(c.s, c.d, c.d.Kind.within())
		if got := fmt.Sprintf("%s: %s", h.Mode, h.Because); yes != (c.want != "") || !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %v %q, want %q", c.name, yes, got, c.want)
		}
	}
}
