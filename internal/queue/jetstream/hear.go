package jetstream

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// How long nothing may be heard of what was put before it counts as lost, with the server that had it: the first time, and at most. Each time in a row it is twice as
// long, for a network that is only slow. Who puts once more what had arrived does no harm where the stream knows its ID. What has none is waited for as long as may be.
const (
	firstSilence = 5 * time.Second
	mostSilence  = 30 * time.Second
)

// hearing waits for the answers of one stream.
type hearing struct {
	lost atomic.Int32 // times in a row that nothing was heard
}

// patience is how long nothing may be heard of messages.
func (h *hearing) patience(all []*nats.Msg) time.Duration {
	for _, m := range all {
		if len(m.Header[nats.MsgIdHdr]) == 0 {
			return mostSilence
		}
	}
	return min(firstSilence<<h.lost.Load(), mostSilence)
}

func (h *hearing) nothing() error {
	h.lost.Store(min(h.lost.Load()+1, 3))
	return nats.ErrTimeout
}

// all waits until every message is stored or refused. An error of refused ends it.
func (h *hearing) all(ctx context.Context, within time.Duration, acks []jetstream.PubAckFuture, refused func(i int, err error) error) error {
	silence := time.NewTimer(within)
	defer silence.Stop()
	for i, ack := range acks {
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			if err := refused(i, err); err != nil {
				return err
			}
		case <-silence.C:
			return h.nothing()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		silence.Reset(within)
	}
	h.lost.Store(0)
	return nil
}
