package mapper

import (
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// load is a machine and the commands it runs: each computes for cpu and waits for wait; no more than knee make progress in waiting at a time.
type load struct {
	cores     int
	cpu, wait time.Duration
	knee      int
	known     bool // the time in the run queue can be measured
}

// at is what commands do when size of them run: commands a second, time of each, and of that in the run queue.
func (l load) at(size int) (rate float64, wall, queue time.Duration) {
	alone := l.cpu + l.wait
	rate = float64(size) / alone.Seconds()
	if l.cpu > 0 {
		rate = min(rate, float64(l.cores)/l.cpu.Seconds())
	}
	if l.knee > 0 && l.wait > 0 {
		rate = min(rate, float64(l.knee)/l.wait.Seconds())
	}
	wall = time.Duration(float64(size) / rate * 1e9)
	if l.cpu > 0 && rate >= 0.999*float64(l.cores)/l.cpu.Seconds() {
		queue = wall - alone
	}
	return rate, wall, queue
}

// run lets n spans pass and returns the size after each.
func (l load) run(s *Sizer, now time.Time, n int) (sizes []int, end time.Time) {
	for range n {
		for over := false; !over; {
			rate, wall, queue := l.at(s.Size())
			now = now.Add(time.Duration(1e9 / rate))
			if !l.known {
				queue = -1
			}
			over = s.Ended(now, wall, l.cpu, queue)
		}
		rate, _, _ := l.at(s.Size())
		s.Judge(now, max(0, 1-rate*l.cpu.Seconds()/float64(l.cores)))
		sizes = append(sizes, s.Size())
	}
	return sizes, now
}

func changes(sizes []int) (n int) {
	for i := 1; i < len(sizes); i++ {
		if sizes[i] != sizes[i-1] {
			n++
		}
	}
	return n
}

// Commands that only compute stay at one per core, from the first to the last.
func TestSizeOfCommandsThatCompute(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := load{cores: rapid.IntRange(1, 64).Draw(t, "cores"), cpu: time.Duration(rapid.IntRange(1, 5000).Draw(t, "ms")) * time.Millisecond, known: rapid.Bool().Draw(t, "known")}
		s := NewSizer(l.cores, 1024)
		sizes, _ := l.run(s, time.Unix(0, 0), 100)
		for _, n := range sizes {
			if n != l.cores {
				t.Fatalf("sizes %v on %d cores", sizes, l.cores)
			}
		}
		if why := s.Because(); !strings.Contains(why, "computed 100 % of their time on") {
			t.Errorf("because %q", why)
		}
	})
}

// Commands that wait get as many as help: at least 85 % of the best throughput, and no more than four times what that needs (or one step above the start).
func TestSizeOfCommandsThatWait(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := load{cores: rapid.IntRange(1, 16).Draw(t, "cores"), cpu: time.Duration(rapid.IntRange(0, 2000).Draw(t, "µs")) * time.Microsecond,
			wait: time.Duration(rapid.IntRange(20, 2000).Draw(t, "ms")) * time.Millisecond, knee: rapid.IntRange(0, 2000).Draw(t, "knee"), known: true}
		const most = 512
		s := NewSizer(l.cores, most)
		sizes, now := l.run(s, time.Unix(0, 0), 60)
		best, needs := 0.0, 0
		for n := 1; n <= most; n++ {
			if r, _, _ := l.at(n); r > best*1.0001 {
				best, needs = r, n
			}
		}
		later, _ := l.run(s, now, 300)
		settled := map[int]int{}
		for _, n := range later {
			settled[n]++
		}
		at, times := 0, 0
		for n, k := range settled {
			if k > times {
				at, times = n, k
			}
		}
		got, _, _ := l.at(at)
		if got < 0.85*best || at > max(2*l.cores, 4*needs) {
			t.Errorf("settled at %d with %.1f/s; the best is %.1f/s, from %d on (%+v, first %v)", at, got, best, needs, l, sizes[:20])
		}
		if n := changes(later); n > 40 {
			t.Errorf("%d changes in 300 spans: %v", n, later)
		}
	})
}

