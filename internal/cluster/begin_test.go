package cluster

import (
	"context"
	"testing"
	"time"

	"tandem"
)

// An item that comes back while the records have no leader is kept, its lease renewed, and begun when they have one: given back, it would wait for another lease to lapse.
func TestAnItemWaitsForTheRecords(t *testing.T) {
	s := place(t)
	h, e := join(t, s)
	defer e.Close()
	m := single(t, h, "run", nil)
	in := queueOf(t, h, m, 0)
	var all []tandem.Message
	for _, id := range []string{"1", "2"} {
		l := &letter{head: head{ID: id, Root: id, Shares: sharesIn1}, source: tandem.TextValue(id), value: tandem.TextValue(id)}
		sealed, err := l.seal(t.Context(), h.objects, m.Run)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, sealed)
	}
	if err := in.Put(t.Context(), all...); err != nil {
		t.Fatal(err)
	}
	take := func() []tandem.Lease {
		t.Helper()
		var leases []tandem.Lease
		for len(leases) < 2 {
			some, err := in.Take(t.Context(), 2)
			if err != nil {
				t.Fatal(err)
			}
			leases = append(leases, some...)
		}
		return leases
	}
	for _, l := range take() { // now they come for the second time
		if err := l.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	parcels := newHop(&hop{node: "n", step: "one", run: m.Run, name: m.Run + "/one", in: in, store: h.objects, records: h.records, wait: h.patience(), gone: func() bool { return false }})
	held := parcels.hold(take())
	if err := e.RemoveShelf(t.Context(), "records"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go parcels.beat(ctx)
	begun := make(chan bool, 2)
	go func() {
		for _, p := range held {
			begun <- parcels.begin(ctx, p)
		}
	}()
	time.Sleep(Lease + Lease/2)
	st, err := in.Stats(t.Context())
	if err != nil || st.Leased != 2 || st.Ready != 0 || len(begun) != 0 {
		t.Errorf("%+v, %v, %d begun; want both still here and none begun", st, err, len(begun))
	}
	if _, err := e.Records(t.Context(), "records"); err != nil {
		t.Fatal(err)
	}
	for range held {
		select {
		case run := <-begun:
			if !run {
				t.Error("it is not run")
			}
		case <-time.After(20 * time.Second):
			t.Fatal("it is not begun")
		}
	}
	for _, p := range held {
		if p.lease.Attempt() != 1 {
			t.Errorf("attempt %d", p.lease.Attempt())
		}
	}
}
