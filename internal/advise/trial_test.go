package advise

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// unsteady is a world in which more at a time are so many times as fast, and no moment is like another.
type unsteady struct {
	world
	gain    float64       // of more than twice what queueing says is enough
	scatter float64       // of each span, one standard deviation
	drift   float64       // of moments of about half a second
	slow    time.Duration // that a try begins a quarter slower
}

// live lets a tuner live in it, and says which decisions it took, when, and how many of the tasks it could have ended it ended.
func (u unsteady) live(t *Tuner, long time.Duration, seed uint64) (ds []Decision, at []time.Duration) {
	r := rand.New(rand.NewPCG(seed, 7))
	drift, changed, few := 0.0, time.Duration(0), 0
	var step time.Duration
	for now := time.Duration(0); now < long; {
		step = 50 * time.Millisecond
		if now > 5*time.Second {
			step = 250 * time.Millisecond
		}
		now += step
		drift = .9*drift + .436*u.drift*r.NormFloat64()
		times := 1 + drift + u.scatter*r.NormFloat64()*min(1, float64(50*time.Millisecond)/float64(step))
		if few > 0 && t.Now().Total() > 2*few {
			times *= u.gain
		}
		if few > 0 && t.Now().Total() > few && now-changed < u.slow {
			times *= .75
		}
		s := u.span(t.Now(), now, step, r)
		s.Ended = max(0, int64(float64(s.Ended)*times))
		if d, yes := t.Observe(s); yes {
			if ds, at, changed = append(ds, d), append(at, now), now; few == 0 {
				few = d.To.Total()
			}
		}
	}
	return ds, at
}

// short are tasks that wait half a millisecond on two processors: many end in every span.
var short = world{cpu: .0001, wait: .0006, held: .3, cores: 2}

// A try that helps is kept and soon, one that does harm is not, whatever the moments are like, and one that changes nothing is not made for ever.
func TestTries(t *testing.T) {
	const seeds = 400
	for _, c := range []struct {
		name        string
		u           unsteady
		least, most float64 // share of the seeds in which it stands in the end
		soon        bool    // the change that stands was made within two seconds
	}{
		{"8 % faster", unsteady{short, 1.08, .08, .015, 0}, .95, 1, true},
		{"8 % faster, slow to begin", unsteady{short, 1.08, .08, .015, 600 * time.Millisecond}, .9, 1, true},
		{"20 % faster, spans differ much", unsteady{short, 1.2, .2, .03, 0}, .95, 1, true},
		{"level", unsteady{short, 1, .08, .015, 0}, 0, .4, false},
		{"5 % slower", unsteady{short, .95, .08, .015, 0}, 0, .03, false},
		{"5 % slower, slow to begin", unsteady{short, .95, .08, .015, 600 * time.Millisecond}, 0, .03, false},
		{"15 % slower, spans differ much", unsteady{short, .85, .2, .03, 0}, 0, .03, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			stands, late := 0, 0
			for seed := range uint64(seeds) {
				tuner := NewTuner(Workers.within(), Setting{2, 1})
				ds, at := c.u.live(tuner, 6*time.Second, seed)
				if len(ds) == 0 {
					t.Fatal("no decision")
				}
				if tuner.Now().Total() <= 2*ds[0].To.Total() {
					continue
				}
				stands++
				for i, d := range ds {
					if d.To.Total() > 2*ds[0].To.Total() { // the first that is as good as the last
						if at[i] > 2*time.Second {
							late++
						}
						break
					}
				}
			}
			if got := float64(stands) / seeds; got < c.least || got > c.most {
				t.Errorf("stands in %.3f of the seeds, want %v to %v", got, c.least, c.most)
			}
			if c.soon && late > seeds/20 {
				t.Errorf("made later than after two seconds in %d of %d", late, seeds)
			}
			t.Logf("stands in %.3f, late in %d of %d", float64(stands)/seeds, late, seeds)
		})
	}
}

// In ten minutes tries become rare: each that does not help makes the next one wait longer.
func TestTriesBecomeRare(t *testing.T) {
	for _, gain := range []float64{.8, .95, 1, 1.08} {
		for seed := range uint64(40) {
			tuner := NewTuner(Workers.within(), Setting{2, 1})
			ds, at := unsteady{short, gain, .1, .02, 300 * time.Millisecond}.live(tuner, 10*time.Minute, seed)
			if len(ds) > 16 {
				t.Errorf("gain %v, seed %d: %d decisions: %v", gain, seed, len(ds), ds)
			}
			var last time.Duration
			for i, d := range ds {
				if d.Because == "" || d.From == d.To {
					t.Errorf("%+v", d)
				}
				if !strings.HasPrefix(d.Because, "taken back") {
					continue
				}
				if last > 0 && at[i]-last < firstRest {
					t.Errorf("gain %v, seed %d: taken back after %v and again after %v: %v", gain, seed, last, at[i], ds)
				}
				last = at[i]
			}
		}
	}
}
