package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tandem"
	"tandem/engine"
)

// What is packed comes out in its order and whole, no pack is larger than it may be, and what is alone stays as it was.
func TestPack(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		var in []tandem.Message
		for i, n := range rapid.SliceOfN(rapid.OneOf(rapid.IntRange(1, 300), rapid.IntRange(1, 2*packBytes)), 1, 600).Draw(r, "sizes") {
			body := bytes.Repeat([]byte{byte(i)}, n)
			body[0] = Version
			in = append(in, tandem.Message{ID: fmt.Sprint(i), Body: body})
		}
		names := map[string]bool{}
		var out [][]byte
		for _, m := range pack(in) {
			bodies, err := lettersIn(&m)
			if err != nil {
				r.Fatal(err)
			}
			if m.Body[0] == packed && (len(bodies) < 2 || len(bodies) > packMost || len(m.Body) > 1+packBytes) {
				r.Errorf("a pack of %d with %d bytes", len(bodies), len(m.Body))
			}
			if names[m.ID] {
				r.Errorf("%s twice", m.ID)
			}
			names[m.ID] = true
			out = append(out, bodies...)
		}
		if len(out) != len(in) {
			r.Fatalf("%d of %d came out", len(out), len(in))
		}
		for i := range in {
			if !bytes.Equal(in[i].Body, out[i]) {
				r.Fatalf("number %d is another", i)
			}
		}
		again := pack(in)
		for i, m := range pack(in) {
			if m.ID != again[i].ID {
				r.Error("the same pack has two ids")
			}
		}
	})
}

func FuzzLettersIn(f *testing.F) {
	f.Add([]byte{packed, 1, 0, 0, 0, 7, 0, 0, 0, 0})
	f.Add([]byte{packed, 2, 0, 0, 0, 7})
	f.Add([]byte{packed, 255, 255, 255, 255, 7})
	f.Add([]byte{packed, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		bodies, err := lettersIn(&tandem.Message{Body: b})
		if err != nil {
			if !errors.Is(err, errLetter) {
				t.Error(err)
			}
			return
		}
		if len(b) == 0 || b[0] != packed {
			return
		}
		size := 1
		for _, one := range bodies {
			size += 4 + len(one)
		}
		if size != len(b) {
			t.Errorf("%d bytes of %d", size, len(b))
		}
	})
}

// told keeps what is put into it.
type told struct {
	tandem.Queue
	put []tandem.Message
}

func (q *told) Put(_ context.Context, m ...tandem.Message) error {
	q.put = append(q.put, m...)
	return nil
}
func (q *told) Done(context.Context, ...tandem.Lease) error { return nil }

// A submitter of an earlier version has said nothing of packs, and gets each result in a message of its own.
func TestPacksAreForThoseWhoReadThem(t *testing.T) {
	s := place(t)
	hub, e := join(t, s)
	defer e.Close()
	for _, packs := range []bool{false, true} {
		dead, err := hub.Dead(t.Context(), Manifest{Run: fmt.Sprint("run-", packs)}, true)
		if err != nil {
			t.Fatal(err)
		}
		end := &told{}
		h := newHop(&hop{node: "n", step: "one", in: end, next: &told{}, end: end, store: hub.objects, last: true, packs: packs, dead: dead})
		h.next = end
		var lot []*parcel
		for i := range 5 {
			l := &letter{head: head{ID: fmt.Sprint(i), Root: fmt.Sprint(i), Shares: sharesIn1, Outcome: tandem.OK}, value: tandem.TextValue("v")}
			lot = append(lot, &parcel{letter: l, out: []*letter{l}, over: []bool{true}})
		}
		if err := h.pass(t.Context(), lot); err != nil {
			t.Fatal(err)
		}
		if want := map[bool]int{false: 5, true: 1}[packs]; len(end.put) != want {
			t.Fatalf("packs %v: %d messages", packs, len(end.put))
		}
		for _, m := range end.put {
			if _, err := parse(&m); (err != nil) != packs {
				t.Errorf("packs %v: read as an earlier version reads it: %v", packs, err)
			}
		}
	}
}

