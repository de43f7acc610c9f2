package limit

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// reach is what a controller must get out of a server: a share of its capacity between two times, at no more than so many times the latency without a queue.
func reach(t *testing.T, name string, c *client, capacity, latency, from, to, least, most float64) {
	t.Helper()
	if r := c.rate(from, to) / capacity; r < least {
		t.Errorf("%s: %.2f of the capacity from %g to %g s, want %.2f; limit %d: %s", name, r, from, to, least, c.c.Limit(), c.c.Because())
	}
	if l := c.latency(from, to) / latency; l > most {
		t.Errorf("%s: latency %.2f times the best from %g to %g s, want %.2f; limit %d: %s", name, l, from, to, most, c.c.Limit(), c.c.Because())
	}
}

// Servers with a fixed number of slots. Within 5 s where that is possible: five slots of half a second give fifty answers in that time, too few to tell slots
// from a queue, and with scatter half a second is too long a round trip; those get 25 s and a tenth. With much scatter (the standard deviation is half of the
// mean) it is a fifth: what a queue adds is smaller than chance.
func TestReachFixedSlots(t *testing.T) {
	for _, sigma := range []float64{0, 0.2, 0.5} {
		for _, n := range []int{5, 40, 300} {
			for _, d := range []float64{0.02, 0.05, 0.2, 0.5} {
				end, seeds := 60.0, uint64(2)
				if d == 0.02 {
					end = 40
				}
				if n == 300 {
					seeds = 1
				}
				for seed := range seeds {
					c := &client{}
					simulate(seed, server{slots: fixed(n), service: lognormal(d, sigma)}, end, c)
					name := fmt.Sprintf("%d slots of %g s, scatter %g, seed %d", n, d, sigma, seed)
					within, least := 5.0, 0.95
					if d == 0.5 && (n == 5 || sigma > 0) || n == 5 && d == 0.2 {
						within, least = 25, 0.9
					}
					if sigma == 0.5 {
						within, least = 25, 0.8
					}
					reach(t, name, c, float64(n)/d, d, within, end, least, 1.65)
					if sigma < 0.5 {
						reach(t, name, c, float64(n)/d, d, 25, end, least, 1.5)
					}
				}
			}
		}
	}
}

func TestReachSteps(t *testing.T) {
	for _, sigma := range []float64{0, 0.3} {
		for _, d := range []float64{0.02, 0.05, 0.2} {
			for _, n := range [][2]int{{40, 10}, {10, 40}, {40, 80}, {200, 50}, {50, 200}} {
				c := &client{}
				simulate(2, server{slots: func(at float64) int { return n[min(int(at/30), 1)] }, service: lognormal(d, sigma)}, 90, c)
				name := fmt.Sprintf("%v slots of %g s, scatter %g", n, d, sigma)
				after := 35.0
				if d == 0.2 {
					after = 50
				}
				reach(t, name, c, float64(n[1])/d, d, after, 90, 0.95, 1.5)
			}
		}
	}
}

// The server itself becomes slower and quicker again: that is no queue, and the limit stays.
func TestReachSlowerServer(t *testing.T) {
	for _, d := range []float64{0.02, 0.05, 0.2} {
		c := &client{}
		simulate(1, server{slots: fixed(40), service: func(at float64, r *rand.Rand) float64 {
			if at > 20 && at < 80 {
				return 3 * lognormal(d, 0.2)(at, r)
			}
			return lognormal(d, 0.2)(at, r)
		}}, 140, c)
		name := fmt.Sprintf("three times %g s", d)
		reach(t, name, c, 40/d/3, 3*d, 45, 80, 0.9, 1.5)
		reach(t, name+" and back", c, 40/d, d, 85, 140, 0.93, 1.5)
	}
}

func TestReachSlowStartUp(t *testing.T) {
	for _, d := range []float64{0.02, 0.05, 0.2} {
		c := &client{}
		simulate(1, server{slots: fixed(40), service: func(at float64, r *rand.Rand) float64 {
			if at < 2 {
				return 10 * d
			}
			return lognormal(d, 0.3)(at, r)
		}}, 60, c)
		reach(t, fmt.Sprintf("slow for 2 s, then %g s", d), c, 40/d, d, 7, 60, 0.95, 1.5)
	}
}

