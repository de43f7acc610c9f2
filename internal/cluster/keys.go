package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"tandem/internal/queue/jetstream"
)

// A step with a bound for each key (engine.PerKey) has it on all nodes together: a record for each key that is busy says which node has how many places of it, and
// nobody runs a task without a place. A node that dies has none any more when nothing was heard of it for [NodeTTL].

// places are those of the keys of one step, as one node takes them.
type places struct {
	hub  *Hub
	near *neighbours
	run  string
	step string
	node string
	most int
	born int64           // when the node began to serve the step: places from before are void
	over context.Context // done when the step is not served any more
}

// holder is a node that has places of a key.
type holder struct {
	Node   string `json:"node"`
	Born   int64  `json:"born"`
	Places int    `json:"places"`
}

// How long to wait before asking again for a place that is taken.
const (
	firstAsk = 20 * time.Millisecond
	mostAsk  = 500 * time.Millisecond
)

func (p *places) key(key string) string {
	sum := sha256.Sum256([]byte(p.step + "\x00" + key))
	return "key-" + hex.EncodeToString(sum[:12])
}

// Take is engine.Keys'.
func (p *places) Take(ctx context.Context, key string) error {
	begun, at := time.Now(), p.key(key)
	for pause := firstAsk; ; pause = min(2*pause, mostAsk) {
		got := false
		err := p.change(ctx, at, func(all []holder) []holder {
			all = slices.DeleteFunc(all, func(h holder) bool { return p.void(h, begun) })
			sum := 0
			for _, h := range all {
				sum += h.Places
			}
			if got = sum < p.most; !got {
				return nil
			}
			i := slices.IndexFunc(all, func(h holder) bool { return h.Node == p.node })
			if i < 0 {
				return append(all, holder{p.node, p.born, 1})
			}
			all[i].Places++
			return all
		})
		if got && err == nil {
			return nil
		}
		if !rest(ctx, pause/2+rand.N(pause)) {
			return context.Cause(ctx)
		}
	}
}

// Give is engine.Keys'. What cannot be given back because the cluster is away when the step ends is void: see void.
func (p *places) Give(key string) {
	at := p.key(key)
	ctx, cancel := context.WithCancel(context.WithoutCancel(p.over))
	defer cancel()
	defer context.AfterFunc(p.over, func() { time.AfterFunc(Lease/2, cancel) })()
	_ = p.hub.patience().try(ctx, func() error {
		return p.change(ctx, at, func(all []holder) []holder {
			i := slices.IndexFunc(all, func(h holder) bool { return h.Node == p.node && h.Born == p.born })
			if i < 0 {
				return nil
			}
			if all[i].Places--; all[i].Places == 0 {
				all = slices.Delete(all, i, i+1)
			}
			return all
		})
	})
}

// change changes who has places of a key, again when another was faster; nil leaves it as it is. A record that is empty goes.
func (p *places) change(ctx context.Context, at string, change func([]holder) []holder) error {
	for {
		e, err := p.hub.records.Get(ctx, p.run, at)
		if err != nil {
			return err
		}
		all := []holder{}
		if !e.Gone {
			if err := json.Unmarshal(e.Value, &all); err != nil {
				return err
			}
		}
		if all = change(all); all == nil {
			return nil
		}
		b, err := json.Marshal(all)
		if err != nil {
			return err
		}
		revision, err := p.hub.records.Swap(ctx, p.run, at, b, e.Revision)
		if errors.Is(err, jetstream.ErrChanged) {
			continue
		}
		if err == nil && len(all) == 0 {
			err = p.hub.records.Remove(ctx, p.run, at, revision)
		}
		return err
	}
}

// void tells whether a holder has its places no more: its node is dead, or serves the step anew, or has not served it for as long as we wait.
func (p *places) void(h holder, begun time.Time) bool {
	if h.Node == p.node {
		return h.Born != p.born
	}
	born, heard := p.near.serves(h.Node, p.run, p.step)
	switch {
	case !heard:
		return p.near.listening(NodeTTL)
	case born == 0:
		return time.Since(begun) > NodeTTL
	}
	return h.Born < born
}
