package supervise

import (
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The table in the documentation is the one that decides.
func TestTheTableIsDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/explanation/supervision.md")
	if err != nil {
		t.Fatal(err)
	}
	var have []Row
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z]+)` \\| (.*?) \\| `([a-z]+)` \\|").FindAllStringSubmatch(string(b), -1) {
		for _, on := range regexp.MustCompile("`([a-z]+)`").FindAllStringSubmatch(m[2], -1) {
			have = append(have, Row{state(t, m[1]), event(t, on[1]), state(t, m[3])})
		}
	}
	for _, r := range Table {
		if !slices.Contains(have, r) {
			t.Errorf("docs/explanation/supervision.md does not say that `%s` follows `%s` on `%s`", r.To, r.From, r.On)
		}
	}
	for _, r := range have {
		if !slices.Contains(Table, r) {
			t.Errorf("docs/explanation/supervision.md says that `%s` follows `%s` on `%s`, and the table does not", r.To, r.From, r.On)
		}
	}
}

func state(t *testing.T, name string) State {
	t.Helper()
	i := slices.Index(stateNames[:], name)
	if i < 0 {
		t.Fatalf("no state %q", name)
	}
	return State(i)
}

func event(t *testing.T, name string) Event {
	t.Helper()
	i := slices.Index(eventNames[:], name)
	if i < 0 {
		t.Fatalf("no event %q", name)
	}
	return Event(i)
}

// No two rows contradict each other, every state is reached, every state has a way out, and where only an event of the worker's own leads out, a kill does too.
func TestTheTableIsWhole(t *testing.T) {
	seen, reached := map[[2]uint8]bool{}, map[State]bool{New: true}
	for _, r := range Table {
		if key := [2]uint8{uint8(r.From), uint8(r.On)}; seen[key] {
			t.Errorf("two rows for %s on %s", r.From, r.On)
		} else {
			seen[key] = true
		}
		reached[r.To] = true
	}
	final := map[State]bool{}
	for s := range states {
		if !reached[s] {
			t.Errorf("nothing leads to %s", s)
		}
		if !slices.ContainsFunc(Table, func(r Row) bool { return r.From == s }) {
			final[s] = true
		}
		if s >= Spawning && s <= Stopping && s != Killing && next[s][Kill] != Killing {
			t.Errorf("%s cannot be killed", s)
		}
		if s >= Spawning && s <= Stopping && next[s][Gone] != Reaping {
			t.Errorf("a process may end in %s, and the table does not know", s)
		}
		timed := Times{}.of(s) >= 0
		if late := next[s][Late] != states; late != timed {
			t.Errorf("%s: a time %v, a way out when it is up %v", s, timed, late)
		}
	}
	if len(final) != 1 || !final[Retired] {
		t.Errorf("final states: %v, want retired", final)
	}
}

func TestRestarts(t *testing.T) {
	top := func(ms int) time.Duration { return time.Duration(ms) * time.Millisecond }
	for _, c := range []struct {
		name  string
		ends  []Ending
		lives time.Duration // how long each worker was ready
		waits []time.Duration
	}{
		{"items are charged, not the place", []Ending{Charged, Charged, Charged, Charged, Charged}, 0, []time.Duration{0, 0, 0, 0, 0}},
		{"once is chance, then twice as long each time", []Ending{Unnamed, Unnamed, Unnamed, Unnamed}, time.Second, []time.Duration{0, top(100), top(200), top(400)}},
		{"a minute forgives", []Ending{Unnamed, Unnamed, Unnamed}, time.Minute, []time.Duration{0, 0, 0}},
		{"boots that fail wait from the first on", []Ending{Fruitless, Fruitless, Fruitless}, 0, []time.Duration{top(100), top(200), top(400)}},
		{"half a minute is the longest", slices.Repeat([]Ending{Fruitless}, 40), 0,
			append([]time.Duration{top(100), top(200), top(400), top(800), top(1600), top(3200), top(6400), top(12800), top(25600)}, slices.Repeat([]time.Duration{mostWait}, 31)...)},
		{"what was meant costs nothing", []Ending{Meant, Meant}, 0, []time.Duration{0, 0}},
	} {
		p := Place{Rand: func() float64 { return 1 }}
		now := time.Second
		for i, end := range c.ends {
			now += p.Pending(now)
			l := p.Start(now)
			if l == nil {
				t.Fatalf("%s: no start %d in %s", c.name, i, p.State())
			}
			if end != Fruitless {
				l.On(Exec, now)
				l.On(Ready, now)
				now += c.lives
			}
			if got := p.Ended(end, now); got != c.waits[i] {
				t.Errorf("%s: after end %d it waits %v, want %v", c.name, i, got, c.waits[i])
			}
		}
	}
}

func TestFullJitter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Place{}
		n := rapid.IntRange(0, 100).Draw(t, "ends")
		if d := p.jitter(n); d < 0 || d > mostWait || d > firstWait<<min(n, 20) {
			t.Errorf("jitter(%d) = %v", n, d)
		}
	})
}

func TestBreaker(t *testing.T) {
	at := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
	var p Pool
	if _, giveUp := p.Failed(0, at(1), at(2), true); !giveUp {
		t.Error("a cause that will not pass, before any worker was ready, is no reason to give up")
	}
	p = Pool{}
	for place := range 8 { // they began together
		if opened, giveUp := p.Failed(place, at(1), at(2)+time.Duration(place), false); opened || giveUp {
			t.Fatalf("boots that failed together count more than once: at the %dth", place+1)
		}
	}
	p.Failed(0, at(3), at(4), false)
	if _, giveUp := p.Failed(1, at(4), at(5), false); !giveUp {
		t.Error("three rounds without a worker, and the pool does not give up")
	}

	p = Pool{}
	p.Ready()
	p.Proved()
	now := at(10)
	fail := func(place int) (opened bool) {
		begun := now
		now += at(1)
		opened, giveUp := p.Failed(place, begun, now, false)
		if giveUp {
			t.Fatal("gave up, though a worker was ready once")
		}
		return opened
	}
	if fail(0) || fail(1) || !fail(2) {
		t.Fatal("want it open at the third")
	}
	for _, pause := range []float64{5, 10, 20, 40, 60, 60} {
		if yes, wait := p.May(3, now); yes || wait != at(pause) {
			t.Fatalf("open: may %v, wait %v, want %vs", yes, wait, pause)
		}
		now += at(pause)
		if yes, _ := p.May(4, now); !yes || p.Breaker() != Canary {
			t.Fatal("no canary after the pause")
		}
		if yes, _ := p.May(5, now); yes {
			t.Fatal("two canaries")
		}
		if fail(5) {
			t.Fatal("a boot that began before it opened says nothing new")
		}
		if !fail(4) {
			t.Fatal("the canary died, and the breaker is not open")
		}
	}
	now += at(60)
	p.May(4, now)
	p.Left(4, now) // the canary's place is not needed any more
	if yes, _ := p.May(1, now); !yes {
		t.Fatal("nobody may try in the canary's stead")
	}
	p.Ready()
	if p.Breaker() != Canary || !p.Proved() || p.Breaker() != Closed || p.Proved() {
		t.Errorf("%s after the canary has worked", p.Breaker())
	}
	if fail(0) || fail(1) || !fail(2) {
		t.Error("it does not count anew")
	}
}

func TestOneRecyclesAtATime(t *testing.T) {
	var p Pool
	if !p.Recycle(1) || p.Recycle(2) || p.Recycle(1) {
		t.Fatal("want the right once")
	}
	p.Recycled(2)
	if p.Recycle(2) {
		t.Fatal("given back by another")
	}
	p.Left(1, 0)
	if !p.Recycle(2) {
		t.Error("a place that ended keeps the right")
	}
}
