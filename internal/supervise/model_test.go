package supervise

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestRecycleLimits(t *testing.T) {
	near := func(got, of float64) bool { return of == 0 && got == 0 || got >= max(1, 0.9*of-1) && got <= 1.1*of+1 }
	rapid.Check(t, func(t *rapid.T) {
		r := Recycle{Items: rapid.IntRange(0, 10000).Draw(t, "items"), Age: time.Duration(rapid.Int64Range(0, 1e15).Draw(t, "age")),
			Memory: rapid.Int64Range(0, 1<<40).Draw(t, "memory"), Idle: 5, Floor: 3}
		x := rapid.Float64Range(0, 0.999).Draw(t, "random")
		d := r.Draw(func() float64 { return x })
		if !near(float64(d.Items), float64(r.Items)) || !near(float64(d.Age), float64(r.Age)) || !near(float64(d.Memory), float64(r.Memory)) || d.Idle != 5 || d.Floor != 3 {
			t.Errorf("%+v drawn from %+v", d, r)
		}
		for _, c := range []struct {
			why string
			on  bool
		}{{d.Due(int64(d.Items), 0, 0), d.Items > 0}, {d.Due(0, d.Age, 0), d.Age > 0}, {d.Due(0, 0, d.Memory), d.Memory > 0},
			{d.Due(int64(d.Items)-1, d.Age-1, d.Memory-1), false}} {
			if (c.why != "") != c.on {
				t.Errorf("%+v: %q", d, c.why)
			}
		}
	})
	if why := (Recycle{Items: 7}).Due(7, 0, 0); !strings.Contains(why, "7 items") {
		t.Errorf("why: %q", why)
	}
}

// worker is a process of the model.
type worker struct {
	life         *Life
	begun        time.Duration
	given        bool
	stuck        bool // it ignores everything but a kill
	frozen       bool // and that too
	gone, buried bool
}

// A pool of places under random events, in virtual time. What must hold at each moment: a place has never two workers that start or serve, but while one is recycled, and
// then two; of the pool never more than one is recycled; whatever waits, waits for a time that comes. And at the end, whatever has happened, every place retires.
func TestAPoolIsNeverStuck(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var pool Pool
		var clock Clock
		now := time.Second
		clock.Begin(time.Second, now)
		n := rapid.IntRange(1, 4).Draw(t, "places")
		places := make([]Place, n)
		serving, coming := make([]*worker, n), make([]*worker, n)
		ended := make([]bool, n)
		var all []*worker
		elapsed := func(since time.Duration) time.Duration { return clock.Elapsed(since, now) }
		fresh := func(l *Life) *worker {
			w := &worker{life: l, begun: now, stuck: rapid.Bool().Draw(t, "stuck"), frozen: rapid.IntRange(0, 9).Draw(t, "frozen") == 0}
			all = append(all, w)
			if rapid.Bool().Draw(t, "exec") {
				l.On(Exec, now)
			}
			return w
		}
		leaves := func(i int) { // the place's worker is of no more use
			w := serving[i]
			serving[i] = nil
			how := Fruitless
			switch {
			case w.life.State() == Draining || w.life.State() == Stopping:
				how = Meant
			case w.life.State() == Suspect || w.given && rapid.Bool().Draw(t, "charged"):
				how = Charged
			case w.given:
				how = Unnamed
			}
			places[i].Ended(how, now)
			if how == Fruitless {
				_, giveUp := pool.Failed(i, w.begun, now, rapid.IntRange(0, 5).Draw(t, "final") == 0)
				if giveUp {
					ended[i] = true
				}
			}
		}
		step := func(i int) {
			p := &places[i]
			if ended[i] {
				return
			}
			w := serving[i]
			if w == nil {
				pending := p.Pending(now)
				spare := rapid.IntRange(0, 3).Draw(t, "spare") == 0
				if pending > 0 && !spare {
					return
				}
				if yes, _ := pool.May(i, now); yes {
					if spare { // it was ready beside the places
						var own Place
						w := fresh(own.Start(now))
						w.life.On(Exec, now)
						w.life.On(Ready, now)
						if pause, ok := p.Adopt(w.life, now); !ok || pause != pending {
							t.Fatalf("place %d may have a spare and cannot, or loses its pause: %s, %v of %v", i, p.State(), pause, pending)
						}
						serving[i] = w
						pool.Ready()
						return
					}
					l := p.Start(now)
					if l == nil {
						t.Fatalf("place %d may start and cannot: %s", i, p.State())
					}
					serving[i] = fresh(l)
				}
				return
			}
			if _, ok := p.Adopt(&Life{}, now); ok || p.Start(now) != nil {
				t.Fatalf("a second worker for place %d beside one that is %s", i, w.life.State())
			}
			if c := coming[i]; c != nil {
				if p.Replace(now) != nil {
					t.Fatal("two replacements")
				}
				switch {
				case c.life.On(Ready, now):
					p.Came()
					w.life.On(Drain, now)
					serving[i], coming[i] = c, nil
					pool.Recycled(i)
				case !c.life.Starts():
					p.Failed()
					coming[i] = nil
					pool.Recycled(i)
				}
				return
			}
			if w.life.Starts() {
				if rapid.Bool().Draw(t, "ready") && w.life.On(Ready, now) {
					pool.Ready()
				} else if rapid.Bool().Draw(t, "boot fails") && w.life.On(Kill, now) {
					leaves(i)
				}
				return
			}
			switch rapid.IntRange(0, 7).Draw(t, "event") {
			case 0, 1:
				if w.life.On(Give, now) {
					w.given = true
				}
			case 2:
				if w.life.On(Rest, now) {
					pool.Proved()
				}
			case 3:
				if w.life.On(Doubt, now) {
					w.life.On(Ask, now)
				}
			case 4:
				w.gone = w.gone || w.life.On(Gone, now)
			case 5:
				if w.life.Serves() && pool.Recycle(i) {
					l := p.Replace(now)
					if l == nil {
						t.Fatal("a worker that serves cannot be replaced")
					}
					coming[i] = fresh(l)
					return
				}
			case 6:
				w.life.On(Kill, now)
			case 7:
				w.life.On(Drain, now)
			}
			if w.life.Ends() {
				leaves(i)
			}
		}
		after := func() { // what happens by itself
			for _, w := range all {
				if to, moved := w.life.Overdue(now, elapsed); moved && to == Unkillable && !w.frozen {
					t.Fatal("a worker that can be killed is given up")
				}
				if s := w.life.State(); !w.gone && !w.frozen && (s == Killing || !w.stuck && (s == Stopping || s == Draining)) {
					w.gone = w.life.On(Gone, now)
				}
				if w.gone && !w.buried {
					w.buried = w.life.On(Buried, now)
				}
			}
			for i, w := range serving {
				if w != nil && !w.life.Starts() && !w.life.Serves() {
					leaves(i)
				}
			}
			recycled := 0
			for i := range coming {
				if coming[i] != nil {
					recycled++
				}
			}
			if recycled > 1 {
				t.Fatalf("%d recycle at a time", recycled)
			}
		}
		for range rapid.IntRange(10, 200).Draw(t, "moments") {
			by := time.Duration(rapid.Int64Range(1, int64(2*time.Second)).Draw(t, "by"))
			if rapid.IntRange(0, 30).Draw(t, "sleeps") == 0 {
				by += time.Minute
			}
			now += by
			clock.Tick(now)
			step(rapid.IntRange(0, n-1).Draw(t, "place"))
			after()
		}
		// The end: the restart loop is left wherever it is, and what lives is killed.
		for i := range places {
			pool.Left(i, now)
			places[i].End()
			if places[i].State() != Retired || places[i].Start(now) != nil || places[i].Pending(now) != 0 {
				t.Fatalf("place %d is %s", i, places[i].State())
			}
		}
		for _, w := range all {
			if w.life.State() == Draining {
				continue // it ends what it has: its own time is the items'
			}
			w.life.On(Drain, now)
		}
		for range 400 {
			now += time.Second
			clock.Tick(now)
			for _, w := range all {
				to, _ := w.life.Overdue(now, elapsed)
				if w.life.State() == Draining && !w.life.On(Rest, now) {
					t.Fatal("a draining worker cannot rest")
				}
				if !w.gone && !w.frozen && (to == Killing || !w.stuck && to == Stopping) {
					w.gone = w.life.On(Gone, now)
				}
				if w.gone && !w.buried {
					w.buried = w.life.On(Buried, now)
				}
			}
		}
		for _, w := range all {
			if !w.life.Over() {
				t.Fatalf("a worker is still %s", w.life.State())
			}
		}
	})
}

