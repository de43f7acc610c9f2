package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"tandem"
	"tandem/engine"
	"tandem/internal/queue/jetstream"
)

// hop is one step of a run on this node: the source and the sink of an engine that runs the step. It takes letters from the queue in front of the step, and
// passes on what came of them.
type hop struct {
	node  string
	step  string
	run   string
	name  string // of its objects: the run and the step
	store *jetstream.Objects

	records *jetstream.Records

	in    tandem.Queue
	next  tandem.Queue // the queue of the next step, or of the results
	end   tandem.Queue // of the results
	last  bool         // next is end
	packs bool         // the submitter reads packs
	most  int          // letters to take at a time
	wait  patience
	turn  func(context.Context) // waits while a run of a higher priority has items here
	dead  *Dead                 // where items that ended badly are kept
	gone  func() bool           // the run is over: nothing of it is given back

	redact func(tandem.Value) tandem.Value

	mu      sync.Mutex
	held    map[*parcel]struct{}
	settled chan *parcel
	flushed chan struct{}
	lost    error // why nothing can be passed on
	fail    func(error)
}

// parcel is a letter that this node has, and what came of it.
type parcel struct {
	lease    tandem.Lease
	letter   *letter
	out      []*letter // to be passed on
	over     []bool    // of out: it has ended
	dead     []*letter // of out: those that ended badly, as they were when this step got them
	canceled bool

	sealed   [][]byte // of out, that many as are stored
	pieces   [][]byte // what is recorded to have become of it, in place of out
	revision uint64   // of the record or the claim; zero means none
	object   string   // of a record that is too large for a message
}

func newHop(h *hop) *hop {
	h.held, h.settled, h.flushed = map[*parcel]struct{}{}, make(chan *parcel, 256), make(chan struct{})
	return h
}

// Starts is engine.Feed's.
func (h *hop) Starts(ctx context.Context, yield func(engine.Start) bool) error {
	for h.turn(ctx); ctx.Err() == nil; h.turn(ctx) {
		leases, err := h.in.Take(ctx, h.most)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if again(err) && !h.wait.over() {
				rest(ctx, time.Second)
				continue
			}
			return err
		}
		// From here on all of them are renewed: to open the first may take as long as a cluster takes to choose its leaders.
		parcels := h.hold(leases)
		for i, p := range parcels {
			if !h.begin(ctx, p) {
				continue
			}
			st := engine.Start{ID: p.letter.ID, Root: p.letter.Root, Source: p.letter.source, Value: p.letter.value, Earlier: p.letter.earlier,
				Attempts: p.letter.Attempts, Elapsed: time.Duration(p.letter.Elapsed), Tag: p}
			if !yield(st) {
				for _, p := range parcels[i+1:] {
					h.drop(p)
				}
				h.give(ctx, leases[i+1:])
				return nil
			}
		}
	}
	return nil
}

// Each is tandem.Source's; a Feed is read by Starts.
func (h *hop) Each(context.Context, func(string, tandem.Value) bool) error { return nil }

// Total is tandem.Source's.
func (h *hop) Total() int64 { return -1 }

// leave gives back what could not be begun.
func (h *hop) leave(ctx context.Context, p *parcel) (run bool) {
	h.drop(p)
	h.give(ctx, []tandem.Lease{p.lease})
	rest(ctx, firstPause)
	return false
}

// hold notes what this node has.
func (h *hop) hold(leases []tandem.Lease) []*parcel {
	parcels := make([]*parcel, len(leases))
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, l := range leases {
		parcels[i] = &parcel{lease: l}
		h.held[parcels[i]] = struct{}{}
	}
	return parcels
}

// begin opens a letter. It is false when there is nothing to run. While the store or the records choose a leader it waits: given back, the letter would come again only
// when its lease has lapsed, here or elsewhere. It waits no longer than a minute, so that one that cannot be opened does not keep those behind it for ever.
func (h *hop) begin(ctx context.Context, p *parcel) (run bool) {
	l := p.lease
	within, cancel := context.WithTimeout(ctx, openWait)
	defer cancel()
	err := h.wait.try(within, func() (err error) { p.letter, err = open(within, h.store, l.Message()); return err })
	switch {
	case errors.Is(err, jetstream.ErrNoObject): // who had it before has passed it on, and could not end its lease
		h.drop(p)
		_ = h.in.Done(ctx, l)
		return false
	case err != nil && (again(err) || within.Err() != nil):
		return h.leave(ctx, p)
	case err != nil:
		h.drop(p)
		_ = l.Retry(ctx, err)
		return false
	}
	if jetstream.Again(l) {
		err := h.wait.try(within, func() (err error) { run, err = h.claim(within, p); return err })
		switch {
		case err != nil:
			return h.leave(ctx, p)
		case p.pieces != nil:
			h.settled <- p
			return false
		case !run: // who had it before has passed it on meanwhile
			h.drop(p)
			return false
		}
	}
	if l.Attempt() > MaxLost {
		letter := p.letter
		letter.Outcome = tandem.Crashed
		letter.Error = &failure{Op: "run", On: h.step, Kind: tandem.KindCrash, Reason: "lost",
			Message: fmt.Sprintf("%d times the node that had it was lost before it ended", MaxLost), Hint: "it may take its machine down: look at its memory, or run it alone with --item"}
		p.dead = append(p.dead, p.died(letter, h.step))
		p.out, p.over = append(p.out, letter), append(p.over, true)
		h.settled <- p
		return false
	}
	return true
}

