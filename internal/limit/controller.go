package limit

import (
	"cmp"
	"fmt"
	"math"
	"time"
)

// Verdict is what an answer says about the server that gave it.
type Verdict uint8

const (
	Good     Verdict = iota
	Overload         // the server wants less: 429, 503, Retry-After
	Broken           // the server does not do its work: network, 5xx, timeout
	Away             // 503 that names no time: the server wants less, or there is none behind the one that answers
	Bad              // the item's own fault: says nothing about the server
	Ignore           // nothing was asked
)

// defaultMax is where a search ends that is given no end.
const defaultMax = 1024

// Bounds are those of a Controller.
type Bounds struct {
	Min   int // zero means 1
	Max   int // zero means 1024: most systems give a process about as many files
	Start int // where the search starts; zero means 2, which is still without a queue on nearly every server
}

// phase is what a Controller is doing.
type phase uint8

const (
	starting phase = iota // the limit doubles with each round trip
	steady                // it follows the latency
	probing               // it is halved for a moment, to see the latency without a queue
	holding               // the server complained: the limit stays down for a while
)

const (
	probeShare = 0.5              // of the limit, to see the latency without a queue
	idleAfter  = 10 * time.Second // without a task: what was known may no longer hold
	probeEvery = 10 * time.Second // at least, and a hundred round trips at least: a probe costs one or two
	mostKnown  = 2000             // latencies the base counts for
)

// Controller finds how many tasks a server can have in flight: enough that it is never idle, not so many that they queue.
//
//   - It has no clock, no goroutine and no lock: Observe is told of each task that ended, and Limit may be different after it.
//   - It starts with two in flight and doubles with each round trip until latency rises. From there it lets a few tasks queue (six tenths of the cube root of
//     the limit: one of five, four of three hundred), which is what keeps a server busy; more means fewer in flight, less means more. Several clients of one
//     server let nearly the same number queue, and so come to about equal shares.
//   - Latency is compared with the latency without a queue, the base. Half the limit for about a round trip, every ten seconds or hundred round trips,
//     measures it anew, so that neither a server that has become slower nor one that became crowded bit by bit is mistaken for the other.
//   - All comparisons allow for chance: the standard error of both means.
//   - An overload cuts the limit to seven tenths, once per round trip, and holds it; then it climbs to just below what was refused, and waits longer each
//     time before it tries more. Complaints that do not depend on the limit (up to a tenth of the answers) are recognised and borne.
//   - A task that broke late, after twice the usual latency, is taken for a timeout and for an overload; one that broke at once is none.
type Controller struct {
	min, max float64
	limit    float64
	phase    phase
	because  string

	last  time.Time     // the latest observation
	shift time.Duration // what is added to a clock that was set back
	stale time.Time     // what started before says nothing of latency
	base  stat          // latency without a queue
	low   float64       // the number in flight at which base was measured
	now   window
	next  time.Time // when to probe

	recent  stat    // of the last tasks, whatever the limit was
	latency stat    // smoothed over the last windows
	calm    int     // windows in a row without a sign of a queue
	saved   float64 // the limit before the probe
	goal    float64 // where doubling ends, when it is known; else 0

	complaints
}

// window gathers what is seen at one limit.
type window struct {
	since    time.Time // when it begins: what ends before that still shows another limit
	drain    bool      // first of all, what is in flight must come down to the limit
	stat               // of the good ones
	inflight float64   // summed over stat.n
}

// NewController is a Controller that has seen nothing.
func NewController(b Bounds) *Controller {
	lo := max(b.Min, 1)
	hi := max(cmp.Or(b.Max, defaultMax), lo)
	c := &Controller{min: float64(lo), max: float64(hi), because: "too few answers yet to tell"}
	c.set(float64(cmp.Or(b.Start, 2)))
	return c
}

// Limit is how many tasks may be in flight.
func (c *Controller) Limit() int { return int(c.limit) }

// Because says in one sentence why Limit is what it is.
func (c *Controller) Because() string { return c.because }

func (c *Controller) set(limit float64) { c.limit = min(max(limit, c.min), c.max) }

