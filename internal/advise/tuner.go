package advise

import (
	"fmt"
	"math"
	"time"
)

// Decision is a change of setting and why.
type Decision struct {
	From, To Setting
	Because  string
	Expected float64 // times as many tasks a second; zero when nothing was said
}

// Tuner decides how a step goes on. It is pure: it knows the time only from the spans it is given, and the same spans give the same decisions. Give it spans in
// order, the setting it asked for being in force; it is not safe for concurrent use.
//
// It starts with what it is given, measures the first tasks, and changes when what queueing predicts for another setting is worth it. What it has changed it
// checks by the tasks per second: what was not better is taken back, and the pause before it tries again grows. Where tasks wait, the prediction is only where it
// begins to climb: it tries twice as many at a time, and keeps that as long as it brings something. It never changes when no task waits for a place.
type Tuner struct {
	limits Limits
	now    Setting

	work   work
	loop   loop
	known  bool
	alone  Stretch // gathered while measuring
	since  Stretch // under the setting in force, behind the pause after a change
	rates  rates   // of the spans in it
	settle time.Duration
	check  *check
	votes  int
	hold   time.Duration // no change before
	pause  time.Duration // after the next one that did not help
	climb  time.Duration // no more at a time is tried before
	rest   time.Duration // after the next try that did not help
	vain   vain          // what did not help last
	high   float64       // what a task computed of its time when more at a time were found to be better than predicted; zero when they were not
	early  Stretch       // just behind a change
	cores  float64
	decide time.Duration // when it first knew what fits; zero before
}

const (
	shortest  = 150 * time.Millisecond // of the pause after a change
	worth     = 1.20                   // times faster that a change has to promise
	ladder    = 16                     // times as many in flight at one go
	lockFull  = .4                     // of the time an interpreter lock is held, from which on more workers may do better than more threads
	reported  = 250 * time.Millisecond // workers tell of tasks that take long this often
	firstHold = 5 * time.Second
	lastHold  = 5 * time.Minute
	steady    = 3 // spans in a row that want the same, once it has decided
)

// NewTuner is one for a step that begins with a setting.
func NewTuner(l Limits, begin Setting) *Tuner {
	return &Tuner{limits: l, now: begin, pause: firstHold, rest: firstRest}
}

// Now is the setting in force.
func (t *Tuner) Now() Setting { return t.now }

// Known says since when it has known what a task is made of; zero means that it does not.
func (t *Tuner) Known() time.Duration { return t.decide }

// Because says why the setting in force fits, as far as that is known.
func (t *Tuner) Because() string {
	if !t.known {
		return ""
	}
	_, because := t.want(t.cores)
	if because == "" {
		because = "measured: it fits as it is"
	}
	return because
}

// Observe takes the next span. When it decides, the new setting is in force from then on.
func (t *Tuner) Observe(s Stretch) (Decision, bool) {
	t.cores = s.Cores
	if s.Crashes > 0 && t.limits.Kind == Workers && t.now.AtOnce > 1 && t.limits.Fixed == 0 {
		// One crash costs one item: what crashes must not take others with it.
		t.limits.AtOnce, t.hold = 1, s.At
		return t.change(Setting{t.limits.workers(int(math.Ceil(s.Cores))), 1}, nil, s.At, "a worker died with several items in it: one in each from now on"), true
	}
	if s.At < t.settle { // what ends now began before the change
		return t.nextRung(s)
	}
	t.learn(s)
	t.rates = t.rates.with(s)
	if t.since.add(s); t.check == nil && t.since.Length > 4*time.Second {
		t.since = halve(t.since) // older spans count less and less
	}
	if t.check != nil {
		return t.judge(s)
	}
	if !t.known || t.since.Waiting < .5 || s.At < t.hold {
		return Decision{}, false
	}
	want, because := t.want(s.Cores)
	if want == t.now {
		t.votes = 0
		return t.try(s)
	}
	grow, yes := t.worthwhile(want, s.Cores)
	if t.votes++; !yes || grow && t.slight(want) {
		t.votes = 0
		return t.try(s)
	} else if t.votes >= t.needed() {
		t.high = 0
		return t.promise(t.change(want, t.trial(grow), s.At, because), s.Cores), true
	}
	return Decision{}, false
}

