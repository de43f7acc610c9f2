package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"tandem"
	"tandem/engine"
	"tandem/internal/queue/jetstream"
)

// large is a source of n values that need an object each.
type large int

const largeSize = 1 << 20

func (n large) Total() int64 { return int64(n) }
func (n large) Each(ctx context.Context, yield func(string, tandem.Value) bool) error {
	for i := 1; i <= int(n) && ctx.Err() == nil; i++ {
		if !yield(fmt.Sprint(i), tandem.Value{Kind: tandem.Bytes, Data: bytes.Repeat([]byte{byte(i)}, largeSize)}) {
			break
		}
	}
	return nil
}

// copies is a flow of steps that give what they get.
func copies(context.Context, string, Manifest, int) (engine.Flow, error) {
	f := engine.Func{Default: 4, Do: func(_ context.Context, t *tandem.Task) tandem.Result { return tandem.Give(t.Value) }}
	return engine.Flow{Name: "test", Steps: []engine.Step{{Name: "one", Handler: f}, {Name: "two", Handler: f}}}, nil
}

// tight is a cluster whose object store holds so many bytes.
func tight(t *testing.T, size int64) (*Hub, *jetstream.Objects) {
	t.Helper()
	s := place(t)
	e, err := s.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	store, err := e.Objects(t.Context(), "objects", size)
	if err != nil {
		t.Fatal(err)
	}
	h, err := Open(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	return h, store
}

// The items that a submitter may feed are more than the object store holds: what waits for the first step must not keep the last from passing its results on.
func TestAStoreSmallerThanTheWindow(t *testing.T) {
	h, _ := tight(t, 12<<20)
	stop := run(t, NewNode(h, NodeConfig{Name: "n", Cores: 2, Cache: t.TempDir(), Build: copies}))
	m := single(t, h, "run", func(m *Manifest) { m.Steps = []Step{{Name: "one"}, {Name: "two"}} })
	const items = 40
	to := newLines()
	sub := &Submission{Hub: h, Manifest: m, Source: large(items), Dir: t.TempDir(), Have: to.have}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := engine.New(engine.Config{}).Run(ctx, engine.Flow{Name: "test", Source: sub, Sink: to, Settled: sub.Settled}); err != nil {
		t.Error(err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if to.count() != items || to.how[tandem.OK] != items {
		t.Errorf("%d lines, %v; want %d", to.count(), to.how, items)
	}
}

// Items that end badly are kept in the same store. A run that leaves room for them goes on, however little that is.
func TestDeadItemsInASmallStore(t *testing.T) {
	h, _ := tight(t, 8<<20)
	some := func(ctx context.Context, dir string, m Manifest, at int) (engine.Flow, error) {
		flow, err := copies(ctx, dir, m, at)
		flow.Steps[1].Handler = engine.Func{Default: 4, Do: func(_ context.Context, t *tandem.Task) tandem.Result {
			if t.Value.Data[0]%8 == 0 {
				return tandem.Result{Outcome: tandem.Failed, Err: &tandem.Error{Op: "run", Kind: tandem.KindException, Message: "no"}}
			}
			return tandem.Give(t.Value)
		}}
		return flow, err
	}
	stop := run(t, NewNode(h, NodeConfig{Name: "n", Cores: 2, Cache: t.TempDir(), Build: some}))
	m := single(t, h, "run", func(m *Manifest) { m.Steps = []Step{{Name: "one"}, {Name: "two"}} })
	const items = 24
	to := newLines()
	sub := &Submission{Hub: h, Manifest: m, Source: large(items), Dir: t.TempDir(), Have: to.have}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := engine.New(engine.Config{}).Run(ctx, engine.Flow{Name: "test", Source: sub, Sink: to, Settled: sub.Settled}); err != nil {
		t.Error(err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if to.count() != items || to.how[tandem.Failed] != items/8 {
		t.Errorf("%d lines, %v; want %d, %d of them failed", to.count(), to.how, items, items/8)
	}
	dead, err := h.Dead(t.Context(), m, false)
	if err != nil {
		t.Fatal(err)
	}
	kept := 0
	if err := dead.Each(t.Context(), nil, func(*DeadItem) bool { kept++; return true }); err != nil || kept != items/8 {
		t.Errorf("%d are kept, %v; want %d", kept, err, items/8)
	}
}

// Others fill the store: the node and the submitter say what they wait for, and go on when there is room.
func TestAFullStoreIsSaid(t *testing.T) {
	t.Parallel() // it waits more than it computes
	h, store := tight(t, 6<<20)
	begun, gate, goes := make(chan struct{}, 100), make(chan struct{}), make(chan struct{}, 100)
	gated := func(context.Context, string, Manifest, int) (engine.Flow, error) {
		f := engine.Func{Default: 1, Do: func(_ context.Context, t *tandem.Task) tandem.Result {
			begun <- struct{}{}
			<-gate
			return tandem.Give(t.Value)
		}}
		return engine.Flow{Name: "test", Steps: []engine.Step{{Name: "one", Handler: f}}}, nil
	}
	stop := run(t, NewNode(h, NodeConfig{Name: "n", Cores: 2, Cache: t.TempDir(), Build: gated, OnEvent: func(e tandem.Event) {
		if e.To == "goes on" {
			goes <- struct{}{}
		}
	}}))
	m := single(t, h, "run", nil)
	const items = 20
	to, waits := newLines(), make(chan string, 100)
	sub := &Submission{Hub: h, Manifest: m, Source: large(items), Dir: t.TempDir(), Have: to.have, Say: func(what string) { waits <- what }}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := engine.New(engine.Config{}).Run(ctx, engine.Flow{Name: "test", Source: sub, Sink: to, Settled: sub.Settled})
		done <- err
	}()
	<-begun
	n := 0
	for _, size := range []int{1 << 20, 16 << 10} {
		var err error
		for ; err == nil; n++ {
			err = store.Put(t.Context(), fmt.Sprint("others/", n), bytes.NewReader(make([]byte, size)))
		}
		if !jetstream.Full(err) {
			t.Fatal(err)
		}
	}
	close(gate)
	for node, source := false, false; !node || !source; {
		select {
		case what := <-waits:
			node = node || strings.Contains(what, "step one on n: the object store is full") && strings.Contains(what, "tandem runs rm --cluster")
			source = source || strings.Contains(what, "the source: the object store is full")
		case <-ctx.Done():
			t.Fatalf("said of the node: %v, of the source: %v", node, source)
		}
	}
	for i := range n {
		if err := store.Delete(t.Context(), fmt.Sprint("others/", i)); err != nil {
			t.Error(err)
		}
	}
	if err := errors.Join(<-done, stop()); err != nil {
		t.Error(err)
	}
	if len(goes) == 0 {
		t.Error("the node does not say that it goes on")
	}
	if to.count() != items || to.how[tandem.OK] != items {
		t.Errorf("%d lines, %v; want %d", to.count(), to.how, items)
	}
}

// A value that is larger than the whole store can never be stored: its item ends as failed, alone or as a piece, and the others go on.
func TestAValueLargerThanTheStore(t *testing.T) {
	h, _ := tight(t, 2<<20)
	grows := func(context.Context, string, Manifest, int) (engine.Flow, error) {
		f := engine.Func{Default: 4, Do: func(_ context.Context, t *tandem.Task) tandem.Result {
			huge := tandem.Value{Kind: tandem.Bytes, Data: make([]byte, 3<<20)}
			switch string(t.Value.Data) {
			case "2":
				return tandem.Give(huge)
			case "3":
				return tandem.Result{Outcome: tandem.OK, Value: tandem.TextValue("small"), Rest: []tandem.Value{huge}, Count: 2}
			}
			return tandem.Give(t.Value)
		}}
		return engine.Flow{Name: "test", Steps: []engine.Step{{Name: "one", Handler: f}, {Name: "two", Handler: f}}}, nil
	}
	stop := run(t, NewNode(h, NodeConfig{Name: "n", Cores: 2, Cache: t.TempDir(), Build: grows}))
	m := single(t, h, "run", func(m *Manifest) { m.Steps = []Step{{Name: "one"}, {Name: "two"}} })
	to := newLines()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := submit(ctx, h, m, t.TempDir(), 4, to); err != nil {
		t.Error(err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if to.count() != 5 || to.how[tandem.OK] != 3 || to.how[tandem.Failed] != 2 {
		t.Errorf("lines %v, %v; want 3 ok, and 2 and 3/2 failed", to.seen, to.how)
	}
	d, err := h.Dead(t.Context(), m, false)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := d.Each(t.Context(), nil, func(i *DeadItem) bool {
		if n++; i.Kind != tandem.KindTooLarge || !strings.Contains(i.Message, "the object store may hold") {
			t.Errorf("dead: %+v", i)
		}
		return true
	}); err != nil || n != 2 {
		t.Errorf("%d dead items, %v; want 2", n, err)
	}
}