// Observe takes note of a task that ended at, latency after it started, while inflight tasks were in flight, itself included.
func (c *Controller) Observe(at time.Time, latency time.Duration, inflight int, v Verdict) {
	if at = at.Add(c.shift); at.Before(c.last) { // a clock that is set back goes on from where it was
		c.shift += c.last.Sub(at)
		at = c.last
	}
	began := at.Add(-max(latency, 0))
	switch gap := at.Sub(c.last); {
	case c.last.IsZero():
		c.now.since, c.next = began, at.Add(probeEvery)
	case began.Sub(c.last) > idleAfter:
		c.idle(began)
	case gap > idleAfter && c.base.n > 0 && gap.Seconds() > 100*c.base.mean:
		c.stale = at // the machine slept, or the clock was put on: what was in flight meanwhile has no latency worth the name
	}
	c.last = at
	late := v == Broken && c.base.n > 0 && latency.Seconds() > 2*max(c.base.mean, c.latency.mean)
	switch {
	case v == Overload || v == Away || late:
		c.overload(at, began, inflight)
	case v == Good && latency > 0 && !began.Before(c.stale):
		c.answered(began)
		c.good(at, began, latency.Seconds(), float64(inflight))
	}
}

func (c *Controller) good(at, began time.Time, latency, inflight float64) {
	c.recent.add(latency)
	c.recent = c.recent.forget(32)
	if c.now.drain && inflight > c.limit+1 {
		c.now.since = at.Add(c.settle())
	}
	if at.Before(c.now.since) {
		return
	}
	c.now.drain = false
	c.now.add(latency)
	c.now.inflight += inflight
	if c.phase == starting && inflight >= c.limit-1 {
		c.set(c.limit + 1)
		if c.goal > 0 && c.limit >= c.goal {
			c.set(c.goal)
			c.follow(at)
			return
		}
	}
	if c.full(at) {
		c.judge(at)
	}
}

// full tells whether the window holds enough for a judgement: a round trip, and as many as its scatter asks for.
func (c *Controller) full(at time.Time) bool {
	w := &c.now
	if w.n < 4 || at.Sub(w.since).Seconds() < w.mean {
		return false
	}
	switch {
	case c.phase == starting:
		return w.n >= c.limit/4
	case w.err() < 0.02*w.mean:
		return true
	case c.phase == probing:
		return w.n >= max(8, c.limit) && at.Sub(w.since) >= c.settle()
	}
	return w.n >= min(max(16, c.limit), 256)
}

func (c *Controller) judge(at time.Time) {
	w := c.now
	n := w.inflight / w.n
	switch c.phase {
	case starting:
		c.judgeStart(at, w, n)
	case probing:
		c.judgeProbe(at, w, n)
	case holding:
		c.judgeHold(at, w)
	default:
		c.judgeSteady(at, w, n)
	}
}

// open begins the next window. After a change of the limit it waits for a round trip: all that ends from then on, the quick and the slow, started under
// the new limit or nearly so. To count only tasks that started since would prefer the quick ones.
func (c *Controller) open(at time.Time, changed bool) {
	c.now = window{since: at, drain: changed}
	if changed {
		c.now.since = at.Add(c.settle())
	}
}

// settle is how long it takes until the slow tasks of before are gone and those of now are there: a round trip, and more when some take much longer
// than others.
func (c *Controller) settle() time.Duration {
	return seconds(max(c.base.mean, c.recent.mean) * (1 + 2*c.base.scatter()))
}

// follow ends the doubling.
func (c *Controller) follow(at time.Time) {
	c.open(at, true)
	c.phase, c.calm, c.latency = steady, 0, stat{}
}

func (c *Controller) judgeStart(at time.Time, w window, n float64) {
	if c.base.n > 0 && w.mean > 1.25*c.base.mean+apart(w.stat, c.base) {
		// While the limit doubles, quick tasks are seen before slow ones that started with them. This is what that takes from the mean.
		was := c.base.mean
		c.base.mean *= 1 + math.Ln2*c.base.scatter()*c.base.scatter()
		c.because = fmt.Sprintf("latency %s at %.0f in flight, %s at %.0f: the server does not take more", ms(w.mean), n, ms(was), c.low)
		// Little's law, twice: from the answers a second, and from what was in flight.
		rate := w.n / at.Sub(w.since).Seconds()
		c.set(min(rate*c.base.mean, n*c.base.mean/w.mean, c.limit))
		if e := c.base.err() / c.base.mean; e < 0.01 || e < 0.03 && c.low < 0.8*c.limit {
			c.follow(at)
		} else {
			c.probe(at) // the base is not worth much: the doubling was quick
		}
		return
	}
	if c.base.n == 0 || w.mean < c.base.mean-apart(w.stat, c.base) {
		c.base, c.low = w.stat, n
	} else {
		c.base, c.low = c.base.merge(w.stat, mostKnown), n
	}
	c.because = fmt.Sprintf("latency %s at %.0f in flight: doubling until it rises", ms(w.mean), n)
	if c.limit >= c.max {
		c.follow(at)
		return
	}
	c.open(at, false)
}

