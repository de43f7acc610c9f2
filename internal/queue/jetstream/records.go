package jetstream

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tandem"
)

// Records are small facts that are decided once and forgotten when nobody needs them any more: unlike in a [Table], nothing stays of a line that is removed. Each has a
// subject, the run, and a key, which is made of letters, digits, - and _. Reads go to the leader: what was written before is seen.
type Records struct {
	e    *Engine
	s    jetstream.Stream
	name string
}

// Records opens the records, and makes a place for them when there is none.
func (e *Engine) Records(ctx context.Context, name string) (*Records, error) {
	r := &Records{e: e, name: e.cfg.Prefix + "-" + name}
	var err error
	r.s, err = e.find(ctx, r.name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		r.s, err = e.make(ctx, jetstream.StreamConfig{Name: r.name, Subjects: []string{r.name + ".*.*"}, Storage: jetstream.FileStorage, Replicas: e.cfg.Replicas,
			MaxMsgsPerSubject: 1, Metadata: map[string]string{mark: "records"}})
		if err == nil && e.settle != nil {
			err = e.settle()
		}
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // somebody was faster
			r.s, err = e.find(ctx, r.name)
		}
	}
	return r, r.failed("open the records", err)
}

func (r *Records) failed(op string, err error) error {
	q := Queue{e: r.e}
	q.cfg.Name = r.name
	return q.failed(op, err)
}

func (r *Records) subject(run, key string) string { return r.name + "." + run + "." + key }

// Get gives a record; Gone when there is none.
func (r *Records) Get(ctx context.Context, run, key string) (Entry, error) {
	m, err := ask(ctx, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
		return r.s.GetLastMsgForSubject(ctx, r.subject(run, key))
	})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Entry{Key: key, Gone: true}, nil
	}
	if err != nil {
		return Entry{}, r.failed("read from", err)
	}
	return Entry{Key: key, Value: m.Data, Revision: m.Sequence}, nil
}

// Swap writes a record that is still at revision; 0 means that there is none. Otherwise it fails with ErrChanged. Whoever tries again after an answer that did not come
// may meet what he has himself written.
func (r *Records) Swap(ctx context.Context, run, key string, value []byte, revision uint64) (uint64, error) {
	m := nats.NewMsg(r.subject(run, key))
	m.Data = value
	ack, err := r.e.js.PublishMsg(ctx, m, jetstream.WithExpectLastSequencePerSubject(revision))
	if a, ok := errors.AsType[*jetstream.APIError](err); ok && a.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence {
		return 0, ErrChanged
	}
	if err != nil {
		return 0, r.failed("write to", err)
	}
	return ack.Sequence, nil
}

// Remove removes a record unless it has been written after revision.
func (r *Records) Remove(ctx context.Context, run, key string, revision uint64) error {
	return r.failed("remove from", r.s.Purge(ctx, jetstream.WithPurgeSubject(r.subject(run, key)), jetstream.WithPurgeSequence(revision+1)))
}

// Clear removes all records of a run.
func (r *Records) Clear(ctx context.Context, run string) error {
	return r.failed("remove from", r.s.Purge(ctx, jetstream.WithPurgeSubject(r.subject(run, "*"))))
}

// Again tells whether a lease is of a message that somebody has had before, also when that was no attempt.
func Again(t tandem.Lease) bool {
	l, ok := t.(*lease)
	return ok && l.d.count > 1
}

// Has tells whether a message is in the queue still: that nobody has ended it. When it is false that is so. When it is true that is so at level process. At level power
// one that another has ended may be there until all that was put before it is ended too, so who relies on it may do once more what is done; he must not lose by it.
func (q *Queue) Has(ctx context.Context, t tandem.Lease) (bool, error) {
	l, ok := t.(*lease)
	if !ok || l.q != q {
		return true, nil
	}
	if q.purges() {
		info, err := ask(ctx, q.from[0].Info)
		if err != nil {
			return false, q.failed("look into the queue", err)
		}
		if l.sequence <= info.AckFloor.Stream {
			return false, nil
		}
	}
	_, err := ask(ctx, func(ctx context.Context) (*jetstream.RawStreamMsg, error) { return q.work.GetMsg(ctx, l.sequence) })
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, nil
	}
	return err == nil, q.failed("look into the queue", err)
}

// Len is how many records a run has.
func (r *Records) Len(ctx context.Context, run string) (int, error) {
	i, err := r.s.Info(ctx, jetstream.WithSubjectFilter(r.subject(run, "*")))
	if err != nil {
		return 0, r.failed("look at", err)
	}
	return len(i.State.Subjects), nil
}
