package cluster

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"tandem"
	"tandem/internal/queue/jetstream"
)

// letter is an item between two machines, or one that has ended.
type letter struct {
	head
	source, value tandem.Value
	earlier       []tandem.Value
	stray         bool // the submitter has no use for it
}

// head is the part of a letter that is JSON.
type head struct {
	ID       string `json:"id"`
	Root     string `json:"root"`
	Shares   int64  `json:"shares"` // of its root
	Attempts int    `json:"attempts,omitempty"`
	Elapsed  int64  `json:"elapsed_ns,omitempty"`
	Same     bool   `json:"same,omitempty"` // source and value are one

	// Splits says, of an item that is one of several, what they were each time: the last element of its id is its number in the last.
	Splits []string `json:"splits,omitempty"`

	Outcome tandem.Outcome `json:"outcome,omitempty"` // of one that has ended
	Error   *failure       `json:"error,omitempty"`
	Service int64          `json:"service_ns,omitempty"`
	Node    string         `json:"node,omitempty"` // where it ended
	Crash   *tandem.Crash  `json:"crash,omitempty"`
	Step    string         `json:"step,omitempty"` // of a dead letter: where it ended

	Object string `json:"object,omitempty"` // the values are there
}

// failure is a tandem.Error without its cause.
type failure struct {
	Op      string `json:"op,omitempty"`
	On      string `json:"on,omitempty"`
	Kind    string `json:"kind"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	Trace   string `json:"trace,omitempty"`
}

func failureOf(e *tandem.Error) *failure {
	if e == nil {
		return nil
	}
	return &failure{e.Op, e.On, e.Kind, e.Reason, e.Message, e.Hint, e.Trace}
}

func (f *failure) err() *tandem.Error {
	if f == nil {
		return nil
	}
	return &tandem.Error{Op: f.Op, On: f.On, Kind: f.Kind, Reason: f.Reason, Message: f.Message, Hint: f.Hint, Trace: f.Trace}
}

var errLetter = errors.New("a message of the run does not read; it may come of another version of Tandem")

// seal makes a message of a letter. What is large goes into the store under the name of the queue and the item.
func (l *letter) seal(ctx context.Context, store *jetstream.Objects, name string) (tandem.Message, error) {
	l.Same = len(l.earlier) == 0 && l.source.Kind == l.value.Kind && bytes.Equal(l.source.Data, l.value.Data)
	values := []tandem.Value{l.value}
	if !l.Same {
		values = append(append(values, l.source), l.earlier...)
	}
	blob := tandem.ListOf(values).Data
	if len(blob) > inline {
		l.Object = name + "/" + l.name()
		if err := store.Put(ctx, l.Object, bytes.NewReader(blob)); err != nil {
			return tandem.Message{}, of(err, "store the values of", l.ID)
		}
		blob = nil
	}
	h, err := l.head.marshal()
	if err != nil {
		return tandem.Message{}, err
	}
	body := make([]byte, 0, 5+len(h)+len(blob))
	body = append(body, Version)
	body = binary.LittleEndian.AppendUint32(body, uint32(len(h)))
	body = append(append(body, h...), blob...)
	return tandem.Message{ID: l.name(), Body: body}, nil
}

// of is an error of the store that says whose values it is about.
func of(err error, op, item string) error {
	e, ok := errors.AsType[*tandem.Error](err)
	if !ok {
		return err
	}
	c := *e
	c.Op, c.On = op, "item "+item
	return &c
}

// name tells the item from those of the same id that another run of a step has made.
func (l *letter) name() string {
	if n := len(l.Splits); n > 0 {
		return l.ID + "@" + l.Splits[n-1]
	}
	return l.ID
}

// open reads a message and its values.
func open(ctx context.Context, store *jetstream.Objects, m *tandem.Message) (*letter, error) {
	l, err := parse(m)
	if err != nil {
		return nil, err
	}
	return l, l.fill(ctx, store, m)
}

// parse reads the head of a message.
func parse(m *tandem.Message) (*letter, error) {
	b := m.Body
	if len(b) < 5 {
		return nil, errLetter
	}
	if b[0] != Version {
		return nil, fmt.Errorf("%w: it has version %d, and this is %d", errLetter, b[0], Version)
	}
	n := binary.LittleEndian.Uint32(b[1:])
	if uint64(n) > uint64(len(b)-5) {
		return nil, errLetter
	}
	l := &letter{}
	if err := l.head.unmarshal(b[5 : 5+n]); err != nil {
		return nil, fmt.Errorf("%w: %v", errLetter, err)
	}
	if l.Shares <= 0 || l.Shares > sharesIn1 || l.ID == "" || l.Root == "" {
		return nil, errLetter
	}
	return l, nil
}

// fill reads the values of a message whose head is read.
func (l *letter) fill(ctx context.Context, store *jetstream.Objects, m *tandem.Message) error {
	blob := m.Body[5+binary.LittleEndian.Uint32(m.Body[1:]):]
	if l.Object != "" {
		ctx, cancel := context.WithTimeout(ctx, storeWait) // a server that dies while it sends an object says nothing
		defer cancel()
		var err error
		if blob, err = readObject(ctx, store, l.Object); err != nil {
			return err
		}
	}
	values, err := tandem.Value{Kind: tandem.List, Data: blob}.Values()
	if err != nil || len(values) < 1 || !l.Same && len(values) < 2 {
		return errLetter
	}
	l.value, l.source = values[0], values[0]
	if !l.Same {
		l.source = values[1]
		l.earlier = values[2:]
	}
	return nil
}

// readObject reads an object to its end.
func readObject(ctx context.Context, store *jetstream.Objects, name string) ([]byte, error) {
	r, err := store.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, &tandem.Error{Op: "fetch the values of", On: name, Kind: tandem.KindQueue, Message: err.Error(), Err: err, Again: tandem.AgainYes}
	}
	return b, nil
}

// forget removes what a letter has in the store.
func (l *letter) forget(ctx context.Context, store *jetstream.Objects) {
	if l.Object != "" {
		_ = store.Delete(ctx, l.Object) // what is left goes with the run
	}
}
