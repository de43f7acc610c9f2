package engine

import (
	"strconv"
	"sync/atomic"
	"time"

	"tandem"
)

// unit is an item on its way through the flow.
type unit struct {
	tandem.Task
	origin   *origin
	path     []int         // which of its siblings it is, level by level; nil unless a step made several items out of one
	born     time.Duration // since the start of the run
	attempts int           // the most that any step needed
	before   int           // attempts in this step, in batches that were cut up
	crashes  int           // workers that died under it in this step
	refused  int           // how often no worker could be started for it in this step
	key      string        // of it in this step
	placed   bool          // it has a place of its key
	skipped  bool          // this step is not for it
	over     bool          // it had ended in an earlier part of the run
}

// origin is an item of the source and all that came of it.
type origin struct {
	seq   int64
	tag   any          // of the Start
	part  bool         // of an item of the source, the rest of which is elsewhere
	live  atomic.Int32 // units without an outcome
	units atomic.Int32 // all there were

	// The outlet's.
	ended   []*tandem.Task // held back to keep the order
	written int32
	cut     bool // one of them was given up because the run stopped
}

// fork makes one more item out of u: the n-th value that a step gave for it.
func (e *Engine) fork(u *unit, n int, v tandem.Value) *unit {
	e.made.Add(1)
	u.origin.live.Add(1)
	u.origin.units.Add(1)
	f := &unit{origin: u.origin, born: u.born, attempts: u.attempts, path: append(u.path[:len(u.path):len(u.path)], n)}
	f.Task = tandem.Task{ID: u.ID + "/" + strconv.Itoa(n), Root: u.Root, Source: u.Source, Owner: u.Owner, Attempts: u.Task.Attempts,
		Earlier: append([]tandem.Value(nil), u.Earlier...)}
	f.Result = tandem.Give(v)
	f.Ref = f
	return f
}

// first marks u as the first of several items.
func (u *unit) first() {
	u.ID += "/1"
	u.path = append(u.path[:len(u.path):len(u.path)], 1)
}

// group is a batch of units on its way through one step.
type group struct {
	tandem.Task
	units   []*unit
	crashes int
	refused int
}

func newGroup(s *step, units []*unit) *group {
	g := &group{units: units}
	values := make([]tandem.Value, len(units))
	g.Batch = make([]*tandem.Task, len(units))
	for i, u := range units {
		values[i], g.Batch[i] = u.Value, &u.Task
	}
	first := units[0]
	g.ID, g.Root, g.Source = first.ID, first.Root, first.Source
	g.Value, g.Owner, g.Ref = tandem.ListOf(values), s, g
	return g
}

// TagOf is the tag of the [Start] that an ended task came of; nil when it came of none.
func TagOf(t *tandem.Task) any {
	if u, ok := t.Ref.(*unit); ok {
		return u.origin.tag
	}
	return nil
}
