package engine

import (
	"context"
	"fmt"

	"tandem"
	"tandem/internal/evidence"
)

// outflow is what an emitter carries on in one go.
type outflow struct {
	onward, ended []*tandem.Task
	noted         []Finished
	values        []tandem.Value // of noted
	ok            int64          // apart from the rest: most end so, and a map costs
	counts        map[tandem.Outcome]int64
}

func (o *outflow) count(how tandem.Outcome) {
	if how == tandem.OK {
		o.ok++
		return
	}
	o.counts[how]++
}

// emit carries results on: to the next queue, to another attempt, or to the sink.
func (s *step) emit(ctx context.Context) {
	defer s.pool.Close()
	var batch []*tandem.Task
	o := outflow{counts: map[tandem.Outcome]int64{}}
	for {
		s.mu.Lock()
		s.busy = false
		for len(s.done) == 0 {
			if s.over() {
				s.due.Signal() // the retrier ends too
				s.mu.Unlock()
				return
			}
			s.idle = true
			s.out.Wait()
			s.idle = false
		}
		batch, s.done = s.done, batch[:0]
		s.bytes, s.busy = 0, true
		if s.blocked {
			s.out.Broadcast()
		}
		s.mu.Unlock()

		s.stats.Attempts(batch)
		o.onward, o.ended, o.noted, o.values = o.onward[:0], o.ended[:0], o.noted[:0], o.values[:0]
		for _, t := range batch {
			if c := t.Result.Crash; c != nil {
				t.Result.Crash = nil
				c.Input = evidence.Preview(t.Value, s.e.flow.Redact)
				s.e.crashed(*c)
			} else if t.Result.Outcome == tandem.TimedOut && s.e.picture != nil {
				s.e.picture.timedOut(s, t)
			}
			switch ref := t.Ref.(type) {
			case *unit:
				s.settle(ref, &o)
			case *group:
				s.settleGroup(ref, &o)
			}
		}
		s.stats.Ended(o.ok, o.counts)
		o.ok = 0
		if len(o.noted) > 0 {
			s.e.flow.Journal.Steps(o.noted)
			clear(o.noted)
			clear(o.values)
		}
		s.forward(ctx, &o)
		clear(batch)
	}
}

// forward puts what goes on into the next queue, and what has ended on its way to the sink.
func (s *step) forward(ctx context.Context, o *outflow) {
	if s.next == nil {
		o.ended = append(o.ended, o.onward...)
	} else if n, err := s.next.in.Put(ctx, o.onward); err != nil {
		for _, t := range o.onward[n:] {
			t.Result = stopped(context.Cause(ctx))
		}
		o.ended = append(o.ended, o.onward[n:]...)
	}
	if len(o.ended) > 0 {
		s.e.finish(o.ended)
	}
}

// settle decides what becomes of a unit whose attempt has ended.
func (s *step) settle(u *unit, o *outflow) {
	r := &u.Result
	if u.skipped {
		u.skipped = false
		o.onward = append(o.onward, s.turn(u))
		return
	}
	s.withdraw(&u.Task)
	u.attempts = max(u.attempts, u.before+u.Task.Attempts)
	if r.Outcome != tandem.OK && r.Outcome != tandem.Filtered {
		if pause, yes := s.def.next(&u.Task, &u.crashes, &u.refused); yes {
			if !s.e.stopping() {
				s.again(&u.Task, pause)
				return
			}
			*r = stopped(context.Cause(s.e.ctx)) // its last word has not been said
		}
		s.fail(u, o)
		return
	}
	o.count(r.Outcome)
	if r.Count == 0 {
		r.Outcome = tandem.Filtered
		o.ended = append(o.ended, &u.Task)
		return
	}
	s.carry(u, o)
}

// fail ends a unit whose last attempt ended badly.
func (s *step) fail(u *unit, o *outflow) {
	r := &u.Result
	if r.Err != nil {
		r.Err.On = s.def.Name
	}
	if r.Outcome == tandem.Crashed && u.crashes > 1 {
		r.Outcome = tandem.Quarantined
		if r.Err != nil {
			r.Err.Message += "; and again when it was tried once more"
		}
	}
	o.count(r.Outcome)
	if s.e.picture != nil && r.Outcome != tandem.Canceled {
		s.e.picture.failed(s, u)
	}
	o.ended = append(o.ended, &u.Task)
}

