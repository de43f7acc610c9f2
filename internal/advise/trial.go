package advise

import (
	"fmt"
	"math"
	"time"
)

// check is a change on trial.
type check struct {
	before   Setting
	rate     float64
	rates    rates   // before
	bad      float64 // share of the tasks that did not end well
	grow     bool    // it was to make the step faster, not only smaller
	tried    bool    // nothing promised it
	share    float64 // that a task computed of its time
	foretold float64 // times faster that it should be; zero when nothing was said
}

// vain is a number at a time that was no better than fewer.
type vain struct {
	total int
	share float64 // that a task computed of its time
}

const (
	trial     = 300 * time.Millisecond // that a change is on trial, at least, unless it is clearly better
	fewTrials = 16                     // tasks that end meanwhile, at least
	longTrial = 30 * time.Second       // and then it counts as it is
	climbs    = 1.04                   // times faster that a try of more at a time has to be
	longLook  = 3 * time.Second        // at what it is compared with: older spans count less
	leans     = 1.02                   // and that is enough of one that was looked at for long
	hopeless  = .6                     // times as fast that a try need not be looked at for long
	fewTries  = 40                     // tasks that end meanwhile, at least: fewer do not tell so small a difference
	patient   = 4                      // times as long before a try counts as slower: many threads take a while to fall into step
	longTry   = 5                      // and then a try counts as it is
	rises     = 1.1                    // times faster than before in the same trial: then what was before does not count
	leap      = 4                      // times as many at a time that are tried: what twice as many would bring is too little to be told soon
	kept      = .5                     // of what a change was expected to bring: when that is there, it need not be looked at for longer
	stands    = .2                     // tasks ready without a processor, from which on that says anything
	further   = 1.08                   // times faster that a try has to have been for the next one to follow at once: that brings less still
	edge      = .25                    // of those in flight, that may end just before or behind what is looked at
	longRound = 500 * time.Millisecond // of the rounds that are waited for
	firstRest = time.Minute
)

// rates are the tasks a second of the spans under one setting, the oldest first.
type rates []sample

type sample struct{ seconds, ended float64 }

const (
	mostSamples = 60   // that are kept: three seconds of short spans
	batches     = 6    // in which they are compared, so that spans that go with their neighbours do not pass for many
	sure        = 2    // standard errors
	likely      = .7   // the same, when there is no time to be surer
	drifts      = .015 // of the rate, that it is never surer of: moments differ
)

func (r rates) with(s Stretch) rates {
	r = append(r, sample{s.Length.Seconds(), float64(s.Ended)})
	return r[max(0, len(r)-mostSamples):]
}

// mean is the rate and how far it may be off, one standard error: from how much its parts differ.
func (r rates) mean() (mean, off float64) {
	var all sample
	for _, s := range r {
		all.seconds, all.ended = all.seconds+s.seconds, all.ended+s.ended
	}
	if all.seconds <= 0 {
		return 0, math.Inf(1)
	}
	mean = all.ended / all.seconds
	n := min(batches, len(r))
	if n < 3 {
		return mean, math.Inf(1)
	}
	squares := 0.0
	for i := range n {
		var part sample
		for _, s := range r[i*len(r)/n : (i+1)*len(r)/n] {
			part.seconds, part.ended = part.seconds+s.seconds, part.ended+s.ended
		}
		d := part.ended/max(part.seconds, 1e-9) - mean
		squares += d * d
	}
	return mean, max(math.Sqrt(squares/float64(n-1)/float64(n)), drifts*mean)
}

// than is how many times as fast r is as before, and how far that may be off, one standard error.
func (r rates) than(before rates) (times, off float64) {
	a, ea := before.mean()
	b, eb := r.mean()
	if a <= 0 || b <= 0 {
		return 1, math.Inf(1)
	}
	return b / a, b / a * math.Hypot(ea/a, eb/b)
}

// trimmed is r without its beginning, when that was clearly slower than the rest: it is what a change takes, not what it brings.
// A part shorter than a round says nothing: it is between those that began together.
func (r rates) trimmed(round time.Duration) rates {
	for _, part := range []int{2, 3, 6} {
		first, rest := r[:len(r)/part], r[len(r)/part:]
		if first.length() < round {
			break
		}
		if times, off := rest.than(first); times >= rises && times-sure*off > 1 {
			return rest
		}
	}
	return r
}

