package queue

import (
	"context"
	"slices"
	"time"

	"tandem"
)

// kill moves a leased entry to the dead letters.
func (q *Memory) kill(e *entry, reason string, now time.Duration) error {
	if len(q.dead) >= tandem.MaxDead {
		return tandem.ErrFull
	}
	q.leased.remove(e)
	e.generation++
	q.bury(e, reason, now)
	return nil
}

func (q *Memory) bury(e *entry, reason string, now time.Duration) {
	q.dead = append(q.dead, tandem.DeadMessage{Message: e.m, Attempts: int(e.attempt), Reason: reason, Time: time.Now()})
	q.left(e, now)
}

// Dead is tandem.Queue's.
func (q *Memory) Dead(_ context.Context, most int) ([]tandem.DeadMessage, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.expire(q.now())
	return slices.Clone(q.dead[:min(most, len(q.dead))]), nil
}

// Bury is tandem.Queue's.
func (q *Memory) Bury(_ context.Context, id string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	_, err := q.exhume(id)
	return err
}

// Revive is tandem.Queue's.
func (q *Memory) Revive(ctx context.Context, id string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	d, err := q.exhume(id)
	if err != nil {
		return err
	}
	delete(q.known, id) // it is meant to come again
	if err := q.put(ctx, q.prepare([]tandem.Message{d.Message}), true); err != nil {
		q.dead = append(q.dead, d)
		return err
	}
	return nil
}

func (q *Memory) exhume(id string) (tandem.DeadMessage, error) {
	q.expire(q.now())
	i := slices.IndexFunc(q.dead, func(d tandem.DeadMessage) bool { return d.ID == id })
	if i < 0 {
		return tandem.DeadMessage{}, &tandem.Error{Op: "find the dead letter", On: id, Kind: tandem.KindInvalid, Message: "there is none of this ID in queue " + q.cfg.Name}
	}
	d := q.dead[i]
	q.dead = slices.Delete(q.dead, i, i+1)
	return d, nil
}
