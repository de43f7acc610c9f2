package jetstream

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tandem"
)

// Shelf keeps messages by name: one for each, the newest. Beyond its bounds the oldest go.
type Shelf struct {
	e    *Engine
	s    jetstream.Stream
	name string

	hearing hearing
}

// Shelf opens a shelf, and makes it when there is none and make is true; otherwise it is nil.
func (e *Engine) Shelf(ctx context.Context, name string, messages, bytes int64, make bool) (*Shelf, error) {
	sh := &Shelf{e: e, name: e.cfg.Prefix + "-" + name}
	var err error
	sh.s, err = e.find(ctx, sh.name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if !make {
			return nil, nil
		}
		sh.s, err = e.make(ctx, jetstream.StreamConfig{Name: sh.name, Subjects: []string{sh.name + ".*"}, Storage: jetstream.FileStorage, Replicas: e.cfg.Replicas,
			MaxMsgs: messages, MaxBytes: bytes, MaxMsgsPerSubject: 1, Discard: jetstream.DiscardOld, Metadata: map[string]string{mark: "shelf"}})
		if err == nil && e.settle != nil {
			err = e.settle()
		}
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // somebody was faster
			sh.s, err = e.find(ctx, sh.name)
		}
	}
	if err != nil {
		return nil, sh.failed("open", err)
	}
	if sh.s.CachedInfo().Config.Metadata[mark] == "" {
		return nil, &tandem.Error{Op: "open the stream", On: sh.name, Kind: tandem.KindInvalid, Message: "the stream is not one of Tandem's", Hint: "remove it: nats stream rm " + sh.name}
	}
	return sh, nil
}

func (sh *Shelf) failed(op string, err error) error {
	q := Queue{e: sh.e}
	q.cfg.Name = sh.name
	return q.failed(op, err)
}

func (sh *Shelf) subject(id string) string {
	sum := sha256.Sum256([]byte(id))
	return sh.name + "." + hex.EncodeToString(sum[:12])
}

// Put stores messages, each in place of the one of its name. It returns when all are stored.
func (sh *Shelf) Put(ctx context.Context, messages ...tandem.Message) error {
	acks := make([]jetstream.PubAckFuture, 0, len(messages))
	for _, m := range messages {
		n := nats.NewMsg(sh.subject(m.ID))
		n.Data = m.Body
		n.Header.Set(headID, m.ID)
		ack, err := sh.e.js.PublishMsgAsync(n)
		if err != nil {
			return sh.failed("put on", err)
		}
		acks = append(acks, ack)
	}
	return sh.failed("put on", sh.hearing.all(ctx, sh.hearing.patience(nil), acks, func(_ int, err error) error { return err }))
}

// Each calls f with every message, the oldest first, until it returns false.
func (sh *Shelf) Each(ctx context.Context, f func(m tandem.DeadMessage) bool) error {
	var next uint64 = 1
	for {
		m, err := sh.s.GetMsg(ctx, next, jetstream.WithGetMsgSubject(">"))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err != nil {
			return sh.failed("read from", err)
		}
		if !f(deadMessage(m)) {
			return nil
		}
		next = m.Sequence + 1
	}
}

// Delete removes the message of a name, if there is one.
func (sh *Shelf) Delete(ctx context.Context, id string) error {
	return sh.failed("remove from", sh.s.Purge(ctx, purgeSubject(sh.subject(id))))
}

// Len is how many messages there are.
func (sh *Shelf) Len(ctx context.Context) (int, error) {
	i, err := sh.s.Info(ctx)
	if err != nil {
		return 0, sh.failed("look at", err)
	}
	return int(i.State.Msgs), nil
}

// RemoveShelf removes a shelf and all it holds, if there is one.
func (e *Engine) RemoveShelf(ctx context.Context, name string) error {
	sh := &Shelf{e: e, name: e.cfg.Prefix + "-" + name}
	if err := e.js.DeleteStream(ctx, sh.name); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return sh.failed("remove", err)
	}
	return nil
}

// Queues lists the names of the queues that begin with prefix.
func (e *Engine) Queues(ctx context.Context, prefix string) (names []string, err error) {
	all := e.js.StreamNames(ctx)
	for n := range all.Name() {
		if name, ok := strings.CutPrefix(n, e.cfg.Prefix+"-"); ok && strings.HasPrefix(name, prefix) && !strings.HasSuffix(name, "-dead") && !strings.HasSuffix(name, "-notes") {
			names = append(names, name)
		}
	}
	if err := all.Err(); err != nil && !errors.Is(err, jetstream.ErrEndOfData) {
		q := Queue{e: e}
		return nil, q.failed("list the queues", err)
	}
	return names, nil
}
