package jetstream

import (
	"context"
	"errors"
	"hash/fnv"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

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
	n := nats.NewMsg(q.name + ".go." + q.partition(m))
	n.Data = m.Body
	id := m.ID
	if id == "" {
		id = nuid.Next()
	}
	n.Header.Set(nats.MsgIdHdr, id)
	n.Header.Set(headID, id)
	if m.Key != "" {
		n.Header.Set(headKey, m.Key)
	}
	if !m.NotBefore.IsZero() {
		n.Header.Set(headDue, strconv.FormatInt(m.NotBefore.UnixNano(), 10))
	}
	for k, v := range m.Header {
		n.Header[headUser+k] = []string{v}
	}
	return n, nil
}

func (q *Queue) partition(m *tandem.Message) string {
	if !q.cfg.Ordered {
		return "0"
	}
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
	_, err = q.e.js.PublishMsg(ctx, n, jetstream.WithExpectStream(q.name))
	if isFull(err) {
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
	for pause := time.Millisecond; len(todo) > 0; pause = min(2*pause, 50*time.Millisecond) {
		if q.ctx.Err() != nil {
			return tandem.ErrClosed
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		room := q.roomy()
		rest, err := q.publish(ctx, todo)
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return q.failed("put into the queue", err)
		}
		if len(rest) < len(todo) {
			pause = time.Millisecond
		}
		if todo = rest; len(todo) == 0 {
			return nil
		}
		q.purge.now()
		// A Done here wakes us at once. Of those elsewhere nothing tells: ask again.
		timer := time.NewTimer(pause)
		select {
		case <-room:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	return nil
}

// publish sends messages and returns those for which there was no room.
func (q *Queue) publish(ctx context.Context, todo []*nats.Msg) (rest []*nats.Msg, err error) {
	switch {
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
	case q.e.cfg.Level == Power && len(todo) > 1:
		return q.publishAtomic(ctx, todo)
	}
	return q.publishMany(ctx, todo)
}

func (q *Queue) publishMany(ctx context.Context, todo []*nats.Msg) (rest []*nats.Msg, err error) {
	acks := make([]jetstream.PubAckFuture, 0, len(todo))
	for _, n := range todo {
		ack, err := q.e.js.PublishMsgAsync(n, jetstream.WithStallWait(30*time.Second))
		if err != nil {
			return nil, err
		}
		acks = append(acks, ack)
	}
	for i, ack := range acks {
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			if !isFull(err) {
				return nil, err
			}
			again := nats.NewMsg(todo[i].Subject) // the client has put its reply address into the old one
			again.Header, again.Data = todo[i].Header, todo[i].Data
			rest = append(rest, again)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
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

// roomy is closed when a Done of this process makes room.
func (q *Queue) roomy() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.room
}

func (q *Queue) freed() {
	q.mu.Lock()
	defer q.mu.Unlock()
	close(q.room)
	q.room = make(chan struct{})
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
