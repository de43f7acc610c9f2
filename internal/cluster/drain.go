package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"tandem"
	"tandem/internal/queue/jetstream"
)

// order is what a node is told.
type order struct {
	Within time.Duration `json:"within_ns"` // how long what runs may go on
	By     string        `json:"by"`
	At     time.Time     `json:"at"`
	Stay   bool          `json:"stay,omitempty"` // it takes nothing and goes on living
	Back   bool          `json:"back,omitempty"` // it takes work again
}

// orderTTL is how long an order to a node that does not listen is kept.
const orderTTL = 10 * time.Minute

func (h *Hub) orders(ctx context.Context) (*jetstream.Table, error) {
	return h.e.Table(ctx, "orders", orderTTL)
}

// Drain tells a node to take nothing new, to let what runs end within so long, and to stop.
func (h *Hub) Drain(ctx context.Context, node, by string, within time.Duration) error {
	return h.order(ctx, "drain", node, order{Within: within, By: by})
}

// Rest tells a node to take nothing new and to let what runs end within so long, and not to stop: Wake has it take work again.
func (h *Hub) Rest(ctx context.Context, node, by string, within time.Duration) error {
	return h.order(ctx, "drain", node, order{Within: within, By: by, Stay: true})
}

// Wake tells a node that rests to take work again.
func (h *Hub) Wake(ctx context.Context, node, by string) error {
	return h.order(ctx, "resume", node, order{By: by, Back: true})
}

func (h *Hub) order(ctx context.Context, what, node string, o order) error {
	nodes, err := h.Nodes(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(nodes, func(i Info) bool { return i.Name == node }) {
		return &tandem.Error{Op: what, On: node, Kind: tandem.KindInvalid, Message: "no node of this name is there", Hint: "tandem nodes ls lists them"}
	}
	t, err := h.orders(ctx)
	if err != nil {
		return err
	}
	o.At = time.Now()
	b, err := json.Marshal(o)
	if err != nil {
		return err
	}
	return t.Set(ctx, node, b)
}

// grace is how long what runs may go on, once it is to stop.
func (n *Node) grace() time.Duration {
	if d := n.within.Load(); d > 0 {
		return time.Duration(d)
	}
	return n.cfg.Grace
}

// listen waits for an order until ctx is done, and then calls stop. An order that was there before the node was for another of its name.
func (n *Node) listen(ctx context.Context, stop func(error)) {
	fresh := true
	for ; ctx.Err() == nil; pause(ctx, time.Second) {
		t, err := n.hub.orders(ctx)
		if err == nil && fresh {
			err = t.Delete(ctx, n.cfg.Name)
		}
		if err != nil {
			continue
		}
		fresh = false
		_ = t.Watch(ctx, func(e jetstream.Entry) {
			var o order
			if e.Key != n.cfg.Name || e.Gone || json.Unmarshal(e.Value, &o) != nil {
				return
			}
			_ = t.Delete(context.WithoutCancel(ctx), e.Key)
			if o.Back {
				n.wake(ctx)
				return
			}
			n.within.Store(int64(max(o.Within, time.Second)))
			n.mu.Lock()
			n.info.Drains, n.info.Stays = true, o.Stay
			n.mu.Unlock()
			if o.Stay {
				n.rest(ctx, o)
				return
			}
			stop(errors.New("drained by " + o.By))
		}, nil)
	}
}

// rest lets go of every run and takes none, until wake.
func (n *Node) rest(ctx context.Context, o order) {
	n.event("node", n.cfg.Name, "serving", "draining", "drained by "+o.By+", and stays")
	n.mu.Lock()
	var works []*work
	for _, w := range n.works {
		works = append(works, w)
	}
	n.mu.Unlock()
	for _, w := range works {
		n.leave(ctx, w, false)
	}
	n.tell()
}

// wake takes work again.
func (n *Node) wake(ctx context.Context) {
	n.mu.Lock()
	was := n.info.Stays
	n.info.Drains, n.info.Stays = false, false
	var last []jetstream.Entry
	for _, e := range n.last {
		last = append(last, e)
	}
	n.mu.Unlock()
	if !was {
		return
	}
	n.within.Store(0)
	n.event("node", n.cfg.Name, "draining", "serving", "")
	n.tell()
	for _, e := range last {
		n.see(ctx, e)
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