// One node sends letters, as one of an earlier version does, another packs: each item has its line, also when the submitter is killed in between.
func TestLettersAndPacks(t *testing.T) {
	s := place(t)
	h, e := join(t, s)
	defer e.Close()
	m := manifest(t, h, "run")
	const n = 400
	var stops []func() error
	for i, packs := range []bool{false, true} {
		if err := h.Change(t.Context(), m.Run, func(m *Manifest) error { m.Packs = packs; return nil }); err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprint("n", i)
		stops = append(stops, run(t, NewNode(h, NodeConfig{Name: name, Cores: 2, Cache: t.TempDir(), Build: build(time.Millisecond)})))
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			all, err := h.Nodes(t.Context())
			if err != nil || time.Now().After(deadline) {
				t.Fatalf("%s does not serve: %v, %v", name, all, err)
			}
			serving := 0
			for _, i := range all {
				for _, s := range i.Steps {
					if i.Name == name && s.State == Serving {
						serving++
					}
				}
			}
			if serving == len(m.Steps) {
				break
			}
		}
	}
	to, dir := newLines(), t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for to.count() < n/4 && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	_, _ = submit(ctx, h, m, dir, n, to)
	cancel()
	if to.count() < n/4 {
		t.Fatal("it ended early")
	}
	if _, err := submit(t.Context(), h, m, dir, n, to); err != nil {
		t.Error(err)
	}
	for _, stop := range stops {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}
	check(t, n, to)
}

// A sink that takes longer than a lease lasts has nothing come again.
func TestASlowSinkKeepsItsPacks(t *testing.T) {
	s := place(t)
	h, e := join(t, s)
	defer e.Close()
	stop := run(t, NewNode(h, NodeConfig{Name: "n", Cores: 2, Cache: t.TempDir(), Build: one(engine.Limits{}, func(string) error { return nil })}))
	m := single(t, h, "run", nil)
	to := held{newLines(), make(chan struct{})}
	sub := &Submission{Hub: h, Manifest: m, Source: numbers(20), Dir: t.TempDir(), Have: to.have}
	done := make(chan error, 1)
	go func() {
		_, err := engine.New(engine.Config{}).Run(t.Context(), engine.Flow{Name: "test", Source: sub, Sink: to, Settled: sub.Settled})
		done <- err
	}()
	time.Sleep(Lease + Lease/2)
	sub.mu.Lock()
	came, again := len(sub.flying), 0
	for _, r := range sub.flying {
		again += len(r)
	}
	sub.mu.Unlock()
	close(to.open)
	if err := errors.Join(<-done, stop()); err != nil {
		t.Error(err)
	}
	if came == 0 || again > 0 || to.count() != 20 {
		t.Errorf("%d came, %d came again, %d lines", came, again, to.count())
	}
}

// What is asked for at once grows while it comes fast, and shrinks when a link is slow or the messages are large.
func TestAsking(t *testing.T) {
	leases := func(n, size int) (all []tandem.Lease) {
		for range n {
			all = append(all, &worn{message: tandem.Message{Body: make([]byte, size)}})
		}
		return all
	}
	a := asking(askFirst)
	for range 10 {
		a.learn(leases(int(a), 200), time.Millisecond)
	}
	if a != askMost {
		t.Errorf("small ones that come fast: %d", a)
	}
	a.learn(leases(int(a), packBytes), time.Millisecond)
	if a != askBytes/packBytes && a != askBytes/packBytes-1 {
		t.Errorf("large ones: %d", a)
	}
	for range 10 {
		a.learn(leases(2, packBytes), 2*time.Second)
	}
	if a < 1 || a > askFirst {
		t.Errorf("slow ones: %d", a)
	}
	for range 3 {
		a.learn(nil, time.Second)
	}
	if a < 1 {
		t.Errorf("none: %d", a)
	}
}