// Write is tandem.Sink's: it notes what came of each parcel. They go on when all of one is there; see settle.
func (h *hop) Write(ended []*tandem.Task) (int, error) {
	for _, t := range ended {
		p, ok := engine.TagOf(t).(*parcel)
		if !ok {
			continue
		}
		if t.Result.Outcome == tandem.Canceled {
			p.canceled = true
			continue
		}
		r := t.Result
		l := &letter{source: t.Source, value: t.Value}
		l.ID, l.Root, l.Splits, l.Attempts, l.Elapsed = t.ID, p.letter.Root, p.letter.Splits, t.Attempts, int64(t.Elapsed)
		over := h.last || r.Outcome != tandem.OK
		if over && h.redact != nil { // values between steps travel as they are
			r.Value, r.Err = h.redact(r.Value), redacted(r.Err, h.redact)
		}
		if over {
			l.Outcome, l.Error, l.Service, l.Node, l.Crash = r.Outcome, failureOf(r.Err), int64(r.Service), h.node, r.Crash
			if r.Outcome == tandem.OK {
				l.value = r.Value
			} else if bad(r.Outcome) {
				p.dead = append(p.dead, p.died(l, h.step))
			}
		} else {
			l.value, l.earlier = r.Value, t.Earlier
		}
		p.out, p.over = append(p.out, l), append(p.over, over)
	}
	return len(ended), nil
}

// redacted is err without secrets, as a copy.
func redacted(err *tandem.Error, redact func(tandem.Value) tandem.Value) *tandem.Error {
	if err == nil {
		return nil
	}
	c := *err
	for _, s := range []*string{&c.Message, &c.Hint, &c.Trace, &c.Reason} {
		*s = string(redact(tandem.TextValue(*s)).Data)
	}
	return &c
}

// Close is tandem.Sink's.
func (h *hop) Close() error { return nil }

// settle is engine.Flow's Settled: all that came of a parcel is noted.
func (h *hop) settle(tag any) {
	p := tag.(*parcel)
	p.number()
	share, rest := p.letter.Shares/int64(len(p.out)), p.letter.Shares%int64(len(p.out))
	for i, l := range p.out {
		l.Shares = share
		if i == 0 {
			l.Shares += rest
		}
	}
	h.settled <- p
}

// flush passes on what has settled, many at a time, until settled is closed.
func (h *hop) flush(ctx context.Context) {
	defer close(h.flushed)
	for p := range h.settled {
		lot := []*parcel{p}
	more:
		for len(lot) < 256 {
			select {
			case p, ok := <-h.settled:
				if !ok {
					break more
				}
				lot = append(lot, p)
			default:
				break more
			}
		}
		if h.lost == nil {
			h.lost = h.pass(ctx, lot)
			if h.lost != nil {
				h.fail(h.lost)
			}
		}
	}
}

// pass stores what came of parcels behind this step, and then ends their leases. When the store gets full in the middle, what is in it goes on first: that makes room.
func (h *hop) pass(ctx context.Context, lot []*parcel) error {
	lot, err := h.decide(ctx, lot)
	for err == nil && len(lot) > 0 {
		var n int
		var on, over []tandem.Message
		if n, on, over, err = h.seal(ctx, lot); err == nil {
			err = h.send(ctx, lot[:n], on, over)
		}
		lot = lot[n:]
	}
	return err
}

// seal makes messages of what came of the first n parcels, at least of one: for the next step, and for the submitter.
func (h *hop) seal(ctx context.Context, lot []*parcel) (n int, on, over []tandem.Message, err error) {
	for n, p := range lot {
		if p.pieces != nil {
			further, ended, err := p.messages(h.last)
			if err != nil {
				return n, nil, nil, err
			}
			on, over = append(on, further...), append(over, ended...)
			continue
		}
		for i, l := range p.out {
			var m tandem.Message
			once := func() (err error) { m, err = h.sealed(ctx, p, l, &p.over[i]); return err }
			err := once()
			if err != nil && n > 0 && jetstream.Full(err) {
				return n, on, over, nil
			}
			if err != nil && again(err) {
				err = h.wait.try(ctx, once)
			}
			if err != nil {
				return n, nil, nil, err
			}
			if p.over[i] {
				over = append(over, m)
			} else {
				on = append(on, m)
			}
		}
	}
	return len(lot), on, over, nil
}