// whole is the end of r that is a whole number of rounds, where rounds are long enough to be told apart.
func (r rates) whole(round time.Duration) rates {
	if all := r.length(); len(r) > 0 && round > 2*all/time.Duration(len(r)) && all >= 2*round {
		return r.last(all / round * round)
	}
	return r
}

// last is the part of r that lasted so long, at the end.
func (r rates) last(long time.Duration) rates {
	i, left := len(r), long.Seconds()
	for ; i > 0 && left > r[i-1].seconds/2; i-- {
		left -= r[i-1].seconds
	}
	return r[i:]
}

func (r rates) length() time.Duration {
	all := 0.0
	for _, s := range r {
		all += s.seconds
	}
	return dur(all)
}

// trial begins what a change is judged by.
func (t *Tuner) trial(grow bool) *check {
	return &check{before: t.now, rate: t.since.rate(), rates: t.rates, bad: share(t.since.Bad, t.since.Ended), grow: grow, share: t.work.share()}
}

// try multiplies what is in flight where tasks wait. What a task computes when it runs alone says less than the rate when many do: waking up costs less, and something is
// always ready. So the answer is measured: it is taken back unless it brings something, and then the next try waits. Where others want the processors, too, a
// moment's rate is theirs, and there are twice as many already.
func (t *Tuner) try(s Stretch) (Decision, bool) {
	to, ok := t.more(s.Cores)
	if !ok {
		return Decision{}, false
	}
	if s.At < t.climb || t.since.Length < t.once() || t.since.Ended < fewTries {
		return Decision{}, false
	}
	if mean, off := t.rates.mean(); off > 1.5*drifts*mean && t.since.Length < min(2*t.once(), longLook) { // what it will be compared with is still vague
		return Decision{}, false
	}
	c := t.trial(true)
	c.tried = true
	_, because := t.want(s.Cores)
	d := t.change(to, c, s.At, because+"; more are tried")
	t.settle = max(t.settle, s.At+min(round(to, c.rate), longRound)) // before that, none of those that came in together has ended
	return d, true
}

// round is how long a task is in flight when so many are and so many end in a second (Little's law). Those that began together end together, for some rounds.
func round(s Setting, rate float64) time.Duration {
	if rate <= 0 {
		return 0
	}
	return dur(float64(s.Total()) / rate)
}

// more is the setting to try: several times as many in each worker, or more workers where one holds its interpreter lock most of what it can.
func (t *Tuner) more(cores float64) (to Setting, ok bool) {
	times := leap
	if t.limits.Kind == Commands { // each is a process, and those that are too many cost more
		times = leap / 2
	}
	to = Setting{t.now.Workers, t.limits.atOnce(times * t.now.AtOnce)}
	if t.limits.Fixed > 0 || t.limits.Kind == Loops || t.work.crowd || t.work.share() >= pure || t.limits.Kind == Workers && t.now.AtOnce == 1 {
		return to, false
	}
	if u := t.since.Used; t.limits.Kind == Workers && u.Looks >= fewLooksAt && float64(u.Held) >= lockFull*float64(u.Looks) {
		if procs := t.limits.workers(int(math.Ceil(cores))); procs > to.Workers {
			to = Setting{min(2*to.Workers, procs), t.now.AtOnce}
		}
	}
	most := max(1, t.limits.atOnce(t.limits.Most/to.Workers))
	if to.AtOnce = min(to.AtOnce, most); 5*to.AtOnce >= 4*most && to.AtOnce > t.now.AtOnce {
		to.AtOnce = most // rather than a small step more, later
	}
	return to, 9*to.Total() >= 10*t.now.Total() || to.Workers > t.now.Workers
}

// once is how long a trial takes, at least: until tasks that began in it end.
func (t *Tuner) once() time.Duration { return max(trial, min(t.length(), 10*time.Second)) }