// carry sends the values that a step gave for u onward; several become items of their own.
func (s *step) carry(u *unit, o *outflow) {
	rest := u.Result.Rest
	s.note(u, o)
	if s.def.Keep {
		s.keep(u, u.Result.Value)
	}
	if len(rest) == 0 {
		o.onward = append(o.onward, s.turn(u))
		return
	}
	parts := make([]*unit, 1, 1+len(rest))
	parts[0] = u
	for i, v := range rest {
		f := s.e.fork(u, i+2, v)
		if s.def.Keep {
			s.keep(f, v)
		}
		parts = append(parts, f)
	}
	u.first()
	for _, p := range parts {
		s.part(p, o)
	}
}

// part sends on one of the items that u has become. When what the step gave was too much for the journal it runs again in a resumed run, and some of them
// may have ended: the outlet leaves those out.
func (s *step) part(u *unit, o *outflow) {
	t := s.turn(u)
	if j := s.e.flow.Journal; j != nil && j.Has(u.ID) {
		u.over = true
		o.ended = append(o.ended, t)
		return
	}
	o.onward = append(o.onward, t)
}

// keep lets u carry a value for a later step.
func (s *step) keep(u *unit, v tandem.Value) {
	if u.Earlier == nil {
		u.Earlier = make([]tandem.Value, len(s.e.flow.Steps))
	}
	u.Earlier[s.index] = v
}

// turn makes the result of this step the value for the next.
func (s *step) turn(u *unit) *tandem.Task {
	t := &u.Task
	t.Value = t.Result.Value
	if s.next != nil {
		t.Owner = s.next
		t.Result = tandem.Result{}
		t.Attempts, u.crashes, u.refused, u.before = 0, 0, 0, 0
	} else {
		t.Result.Rest, t.Result.Count = nil, 1
	}
	return t
}

// settleGroup decides what becomes of a batch whose attempt has ended.
func (s *step) settleGroup(g *group, o *outflow) {
	r, n := g.Result, len(g.units)
	if r.Outcome == tandem.OK || r.Outcome == tandem.Filtered {
		values := append([]tandem.Value{r.Value}, r.Rest...)
		if r.Count != n && isProgram(s.def.Handler) && (r.Count != 1 || r.Value.Kind != tandem.Null) { // one null is no value for each
			r = tandem.Result{Outcome: tandem.Failed, Err: &tandem.Error{Op: "run", Kind: tandem.KindException, Again: tandem.AgainNever,
				Message: fmt.Sprintf("the handler gave %d values for a batch of %d", r.Count, n), Hint: "give one value for each item of the batch, in its order"}}
			s.failGroup(g, r, o)
			return
		}
		for i, u := range g.units {
			v := values[0]
			if r.Count == n {
				v = values[i]
			}
			u.Task.Attempts = g.Attempts
			u.Result = tandem.Give(v)
			if r.Count == 0 {
				u.Result = tandem.Result{Outcome: tandem.Filtered}
			}
			s.settle(u, o)
		}
		return
	}
	s.withdraw(&g.Task)
	pause, yes := s.def.next(&g.Task, &g.crashes, &g.refused)
	switch {
	case r.Outcome == tandem.Canceled, n == 1 && !yes, s.def.Once && g.Attempts > 0:
		s.failGroup(g, r, o)
		return
	case s.e.stopping():
		s.failGroup(g, stopped(context.Cause(s.e.ctx)), o)
		return
	case yes && (n == 1 || r.Outcome != tandem.Crashed):
		s.again(&g.Task, pause)
		return
	}
	// One of them is to blame: each half is tried on its own.
	for _, half := range [][]*unit{g.units[:n/2], g.units[n/2:]} {
		for _, u := range half {
			u.before += g.Attempts
		}
		h := newGroup(s, half)
		if p, _ := s.def.Handler.(Program); p.Input != nil {
			if len(s.inputs(p, []*tandem.Task{&h.Task})) == 0 {
				continue
			}
		}
		s.again(&h.Task, 0)
	}
}

// failGroup ends every unit of a batch with the batch's result.
func (s *step) failGroup(g *group, r tandem.Result, o *outflow) {
	for _, u := range g.units {
		u.Task.Attempts = g.Attempts
		u.attempts = max(u.attempts, u.before+g.Attempts)
		u.Result, u.crashes = r, g.crashes
		if r.Err != nil {
			e := *r.Err // each says its own
			u.Result.Err = &e
		}
		s.fail(u, o)
	}
}

func isProgram(h Handler) bool {
	_, yes := h.(Program)
	return yes
}
