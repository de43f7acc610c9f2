package cluster

import (
	"context"
	"slices"
	"time"
)

// yields looks, a few times a second, whether a run of a higher priority has items that this node could take, and holds the others back while it has. Nothing
// is asked of the cluster while all runs here have one priority.
func (n *Node) yields(ctx context.Context) {
	for ; ctx.Err() == nil; pause(ctx, 400*time.Millisecond) {
		n.mu.Lock()
		works := make([]*work, 0, len(n.works))
		for _, w := range n.works {
			works = append(works, w)
		}
		n.mu.Unlock()
		slices.SortFunc(works, func(a, b *work) int { return b.manifest.Priority - a.manifest.Priority })
		busy, hold := false, false
		for i, w := range works {
			if i > 0 && w.manifest.Priority < works[i-1].manifest.Priority {
				hold = busy
			}
			w.held.Store(hold)
			if last := works[len(works)-1]; !busy && w.manifest.Priority > last.manifest.Priority {
				busy = w.ready(ctx)
			}
		}
	}
}

// ready tells whether an item waits in front of a step that runs here.
func (w *work) ready(ctx context.Context) bool {
	w.mu.Lock()
	queues := slices.Clone(w.queues)
	w.mu.Unlock()
	for _, q := range queues {
		if q == nil {
			continue
		}
		if s, err := q.Stats(ctx); err == nil && s.Ready > 0 {
			return true
		}
	}
	return false
}

// wait waits while a run of a higher priority has items here.
func (w *work) wait(ctx context.Context) {
	for w.held.Load() && ctx.Err() == nil {
		pause(ctx, 50*time.Millisecond)
	}
}