// nextRung goes on up the ladder before tasks of the last rung have ended, when they take long: those that run say that they wait, and compute no more than before.
func (t *Tuner) nextRung(s Stretch) (Decision, bool) {
	c := t.check
	if c == nil || t.limits.Kind != Workers || t.length() < reported || t.settle-s.At > t.settling()-shortest {
		return Decision{}, false
	}
	if t.early.Length >= reported {
		t.early = Stretch{} // a worker begins with more at a time when what it runs has ended
	}
	t.early.add(s)
	u := t.early.Used
	most := float64(t.now.Total()) * t.early.Length.Seconds()
	if t.early.Length < reported || u.Wall.Seconds() < most/2 || u.Queue > u.Wall/20 || u.CPU.Seconds() > max(2*c.share, .02)*u.Wall.Seconds() || t.early.Bad > 0 || t.early.Waiting < .5 {
		return Decision{}, false
	}
	want, because := t.want(s.Cores)
	if want.Total() < 2*t.now.Total() {
		return Decision{}, false
	}
	d := t.promise(t.change(want, c, s.At, because), s.Cores)
	return d, true
}

// needed is how many spans in a row have to want a change: the first decision is quick, later ones are not taken for a moment's sake.
func (t *Tuner) needed() int {
	if t.hold == 0 {
		return 1
	}
	return steady
}

// learn keeps what is known of a task up to date.
func (t *Tuner) learn(s Stretch) {
	switch {
	case t.limits.Kind == Loops:
		if o, ok := loopOf(&t.since); ok {
			t.loop = o
			t.found(s.At)
		}
	case t.limits.Kind == Workers && t.now.AtOnce > 1:
		t.relearn(s)
	default:
		t.alone.add(s)
		w, ok := workOf(&t.alone)
		if !ok {
			return
		}
		if t.known && t.limits.Kind == Commands && t.since.Used.CPU.Seconds() > .3*t.since.Length.Seconds()*s.Cores {
			w.wait = min(w.wait, t.work.wait) // nobody says how long commands were ready without a processor: among many that looks like waiting
		}
		t.work = w
		t.found(s.At)
		if t.alone.Length > 2*time.Second { // older spans count less and less
			t.alone = halve(t.alone)
		}
	}
}

func (t *Tuner) found(at time.Duration) {
	if !t.known {
		t.known, t.decide = true, at
	}
}

// relearn is for several tasks at a time: they wait for each other as well. Only what they compute is certain, and what they wait while there is no crowd.
func (t *Tuner) relearn(s Stretch) {
	u := t.since.Used
	if u.Tasks < 4*fewTasks || u.Wall <= 0 {
		return
	}
	t.work.cpu = u.CPU.Seconds() / float64(u.Tasks)
	each := u.CPU.Seconds() / t.since.Length.Seconds() / float64(t.now.Workers)
	if float64(u.Looks)*min(each, 1) >= fewLooksAt && each > .3 && t.work.total() >= tellsLock.Seconds() {
		t.work.held, t.work.known = min(1, float64(u.Held)/float64(u.Looks)/each), true
	}
	if u.Queue > u.Wall/2 {
		return // it hardly ran: what is left says nothing of how long it waits
	}
	full := each*float64(t.now.Workers) > .6*min(float64(t.now.Workers), s.Cores) || u.Queue > u.CPU/2
	if wait := (u.Wall - u.CPU - u.Queue).Seconds() / float64(u.Tasks); !full || wait < t.work.wait {
		t.work.wait = max(0, wait)
	}
}

