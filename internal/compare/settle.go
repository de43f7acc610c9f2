package compare

import (
	"fmt"
	"math"
	"slices"
)

// settle finds the runs that count: those in which others used about as much as they mostly do, or left enough.
func (c *Comparison) settle() {
	var loads []float64
	a := c.active()
	for _, k := range a {
		for _, s := range k.samples {
			if s.Foreign >= 0 {
				loads = append(loads, s.Foreign)
			}
		}
	}
	c.Rounds, c.Disturbed = 0, 0
	if len(loads) > 0 {
		c.Steady = median(loads)
	}
	for i := range c.whole() {
		clean := 0
		for _, k := range a {
			s := &k.samples[i]
			if s.disturbed = c.disturbs(*s); !s.disturbed {
				clean++
			}
		}
		if clean == len(a) {
			c.Rounds++
		} else {
			c.Disturbed++
		}
	}
}

// disturbs says whether the load of others made a run slower, or faster, than most: it was a quarter of what is left of the processors away from what it
// mostly is, the kernel's coarse clock allowed for, and there was no processor left.
func (c *Comparison) disturbs(s Sample) bool {
	if s.Foreign < 0 || math.Abs(s.Foreign-c.Steady) <= .25*c.left()+.02*c.cores/max(s.Seconds, .01) {
		return false
	}
	used := s.CPU.Seconds() / max(s.Seconds, 1e-3)
	return max(s.Foreign, c.Steady)+used > .85*c.cores
}

// left is how many processors others leave, but at least half of all: others come and go.
func (c *Comparison) left() float64 { return max(c.cores-max(c.Steady, 0), c.cores/2) }

// whole is how many rounds all active candidates have been through.
func (c *Comparison) whole() int {
	n := -1
	for _, k := range c.active() {
		if n < 0 || len(k.samples) < n {
			n = len(k.samples)
		}
	}
	return max(n, 0)
}

// sure says whether every ratio to the first candidate is known well enough.
func (c *Comparison) sure() bool {
	a := c.active()
	for _, k := range a[1:] {
		if r := c.Ratio(a[0], k); r.Pairs < least || r.Plus > c.cfg.Precise*r.Times {
			return false
		}
	}
	return true
}

// enough says whether there are pairs for every ratio.
func (c *Comparison) enough() bool {
	a := c.active()
	return !slices.ContainsFunc(a, func(k *Candidate) bool { return c.Ratio(a[0], k).Pairs < least })
}

// judge decides whether the numbers may be shown.
func (c *Comparison) judge() {
	low, high := c.loads()
	a := c.active()
	told := 0
	for _, k := range a {
		if c.Ratio(a[0], k).Pairs >= least {
			told++
		}
	}
	switch {
	case len(a) < 2:
		c.Withheld = "fewer than two of the candidates work"
	case told < 2 && c.Disturbed > 0:
		c.Withheld = fmt.Sprintf("other programs used %.1f to %.1f of the %.3g processors while it was measured, so that %d of %d rounds cannot be compared; run it again when the machine is quieter",
			low, high, c.cores, c.Disturbed, c.Disturbed+c.Rounds)
	case told < 2:
		c.Withheld = fmt.Sprintf("only %d of at least %d rounds were measured; give it longer with --for", c.Rounds, least)
	}
	switch {
	case c.Steady < 0:
		c.Notes = append(c.Notes, "this kernel does not tell what other programs use: a load that jumped would not be seen")
	case c.Withheld == "" && c.Disturbed > 0:
		c.Notes = append(c.Notes, fmt.Sprintf("the load of other programs jumped, from %.1f to %.1f of the %.3g processors: what ran meanwhile, in %d of %d rounds, does not count", low, high, c.cores, c.Disturbed, c.Disturbed+c.Rounds))
	case c.Withheld == "" && high-low > .25*c.cores:
		c.Notes = append(c.Notes, fmt.Sprintf("the load of other programs went from %.1f to %.1f of the %.3g processors, and left enough for the candidates", low, high, c.cores))
	}
	if c.Steady >= .2*c.cores {
		c.Notes = append(c.Notes, fmt.Sprintf("other programs mostly used %.1f of the %.3g processors: all candidates had the less", c.Steady, c.cores))
	}
}

// loads are the smallest and the largest load of others.
func (c *Comparison) loads() (low, high float64) {
	low = math.Inf(1)
	for _, k := range c.active() {
		for _, s := range k.samples {
			low, high = min(low, s.Foreign), max(high, s.Foreign)
		}
	}
	return low, high
}

func median(x []float64) float64 {
	x = slices.Clone(x)
	slices.Sort(x)
	n := len(x)
	if n == 0 {
		return 0
	}
	return (x[(n-1)/2] + x[n/2]) / 2
}
