package engine

import (
	"cmp"
	"context"
	"math"
	"time"

	"tandem"
	"tandem/internal/advise"
)

const (
	tuneSoon  = 50 * time.Millisecond  // between two looks at the beginning
	tuneLater = 250 * time.Millisecond // and after tuneCalm
	tuneCalm  = 5 * time.Second

	mostTasks    = 256  // in flight in workers, unless the step or its limits say otherwise
	mostOnLoops  = 1024 // on event loops, where one costs little
	mostCommands = 64   // each is a process
)

// Decision is a change of a step's setting while it ran.
type Decision struct {
	Seconds float64 `json:"seconds"` // since the beginning of the run
	From    string  `json:"from"`    // process × 2
	To      string  `json:"to"`
	Because string  `json:"because"`
	// Expected is how many times as many items a second were expected of it; zero when nothing was said.
	Expected float64 `json:"expected,omitempty"`
}

// Advice is what would fit a step better than what it was told.
type Advice struct {
	Setting string `json:"setting,omitempty"` // thread 1 × 64; empty when the mode is all that is known
	Mode    string `json:"mode"`
	Because string `json:"because"`
}

// Measured is where the time of a step's tasks went, as far as it was measured: shares of their time.
type Measured struct {
	Tasks       int64   `json:"tasks"`        // that are in the figures; short tasks are measured as a sample
	CPU         float64 `json:"cpu"`          // above 1: a task computes on several processors
	Queue       float64 `json:"run_queue"`    // ready, no processor free
	Wait        float64 `json:"wait"`         // neither
	Lock        float64 `json:"lock_held"`    // share of the looks at which the interpreter lock was held; 0 where there is none
	Late        float64 `json:"loop_blocked"` // of an event loop: share of the time in which it did not turn
	Voluntary   int64   `json:"voluntary_switches"`
	Involuntary int64   `json:"involuntary_switches"`
	In          int64   `json:"bytes_in"`
	Out         int64   `json:"bytes_out"`
}

// tuned is what a step's tuning knows. The fields are guarded by the step's mutex.
type tuned struct {
	kind      advise.Kind
	limits    advise.Limits
	tuner     *advise.Tuner // nil when the step only is looked at
	decisions []Decision
	advice    *Advice
	known     bool           // the tuner knows what fits
	all       advise.Stretch // under one setting
	last      tandem.PoolState
	bad       int64
	began     time.Time // of the span
	ready     time.Time // when the first task began
}

// tune watches the step until ctx ends, decides how it goes on where its mode is auto, and says where something else would fit better.
func (s *step) tune(ctx context.Context) {
	t := &tuned{}
	every := time.NewTicker(tuneSoon)
	defer every.Stop()
	for over := false; !over; {
		select {
		case <-ctx.Done():
			over = true // a last look, for advice
		case <-every.C:
		}
		st := s.pool.State()
		if t.ready.IsZero() {
			if st.Running == 0 && st.Attempts == 0 || st.Mode == tandem.Auto {
				continue
			}
			t.begin(s, st)
			s.mu.Lock()
			s.tuned = t
			s.mu.Unlock()
			continue
		}
		span := t.span(s, st)
		if time.Since(t.ready) > tuneCalm {
			every.Reset(tuneLater)
		}
		switch {
		case t.tuner != nil && !over:
			s.decide(t, span)
		case t.tuner == nil && t.advice == nil:
			t.all = t.all.Plus(span)
			if h, yes := advise.Advise(t.all, s.declared(t, st), t.limits); yes {
				s.hint(t, h, st)
			}
		}
	}
}

// decide lets the tuner see a span, and does what it says.
func (s *step) decide(t *tuned, span advise.Stretch) {
	if d, yes := t.tuner.Observe(span); yes {
		s.retune(t, d)
	}
	if !t.known && t.tuner.Known() > 0 {
		s.mu.Lock()
		t.known = true
		if len(t.decisions) == 0 {
			s.choice.Because = t.tuner.Because()
		}
		s.mu.Unlock()
	}
}

