package cluster

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"tandem"
	"tandem/engine"
	"tandem/internal/queue/jetstream"
)

// Submission is a run as its submitter sees it: it feeds the source to the cluster, and is itself the source of what comes back. It is an engine.Feed for a flow
// without steps, so that the sink, the journal and the failure policy are those of every run.
type Submission struct {
	Hub      *Hub
	Manifest Manifest
	Source   tandem.Source
	Dir      string               // where it notes how far it is
	Have     func(id string) bool // whether the sink has the line of an item, from an earlier part of the run; nil means none has
	Before   int64                // how many those are
	Say      func(waits string)   // told what the run waits for when that changes, empty when it goes on; may be nil
	Again    []DeadItem           // run these again, each from the step where it ended, in place of the source; see Hub.Dead
	Detach   <-chan struct{}      // closed to stop, when the source has been read, without waiting for results; may be nil

	mu      sync.Mutex
	ledger  *ledger
	results *jetstream.Queue
	done    []tandem.Lease // all that they hold is written: to be ended
	letters []*letter      // written, since leases were ended last
	sent    envelopes
	flying  map[string][]receipt // by id what is on its way to the sink, with what has come of the same meanwhile
	some    chan struct{}        // told that there is something in done
	full    string               // why the source is not read further
	ending  sync.Mutex
	tried   tried
}

// Total is tandem.Source's.
func (s *Submission) Total() int64 { return s.Source.Total() }

// Each is tandem.Source's; a Feed is read by Starts.
func (s *Submission) Each(context.Context, func(string, tandem.Value) bool) error { return nil }

// Starts is engine.Feed's: it returns when everything of the source has come back.
func (s *Submission) Starts(ctx context.Context, yield func(engine.Start) bool) (err error) {
	if s.ledger, err = openLedger(s.Dir, s.Have, s.Before); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.ledger.close()) }()
	if err = s.Hub.patience().try(ctx, func() (err error) { s.results, err = s.Hub.queue(ctx, s.Manifest, len(s.Manifest.Steps)); return err }); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, s.end(context.WithoutCancel(ctx)), s.results.Close())
	}()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var feeding sync.WaitGroup
	defer feeding.Wait()
	defer cancel(nil)
	feeding.Go(func() { s.follow(ctx, cancel) })
	feeding.Go(func() { s.sent.renew(ctx) })
	s.mu.Lock()
	s.some, s.flying = make(chan struct{}, 1), map[string][]receipt{}
	s.mu.Unlock()
	feeding.Go(func() {
		if err := s.ends(ctx); err != nil && ctx.Err() == nil {
			cancel(err)
		}
	})
	feeds, fed := context.WithCancel(ctx)
	feeding.Go(func() {
		defer fed()
		if err := s.feed(ctx); err != nil && ctx.Err() == nil {
			cancel(err)
		}
	})
	err = s.collect(ctx, feeds, yield)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) && err == nil {
		err = cause
	}
	return err
}

// feed puts what the source gives into the first queue, and goes on where an earlier part of the run was.
func (s *Submission) feed(ctx context.Context) error {
	if _, whole := s.ledger.fed(); whole {
		return nil
	}
	if s.Again != nil {
		return s.feedAgain(ctx)
	}
	var first *jetstream.Queue
	if err := s.Hub.patience().try(ctx, func() (err error) { first, err = s.Hub.queue(ctx, s.Manifest, 0); return err }); err != nil {
		return err
	}
	defer func() { _ = first.Close() }()
	skip, _ := s.ledger.fed()
	var lot []tandem.Message
	var bad error
	put := func() bool {
		if bad = s.Hub.patience().try(ctx, func() error { return first.Put(ctx, lot...) }); bad == nil {
			bad = s.ledger.feed(int64(len(lot)), false)
		}
		lot = lot[:0]
		return bad == nil
	}
	store, wait := s.Hub.objects.Within(s.Manifest.part(-1)), patience{s.Hub.e.Gone, s.stuck}
	last := time.Now()
	err := s.Source.Each(ctx, func(id string, v tandem.Value) bool {
		if skip > 0 {
			skip--
			return true
		}
		l := &letter{source: v, value: v}
		l.ID, l.Root, l.Shares = id, id, sharesIn1
		var m tandem.Message
		if bad = wait.try(ctx, func() (err error) {
			if m, err = l.seal(ctx, store, s.Manifest.Run); jetstream.Full(err) && len(lot) > 0 && !put() { // what is stored goes on, and makes room
				return bad
			}
			return err
		}); bad != nil {
			return false
		}
		lot = append(lot, m)
		if len(lot) >= 256 || time.Since(last) > 50*time.Millisecond {
			last = time.Now()
			return put()
		}
		return true
	})
	if err == nil && bad == nil && ctx.Err() == nil && len(lot) > 0 {
		put()
	}
	if err = errors.Join(err, bad); err != nil || ctx.Err() != nil {
		return err
	}
	if err := s.ledger.feed(0, true); err != nil {
		return err
	}
	n, _ := s.ledger.fed()
	return s.Hub.patience().try(ctx, func() error {
		return s.Hub.Change(ctx, s.Manifest.Run, func(m *Manifest) error { m.Items = n; return nil })
	})
}

