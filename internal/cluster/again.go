package cluster

import (
	"context"
	"slices"

	"tandem"
)

// feedAgain puts dead items into the queues of the steps where they ended. In this run each is its own root.
func (s *Submission) feedAgain(ctx context.Context) error {
	var n int64
	for at, step := range s.Manifest.Steps {
		var lot []tandem.Message
		for _, d := range s.Again {
			if d.Step != step.Name {
				continue
			}
			l := &letter{source: d.letter.source, value: d.letter.value, earlier: d.letter.earlier}
			l.ID, l.Root, l.Shares = d.ID, d.ID, sharesIn1
			m, err := l.seal(ctx, s.Hub.objects, s.Manifest.Run)
			if err != nil {
				return err
			}
			lot = append(lot, m)
		}
		if len(lot) == 0 {
			continue
		}
		q, err := s.Hub.queue(ctx, s.Manifest, at)
		if err != nil {
			return err
		}
		for some := range slices.Chunk(lot, 256) {
			if err = q.Put(ctx, some...); err != nil {
				break
			}
		}
		if cerr := q.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return err
		}
		n += int64(len(lot))
	}
	if err := s.ledger.feed(n, true); err != nil {
		return err
	}
	return s.Hub.Change(ctx, s.Manifest.Run, func(m *Manifest) error { m.Items = n; return nil })
}

// tried is what a submission that tries again knows of its items; end holds its lock.
type tried struct {
	items map[string]*DeadItem
	parts map[string]map[string]int64 // shares of each root whose lines are in the sink, by item
}

// buried removes the dead letters of items that were tried again, when all the new lines of one are in the sink. One that ended badly once more stays: the node
// has put how it ended in place of the old.
func (s *Submission) buried(ctx context.Context, written []*letter) error {
	if s.Again == nil {
		return nil
	}
	dead, err := s.Hub.Dead(ctx, s.Manifest, true)
	if err != nil {
		return err
	}
	if s.tried.items == nil {
		s.tried = tried{map[string]*DeadItem{}, map[string]map[string]int64{}}
		for i := range s.Again {
			s.tried.items[s.Again[i].ID] = &s.Again[i]
		}
	}
	for _, l := range written {
		item := s.tried.items[l.Root]
		if item == nil || l.stray || bad(l.Outcome) && l.ID == l.Root {
			continue
		}
		parts := s.tried.parts[l.Root]
		if parts == nil {
			parts = map[string]int64{}
			s.tried.parts[l.Root] = parts
		}
		parts[l.ID] = l.Shares
		var sum int64
		for _, n := range parts {
			sum += n
		}
		if sum < sharesIn1 {
			continue
		}
		delete(s.tried.parts, l.Root)
		delete(s.tried.items, l.Root)
		if err := dead.Drop(ctx, item); err != nil {
			return err
		}
	}
	return nil
}

// Finish is called when the engine's run has returned, and does for the lines that were written last what is done for the others while it goes on. Their leases
// end with the run's queues.
func (s *Submission) Finish(ctx context.Context) error {
	s.mu.Lock()
	letters := s.letters
	s.done, s.letters = nil, nil
	s.mu.Unlock()
	err := s.buried(ctx, letters)
	for _, l := range letters {
		l.forget(ctx, s.Hub.objects)
	}
	return err
}
