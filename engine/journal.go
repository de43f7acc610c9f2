package engine

import "tandem"

// Journal notes what has finished, so that a run that was killed can go on where it was.
//
//   - Has, Before and Finished tell what an earlier part of the run noted. Has is called from many goroutines, the others from one, while the source is read.
//   - Steps notes values that steps have given, for items that have not ended. It is called from many goroutines, does not block for long, and
//     keeps neither done nor the values in it. Values too large to be noted are left out of what Finished gives, which then has none for that step; the
//     step runs again if they are needed.
//   - Begins notes that items begin in a step that must not run them twice; it returns when the note will survive the end of the process. Withdraws takes that
//     back, for items that did not begin after all.
//   - Ended notes outcomes that the sink holds, up to position, in one transaction: after a kill either all of them count or none. whole are items of the
//     source of which everything has ended. It is called from one goroutine.
//
// Why it can no longer be written is an error of Ended, and stops the run.
type Journal interface {
	Has(item string) bool
	Before(o tandem.Outcome) int64 // how many items had ended so
	Finished(item string) ([]Finished, error)
	Steps(done []Finished)
	Begins(step int, items []string) error
	Withdraws(step int, items []string)
	Ended(items []*tandem.Task, whole []string, position int64) error
}

// Finished is what one step gave for one item. It is an alias, so that a journal need not know this package.
type Finished = struct {
	Item   string
	Step   int // index in Flow.Steps
	Values []tandem.Value
	Begun  bool // it has begun there, and that is all that is known
}

// note writes down what a step gave for u, unless the sink is next: then its line says it. Several values are noted there too: some of their lines may be
// written when the run is killed, and the others not.
func (s *step) note(u *unit, o *outflow) {
	if s.e.flow.Journal == nil || s.next == nil && len(u.Result.Rest) == 0 {
		return
	}
	n := len(o.values)
	o.values = append(append(o.values, u.Result.Value), u.Result.Rest...)
	o.noted = append(o.noted, Finished{Item: u.ID, Step: s.index, Values: o.values[n:len(o.values):len(o.values)]})
}

// placed is a unit and the step it is to go to; behind the last one, and before the first, it has ended.
type placed struct {
	u  *unit
	at int
}

// restore brings an item back to where an earlier part of the run had it: behind the last step that gave something for it. An item that had become several is
// several again; those of them that had ended stay ended.
func (e *Engine) restore(u *unit, at int, to []placed) ([]placed, error) {
	if u.path != nil && e.flow.Journal.Has(u.ID) {
		u.origin.live.Add(-1)
		u.origin.units.Add(-1)
		e.made.Add(-1)
		return to, nil
	}
	steps, err := e.flow.Journal.Finished(u.ID)
	if err != nil {
		return to, err
	}
	var begun *step
	for _, f := range steps {
		if f.Step < at || f.Step >= len(e.steps) {
			continue
		}
		s := e.steps[f.Step]
		if s.def.Once && len(f.Values) == 0 {
			begun = s // unless a later step has gone on from what it gave
			s.mayBeDone(u, "it had begun when the run was stopped")
			if !f.Begun {
				s.mayBeDone(u, "the run was stopped after it, and what it gave was too large for the journal")
			}
			continue
		}
		if f.Begun {
			continue
		}
		if len(f.Values) == 0 {
			if s.def.Keep { // a later step asks for what is not there
				break
			}
			continue
		}
		at, begun = f.Step+1, nil
		units := []*unit{u}
		u.Value = f.Values[0]
		for i, v := range f.Values[1:] {
			g := e.fork(u, i+2, v)
			g.Value, g.Result = v, tandem.Result{}
			units = append(units, g)
		}
		if s.def.Keep {
			for i, g := range units {
				s.keep(g, f.Values[i])
			}
		}
		if len(units) == 1 {
			continue
		}
		u.first()
		for _, g := range units {
			if to, err = e.restore(g, at, to); err != nil {
				return to, err
			}
		}
		return to, nil
	}
	if begun != nil {
		at = -1
	}
	return append(to, placed{u, at}), nil
}