// Time in which the supervisor did not run counts against nobody; all other time does.
func TestClock(t *testing.T) {
	sec := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
	var c Clock
	c.Begin(sec(1), sec(100))
	if late := c.Tick(sec(101.5)); late != 0 {
		t.Errorf("half a second is no stall, got %v", late)
	}
	if got := c.Elapsed(sec(100), sec(102)); got != sec(2) {
		t.Errorf("elapsed %v", got)
	}
	if got := c.Elapsed(sec(101), sec(131.5)); got != sec(1.5) { // before the late tick itself
		t.Errorf("in the stall: elapsed %v, want 1.5s", got)
	}
	if late := c.Tick(sec(131.5)); late != sec(29) {
		t.Errorf("late by %v", late)
	}
	for begun, want := range map[float64]float64{101: 1.5, 100: 2.5, 120: 0, 131.5: 0} {
		if got := c.Elapsed(sec(begun), sec(131.5)); got != sec(want) {
			t.Errorf("since %v: elapsed %v, want %vs", begun, got, want)
		}
	}
	if got := c.Elapsed(sec(131.5), sec(133)); got != sec(1.5) {
		t.Errorf("after it: elapsed %v", got)
	}
}

func TestClockExcusesNoMoreThanItMust(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c Clock
		now := time.Second
		c.Begin(time.Second, now)
		begun := now
		var awake time.Duration // time that surely counts
		for range rapid.IntRange(1, 300).Draw(t, "ticks") {
			by := time.Duration(rapid.Int64Range(1, int64(5*time.Second)).Draw(t, "by"))
			now += by
			late := c.Tick(now)
			if (late > 0) != (by > 2*time.Second) {
				t.Fatalf("a tick after %v is late by %v", by, late)
			}
			awake += by - late
			if got := c.Elapsed(begun, now); got != awake {
				t.Fatalf("elapsed %v, want %v", got, awake)
			}
		}
	})
}
