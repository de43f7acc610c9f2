package jetstream

import (
	"context"
	"errors"
	"hash/fnv"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tandem"
)

// Our headers; those of the user travel as User-NAME.
const (
	headID      = "Tandem-Id"
	headKey     = "Tandem-Key"
	headDue     = "Tandem-Not-Before" // nanoseconds since 1970
	headUser    = "User-"
	headReason  = "Tandem-Reason"
	headTries   = "Tandem-Attempts"
	headRevived = "Tandem-Revived"
)

func (q *Queue) encode(m *tandem.Message) (*nats.Msg, error) {
	if most := q.e.nc.MaxPayload(); int64(len(m.Body))+overhead > most || int64(len(m.Body)) > q.cfg.Bytes {
		return nil, &tandem.Error{Op: "put into the queue", On: q.cfg.Name, Kind: tandem.KindTooLarge,
			Message: "a body of " + strconv.Itoa(len(m.Body)) + " bytes is more than the queue (" + strconv.FormatInt(q.cfg.Bytes, 10) + ") or the server (" + strconv.FormatInt(most, 10) + ") takes",
			Hint:    "put what is large into the object store and its name into the queue"}
	}
	n := &nats.Msg{Subject: q.subject(m), Data: m.Body}
	if m.ID == "" && m.Key == "" && m.NotBefore.IsZero() && len(m.Header) == 0 {
		return n, nil // it is named when it is delivered: see unnamed
	}
	n.Header = make(nats.Header, 3+len(m.Header))
	if m.ID != "" {
		n.Header[nats.MsgIdHdr] = []string{m.ID}
	}
	if m.Key != "" {
		n.Header[headKey] = []string{m.Key}
	}
	if !m.NotBefore.IsZero() {
		n.Header[headDue] = []string{strconv.FormatInt(m.NotBefore.UnixNano(), 10)}
	}
	for k, v := range m.Header {
		n.Header[headUser+k] = []string{v}
	}
	return n, nil
}

// unnamed is the ID of a message that was put without: its place in the stream, and the moment at which it was stored, should a power cut take the last messages
// of the stream and the place be given again. Every delivery tells both, so nothing has to be stored, nor known for the dedupe window.
func unnamed(sequence uint64, stored int64) string {
	b := append(make([]byte, 0, 32), 'm')
	b = strconv.AppendUint(b, sequence, 36)
	return string(strconv.AppendInt(append(b, '-'), stored, 36))
}

func (q *Queue) subject(m *tandem.Message) string {
	if !q.cfg.Ordered {
		return q.unordered
	}
	return q.name + ".go." + q.partition(m)
}

func (q *Queue) partition(m *tandem.Message) string {
	if m.Key == "" {
		return strconv.Itoa(len(m.ID) % partitions)
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(m.Key))
	return strconv.Itoa(int(h.Sum32() % partitions))
}

// TryPut is tandem.Queue's.
func (q *Queue) TryPut(ctx context.Context, m tandem.Message) error {
	n, err := q.encode(&m)
	if err != nil {
		return err
	}
	if q.ctx.Err() != nil {
		return tandem.ErrClosed
	}
	rest, err := q.publish(ctx, []*nats.Msg{n})
	if len(rest) > 0 {
		q.room.refused(true)
		q.purge.now()
		return tandem.ErrFull
	}
	return q.failed("put into the queue", err)
}

// Put is tandem.Queue's.
func (q *Queue) Put(ctx context.Context, messages ...tandem.Message) error {
	todo := make([]*nats.Msg, len(messages))
	for i := range messages {
		n, err := q.encode(&messages[i])
		if err != nil {
			return err
		}
		todo[i] = n
	}
	ctx, cancel := q.with(ctx)
	defer cancel()
	for p := (probe{size: 1, pause: shortestPause}); len(todo) > 0; {
		if q.ctx.Err() != nil {
			return tandem.ErrClosed
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, probing := q.places(ctx, &p, len(todo))
		if n == 0 {
			continue
		}
		rest, err := q.publish(ctx, todo[:n])
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return q.failed("put into the queue", err)
		}
		q.learn(&p, n, len(rest), probing)
		if len(rest) == 0 {
			todo = todo[n:]
		} else {
			todo = append(rest[:len(rest):len(rest)], todo[n:]...)
		}
	}
	return nil
}

// publish sends messages and returns those for which there was no room.
func (q *Queue) publish(ctx context.Context, todo []*nats.Msg) (rest []*nats.Msg, err error) {
	switch {
	case q.fast:
		return q.publishFast(ctx, todo)
	case q.cfg.Ordered: // one by one: with many under way a refused one would come behind those after it
		for i, n := range todo {
			if _, err := q.e.js.PublishMsg(ctx, n); err != nil {
				if isFull(err) {
					return todo[i:], nil
				}
				return nil, err
			}
		}
		return nil, nil
	case q.purges():
		return q.together.publish(ctx, todo)
	}
	return q.publishMany(ctx, todo)
}

func (q *Queue) publishMany(ctx context.Context, todo []*nats.Msg) (rest []*nats.Msg, err error) {
	acks := make([]jetstream.PubAckFuture, 0, len(todo))
	for _, n := range todo {
		ack, err := q.e.js.PublishMsgAsync(n, jetstream.WithStallWait(mostSilence))
		if err != nil {
			return nil, err
		}
		acks = append(acks, ack)
	}
	err = q.hearing.all(ctx, q.hearing.patience(todo), acks, func(i int, err error) error {
		if !isFull(err) {
			return err
		}
		again := nats.NewMsg(todo[i].Subject) // the client has put its reply address into the old one
		again.Header, again.Data = todo[i].Header, todo[i].Data
		rest = append(rest, again)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return rest, nil
}

func isFull(err error) bool {
	a, ok := errors.AsType[*jetstream.APIError](err)
	if !ok || a.ErrorCode == 10054 { // too many bytes
		return ok
	}
	// 10077 is all that can go wrong with storing, and its text tells what did.
	return a.ErrorCode == 10077 && strings.Contains(a.Description, "maximum ") && strings.Contains(a.Description, " exceeded")
}

// failed words an error of the server; nil stays nil, and causes of a context stay what they are.
func (q *Queue) failed(op string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, tandem.ErrClosed) {
		return err
	}
	e := &tandem.Error{Op: op, On: q.cfg.Name, Kind: tandem.KindQueue, Message: err.Error(), Err: err, Again: tandem.AgainYes}
	a, ok := errors.AsType[*jetstream.APIError](err)
	switch {
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		e.Message, e.Hint, e.Again = "the server has no JetStream", "start nats-server with -js, or enable it for the account", tandem.AgainNever
	case errors.Is(err, nats.ErrNoResponders):
		e.Hint = "JetStream does not answer: the cluster may be choosing a leader, or has too few servers left; or its disk is full, which the node with the server says"
	case ok && a.ErrorCode == 10047:
		e.Message, e.Hint = "the server has no storage left for it", "give the server more, or remove old runs"
	case ok && a.ErrorCode == noPeers:
		e.Hint = "the cluster has fewer servers than the copies asked for, or does not know them yet"
	case ok && a.ErrorCode == 10074:
		e.Hint, e.Again = "a server alone keeps one copy: use --replicas 1, or connect to a cluster", tandem.AgainNever
	}
	return e
}
