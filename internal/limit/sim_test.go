package limit

import (
	"math"
	"math/rand/v2"
	"time"
)

// server is a simulated one: first come, first served, by a number of slots.
type server struct {
	slots   func(at float64) int
	service func(at float64, r *rand.Rand) float64
	refuse  func(s *simulation, at float64) (bool, time.Duration) // 429, and after which time to come again
}

type event struct {
	at  float64
	seq int
	do  func()
}

// events is a heap: the next one first.
type events []event

func (e events) before(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].seq < e[j].seq
}

func (e *events) push(x event) {
	h := append(*e, x)
	for i := len(h) - 1; i > 0 && h.before(i, (i-1)/2); i = (i - 1) / 2 {
		h[i], h[(i-1)/2] = h[(i-1)/2], h[i]
	}
	*e = h
}

func (e *events) pop() event {
	h := *e
	x := h[0]
	h[0] = h[len(h)-1]
	h = h[:len(h)-1]
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(h); child++ {
			if h.before(child, least) {
				least = child
			}
		}
		if least == i {
			break
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
	*e = h
	return x
}

// client has as many tasks in flight as its controller allows and its work asks for.
type client struct {
	c        *Controller
	from, to float64 // works between these
	pause    func(at float64) bool
	most     int // tasks it has at a time; 0 means any number
	inflight int
	held     float64 // Retry-After
	jump     func(at float64) float64

	done    []float64 // when
	took    []float64
	refused []float64
	peak    int
}

type simulation struct {
	server
	r       *rand.Rand
	now     float64
	events  events
	seq     int
	queue   []func()
	busy    int
	clients []*client
	check   func(c *client)
}

func (s *simulation) at(t float64, do func()) {
	s.seq++
	s.events.push(event{t, s.seq, do})
}

func epoch(t float64) time.Time {
	return time.Unix(1_000_000, 0).Add(time.Duration(t * float64(time.Second)))
}

func (s *simulation) run(until float64) {
	for _, c := range s.clients {
		s.at(c.from, func() { s.fill(c) })
	}
	for t := 0.0; t < until; t += 0.1 { // a change of the server or of the work is seen then
		s.at(t, func() {
			s.serve()
			for _, c := range s.clients {
				s.fill(c)
			}
		})
	}
	for len(s.events) > 0 && s.events[0].at <= until {
		e := s.events.pop()
		s.now = e.at
		e.do()
	}
}

func (s *simulation) fill(c *client) {
	if s.now < c.from || c.to > 0 && s.now > c.to || s.now < c.held || c.pause != nil && c.pause(s.now) {
		return
	}
	for c.inflight < c.c.Limit() && (c.most == 0 || c.inflight < c.most) {
		c.inflight++
		c.peak = max(c.peak, c.inflight)
		s.send(c)
	}
}

func (s *simulation) send(c *client) {
	began := s.now
	if s.refuse != nil {
		if no, after := s.refuse(s, s.now); no {
			s.at(s.now+0.001, func() { s.end(c, began, Overload, after) })
			return
		}
	}
	s.queue = append(s.queue, func() {
		s.busy++
		s.at(s.now+s.service(s.now, s.r), func() {
			s.busy--
			s.serve()
			s.end(c, began, Good, 0)
		})
	})
	s.serve()
}

func (s *simulation) serve() {
	for len(s.queue) > 0 && s.busy < s.slots(s.now) {
		next := s.queue[0]
		s.queue = s.queue[1:]
		next()
	}
}

func (s *simulation) end(c *client, began float64, v Verdict, after time.Duration) {
	from, to := began, s.now
	if c.jump != nil {
		from, to = c.jump(from), c.jump(to)
	}
	c.c.Observe(epoch(to), time.Duration((to-from)*float64(time.Second)), c.inflight, v)
	c.inflight--
	if v == Good {
		c.done, c.took = append(c.done, s.now), append(c.took, s.now-began)
	} else {
		c.refused = append(c.refused, s.now)
		if after > 0 && s.now+after.Seconds() > c.held {
			c.held = s.now + after.Seconds()
			s.at(c.held, func() { s.fill(c) })
		}
	}
	if s.check != nil {
		s.check(c)
	}
	s.fill(c)
}

// rate is the good answers a second in a span of time.
func (c *client) rate(from, to float64) float64 {
	n := 0
	for _, t := range c.done {
		if t >= from && t < to {
			n++
		}
	}
	return float64(n) / (to - from)
}

func (c *client) latency(from, to float64) float64 {
	sum, n := 0.0, 0.0
	for i, t := range c.done {
		if t >= from && t < to {
			sum, n = sum+c.took[i], n+1
		}
	}
	return sum / n
}

func fixed(n int) func(float64) int { return func(float64) int { return n } }

// lognormal scatters around a mean of d.
func lognormal(d, sigma float64) func(float64, *rand.Rand) float64 {
	return func(_ float64, r *rand.Rand) float64 { return d * math.Exp(sigma*r.NormFloat64()-sigma*sigma/2) }
}

func newSim(seed uint64, s server, clients ...*client) *simulation {
	for _, c := range clients {
		if c.c == nil {
			c.c = NewController(Bounds{})
		}
	}
	return &simulation{server: s, r: rand.New(rand.NewPCG(seed, 7)), clients: clients}
}

func simulate(seed uint64, s server, until float64, clients ...*client) *simulation {
	sim := newSim(seed, s, clients...)
	sim.run(until)
	return sim
}