func (c *Controller) judgeSteady(at time.Time, w window, n float64) {
	if c.latency.n > 0 { // half of what was known before
		c.latency.n, c.latency.m2 = c.latency.n/2, c.latency.m2/2
	}
	c.latency = c.latency.merge(w.stat, mostKnown)
	l := c.latency
	if doubt := apart(w.stat, c.base); c.base.n == 0 || w.mean < c.base.mean-doubt || n <= 0.6*c.limit && w.mean < c.base.mean+doubt {
		c.base, c.low = c.base.merge(w.stat, mostKnown), n
	}
	slack := 1.01 + apart(l, c.base)/2/c.base.mean
	queued := 1 - slack*c.base.mean/l.mean // the share of a task's time that it waits in the server's queue
	before := c.limit
	step := 0.6 * math.Cbrt(c.limit)
	switch {
	case n < 0.8*c.limit-1:
		c.calm = 0
		c.because = fmt.Sprintf("only %.0f in flight: there is not more to do", n)
	case queued > 0:
		c.calm = 0
		c.set(max(c.limit/2, c.limit*(1-queued)+step))
		c.because = fmt.Sprintf("latency %s at %.0f in flight, %s at %.0f: the server has no more", ms(l.mean), n, ms(c.base.mean), c.low)
	default:
		c.calm++
		c.set(c.limit + min(step*math.Exp2(float64(max(c.calm-2, 0))), c.limit/4))
		c.because = fmt.Sprintf("latency %s at %.0f in flight, %s at %.0f: room for more", ms(l.mean), n, ms(c.base.mean), c.low)
	}
	c.ceil(at, before)
	if c.limit == c.max && queued <= 0 {
		c.because = fmt.Sprintf("latency %s at %.0f in flight, and no more are allowed", ms(l.mean), n)
	}
	if at.Before(c.next) || c.limit < c.min+1 {
		c.open(at, math.Abs(c.limit-before) > 0.05*before)
		return
	}
	c.probe(at)
}

func (c *Controller) probe(at time.Time) {
	c.phase, c.saved = probing, c.limit
	if c.limit < 8 { // a server of one or two slots has a queue at half of that
		c.set(c.limit * 0.4)
	} else {
		c.set(c.limit * probeShare)
	}
	c.open(at, true)
}

func (c *Controller) judgeProbe(at time.Time, w window, n float64) {
	wait := max(probeEvery, seconds(100*w.mean))
	switch d, doubt := w.mean-c.base.mean, 1.5*apart(w.stat, c.base); {
	case d < -doubt/1.5 && n < 0.8*c.low: // fewer in flight are the better witnesses
		c.base, c.low = w.stat, n
	case d < -doubt: // the base had been measured with a queue, and this one perhaps too
		c.base, c.low, wait = w.stat, n, wait/5
	case d > doubt: // the server became slower, or crowded at this moment
		c.base, c.low, wait = w.stat, n, wait/5
	default:
		c.base, c.low = c.base.merge(w.stat, mostKnown), n
	}
	c.set(c.saved)
	c.next = at.Add(wait)
	c.follow(at)
}

// idle is told that nothing happened before at. Half of what was in flight before is a safe beginning, and the rest is soon there.
func (c *Controller) idle(at time.Time) {
	if c.phase == probing {
		c.set(c.saved)
	}
	if c.phase != starting {
		c.goal = c.limit
		c.set(max(c.limit/2, min(c.limit, 2)))
		c.because = fmt.Sprintf("idle for %s: half of %.0f, and the rest when that goes well", at.Sub(c.last).Round(time.Second), c.goal)
	}
	c.phase = starting
	c.open(at, false)
}

func ms(s float64) string {
	if s < 0.01 {
		return fmt.Sprintf("%.1f ms", s*1000)
	}
	return fmt.Sprintf("%.0f ms", s*1000)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
