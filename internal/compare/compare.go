// Package compare measures two or more ways to do the same work, and says how much faster one is and how sure that is.
//
//   - Rounds are interleaved: each round runs every candidate once, in an order that turns, so that a machine that gets slower meets all of them alike. Times are
//     compared within a round; the ratio and its spread come from the logarithms of these pairs.
//   - It stops when the spread is small enough, when the rounds or the time are used up, or when ctx ends; what was measured until then is the result.
//   - How many processors others use is measured beside every run. A run in which that jumped, and left no processor free, does not count, and further rounds
//     take its place, up to a bound. When too few are left, the number is withheld, with the reason: a wrong number is worse than none.
//   - A candidate that fails has no number either; what it said is kept.
//
// Run blocks, from one goroutine, and starts one candidate at a time. What candidates start has ended when it returns.
package compare

import (
	"cmp"
	"context"
	"slices"
	"time"

	"tandem/internal/advise"
	"tandem/internal/measure"
)

// Candidate is one way to do the work.
type Candidate struct {
	Name  string
	Shape Shape // of a handler; zero for a command
	Do    func(ctx context.Context) (Sample, error)
	Left  string // why it is not measured; empty when it is

	Verdict   *advise.Verdict // what the first run was bound by; nil when it was not measured
	Predicted *[2]float64     // how many times as fast as the first candidate; nil when nothing can be said
	samples   []Sample        // one for each round
}

// Sample is one run of a candidate.
type Sample struct {
	Seconds   float64
	CPU       time.Duration // that it used, with what it started
	Items     int
	Bad       int    // items that did not end well, or 1 for a command
	Why       string // of the first bad one
	Outputs   map[string]uint64
	Foreign   float64 // processors that others used meanwhile; -1 when it cannot be told
	disturbed bool
}

// Config says how long to go on.
type Config struct {
	Rounds  int           // at most so many that count; zero means 20
	For     time.Duration // for about so long; zero means 30 s
	Precise float64       // until the spread is this share of the ratio; zero means 0.03
	Cores   float64       // processors there are; zero means what measure finds
	Tell    func(round int, candidate string)
}

// least is how many rounds there must be before a number is believed.
const least = 3

// Comparison is what came out.
type Comparison struct {
	Candidates []*Candidate
	Rounds     int      // that count in full
	Disturbed  int      // of which some runs do not count
	Withheld   string   // why there is no number; empty when there is
	Steady     float64  // processors that others used all the time; -1 when it cannot be told
	Seconds    float64  // it took
	Notes      []string // what the reader must know
	cores      float64
	foreign    *measure.Foreign
	cfg        Config
	bears      bool
}

// Run measures the candidates. The error is that of a candidate that could not be started at all, or the cause of ctx.
func Run(ctx context.Context, cfg Config, all []*Candidate) (*Comparison, error) {
	return run(ctx, cfg, all, false)
}

// run is Run; bears says that some bad items are no reason to leave a candidate out.
func run(ctx context.Context, cfg Config, all []*Candidate, bears bool) (*Comparison, error) {
	cfg.Rounds, cfg.For, cfg.Precise = cmp.Or(cfg.Rounds, 20), cmp.Or(cfg.For, 30*time.Second), cmp.Or(cfg.Precise, .03)
	if cfg.Tell == nil {
		cfg.Tell = func(int, string) {}
	}
	c := &Comparison{Candidates: all, cfg: cfg, foreign: measure.NewForeign(), Steady: -1, bears: bears}
	c.cores = cmp.Or(cfg.Cores, float64(measure.FindCores().Effective()))
	begun := time.Now()
	extra := cfg.Rounds // rounds that may be measured again
	for round := 0; c.Rounds < cfg.Rounds && extra >= 0; round++ {
		if err := c.round(ctx, round); err != nil {
			return c, err
		}
		c.settle()
		if extra = cfg.Rounds - c.Disturbed; c.stops(time.Since(begun)) {
			break
		}
	}
	c.Seconds = time.Since(begun).Seconds()
	c.judge()
	return c, nil
}

// stops says whether more rounds would be for nothing, or too late.
func (c *Comparison) stops(spent time.Duration) bool {
	switch {
	case len(c.active()) < 2:
		return true
	case spent >= 3*c.cfg.For:
		return true
	case spent >= c.cfg.For && (c.enough() || c.Disturbed > 2*least && spent >= 2*c.cfg.For):
		return true
	case c.Rounds+c.Disturbed < 5:
		return false
	}
	return c.sure()
}

// active are the candidates that are still measured.
func (c *Comparison) active() (a []*Candidate) {
	for _, k := range c.Candidates {
		if k.Left == "" {
			a = append(a, k)
		}
	}
	return a
}

func (c *Comparison) round(ctx context.Context, round int) error {
	order := c.active()
	if n := len(order); n > 0 {
		order = slices.Concat(order[round%n:], order[:round%n])
	}
	for _, k := range order {
		c.cfg.Tell(round, k.Name)
		c.foreign.Since(0)
		s, err := k.Do(ctx)
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		if err != nil {
			return err
		}
		if k.Left != "" {
			continue
		}
		s.Foreign = c.foreign.Since(s.CPU)
		k.samples = append(k.samples, s)
		if s.Bad > 0 && !c.bears { // its time says nothing
			k.Left = "it fails: " + s.Why
		}
	}
	return nil
}
