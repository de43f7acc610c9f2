package cluster

import (
	"container/heap"
	"flag"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// A run on up to 1,000 nodes in virtual time: discrete events, no network. What is assumed:
//
//   - The flow has two steps, one that computes and one that waits. Services take exponentially distributed times.
//   - A message costs the leader of its stream 12 µs, whatever it says (put, delivery, end of a lease): three for each item and queue are 28,000 items/s, as is
//     assumed of three servers with cores of their own. 35 µs, in the last lines of the table, are 9,500: servers that are busy with other
//     things. Where servers, sender and taker share two cores and each write is synced, the row tandem/queue-cluster of the benchmark had 17,000, in between. Each of the three streams (two steps, the results) has a leader on
//     a server of its own; leaders serve in the order of arrival. Followers and the disk are in that time.
//   - A round trip takes 0.5 ms. Fetches that find nothing cost nothing: nodes wait at the server.
//   - A node takes lots of up to eight items for the step that computes, two lots at a time, with two of its four processors for each, and passes on a lot
//     when all of it is done. The step that waits has lots of up to 64, two at a time, with 32 slots for each.
//   - No node dies, and no leader changes. The submitter reads and writes faster than the leaders.
const (
	simOwn   = 12e-6 // seconds a message at a leader with cores of its own
	simBusy  = 35e-6 // at one that shares two cores
	simTrip  = 0.5e-3
	simCores = 4
)

// born is so many items that were fed at a time.
type born struct {
	at float64
	n  int
}

type simStream struct {
	cost    float64 // seconds a message
	ready   []born
	n       int // ready
	leased  int
	coming  int // room that is promised to what is on the way
	free    float64
	busy    float64
	msgs    int64
	deepest int
	takers  []*simHand // wait for something to be ready
	putters []func()   // wait for room
}

// op is so many messages at the leader; it gives when the answer is back.
func (s *simStream) op(now float64, n int) float64 {
	start := max(now+simTrip/2, s.free)
	s.free = start + float64(n)*s.cost
	s.busy += float64(n) * s.cost
	s.msgs += int64(n)
	return s.free + simTrip/2
}

type simHand struct {
	step, most int
	slots      float64
	service    float64
}

type simEvent struct {
	at  float64
	seq int64
	do  func()
}
type simHeap []simEvent

func (h simHeap) Len() int { return len(h) }
func (h simHeap) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].seq < h[j].seq
}
func (h simHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *simHeap) Push(x any)   { *h = append(*h, x.(simEvent)) }
func (h *simHeap) Pop() any     { x := (*h)[len(*h)-1]; *h = (*h)[:len(*h)-1]; return x }

type sim struct {
	now     float64
	seq     int64
	events  simHeap
	streams [3]*simStream
	rng     *rand.Rand
	window  int
	left    int
	ended   int
	took    [200]int64 // latencies, by logarithm
}

func (s *sim) after(at float64, do func()) {
	s.seq++
	heap.Push(&s.events, simEvent{at, s.seq, do})
}

// put stores a lot in stream k when there is room for it, and then calls done.
func (s *sim) put(k int, lot []born, done func()) {
	q, n := s.streams[k], count(lot)
	if q.n+q.leased+q.coming+n > s.window {
		q.putters = append(q.putters, func() { s.put(k, lot, done) })
		return
	}
	q.coming += n
	s.after(q.op(s.now, n), func() {
		q.coming -= n
		q.ready = append(q.ready, lot...)
		q.n += n
		q.deepest = max(q.deepest, q.n+q.leased)
		for q.n > 0 && len(q.takers) > 0 {
			h := q.takers[0]
			q.takers = q.takers[1:]
			s.take(h)
		}
		done()
	})
}

func count(lot []born) (n int) {
	for _, b := range lot {
		n += b.n
	}
	return n
}

// take is the round of a hand: take, work, pass on, end the leases.
func (s *sim) take(h *simHand) {
	q := s.streams[h.step]
	if q.n == 0 {
		q.takers = append(q.takers, h)
		return
	}
	var lot []born
	n := 0
	for n < h.most && len(q.ready) > 0 {
		b := &q.ready[0]
		m := min(b.n, h.most-n)
		lot = append(lot, born{b.at, m})
		n += m
		if b.n -= m; b.n == 0 {
			q.ready = q.ready[1:]
		}
	}
	q.n -= n
	q.leased += n
	work := 0.0
	for range n {
		work += s.rng.ExpFloat64() * h.service
	}
	s.after(q.op(s.now, n)+work/h.slots, func() {
		if h.step == len(s.streams)-1 {
			for _, b := range lot {
				s.ended += b.n
				i := int(20 * math.Log10(max(s.now-b.at, 1e-6)/1e-6))
				s.took[min(i, len(s.took)-1)] += int64(b.n)
			}
			s.end(h, n)
			return
		}
		s.put(h.step+1, lot, func() { s.end(h, n) })
	})
}

