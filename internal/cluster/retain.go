package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"tandem/internal/queue/jetstream"
)

// How long a run that has ended is known to the cluster, with its dead letters and its bundle.
const (
	KeepAge  = 7 * 24 * time.Hour
	KeepRuns = 100
)

const tidyEvery = 15 * time.Minute

// tidies removes old runs now and then. Of the nodes of a cluster one does it: the one that gets its name into the table first.
func (n *Node) tidies(ctx context.Context) {
	for pause(ctx, time.Minute); ctx.Err() == nil; pause(ctx, time.Minute) {
		if mine, err := n.hub.duty(ctx, "tidy", n.cfg.Name, tidyEvery); !mine || err != nil {
			continue
		}
		if gone, err := n.hub.Tidy(ctx, time.Now(), KeepAge, KeepRuns); err != nil {
			n.event("node", n.cfg.Name, "", "tidying", err.Error())
		} else {
			for _, run := range gone {
				n.event("run", run, "", "removed", "it ended long ago")
			}
		}
	}
}

type lastDone struct {
	By string    `json:"by"`
	At time.Time `json:"at"`
}

// duty tells whether something that is to be done once in a while by one of all is now ours to do.
func (h *Hub) duty(ctx context.Context, what, who string, every time.Duration) (bool, error) {
	t, err := h.e.Table(ctx, "duties", 0)
	if err != nil {
		return false, err
	}
	e, err := t.Get(ctx, what)
	if err != nil {
		return false, err
	}
	var last lastDone
	if !e.Gone && json.Unmarshal(e.Value, &last) == nil && time.Since(last.At) < every {
		return false, nil
	}
	b, err := json.Marshal(lastDone{who, time.Now()})
	if err != nil {
		return false, err
	}
	_, err = t.Swap(ctx, what, b, e.Revision)
	if errors.Is(err, jetstream.ErrChanged) {
		return false, nil
	}
	return err == nil, err
}

// Tidy removes the runs that ended before age, and those beyond the newest so many that have ended.
func (h *Hub) Tidy(ctx context.Context, now time.Time, age time.Duration, most int) (gone []string, err error) {
	all, err := h.Runs(ctx)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(m Manifest) bool { return !m.over() })
	when := func(m Manifest) time.Time {
		if m.EndedAt.IsZero() {
			return m.Created
		}
		return m.EndedAt
	}
	slices.SortFunc(all, func(a, b Manifest) int { return when(b).Compare(when(a)) })
	for i, m := range all {
		if i < most && now.Sub(when(m)) < age {
			continue
		}
		if err := h.Erase(ctx, m.Run); err != nil {
			return gone, err
		}
		gone = append(gone, m.Run)
	}
	return gone, nil
}