// What comes after a pause or a jump of the clock is found as before: here the server has half as many slots more from 60 s on.
func TestReachIdleAndClockJumps(t *testing.T) {
	for name, c := range map[string]*client{
		"idle":  {pause: func(at float64) bool { return at > 20 && at < 60 }},
		"back":  {jump: func(at float64) float64 { return at - 3600*float64(int(at)/40) }},
		"forth": {jump: func(at float64) float64 { return at + 3600*float64(int(at)/40) }},
	} {
		s := newSim(1, server{slots: func(at float64) int {
			if at < 60 {
				return 40
			}
			return 60
		}, service: lognormal(0.05, 0.3)}, c)
		s.at(40, func() { c.peak = 0 })
		s.run(130)
		if c.peak > 85 { // doubling goes to more when it is not told where to end
			t.Errorf("%s: %d in flight afterwards", name, c.peak)
		}
		reach(t, name+", before", c, 800, 0.05, 5, 20, 0.95, 1.5)
		reach(t, name+", after", c, 1200, 0.05, 75, 130, 0.95, 1.5)
	}
}

// A server that takes n at a time and refuses the rest at once: nearly all of it is used, and next to nothing refused.
func TestReachHardLimit(t *testing.T) {
	for _, n := range []int{5, 40, 200} {
		for _, d := range []float64{0.05, 0.2} {
			c := &client{}
			simulate(1, server{slots: fixed(1 << 20), service: lognormal(d, 0.2), refuse: func(s *simulation, _ float64) (bool, time.Duration) { return s.busy >= n, 0 }}, 120, c)
			name := fmt.Sprintf("%d at a time of %g s", n, d)
			reach(t, name, c, float64(n)/d, d, 20, 120, 0.95, 1.1)
			if share := float64(len(c.refused)) / float64(len(c.done)); share > 0.005 {
				t.Errorf("%s: %.4f refused", name, share)
			}
		}
	}
}

// A server that takes so many a second. The number in flight is a whole number and only an indirect measure of that: what one in flight makes is lost, and a
// fifth. Whoever knows the rate sets it.
func TestReachHardRate(t *testing.T) {
	for _, after := range []time.Duration{0, time.Second} {
		for _, per := range []float64{50, 200, 1000} {
			for _, d := range []float64{0.02, 0.05, 0.2} {
				c := &client{}
				tokens, last := per, 0.0
				simulate(1, server{slots: fixed(1 << 20), service: lognormal(d, 0.2), refuse: func(_ *simulation, at float64) (bool, time.Duration) {
					tokens, last = min(tokens+(at-last)*per, per), at
					if tokens < 1 {
						return true, after
					}
					tokens--
					return false, 0
				}}, 120, c)
				name := fmt.Sprintf("%g a second, %g s, Retry-After %s", per, d, after)
				reach(t, name, c, per, d, 10, 120, max(0.8-1/(per*d), 0.6), 1.1)
				if share := float64(len(c.refused)) / float64(len(c.done)); share > 0.02 && per*d > 3 {
					t.Errorf("%s: %.4f refused", name, share)
				}
			}
		}
	}
}

// Two of a hundred answers are 503 whatever is in flight: no reason to stay at one.
func TestReachRandomComplaints(t *testing.T) {
	for _, n := range []int{5, 40, 200} {
		for _, d := range []float64{0.05, 0.2} {
			c := &client{}
			r := rand.New(rand.NewPCG(1, 1))
			simulate(1, server{slots: fixed(n), service: lognormal(d, 0.2), refuse: func(*simulation, float64) (bool, time.Duration) { return r.Float64() < 0.02, 0 }}, 120, c)
			reach(t, fmt.Sprintf("2 %% of complaints, %d slots of %g s", n, d), c, 0.98*float64(n)/d, d, 30, 120, 0.9, 1.5)
		}
	}
}

// When everything is refused the limit goes to its minimum and stays, and comes back when the server does.
func TestReachOutage(t *testing.T) {
	c := &client{}
	lowest := 1 << 30
	s := newSim(1, server{slots: fixed(40), service: lognormal(0.05, 0.2), refuse: func(_ *simulation, at float64) (bool, time.Duration) { return at > 20 && at < 50, 0 }}, c)
	s.check = func(c *client) {
		if s.now > 40 && s.now < 50 {
			lowest = min(lowest, c.c.Limit())
		}
	}
	s.run(150)
	if lowest > 2 {
		t.Errorf("still %d in flight after 20 s of nothing but complaints", lowest)
	}
	reach(t, "after an outage", c, 800, 0.05, 80, 150, 0.9, 1.5)
}