// patience is how long a setting is looked at before it is judged, and how much of the rate before it has to reach.
func (t *Tuner) patience() (need time.Duration, least float64) {
	need, least = t.once(), 1.03
	if u := t.since.Used; u.Queue > u.CPU && (t.limits.Kind == Loops || u.Queue.Seconds() > stands*t.since.Length.Seconds()) { // others have the processors: what a moment shows is theirs
		need, least = 3*need, .8
	}
	return need, least
}

// judge ends a trial when enough has been seen.
func (t *Tuner) judge(s Stretch) (Decision, bool) {
	c := t.check
	over := t.promised
	if c.tried {
		over = t.attempted
	}
	bad := share(t.since.Bad, t.since.Ended)
	worse := bad > c.bad+.05 && bad > 2*c.bad
	done, back := over(c, worse)
	if !done {
		return Decision{}, false
	}
	t.hold = max(t.hold, s.At) // from here on it needs steady votes
	t.check = nil
	if t.since.Waiting < .5 { // nothing waits any more: faster than its neighbours is fast enough
		return Decision{}, false
	}
	if worse {
		back = fmt.Sprintf("%s of the items ended badly since, %s before", percent(bad), percent(c.bad))
	}
	switch {
	case back == "" && c.tried:
		t.climb, t.high = s.At, max(c.share, .01)
		if r, _ := t.rates.than(c.rates); r < further {
			t.climb += t.rest
		}
	case back == "" && c.grow && t.now.Total() >= ladder*c.before.Total(): // another rung may follow at once
		t.votes = steady
	}
	if back == "" {
		return Decision{}, false
	}
	if c.grow {
		t.climb, t.vain = s.At+t.rest, vain{t.now.Total(), c.share}
		t.rest = min(2*t.rest, lastHold)
	}
	if !c.tried {
		t.hold = s.At + t.pause
		t.pause = min(3*t.pause, lastHold)
	}
	return t.change(c.before, nil, s.At, "taken back: "+back), true
}

// promised says whether a change that was expected to bring something has been seen enough of, and what speaks against it.
func (t *Tuner) promised(c *check, worse bool) (done bool, back string) {
	need, least := t.patience()
	if t.since.Ended < fewTrials && t.since.Length < longTrial {
		return false, ""
	}
	if r, off := t.rates.than(c.rates); c.grow && !worse && len(t.rates) >= 3 && (r-sure*off >= 1.03 || r >= 1.5 && r >= 1+kept*(c.foretold-1)) {
		return true, ""
	}
	if t.since.Length < need {
		return false, ""
	}
	rate := t.since.rate()
	switch {
	case c.grow && rate < least*c.rate:
		back = fmt.Sprintf("it did not help: %s a second before, %s since", perSecond(c.rate), perSecond(rate))
	case !c.grow && rate < min(least, .9)*c.rate:
		back = fmt.Sprintf("%s a second before, %s since", perSecond(c.rate), perSecond(rate))
	}
	return true, back
}

// attempted says the same of a try. It ends soon when it is clearly better, and later the closer it is.
func (t *Tuner) attempted(c *check, worse bool) (done bool, back string) {
	mean, _ := t.rates.mean()
	turn := round(t.now, mean)
	once := max(t.once(), 2*min(turn, longRound))
	long := max(once, longTry*trial, 3*min(turn, longRound))
	if t.since.Length < once || t.since.Ended < fewTries && t.since.Length < longTrial {
		return false, ""
	}
	t.rates = t.rates.trimmed(turn)
	seen := t.rates.whole(turn)
	r, off := seen.than(c.rates)
	if n := mean * seen.length().Seconds(); n > 0 { // those that end together fall on one side of an edge or the other
		off = math.Hypot(off, r*edge*float64(t.now.Total())/n)
	}
	switch {
	case worse, t.since.Length >= longTrial:
	case r >= climbs && r-sure*off >= 1:
		return true, ""
	case r+sure*off < hopeless:
	case t.since.Length < max(once, patient*trial):
		return false, ""
	case r+sure*off < climbs:
	case t.rates.length() < long && t.since.Length < 2*long:
		return false, ""
	}
	if r >= leans && r-likely*off >= 1 {
		return true, ""
	}
	before, _ := c.rates.mean()
	rate, _ := seen.mean()
	return true, fmt.Sprintf("more at a time did not help: %s a second before, %s since", perSecond(before), perSecond(rate))
}
