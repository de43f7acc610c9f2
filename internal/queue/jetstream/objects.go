package jetstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/nats-io/nats.go/jetstream"

	"tandem"
)

// Objects keeps what is too large for a message, by name.
type Objects struct {
	e     *Engine
	store jetstream.ObjectStore
	name  string
	part  float64 // of its bound that may be filled; zero means all
}

// Within is the same store for somebody who may fill only a part of it: what those behind him store gives room, and he must leave some for that.
func (o *Objects) Within(part float64) *Objects {
	c := *o
	c.part = part
	return &c
}

// Full tells whether an error says that there is no room in a store. It passes when others remove something.
func Full(err error) bool {
	e, ok := errors.AsType[*tandem.Error](err)
	return ok && e.Reason == "store full"
}

// Objects opens a store of objects, and makes it when there is none. It holds at most bytes.
func (e *Engine) Objects(ctx context.Context, name string, bytes int64) (*Objects, error) {
	o := &Objects{e: e, name: e.cfg.Prefix + "-" + name}
	open := func(ctx context.Context) (jetstream.ObjectStore, error) { return e.js.ObjectStore(ctx, o.name) }
	store, err := ask(ctx, open)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		store, err = ask(ctx, func(ctx context.Context) (jetstream.ObjectStore, error) {
			return e.js.CreateObjectStore(ctx, jetstream.ObjectStoreConfig{Bucket: o.name, MaxBytes: bytes, Replicas: e.cfg.Replicas, Storage: jetstream.FileStorage})
		})
		if errors.Is(err, jetstream.ErrBucketExists) {
			store, err = ask(ctx, open)
		}
		if err == nil && e.settle != nil {
			err = e.settle()
		}
	}
	o.store = store
	return o, o.failed("open the object store", err)
}

func (o *Objects) failed(op string, err error) error {
	if err == nil {
		return nil
	}
	q := Queue{e: o.e}
	q.cfg.Name = o.name
	err = q.failed(op, err)
	if e, ok := errors.AsType[*tandem.Error](err); ok && isFull(e.Err) {
		return o.full("the object store is full")
	}
	return err
}

// full is the error of a store without room.
func (o *Objects) full(message string) error {
	return &tandem.Error{Op: "store the object in", On: o.name, Kind: tandem.KindQueue, Reason: "store full", Again: tandem.AgainYes, Message: message,
		Hint: "room comes when results are taken (tandem attach) and dead items or old runs go (tandem dlq drop, tandem runs rm --cluster); or make it larger: nats stream edit OBJ_" + o.name + " --max-bytes N"}
}

// fits tells why an object of this size is not to be stored now; nil when it is.
func (o *Objects) fits(ctx context.Context, size int64) error {
	status, err := o.store.Status(ctx)
	if err != nil {
		return o.failed("look into the object store", err)
	}
	s, ok := status.(*jetstream.ObjectBucketStatus)
	if !ok || s.StreamInfo().Config.MaxBytes <= 0 {
		return nil
	}
	used, most := int64(s.Size()), s.StreamInfo().Config.MaxBytes
	if size > most {
		return &tandem.Error{Op: "store the object in", On: o.name, Kind: tandem.KindTooLarge, Again: tandem.AgainNever, Message: fmt.Sprintf("%d bytes are more than the object store may hold, %d", size, most),
			Hint: "let the value be the path of a file; or make the store larger: nats stream edit OBJ_" + o.name + " --max-bytes N"}
	}
	if part := cmp.Or(o.part, 1); part < 1 && float64(used) >= part*float64(most) {
		return o.full(fmt.Sprintf("the object store is full: it has %d bytes of %d, and the rest is kept for the steps behind", used, most))
	}
	return nil
}

// Has tells whether there is an object of this name.
func (o *Objects) Has(ctx context.Context, name string) (bool, error) {
	_, err := o.store.GetInfo(ctx, name)
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return false, nil
	}
	return err == nil, o.failed("look into the object store", err)
}

// Put stores an object. Of one whose size is known it is told when that is more than the store can ever hold.
func (o *Objects) Put(ctx context.Context, name string, r io.Reader) error {
	if l, ok := r.(interface{ Len() int }); ok {
		if err := o.fits(ctx, int64(l.Len())); err != nil {
			return err
		}
	}
	_, err := o.store.Put(ctx, jetstream.ObjectMeta{Name: name}, r)
	return o.failed("store the object in", err)
}

// ErrNoObject says that there is no object of this name.
var ErrNoObject = errors.New("there is no such object")

// Get reads an object; the caller closes it. Its digest is checked at the end of reading.
func (o *Objects) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	r, err := o.store.Get(ctx, name)
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return nil, ErrNoObject
	}
	return r, o.failed("fetch the object "+name+" from", err)
}

// Delete removes an object, if there is one.
func (o *Objects) Delete(ctx context.Context, name string) error {
	err := o.store.Delete(ctx, name)
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return nil
	}
	return o.failed("delete the object "+name+" from", err)
}
