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
}

// orderTTL is how long an order to a node that does not listen is kept.
const orderTTL = 10 * time.Minute

func (h *Hub) orders(ctx context.Context) (*jetstream.Table, error) {
	return h.e.Table(ctx, "orders", orderTTL)
}

// Drain tells a node to take nothing new, to let what runs end within so long, and to stop.
func (h *Hub) Drain(ctx context.Context, node, by string, within time.Duration) error {
	nodes, err := h.Nodes(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(nodes, func(i Info) bool { return i.Name == node }) {
		return &tandem.Error{Op: "drain", On: node, Kind: tandem.KindInvalid, Message: "no node of this name is there", Hint: "tandem nodes ls lists them"}
	}
	t, err := h.orders(ctx)
	if err != nil {
		return err
	}
	b, err := json.Marshal(order{within, by, time.Now()})
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
			n.within.Store(int64(max(o.Within, time.Second)))
			n.mu.Lock()
			n.info.Drains = true
			n.mu.Unlock()
			stop(errors.New("drained by " + o.By))
		}, nil)
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
