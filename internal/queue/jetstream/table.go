package jetstream

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"tandem"
)

// Table is a small shared table: what runs there are, which nodes live, who holds how much of a limit. Values are whole; a revision tells one from the next.
type Table struct {
	e    *Engine
	kv   jetstream.KeyValue
	name string
}

// Entry is a line of a table.
type Entry struct {
	Key      string
	Value    []byte
	Revision uint64
	Gone     bool // it was deleted, or its time was up
}

// ErrChanged says that somebody else was faster.
var ErrChanged = errors.New("changed by another")

// Table opens a table, and makes it when there is none. Lines vanish when they have not been written for ttl; zero means never.
func (e *Engine) Table(ctx context.Context, name string, ttl time.Duration) (*Table, error) {
	name = e.cfg.Prefix + "-" + name
	t := &Table{e: e, name: name}
	open := func(ctx context.Context) (jetstream.KeyValue, error) { return e.js.KeyValue(ctx, name) }
	kv, err := ask(ctx, open)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		kv, err = ask(ctx, func(ctx context.Context) (jetstream.KeyValue, error) {
			return e.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: name, TTL: ttl, Replicas: e.cfg.Replicas, Storage: jetstream.FileStorage})
		})
		if errors.Is(err, jetstream.ErrBucketExists) {
			kv, err = ask(ctx, open)
		}
		if err == nil && e.settle != nil {
			err = e.settle()
		}
	}
	t.kv = kv
	return t, t.failed("open the table", err)
}

func (t *Table) failed(op string, err error) error {
	if err == nil {
		return nil
	}
	q := Queue{e: t.e}
	q.cfg.Name = t.name
	return q.failed(op, err)
}

// Get gives a line; Gone when there is none.
func (t *Table) Get(ctx context.Context, key string) (Entry, error) {
	e, err := ask(ctx, func(ctx context.Context) (jetstream.KeyValueEntry, error) { return t.kv.Get(ctx, key) })
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return Entry{Key: key, Gone: true}, nil
	}
	if err != nil {
		return Entry{}, t.failed("read", err)
	}
	return Entry{key, e.Value(), e.Revision(), false}, nil
}

// Set writes a line whatever it was.
func (t *Table) Set(ctx context.Context, key string, value []byte) error {
	_, err := t.kv.Put(ctx, key, value)
	return t.failed("write", err)
}

// Swap writes a line that is still at revision; 0 means that there is none. Otherwise it fails with ErrChanged.
func (t *Table) Swap(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	var err error
	if revision == 0 {
		revision, err = t.kv.Create(ctx, key, value)
	} else {
		revision, err = t.kv.Update(ctx, key, value, revision)
	}
	if a, ok := errors.AsType[*jetstream.APIError](err); ok && a.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || errors.Is(err, jetstream.ErrKeyExists) {
		return 0, ErrChanged
	}
	return revision, t.failed("write", err)
}

// Delete removes a line, if there is one.
func (t *Table) Delete(ctx context.Context, key string) error {
	return t.failed("delete from", t.kv.Purge(ctx, key))
}

// All gives every line.
func (t *Table) All(ctx context.Context) (all []Entry, err error) {
	keys, err := t.kv.ListKeys(ctx)
	if err != nil {
		return nil, t.failed("list", err)
	}
	defer func() { _ = keys.Stop() }()
	for k := range keys.Keys() {
		e, err := t.Get(ctx, k)
		if err != nil {
			return nil, err
		}
		if !e.Gone {
			all = append(all, e)
		}
	}
	return all, nil
}

// Watch calls each with every line there is and then with every change, until ctx is done or the connection is closed. ready, called once, says that all that
// was there has been told.
func (t *Table) Watch(ctx context.Context, each func(Entry), ready func()) error {
	w, err := t.kv.WatchAll(ctx)
	if err != nil {
		return t.failed("watch", err)
	}
	defer func() { _ = w.Stop() }()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case e, ok := <-w.Updates():
			switch {
			case !ok:
				return tandem.ErrClosed
			case e == nil:
				if ready != nil {
					ready()
				}
			default:
				each(Entry{e.Key(), e.Value(), e.Revision(), e.Operation() != jetstream.KeyValuePut})
			}
		}
	}
}