// collect yields what comes back until all of it is there. The context feeds ends with the feeding, which may be after the last has come back.
func (s *Submission) collect(ctx, feeds context.Context, yield func(engine.Start) bool) error {
	ask := asking(askMost)
	if s.Manifest.Packs {
		ask = askFirst
	}
	for {
		if n, whole := s.ledger.fed(); whole && s.ledger.roots() == n {
			return nil
		}
		// It waits for as long as there may be more, however far away the servers are: what arrives after a deadline of ours would have to be given back.
		wait := ctx
		if feeds.Err() == nil {
			wait = feeds
		}
		asked := time.Now()
		leases, err := s.results.Take(wait, int(ask))
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if wait.Err() != nil {
				continue
			}
			if again(err) && !s.Hub.e.Gone() {
				rest(ctx, time.Second)
				continue
			}
			return err
		}
		ask.learn(leases, time.Since(asked))
		for i, lease := range leases {
			more, err := s.sort(ctx, lease, yield)
			if err != nil {
				return err
			}
			if !more {
				s.give(ctx, leases[i:])
				return nil
			}
		}
	}
}

// sort yields what one message holds. It is false when no more is wanted.
func (s *Submission) sort(ctx context.Context, lease tandem.Lease, yield func(engine.Start) bool) (more bool, err error) {
	bodies, err := lettersIn(lease.Message())
	if err != nil {
		return false, err
	}
	in := &envelope{lease, len(bodies)}
	s.sent.add(in)
	for _, body := range bodies {
		m := tandem.Message{Body: body}
		l, err := parse(&m)
		if err != nil {
			return false, err
		}
		if l.Object != "" {
			useless, err := s.ledger.knows(l)
			if err != nil {
				return false, err
			}
			if useless { // its values may be gone from the store already
				s.stray(in, l)
				continue
			}
		}
		if err := l.fill(ctx, s.Hub.objects, &m); again(err) {
			s.sent.drop(in) // its lease lapses, and it comes again
			continue
		} else if err != nil {
			return false, err
		}
		first, whole, err := s.ledger.take(l)
		if err != nil {
			return false, err
		}
		if !first {
			s.stray(in, l)
			continue
		}
		s.mu.Lock()
		s.flying[l.ID] = nil
		s.mu.Unlock()
		r := &tandem.Result{Outcome: l.Outcome, Value: l.value, Err: l.Error.err(), Service: time.Duration(l.Service), Crash: l.Crash}
		if l.Outcome == tandem.OK {
			r.Count = 1
		}
		if !yield(engine.Start{ID: l.ID, Root: l.Root, Source: l.source, Value: l.value, Attempts: l.Attempts, Elapsed: time.Duration(l.Elapsed), Ended: r, Made: !whole, Tag: receipt{in, l}}) {
			return false, nil
		}
	}
	return true, nil
}

// give gives back results that were taken and not looked at to their end: what is known of one that comes again is left out.
func (s *Submission) give(ctx context.Context, leases []tandem.Lease) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), Lease/2)
	defer cancel()
	for _, l := range leases {
		if ctx.Err() != nil || l.Release(ctx) != nil {
			return
		}
	}
}

type receipt struct {
	in     *envelope
	letter *letter
}

// Settled is engine.Flow's: the sink has the line.
func (s *Submission) Settled(tag any) {
	r := tag.(receipt)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written(r)
	for _, again := range s.flying[r.letter.ID] {
		s.written(again)
	}
	delete(s.flying, r.letter.ID)
}

// stray takes what there is no use for. It may be the very message whose line is on its way to the sink, come again: it must not end before that line is there.
func (s *Submission) stray(in *envelope, l *letter) {
	l.stray = true
	s.mu.Lock()
	defer s.mu.Unlock()
	if before, ok := s.flying[l.ID]; ok {
		s.flying[l.ID] = append(before, receipt{in, l})
		return
	}
	s.written(receipt{in, l})
}

// written notes that a letter needs its message no more. With the last of one its lease is to be ended. The mutex is held.
func (s *Submission) written(r receipt) {
	s.letters = append(s.letters, r.letter)
	if r.in.left--; r.in.left > 0 {
		return
	}
	s.sent.drop(r.in)
	s.done = append(s.done, r.in.lease)
	select {
	case s.some <- struct{}{}:
	default:
	}
}

// ends ends the leases of what is written until ctx is done: all that there is at a time.
func (s *Submission) ends(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.some:
		}
		if err := s.end(context.WithoutCancel(ctx)); err != nil { // what it has begun to end it ends
			return err
		}
	}
}

// end ends the leases of what is written.
func (s *Submission) end(ctx context.Context) error {
	s.ending.Lock()
	defer s.ending.Unlock()
	s.mu.Lock()
	if len(s.done) == 0 { // of what is written some may be of messages that hold more
		s.mu.Unlock()
		return nil
	}
	done, letters := s.done, s.letters
	s.done, s.letters = nil, nil
	s.mu.Unlock()
	if slices.ContainsFunc(letters, func(l *letter) bool { return l.stray }) {
		if err := s.ledger.sync(); err != nil {
			return err
		}
	}
	err := s.results.Done(ctx, done...)
	if errors.Is(err, tandem.ErrLost) || again(err) {
		return s.buried(ctx, letters) // they come again, and are known
	}
	if err == nil {
		err = s.buried(ctx, letters)
	}
	for _, l := range letters {
		l.forget(ctx, s.Hub.objects)
	}
	return err
}