// begin finds out what may be chosen.
func (t *tuned) begin(s *step, st tandem.PoolState) {
	t.ready, t.began, t.last = time.Now(), time.Now(), st
	t.limits = advise.Limits{Most: mostTasks, AtOnce: max(1, st.Most), Workers: s.def.Workers, Fixed: s.def.Threads}
	if s.def.WorkersOf != nil {
		t.limits.Workers = st.Workers
	}
	now := advise.Setting{Workers: max(1, st.Workers), AtOnce: st.Threads}
	switch h := s.def.Handler.(type) {
	case Func:
		t.kind = advise.Routines
		if h.Computes {
			t.kind = advise.Commands
		}
		t.limits.Most, t.limits.Workers, t.limits.Fixed = mostCommands, 1, s.def.Concurrency
		t.limits.AtOnce = mostCommands
		now = advise.Setting{Workers: 1, AtOnce: st.Concurrency}
	case Program:
		if st.Mode == tandem.Async {
			t.kind, t.limits.Most, t.limits.Fixed = advise.Loops, mostOnLoops, s.def.Concurrency
		}
	}
	t.limits.Kind = t.kind
	if n := s.limits.Most(); s.limit != nil && n > 0 {
		t.limits.Most = min(t.limits.Most, n)
	}
	if s.def.Mode == tandem.Auto && !s.limits.Auto && t.kind != advise.Routines && (t.limits.Fixed == 0 || t.limits.Workers == 0) {
		t.tuner = advise.NewTuner(t.limits, now)
	}
}

// span is what happened since the last one.
func (t *tuned) span(s *step, st tandem.PoolState) advise.Stretch {
	now, f := time.Now(), s.stats.Figures()
	var bad int64
	for o, n := range f.Outcomes {
		if o != tandem.OK && o != tandem.Filtered {
			bad += n
		}
	}
	span := advise.Stretch{At: now.Sub(t.ready), Length: now.Sub(t.began), Ended: st.Attempts - t.last.Attempts, Bad: bad - t.bad, Crashes: st.Crashes - t.last.Crashes,
		Service: st.Service - t.last.Service, Used: st.Used.Sub(t.last.Used), Cores: float64(s.e.cores.Load())}
	if n, _ := s.in.Len(); n > 0 || st.Running > st.Concurrency {
		span.Waiting = 1
	}
	t.began, t.last, t.bad = now, st, bad
	return span
}

// retune puts a decision in force.
func (s *step) retune(t *tuned, d advise.Decision) {
	switch p := s.pool.(type) {
	case interface{ Retune(workers, atOnce int) }:
		p.Retune(d.To.Workers, d.To.AtOnce)
	case interface{ Resize(int) }:
		p.Resize(d.To.AtOnce)
	}
	from, to := t.kind.Words(d.From), t.kind.Words(d.To)
	s.mu.Lock()
	t.decisions = append(t.decisions, Decision{Seconds: time.Since(s.e.start).Seconds(), From: from, To: to, Because: d.Because, Expected: round3(d.Expected)})
	s.choice.Because = d.Because
	s.mu.Unlock()
	s.e.tell("decision", s.def.Name, from, to, d.Because)
}

// hint notes advice.
func (s *step) hint(t *tuned, h advise.Hint, st tandem.PoolState) {
	now := t.kind.Words(advise.Setting{Workers: max(1, st.Workers), AtOnce: st.Threads})
	if t.kind == advise.Commands || t.kind == advise.Routines {
		now = t.kind.Words(advise.Setting{Workers: 1, AtOnce: st.Concurrency})
	}
	a := &Advice{Mode: h.Mode, Because: h.Because}
	if h.Better != (advise.Setting{}) {
		a.Setting = t.kind.Words(h.Better)
	}
	s.mu.Lock()
	t.advice = a
	s.mu.Unlock()
	s.e.tell("advice", s.def.Name, now, cmp.Or(a.Setting, "mode: "+a.Mode), h.Because)
}

// declared is how the step was told to run.
func (s *step) declared(t *tuned, st tandem.PoolState) advise.Declared {
	d := advise.Declared{Kind: t.kind, Setting: advise.Setting{Workers: max(1, st.Workers), AtOnce: st.Threads}}
	if t.kind == advise.Commands || t.kind == advise.Routines {
		d.Setting = advise.Setting{Workers: 1, AtOnce: st.Concurrency}
	}
	return d
}

func (e *Engine) tell(what, id, from, to, reason string) {
	e.event(tandem.Event{Time: time.Now(), What: what, ID: id, From: from, To: to, Reason: reason})
}

// measured is where the time of the step's tasks went; nil when nothing was measured.
func measured(st tandem.PoolState) *Measured {
	u := st.Used
	if u.Wall <= 0 || u.Tasks == 0 {
		return nil
	}
	share := func(d time.Duration) float64 { return round3(max(0, d.Seconds()/u.Wall.Seconds())) }
	m := &Measured{Tasks: u.Tasks, CPU: share(u.CPU), Queue: share(u.Queue), Wait: share(max(0, u.Wall-u.CPU-u.Queue)), Late: share(u.Late), Voluntary: u.Voluntary, Involuntary: u.Involuntary,
		In: u.In, Out: u.Out}
	if u.Looks > 0 {
		m.Lock = round3(float64(u.Held) / float64(u.Looks))
	}
	return m
}

func round3(x float64) float64 { return math.Round(1000*x) / 1000 }
