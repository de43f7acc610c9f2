package engine

import (
	"context"
	"errors"
	"sync"
	"time"

	"tandem"
)

// source reads the source into the first queue, or where an earlier part of the run had an item. It stops for Drain and for ctx.
func (e *Engine) source(ctx context.Context) error {
	defer e.srcDone.Store(true)
	ctx, cancel := context.WithCancel(ctx)
	var waiter sync.WaitGroup
	defer waiter.Wait()
	defer cancel()
	waiter.Go(func() {
		select {
		case <-e.drain:
			cancel()
		case <-ctx.Done():
		}
	})
	in := &intake{e: e, ctx: ctx}
	var err error
	if feed, ok := e.flow.Source.(Feed); ok {
		err = feed.Starts(ctx, in.start)
	} else {
		err = e.flow.Source.Each(ctx, in.take)
	}
	if err == nil {
		err = in.err
	}
	if err != nil && ctx.Err() == nil {
		if _, ok := errors.AsType[*tandem.Error](err); !ok {
			err = &tandem.Error{Op: "read the source of", On: e.flow.Name, Kind: tandem.KindSource, Message: err.Error(), Err: err}
		}
		return err
	}
	return nil
}

// intake makes units of what the source gives.
type intake struct {
	e    *Engine
	ctx  context.Context
	seq  int64
	slab []seed // one allocation for many items
	one  [1]*tandem.Task
	err  error
}

type seed struct {
	unit
	of origin
}

// take is what the source calls for each item.
func (in *intake) take(id string, v tandem.Value) bool {
	e := in.e
	if in.ctx.Err() != nil {
		return false
	}
	if e.flow.Journal != nil && e.flow.Journal.Has(id) {
		e.before.Add(1)
		return true
	}
	if e.order != nil && !e.order.admit(in.ctx, in.seq) {
		return false
	}
	s := in.seed()
	u := &s.unit
	u.ID, u.Root, u.Source, u.Value, u.born, u.Ref, u.origin = id, id, v, v, time.Since(e.start), u, &s.of
	e.in.Add(1)
	if len(e.steps) == 0 {
		in.seq++
		u.Result = tandem.Give(v)
		in.one[0] = &u.Task
		e.finish(in.one[:])
		return true
	}
	to := []placed{{u, 0}}
	if e.flow.Journal != nil {
		var err error
		if to, err = e.restore(u, 0, to[:0]); err != nil {
			in.err = err
			e.in.Add(-1)
			return false
		}
	}
	if len(to) == 0 { // all that came of it had ended
		e.in.Add(-1)
		e.made.Add(1)
		e.before.Add(1)
		return true
	}
	in.seq++
	for i, p := range to {
		in.one[0] = &p.u.Task
		if p.at < 0 {
			e.finish(in.one[:])
			continue
		}
		if p.at == len(e.steps) {
			p.u.Result = tandem.Give(p.u.Value)
			e.finish(in.one[:])
			continue
		}
		p.u.Owner = e.steps[p.at]
		if _, err := e.steps[p.at].in.Put(in.ctx, in.one[:]); err != nil {
			return in.refused(to[i:], i)
		}
	}
	return true
}

// seed is a unit with an origin of its own.
func (in *intake) seed() *seed {
	if len(in.slab) == 0 {
		in.slab = make([]seed, 16)
	}
	s := &in.slab[0]
	in.slab = in.slab[1:]
	s.of.seq = in.seq
	s.of.live.Store(1)
	s.of.units.Store(1)
	return s
}

// start is take for an item out of the middle of a flow.
func (in *intake) start(st Start) bool {
	e := in.e
	if in.ctx.Err() != nil {
		return false
	}
	s := in.seed()
	in.seq++
	u := &s.unit
	s.of.tag = st.Tag
	u.ID, u.Root, u.Source, u.Value, u.Earlier, u.born, u.Ref, u.origin = st.ID, st.Root, st.Source, st.Value, st.Earlier, time.Since(e.start)-st.Elapsed, u, &s.of
	u.attempts = st.Attempts
	if st.Made {
		s.of.part = true
		e.made.Add(1)
	} else {
		e.in.Add(1)
	}
	in.one[0] = &u.Task
	if len(e.steps) == 0 {
		u.Result = tandem.Give(st.Value)
		if st.Ended != nil {
			u.Result = *st.Ended
		}
		e.finish(in.one[:])
		return true
	}
	u.Owner = e.steps[0]
	if _, err := e.steps[0].in.Put(in.ctx, in.one[:]); err != nil {
		u.Result = stopped(context.Cause(in.ctx))
		e.finish(in.one[:])
		return false
	}
	return true
}

// refused deals with an item for which there was no place any more. When no part of it was accepted it was never read: the next run reads it again.
func (in *intake) refused(rest []placed, accepted int) bool {
	if accepted == 0 {
		in.e.in.Add(-1)
		in.e.made.Add(-int64(len(rest) - 1))
		return false
	}
	for _, p := range rest {
		p.u.Result = stopped(context.Cause(in.e.ctx))
		in.one[0] = &p.u.Task
		in.e.finish(in.one[:])
	}
	return false
}
