package cluster

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"tandem/engine"
	"tandem/internal/queue/jetstream"
)

// neighbours is what the nodes of a cluster say of themselves, kept up to date in one of them.
type neighbours struct {
	mu    sync.Mutex
	last  map[string]heard
	since time.Time // we listen; zero while we do not
}

type heard struct {
	Info
	at time.Time // by our clock
}

// watch listens until ctx is done and calls changed after each word.
func (b *neighbours) watch(ctx context.Context, h *Hub, changed func()) {
	for ; ctx.Err() == nil; pause(ctx, time.Second) {
		b.mu.Lock()
		b.since = time.Now()
		b.mu.Unlock()
		_ = h.nodes.Watch(ctx, func(e jetstream.Entry) {
			var i Info
			b.mu.Lock()
			if b.last == nil {
				b.last = map[string]heard{}
			}
			if e.Gone || json.Unmarshal(e.Value, &i) != nil {
				delete(b.last, e.Key)
			} else {
				b.last[e.Key] = heard{i, time.Now()}
			}
			b.mu.Unlock()
			changed()
		}, nil)
	}
}

// serving counts the steps of a run that nodes other than one serve and that ours is true for. A node that has said nothing for [NodeTTL] is gone.
func (b *neighbours) serving(run, but string, ours func(step string) bool) (n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for name, i := range b.last {
		if time.Since(i.at) > NodeTTL {
			delete(b.last, name)
			continue
		}
		for _, s := range i.Steps {
			if name != but && s.Run == run && s.State == Serving && ours(s.Step) {
				n++
			}
		}
	}
	return n
}

// serves tells whether a node lives, and when it began to serve a step; zero when it does not.
func (b *neighbours) serves(node, run, step string) (born int64, lives bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i, ok := b.last[node]
	if !ok || time.Since(i.at) > NodeTTL {
		return 0, false
	}
	for _, s := range i.Steps {
		if s.Run == run && s.Step == step && s.State == Serving {
			return s.Born, true
		}
	}
	return 0, true
}

// listening tells whether every node that lives must have been heard.
func (b *neighbours) listening(d time.Duration) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.since.IsZero() && time.Since(b.since) > d
}

// Serving is the state of a step that a node runs.
const Serving = "serving"

// share makes the limits of step i those of all nodes together: each has an equal part. The steps of a pool have it together too.
func (w *work) share(flow *engine.Flow, i int) {
	s, among := &flow.Steps[i], &w.among[i]
	if s.Pool != "" {
		l := flow.Pools[s.Pool]
		l.Among = among
		flow.Pools[s.Pool] = l
		return
	}
	if f, ok := s.Handler.(engine.Func); ok && f.Auto && s.Concurrency > 0 { // as many as an API takes, not as a machine has
		s.Limits.Concurrency = s.Concurrency
	}
	if s.Limits.Rate > 0 || s.Limits.Concurrency > 0 && !s.Limits.Auto {
		s.Limits.Among = among
	}
}

// count says how many have a part in the limits of each step.
func (n *Node) count() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, w := range n.works {
		w.mu.Lock()
		for i, s := range w.manifest.Steps {
			ours := func(name string) bool { return name == s.Name }
			if s.Pool != "" {
				ours = func(name string) bool {
					for _, o := range w.manifest.Steps {
						if o.Name == name {
							return o.Pool == s.Pool
						}
					}
					return false
				}
			}
			var here int64
			for j, o := range w.manifest.Steps {
				if ours(o.Name) && (w.steps[j].State == Serving || j == i) {
					here++
				}
			}
			w.among[i].Store(here + n.near.serving(w.manifest.Run, n.cfg.Name, ours))
		}
		w.mu.Unlock()
	}
}

// parts of a limit: among how many it is shared, by step.
type parts []atomic.Int64