// want is the setting that fits now, no further from the present one than one rung of the ladder.
func (t *Tuner) want(cores float64) (s Setting, because string) {
	if t.limits.Kind == Loops {
		s, because = t.loop.setting(t.limits, t.now, cores)
	} else {
		s, because = t.work.setting(t.limits, cores)
		if s.Total() > 2*t.now.Total() && 5*s.Total() >= 4*t.limits.Most && t.work.share() < pure && t.limits.Fixed == 0 {
			s.AtOnce = t.limits.atOnce(max(s.AtOnce, t.limits.Most/s.Workers)) // rather than a small step more, later
		}
	}
	most := ladder * max(t.now.Total(), int(math.Ceil(cores)))
	if s.Total() > most && t.limits.Fixed == 0 {
		s.AtOnce = max(1, most/s.Workers)
	}
	return s, because
}

// fewer says whether it may do with fewer in flight: not when more were found to be better, as long as tasks are what they were then.
func (t *Tuner) fewer() bool { return t.high == 0 || t.work.share() > 2*t.high }

// worthwhile says whether a change is worth it, and whether it is to make the step faster.
func (t *Tuner) worthwhile(want Setting, cores float64) (grow, yes bool) {
	if t.limits.Kind == Loops {
		return true, want.Workers > t.now.Workers || 4*want.Total() >= 5*t.now.Total()
	}
	now, then := t.work.expect(t.now, cores, t.limits.Kind), t.work.expect(want, cores, t.limits.Kind)
	switch {
	case then >= worth*now:
		return true, want.Total() > t.vain.total || t.since.At >= t.climb || t.work.share() < t.vain.share/2
	case want.Workers < t.now.Workers && t.hold == 0 && then >= .97*now:
		return false, true // the same in fewer processes
	case 3*want.Total() <= t.now.Total() && then >= .97*now && t.fewer():
		return false, true // the same with fewer in flight
	}
	return false, false
}

// slight says whether only some more at a time are wanted, of tasks that are known among others only: a try tells more than such a promise.
func (t *Tuner) slight(want Setting) bool {
	_, ok := t.more(t.cores)
	return ok && t.hold > 0 && want.Workers <= t.now.Workers && want.Total() < 2*t.now.Total()
}

// promise adds what is expected of a change.
func (t *Tuner) promise(d Decision, cores float64) Decision {
	now, then := t.work.expect(d.From, cores, t.limits.Kind), t.work.expect(d.To, cores, t.limits.Kind)
	if now > 0 && then > 1.05*now {
		d.Expected = then / now
		if t.check != nil {
			t.check.foretold = d.Expected
		}
		d.Because += fmt.Sprintf("; %.1f times as fast expected", d.Expected)
	}
	return d
}

// settling is how long a change is not judged by, because what ends began before it.
func (t *Tuner) settling() time.Duration {
	return max(shortest, min(t.length()+shortest, 5*time.Second))
}

// change puts a setting in force.
func (t *Tuner) change(to Setting, c *check, at time.Duration, because string) Decision {
	d := Decision{From: t.now, To: to, Because: because}
	t.settle = at + t.settling()
	t.now, t.check, t.votes = to, c, 0
	t.since, t.alone, t.early, t.rates = Stretch{}, Stretch{}, Stretch{}, nil
	return d
}

// length is how long a task takes, as far as that is known.
func (t *Tuner) length() time.Duration {
	if t.limits.Kind == Loops && t.since.Ended > 0 {
		return t.since.Service / time.Duration(t.since.Ended)
	}
	return dur(t.work.total())
}

func share(n, of int64) float64 {
	if of <= 0 {
		return 0
	}
	return float64(n) / float64(of)
}

func halve(s Stretch) Stretch {
	u := &s.Used
	for _, d := range []*time.Duration{&s.Length, &s.Service, &u.Wall, &u.CPU, &u.Queue, &u.Late} {
		*d /= 2
	}
	for _, n := range []*int64{&s.Ended, &s.Bad, &u.Tasks, &u.Voluntary, &u.Involuntary, &u.Looks, &u.Held, &u.In, &u.Out} {
		*n /= 2
	}
	return s
}

func dur(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }

func perSecond(r float64) string {
	if r >= 100 {
		return fmt.Sprintf("%.0f", r)
	}
	return fmt.Sprintf("%.3g", r)
}
