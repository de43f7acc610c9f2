package supervise

import (
	"testing"
	"time"
)

func TestPolicy(t *testing.T) {
	now := time.Unix(0, 0)
	for _, c := range []struct {
		name string
		ends []End
		gap  time.Duration
		give int // index of the end that gives up; -1 never
	}{
		{"a worker that served is replaced for ever", []End{Served, Served, Served, Served, Served, Served}, 0, -1},
		{"a fatal start gives up at once", []End{Fatal}, 0, 0},
		{"three fruitless starts give up", []End{Start, Start, Start}, 0, 2},
		{"serving in between forgives", []End{Start, Start, Served, Start, Idle, Served}, 0, -1},
		{"deaths far apart are forgiven", []End{Idle, Idle, Idle, Idle, Idle, Idle}, 2 * time.Minute, -1},
		{"deaths close together are not", []End{Idle, Idle, Idle}, time.Second, 2},
	} {
		var p Policy
		got := -1
		at := now
		for i, end := range c.ends {
			d := p.Next(end, at)
			if end == Served && (d.Wait != 0 || d.GiveUp) {
				t.Errorf("%s: a served worker is not replaced at once: %+v", c.name, d)
			}
			if d.GiveUp {
				got = i
				break
			}
			at = at.Add(c.gap)
		}
		if got != c.give {
			t.Errorf("%s: gave up at %d, want %d", c.name, got, c.give)
		}
	}
}

func TestWaitsGrow(t *testing.T) {
	p := Policy{Limit: 5}
	now := time.Unix(0, 0)
	want := []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond}
	for i, w := range want {
		if d := p.Next(Start, now); d.Wait != w {
			t.Errorf("wait %d is %v, want %v", i, d.Wait, w)
		}
	}
}