// Two clients of one server, begun together or one after the other, come to equal shares and do not crowd it.
func TestReachTwoClients(t *testing.T) {
	for _, sigma := range []float64{0, 0.2} {
		for _, n := range []int{10, 40, 200} {
			for _, d := range []float64{0.02, 0.05, 0.2} {
				if float64(n)/d > 1000 {
					continue // as the others, and a million events
				}
				for _, later := range []float64{0, 20} {
					a, b := &client{}, &client{from: later}
					simulate(3, server{slots: fixed(n), service: lognormal(d, sigma)}, 260, a, b)
					ra, rb := a.rate(140, 260), b.rate(140, 260)
					if ra > 2*rb || rb > 2*ra || ra+rb < 0.95*float64(n)/d || a.latency(140, 260) > 1.6*d {
						t.Errorf("%d slots of %g s, scatter %g, %g s later: %.0f and %.0f a second of %.0f, latency %.2f times the best; limits %d and %d", n, d, sigma, later,
							ra, rb, float64(n)/d, a.latency(140, 260)/d, a.c.Limit(), b.c.Limit())
					}
				}
			}
		}
	}
}

// Few tasks are no reason to allow fewer or more.
func TestReachNotMuchToDo(t *testing.T) {
	c := &client{}
	s := newSim(1, server{slots: fixed(40), service: lognormal(0.05, 0.3)}, c)
	s.at(30, func() { c.most = 5 })
	s.run(60)
	if l := c.c.Limit(); l < 35 || l > 60 {
		t.Errorf("limit %d after 30 s with 5 tasks at a time: %s", l, c.c.Because())
	}
}

// Tasks that break late are timeouts, and timeouts are an overload; tasks that break at once say nothing about the number in flight.
func TestLateAndEarlyBreaks(t *testing.T) {
	for _, x := range []struct {
		latency time.Duration
		less    bool
	}{{time.Millisecond, false}, {time.Second, true}} {
		c := NewController(Bounds{})
		at := epoch(0)
		for range 200 {
			at = at.Add(5 * time.Millisecond)
			c.Observe(at, 50*time.Millisecond, c.Limit(), Good)
		}
		before := c.Limit()
		c.Observe(at.Add(2*time.Second), x.latency, before, Broken)
		if less := c.Limit() < before; less != x.less {
			t.Errorf("broken after %s: from %d to %d", x.latency, before, c.Limit())
		}
	}
}

// One task that takes a minute among those of 50 ms is no queue.
func TestOneSlowTask(t *testing.T) {
	c := NewController(Bounds{})
	at := epoch(0)
	least := 1 << 30
	for i := range 3000 {
		at = at.Add(time.Second / 800)
		latency := 50 * time.Millisecond
		if i == 2000 {
			latency = time.Minute
		}
		if l := c.Limit(); l > 40 {
			latency = latency * time.Duration(l) / 40
		}
		c.Observe(at, latency, c.Limit(), Good)
		if i > 2000 {
			least = min(least, c.Limit())
		}
	}
	if least < 33 {
		t.Errorf("down to %d of 40: %s", least, c.Because())
	}
}

func TestControllerStaysInBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := Bounds{Min: rapid.IntRange(0, 20).Draw(t, "min"), Max: rapid.IntRange(0, 2000).Draw(t, "max"), Start: rapid.IntRange(0, 3000).Draw(t, "start")}
		c := NewController(b)
		lo := max(b.Min, 1)
		hi := max(b.Max, lo)
		if b.Max == 0 {
			hi = 1024
		}
		at := epoch(0)
		for range rapid.IntRange(1, 300).Draw(t, "n") {
			at = at.Add(time.Duration(rapid.Int64Range(-int64(time.Hour), int64(time.Hour)).Draw(t, "step") >> rapid.IntRange(0, 40).Draw(t, "shift")))
			c.Observe(at, time.Duration(rapid.Int64Range(-1000, int64(10*time.Second)).Draw(t, "latency")), rapid.IntRange(0, 3000).Draw(t, "inflight"), Verdict(rapid.IntRange(0, 5).Draw(t, "verdict")))
			if l := c.Limit(); l < lo || l > hi {
				t.Fatalf("limit %d is not in [%d, %d]", l, lo, hi)
			}
			if c.Because() == "" {
				t.Fatal("no reason")
			}
		}
	})
}