// sealed makes a message of a letter. What the store can never hold ends as failed, without the values.
func (h *hop) sealed(ctx context.Context, p *parcel, l *letter, over *bool) (tandem.Message, error) {
	store := h.store
	if *over { // the submitter takes it, and needs no room for that
		store = store.Within(1)
	}
	m, err := l.seal(ctx, store, h.name)
	e, ok := errors.AsType[*tandem.Error](err)
	if !ok || e.Kind != tandem.KindTooLarge {
		return m, err
	}
	l.Outcome, l.Error, l.Object, l.Node = tandem.Failed, failureOf(e), "", h.node
	l.value, l.source, l.earlier = tandem.Value{}, tandem.Value{}, nil
	p.dead = append(p.dead, p.died(l, h.step))
	*over = true
	return l.seal(ctx, store, h.name)
}

// send puts messages behind this step and ends the leases of the parcels that they came of.
func (h *hop) send(ctx context.Context, lot []*parcel, on, over []tandem.Message) error {
	leases := make([]tandem.Lease, len(lot))
	for i, p := range lot {
		leases[i] = p.lease
	}
	if h.packs {
		over = pack(over)
	}
	// First what is kept of those that ended badly: when the submitter has a line it can be tried again. (A node that dies in between leaves one of an item that may yet end
	// well elsewhere.) A store that is full gets room when what is behind this step goes on, so there it comes last.
	full := false
	err := h.wait.try(ctx, func() error {
		err := h.dead.put(ctx, lot)
		if full = jetstream.Full(err); full {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	for q, m := range map[tandem.Queue][]tandem.Message{h.next: on, h.end: over} {
		if len(m) > 0 {
			if err := h.wait.try(ctx, func() error { return q.Put(ctx, m...) }); err != nil {
				return err
			}
		}
	}
	if full {
		if err := h.wait.try(ctx, func() error { return h.dead.put(ctx, lot) }); err != nil {
			return err
		}
	}
	err = h.in.Done(ctx, leases...)
	lost := err != nil
	if errors.Is(err, tandem.ErrLost) || again(err) && !h.wait.over() {
		err = nil // it may be run once more, here or elsewhere, and the submitter counts it once
	}
	h.mu.Lock()
	for _, p := range lot {
		delete(h.held, p)
	}
	h.mu.Unlock()
	if !lost {
		h.unrecord(ctx, lot)
	}
	for _, p := range lot {
		if !lost && p.letter.Object != "" && (len(p.out) != 1 || p.out[0].Object != p.letter.Object) {
			p.letter.forget(ctx, h.store)
		}
	}
	return err
}

// beat renews every lease until ctx is done.
func (h *hop) beat(ctx context.Context) {
	tick := time.NewTicker(Lease / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		h.mu.Lock()
		all := make([]*parcel, 0, len(h.held))
		for p := range h.held {
			all = append(all, p)
		}
		h.mu.Unlock()
		for _, p := range all {
			_ = p.lease.Extend(ctx) // one that is lost is somebody else's now; what comes of it here is counted once
		}
	}
}

// release gives back what is still here.
func (h *hop) release(ctx context.Context) {
	h.mu.Lock()
	leases := make([]tandem.Lease, 0, len(h.held))
	for p := range h.held {
		leases = append(leases, p.lease)
	}
	clear(h.held)
	h.mu.Unlock()
	h.give(ctx, leases)
}

// give gives back leases, for as long as the lease of one lasts: what cannot be given back by then comes back by itself.
func (h *hop) give(ctx context.Context, leases []tandem.Lease) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), Lease/2)
	defer cancel()
	for _, l := range leases {
		if ctx.Err() != nil || h.wait.over() || h.gone() {
			return
		}
		_ = l.Release(ctx)
	}
}

// serve runs the step until ctx is done, or the queue fails. Stopping is no failure: what runs goes on for grace, then it is given back.
func (h *hop) serve(ctx context.Context, e *engine.Engine, flow engine.Flow, grace func() time.Duration, hard context.Context) error {
	running, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	h.fail = func(err error) { cancel(err) }
	defer context.AfterFunc(hard, func() { cancel(context.Cause(ctx)) })()
	over := make(chan struct{})
	var beside sync.WaitGroup
	beside.Go(func() {
		select {
		case <-ctx.Done():
		case <-over:
			return
		}
		e.Drain()
		t := time.NewTimer(grace())
		defer t.Stop()
		select {
		case <-t.C:
			cancel(context.Cause(ctx))
		case <-over:
		}
	})
	beating, still := context.WithCancel(running)
	beside.Go(func() { h.beat(beating) })
	go h.flush(running)
	h.redact, flow.Redact = flow.Redact, nil
	flow.Source, flow.Sink, flow.Settled, flow.Journal, flow.Failures, flow.Order = h, h, h.settle, nil, engine.Failures{}, false
	_, err := e.Run(running, flow)
	close(h.settled)
	<-h.flushed
	still()
	close(over)
	beside.Wait()
	h.release(context.WithoutCancel(ctx))
	if ctx.Err() != nil {
		return nil
	}
	return err
}
