package cluster

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tandem"
	"tandem/engine"
	"tandem/internal/queue/jetstream"
)

// pieces is a flow whose first step makes so many of each item, and whose second passes on what it gets. What the first makes says in how many it was split, and by whom.
func pieces(by string, n func() int, large int) func(context.Context, string, Manifest, int) (engine.Flow, error) {
	return func(context.Context, string, Manifest, int) (engine.Flow, error) {
		return engine.Flow{Name: "parts", Steps: []engine.Step{
			{Name: "split", Handler: engine.Func{Default: 8, Do: func(_ context.Context, t *tandem.Task) tandem.Result {
				n := n()
				var all []tandem.Value
				for k := 1; k <= n; k++ {
					all = append(all, tandem.TextValue(fmt.Sprintf("%s of %d by %s %s", t.Value.Data, n, by, strings.Repeat("x", large))))
				}
				r := tandem.Give(all[0])
				r.Rest, r.Count = all[1:], n
				return r
			}}},
			{Name: "pass", Handler: engine.Func{Default: 8, Do: func(_ context.Context, t *tandem.Task) tandem.Result { return tandem.Give(t.Value) }}},
		}}, nil
	}
}

// torn is a queue that takes so many messages of the pieces it is given, and then the machine dies.
type torn struct {
	tandem.Queue
	most int
	die  func()
}

func (q *torn) Put(ctx context.Context, messages ...tandem.Message) error {
	if err := q.Queue.Put(ctx, messages[:min(q.most, len(messages))]...); err != nil {
		return err
	}
	q.die()
	return context.Canceled
}

// A node dies when it has passed on some of the pieces of an item. The next gives all of them the same as they were, though the step would make another number now.
func TestANodeDiesBetweenTwoPieces(t *testing.T) {
	for _, c := range []struct {
		name         string
		first, later int
		put, large   int
	}{
		{"fewer the second time", 3, 2, 1, 0},
		{"more the second time", 2, 5, 1, 0},
		{"one the second time", 3, 1, 2, 0},
		{"all were passed on", 3, 2, 3, 0},
		{"none was passed on", 3, 2, 0, 0},
		{"large ones", 3, 2, 1, inline + 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := place(t)
			h, e := join(t, s)
			defer e.Close()
			m := single(t, h, "torn", func(m *Manifest) { m.Steps = []Step{{Name: "split"}, {Name: "pass"}} })
			to := newLines()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() { _, err := submit(ctx, h, m, t.TempDir(), 1, to); done <- err }()

			dying, cut := join(t, s)
			flow, _ := pieces("first", func() int { return c.first }, c.large)(ctx, "", m, 0)
			flow.Last = 1
			in, next := queueOf(t, dying, m, 0), queueOf(t, dying, m, 1)
			dead, err := dying.Dead(ctx, m, true)
			if err != nil {
				t.Fatal(err)
			}
			life, die := context.WithCancel(ctx)
			hop := newHop(&hop{node: "first", step: "split", run: m.Run, name: m.Run + "/split", store: dying.objects, records: dying.records, in: in, next: &torn{next, c.put, func() { cut.Cut(); die() }},
				end: queueOf(t, dying, m, 2), most: 8, wait: dying.patience(), turn: func(context.Context) {}, dead: dead, gone: func() bool { return true }})
			_ = hop.serve(life, engine.New(engine.Config{}), flow, func() time.Duration { return time.Millisecond }, life)

			n := NewNode(h, NodeConfig{Name: "second", Cores: 2, Cache: t.TempDir(), Build: pieces("second", func() int { return c.later }, c.large)})
			defer func(stop func() error) { _ = stop() }(run(t, n))
			select {
			case err := <-done:
				if err != nil {
					t.Fatal(err)
				}
			case <-time.After(time.Minute):
				t.Fatalf("the run has no end: %v", to.seen)
			}
			if len(to.seen) != c.first {
				t.Errorf("%v; want %d pieces", to.seen, c.first)
			}
			for id, v := range to.last {
				if !strings.HasPrefix(v, fmt.Sprintf("1 of %d by first ", c.first)) || to.seen[id] != 1 {
					t.Errorf("%s: %.40q, %d times", id, v, to.seen[id])
				}
			}
			empty(t, h, m)
		})
	}
}

func queueOf(t *testing.T, h *Hub, m Manifest, at int) *jetstream.Queue {
	t.Helper()
	q, err := h.queue(t.Context(), m, at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Close() })
	return q
}

// empty checks that nothing is left of what was noted while the run went on.
func empty(t *testing.T, h *Hub, m Manifest) {
	t.Helper()
	if err := h.Drop(t.Context(), m); err != nil {
		t.Error(err)
	}
	if n, err := h.records.Len(t.Context(), m.Run); n != 0 || err != nil {
		t.Errorf("%d records are left: %v", n, err)
	}
}

// An item that is in its queue twice is split twice, in another number each time: all of one of the two is in the sink, and nothing of the other.
func TestAnItemThatIsSplitTwice(t *testing.T) {
	s := place(t)
	h, e := join(t, s)
	defer e.Close()
	m := single(t, h, "twice", func(m *Manifest) { m.Steps = []Step{{Name: "split"}, {Name: "pass"}} })
	const items = 50
	first := queueOf(t, h, m, 0)
	for i := 1; i <= items; i++ { // the server tells repetitions by the message's own id, and forgets it in a restart
		l := &letter{source: tandem.TextValue(strconv.Itoa(i)), value: tandem.TextValue(strconv.Itoa(i))}
		l.ID, l.Root, l.Shares = strconv.Itoa(i), strconv.Itoa(i), sharesIn1
		msg, err := l.seal(t.Context(), h.objects, m.Run)
		if err != nil {
			t.Fatal(err)
		}
		msg.ID += " once more"
		if err := first.Put(t.Context(), msg); err != nil {
			t.Fatal(err)
		}
	}
	var calls atomic.Int64
	for _, name := range []string{"a", "b"} {
		n := NewNode(h, NodeConfig{Name: name, Cores: 2, Cache: t.TempDir(), Build: pieces(name, func() int { return int(calls.Add(1)%4) + 1 }, 0)})
		defer func(stop func() error) { _ = stop() }(run(t, n))
	}
	to := newLines()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := submit(ctx, h, m, t.TempDir(), items, to); err != nil {
		t.Fatal(err)
	}
	together(t, to.last, items)
	if calls.Load() <= items {
		t.Errorf("the step ran %d times for %d items that were there twice", calls.Load(), items)
	}
}

// together checks that the lines of each root come of one run of the step, and that all of it is there. A value says "ROOT of N by RUN".
func together(t *testing.T, last map[string]string, roots int) {
	t.Helper()
	by := map[string][]string{}
	for id, v := range last {
		root, _, _ := strings.Cut(id, "/")
		by[root] = append(by[root], v)
	}
	if len(by) != roots {
		t.Errorf("%d roots, want %d", len(by), roots)
	}
	for root, all := range by {
		for _, v := range all {
			if want := fmt.Sprintf("%s of %d by", root, len(all)); v != all[0] || !strings.HasPrefix(v, want) {
				t.Errorf("root %s has the lines %q", root, all)
			}
		}
	}
}
