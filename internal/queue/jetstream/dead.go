package jetstream

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tandem"
)

func purgeSubject(s string) jetstream.StreamPurgeOpt { return jetstream.WithPurgeSubject(s) }

// deadOf is the subject of a dead letter: an ID may hold anything, a subject may not.
func (q *Queue) deadOf(id string) string {
	sum := sha256.Sum256([]byte(id))
	return q.name + ".dead." + hex.EncodeToString(sum[:12])
}

// bury copies the message to the dead letters and then removes it: killed in between, it is in both and comes again.
func (l *lease) bury(ctx context.Context, reason string) error {
	q := l.q
	n := nats.NewMsg(q.deadOf(l.message.ID))
	n.Data = l.message.Body
	for k, v := range l.d.head {
		n.Header[k] = v
	}
	n.Header.Set(headID, l.message.ID)
	n.Header.Set(nats.MsgIdHdr, "dead "+strconv.FormatUint(l.sequence, 10))
	n.Header.Set(headReason, reason)
	n.Header.Set(headTries, strconv.Itoa(l.attempt))
	for _, k := range []string{"Nats-Batch-Id", "Nats-Batch-Sequence", "Nats-Batch-Commit"} {
		n.Header.Del(k)
	}
	if _, err := q.e.js.PublishMsg(ctx, n); err != nil {
		if isFull(err) {
			return tandem.ErrFull
		}
		return q.failed("give up a message of the queue", err)
	}
	return q.ack(ctx, []*lease{l})
}

func deadMessage(m *jetstream.RawStreamMsg) tandem.DeadMessage {
	d := tandem.DeadMessage{Message: decode(m.Header, m.Data), Reason: m.Header.Get(headReason), Time: m.Time}
	d.Attempts, _ = strconv.Atoi(m.Header.Get(headTries))
	return d
}

// Dead is tandem.Queue's.
func (q *Queue) Dead(ctx context.Context, most int) (out []tandem.DeadMessage, err error) {
	info, err := q.dead.Info(ctx)
	if err != nil {
		return nil, q.failed("read the dead letters of", err)
	}
	for at := info.State.FirstSeq; at <= info.State.LastSeq && len(out) < min(most, int(info.State.Msgs)); at++ {
		m, err := q.dead.GetMsg(ctx, at)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return out, q.failed("read the dead letters of", err)
		}
		out = append(out, deadMessage(m))
	}
	return out, nil
}

func (q *Queue) letter(ctx context.Context, id string) (*jetstream.RawStreamMsg, error) {
	m, err := q.dead.GetLastMsgForSubject(ctx, q.deadOf(id))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, &tandem.Error{Op: "find the dead letter", On: id, Kind: tandem.KindInvalid, Message: "there is none of this ID in queue " + q.cfg.Name}
	}
	return m, q.failed("read the dead letters of", err)
}

// Bury is tandem.Queue's.
func (q *Queue) Bury(ctx context.Context, id string) error {
	if _, err := q.letter(ctx, id); err != nil {
		return err
	}
	return q.failed("remove a dead letter of", q.dead.Purge(ctx, purgeSubject(q.deadOf(id))))
}

// Revive is tandem.Queue's. Killed between its two halves it has put the message back and left the letter: it can be said again, and the message is put back once.
func (q *Queue) Revive(ctx context.Context, id string) error {
	m, err := q.letter(ctx, id)
	if err != nil {
		return err
	}
	message := deadMessage(m).Message
	n, err := q.encode(&message)
	if err != nil {
		return err
	}
	n.Header.Set(headID, id)
	n.Header.Set(nats.MsgIdHdr, id+" revived "+strconv.FormatUint(m.Sequence, 10))
	both, cancel := q.with(ctx)
	defer cancel()
	for todo := []*nats.Msg{n}; len(todo) > 0; {
		if todo, err = q.publishMany(both, todo); err != nil {
			return q.failed("put back into the queue", err)
		}
		if len(todo) > 0 {
			select {
			case <-both.Done():
				return context.Cause(both)
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	return q.failed("remove a dead letter of", q.dead.Purge(ctx, purgeSubject(q.deadOf(id))))
}

// Stats is tandem.Queue's. Delayed messages that have been delivered once count as leased, the others as ready; bytes are what the server stores.
func (q *Queue) Stats(ctx context.Context) (s tandem.QueueStats, err error) {
	work, err := q.work.Info(ctx)
	if err != nil {
		return s, q.failed("look at the queue", err)
	}
	dead, err := q.dead.Info(ctx)
	if err != nil {
		return s, q.failed("look at the queue", err)
	}
	for _, c := range q.from {
		info, err := c.Info(ctx)
		if err != nil {
			return s, q.failed("look at the queue", err)
		}
		s.Ready += int(info.NumPending)
		s.Leased += info.NumAckPending
	}
	s.Dead, s.Bytes = int(dead.State.Msgs), int64(work.State.Bytes)
	if s.Ready+s.Leased > 0 {
		s.Oldest = max(0, time.Since(work.State.FirstTime))
	} else {
		s.Bytes = 0
	}
	return s, nil
}