// Whatever it is told, the size stays within its bounds and changes by no more than a factor of two.
func TestSizeStaysInBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cores, most := rapid.IntRange(1, 32).Draw(t, "cores"), rapid.IntRange(1, 2000).Draw(t, "most")
		s, now := NewSizer(cores, most), time.Unix(0, 0)
		for range rapid.IntRange(1, 400).Draw(t, "commands") {
			before := s.Size()
			now = now.Add(time.Duration(rapid.Int64Range(0, 1e9).Draw(t, "ns")))
			wall := time.Duration(rapid.Int64Range(0, 1e10).Draw(t, "wall"))
			if rapid.IntRange(0, 20).Draw(t, "starved") == 0 {
				s.Starved()
			}
			if s.Ended(now, wall, time.Duration(rapid.Int64Range(0, 1e10).Draw(t, "cpu")), time.Duration(rapid.Int64Range(-1, 1e10).Draw(t, "queue"))) {
				s.Judge(now, rapid.Float64Range(-1, 1).Draw(t, "idle"))
			}
			if n := s.Size(); n < 1 || n > most || n < min(cores, most) || n > 2*before || n < before/2 {
				t.Fatalf("from %d to %d, with %d cores and at most %d", before, n, cores, most)
			}
			if why := s.Because(); why == "" || strings.Contains(why, "NaN") {
				t.Fatalf("because %q", why)
			}
		}
		s.Most(1)
		if s.Size() != 1 {
			t.Fatalf("size %d after the bound fell to 1", s.Size())
		}
	})
}

// When nothing was there to start, the size is not to blame, and it does not grow.
func TestSizeWithScarceInput(t *testing.T) {
	s, now := NewSizer(2, 64), time.Unix(0, 0)
	for range 50 {
		for over := false; !over; {
			now = now.Add(100 * time.Millisecond)
			s.Starved()
			over = s.Ended(now, time.Second, 0, 0)
		}
		s.Judge(now, 1)
		if s.Size() != 2 {
			t.Fatalf("grew to %d", s.Size())
		}
	}
}

// When the commands change from waiting to computing, the size comes down again, and back up when they wait.
func TestSizeFollowsTheCommands(t *testing.T) {
	waits := load{cores: 2, cpu: time.Millisecond, wait: 200 * time.Millisecond, known: true}
	computes := load{cores: 2, cpu: 100 * time.Millisecond, known: true}
	s := NewSizer(2, 1024)
	up, now := waits.run(s, time.Unix(0, 0), 20)
	if n := up[len(up)-1]; n < 128 {
		t.Fatalf("waiting commands: %v", up)
	}
	down, now := computes.run(s, now, 40)
	if n := down[len(down)-1]; n > 4 {
		t.Errorf("computing commands: %v", down)
	}
	again, _ := waits.run(s, now, 40)
	if n := again[len(again)-1]; n < 128 {
		t.Errorf("waiting again: %v", again)
	}
	if share := (figures{n: 1, wall: time.Second, cpu: time.Second}).share(); math.Abs(share-1) > 1e-9 {
		t.Errorf("share %v", share)
	}
}

// Others who keep the machine busy are no reason to start more commands that compute.
func TestSizeOnABusyMachine(t *testing.T) {
	s, now := NewSizer(2, 64), time.Unix(0, 0)
	for range 30 {
		for over := false; !over; {
			now = now.Add(50 * time.Millisecond)
			over = s.Ended(now, 100*time.Millisecond, 30*time.Millisecond, -1)
		}
		s.Judge(now, 0.01)
	}
	if s.Size() != 2 || !strings.Contains(s.Because(), "others use the rest of the 2 cores") {
		t.Errorf("%d: %s", s.Size(), s.Because())
	}
}