func (s *sim) end(h *simHand, n int) {
	q := s.streams[h.step]
	s.after(q.op(s.now, n), func() {
		q.leased -= n
		waiting := q.putters
		q.putters = nil
		for _, p := range waiting {
			p()
		}
		s.take(h)
	})
}

func (s *sim) feed() {
	if s.left == 0 {
		return
	}
	n := min(256, s.left)
	s.left -= n
	s.put(0, []born{{s.now, n}}, s.feed)
}

func (s *sim) quantile(p float64) time.Duration {
	all, sum := int64(0), int64(0)
	for _, n := range s.took {
		all += n
	}
	for i, n := range s.took {
		if sum += n; float64(sum) >= p*float64(all) {
			return time.Duration(1e3 * math.Pow(10, float64(i+1)/20))
		}
	}
	return 0
}

func simulate(nodes, items, window int, compute, wait, cost float64) *sim {
	s := &sim{rng: rand.New(rand.NewPCG(1, uint64(nodes))), window: window, left: items}
	for i := range s.streams {
		s.streams[i] = &simStream{cost: cost}
	}
	for range nodes {
		for range 2 {
			s.take(&simHand{step: 0, most: 2 * simCores, slots: simCores / 2, service: compute})
			s.take(&simHand{step: 1, most: 64, slots: 32, service: wait})
		}
	}
	s.take(&simHand{step: 2, most: 256, slots: 1})
	s.feed()
	for s.events.Len() > 0 {
		e := heap.Pop(&s.events).(simEvent)
		s.now = e.at
		e.do()
	}
	return s
}

var simulation = flag.Bool("simulation", false, "TestSimulation simulates all items, and not a fiftieth of them")

// It prints a table: go test ./internal/cluster -run Simulation -v -simulation.
func TestSimulation(t *testing.T) {
	part := 50
	if *simulation {
		part = 1
	}
	t.Logf("%6s %9s %7s %8s %8s %8s %8s %9s %8s %8s %12s %6s", "nodes", "items", "window", "compute", "message", "run", "items/s", "of ideal", "p50", "p99", "leader msg/s", "depth")
	for _, c := range []struct {
		nodes, items, window int
		compute              time.Duration
		cost                 float64
	}{
		{10, 100_000, Window, 100 * time.Millisecond, simOwn}, {100, 1_000_000, Window, 100 * time.Millisecond, simOwn}, {300, 3_000_000, Window, 100 * time.Millisecond, simOwn},
		{1000, 10_000_000, Window, 100 * time.Millisecond, simOwn}, {1000, 10_000_000, 4 * Window, 100 * time.Millisecond, simOwn},
		{1000, 10_000_000, Window, time.Second, simOwn}, {1000, 10_000_000, 4 * Window, time.Second, simOwn},
		{100, 1_000_000, Window, 100 * time.Millisecond, simBusy}, {300, 3_000_000, Window, 100 * time.Millisecond, simBusy}, {1000, 10_000_000, 4 * Window, time.Second, simBusy},
	} {
		items := c.items / part
		s := simulate(c.nodes, items, c.window, c.compute.Seconds(), 0.05, c.cost)
		ideal := float64(c.nodes*simCores) / c.compute.Seconds()
		rate := float64(items) / s.now
		q := s.streams[0]
		t.Logf("%6d %9d %7d %8v %8v %8v %8.0f %8.0f%% %8v %8v %12.0f %6d", c.nodes, items, c.window, c.compute, time.Duration(c.cost*1e9), time.Duration(s.now*1e9).Round(time.Second), rate, 100*rate/ideal,
			s.quantile(0.5).Round(time.Millisecond), s.quantile(0.99).Round(time.Millisecond), float64(q.msgs)/s.now, q.deepest)
		if s.ended != items {
			t.Errorf("%d nodes: %d of %d items ended", c.nodes, s.ended, items)
		}
		for i, q := range s.streams {
			if q.deepest > c.window || q.n+q.leased+q.coming != 0 || q.msgs != 3*int64(items) {
				t.Errorf("%d nodes, queue %d: %d deep at most, %d left, %d messages for %d items", c.nodes, i, q.deepest, q.n+q.leased+q.coming, q.msgs, items)
			}
			if q.busy > s.now {
				t.Errorf("%d nodes: the leader of queue %d worked longer than the run took", c.nodes, i)
			}
		}
	}
}
