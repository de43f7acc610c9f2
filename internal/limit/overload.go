package limit

import (
	"fmt"
	"math"
	"time"
)

const (
	backoff       = 0.7         // of what was in flight when the server complained
	trialShare    = 0.3         // and when it complained again: few enough to tell whether the number matters
	shortHold     = time.Second // at least, and four round trips at least
	firstPatience = 5 * time.Second
	lastPatience  = 80 * time.Second
	quiet         = 150 // answers in a row without a complaint end a series of complaints
	mostBorne     = 0.1 // share of complaints that can be the server's habit
)

// complaints is what a Controller knows of answers that ask for less.
type complaints struct {
	cut              time.Time // of the limit; what started before says nothing new
	until            time.Time // the end of holding
	answers, refused float64   // since the cut

	ceiling  float64       // the most that was not refused; 0 when nothing was
	patience time.Duration // before more than the ceiling is tried again, doubled each time
	leave    time.Time     // when that is

	first float64 // what was in flight at the first complaint of a series; 0 when there is none
	trial bool    // the limit is at trialShare of first, to see whether the complaints go on
	borne float64 // share of complaints that come at any number in flight
}

// answered counts a good answer.
func (c *Controller) answered(began time.Time) {
	if began.Before(c.cut) {
		return
	}
	c.answers++
	switch {
	case c.first > 0 && c.answers >= quiet*(1+c.refused): // it was the load
		c.first, c.trial = 0, false
	case c.borne > 0 && c.answers*c.borne > 40:
		c.borne = min((c.borne+2*c.refused/c.answers)/2, mostBorne)
		c.answers, c.refused = 0, 0
	}
}

func (c *Controller) overload(at, began time.Time, inflight int) {
	if began.Before(c.cut) {
		return
	}
	c.answers++
	c.refused++
	if expected := c.borne * max(c.answers, c.limit); c.refused <= expected+3*math.Sqrt(expected) {
		return
	}
	if c.phase == probing {
		c.limit = c.saved
	}
	n := min(float64(inflight), c.limit)
	to := backoff
	switch share := c.refused / c.answers; {
	case c.first == 0:
		c.first = n
	case !c.trial:
		c.trial, to = true, min(backoff, max(trialShare*c.first, 4)/n)
	case c.refused < 3:
		return
	case share > mostBorne: // it goes on and on
		c.first, c.trial = n, false
	default:
		c.borne = min(2*share, mostBorne)
		c.because = fmt.Sprintf("%.1f %% of the answers say overload at any number in flight: borne", 100*share)
		c.first, c.trial, c.ceiling, c.patience = 0, false, 0, 0
		c.cut, c.answers, c.refused = at, 0, 0
		c.phase = starting
		c.open(at, true)
		return
	}
	switch {
	case c.ceiling == 0:
		c.ceiling = max(n-1, c.min)
	case n <= c.ceiling:
		c.ceiling = max(0.9*n, c.min) // also that was too much
	default:
		c.ceiling = n - 1
	}
	c.patience = min(max(2*c.patience, firstPatience), lastPatience)
	if n < c.min+1 { // less is not possible, so it is not the number; when this is over, all is to be found anew
		c.ceiling, c.patience = 0, 0
	}
	c.set(to * n)
	c.because = fmt.Sprintf("the server complained at %.0f in flight: %d, and then slowly more", n, c.Limit())
	c.cut, c.answers, c.refused = at, 0, 0
	c.until = at.Add(max(shortHold, seconds(4*max(c.base.mean, c.latency.mean))))
	c.leave = c.until.Add(c.patience)
	c.phase, c.goal = holding, 0
	c.open(at, true)
}

func (c *Controller) judgeHold(at time.Time, w window) {
	if c.base.n == 0 {
		c.base, c.low = w.stat, w.inflight/w.n
	}
	if c.trial || at.Before(c.until) {
		c.open(at, false)
		return
	}
	c.next = c.leave
	c.follow(at)
}

// ceil keeps the limit below what was refused, until it is time to try again, one at a time.
func (c *Controller) ceil(at time.Time, before float64) {
	if c.ceiling == 0 || c.limit <= c.ceiling {
		return
	}
	if at.Before(c.leave) {
		c.set(min(c.limit, max(before, c.ceiling)))
		c.because = fmt.Sprintf("the server complained above %.0f in flight; next try in %s", c.ceiling, c.leave.Sub(at).Round(time.Second))
		return
	}
	c.set(min(c.limit, max(before, c.ceiling)+1))
	if c.limit > 1.2*c.ceiling+1 {
		c.ceiling, c.patience = 0, 0
	}
}
