package cluster

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tandem"
	"tandem/engine"
)

// crowd counts who runs at the same time, by key, and by whom each was run.
type crowd struct {
	mu        sync.Mutex
	now, peak map[string]int
	by        map[string]int
	ended     int
	begun     map[string]time.Time
}

func newCrowd() *crowd {
	return &crowd{now: map[string]int{}, peak: map[string]int{}, by: map[string]int{}, begun: map[string]time.Time{}}
}

// keyOfNumber says "hot" of most, and else the last digit.
func keyOfNumber(t *tandem.Task) (string, error) {
	n, err := strconv.Atoi(string(t.Value.Data))
	if n%3 > 0 {
		return "hot", err
	}
	return strconv.Itoa(n % 10), err
}

// keyedFlow is a step with a bound for each key, on the node of this name.
func (c *crowd) keyedFlow(node string, most int, lasts time.Duration) func(context.Context, string, Manifest, int) (engine.Flow, error) {
	return func(context.Context, string, Manifest, int) (engine.Flow, error) {
		return engine.Flow{Name: "one", Steps: []engine.Step{{Name: "one", PerKey: engine.PerKey{Key: keyOfNumber, Concurrency: most},
			Handler: engine.Func{Default: 16, Do: func(ctx context.Context, t *tandem.Task) tandem.Result {
				key, _ := keyOfNumber(t)
				c.mu.Lock()
				c.now[key]++
				c.peak[key] = max(c.peak[key], c.now[key])
				c.by[node]++
				c.begun[node+" "+key] = time.Now()
				c.mu.Unlock()
				select {
				case <-time.After(lasts):
				case <-ctx.Done():
				}
				c.mu.Lock()
				c.now[key]--
				c.ended++
				c.mu.Unlock()
				return tandem.Give(t.Value)
			}}}}}, nil
	}
}

// Three nodes run no more tasks of a key at the same time than may run together, and each has its turn.
func TestOneBoundForEachKey(t *testing.T) {
	for _, most := range []int{1, 3} {
		t.Run(fmt.Sprint(most), func(t *testing.T) {
			s := place(t)
			h, e := join(t, s)
			defer e.Close()
			c := newCrowd()
			for _, name := range []string{"a", "b", "c"} {
				n := NewNode(h, NodeConfig{Name: name, Cores: 2, Cache: t.TempDir(), Build: c.keyedFlow(name, most, 2*time.Millisecond)})
				defer func(stop func() error) { _ = stop() }(run(t, n))
			}
			const items = 1500
			m := single(t, h, "keys", nil)
			to := newLines()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if _, err := submit(ctx, h, m, t.TempDir(), items, to); err != nil {
				t.Fatalf("%v: %d lines; %+v", err, len(to.seen), c)
			}
			if len(to.seen) != items || to.how[tandem.OK] != items {
				t.Errorf("%d lines, %v", len(to.seen), to.how)
			}
			for key, n := range c.peak {
				if n > most {
					t.Errorf("%d of key %s ran at a time, and %d may", n, key, most)
				}
			}
			if c.peak["hot"] != most || len(c.by) < 2 {
				t.Errorf("at most %d of the hot key ran at a time, by %v", c.peak["hot"], c.by)
			}
		})
	}
}

// A node dies while it has a task of a key: the others go on with the other keys, and with this one when nothing has been heard of it for NodeTTL.
func TestANodeDiesWithAKey(t *testing.T) {
	s := place(t)
	h, e := join(t, s)
	defer e.Close()
	c := newCrowd()
	dying, cut := join(t, s)
	stopDying := run(t, NewNode(dying, NodeConfig{Name: "dies", Cores: 2, Cache: t.TempDir(), Grace: time.Millisecond, Build: c.keyedFlow("dies", 1, time.Hour)}))
	m := single(t, h, "dies", nil)
	to := newLines()
	done := make(chan error, 1)
	go func() { _, err := submit(t.Context(), h, m, t.TempDir(), 60, to); done <- err }()
	has := func(node string) (at time.Time) {
		c.mu.Lock()
		defer c.mu.Unlock()
		for who, when := range c.begun {
			if strings.HasPrefix(who, node+" hot") {
				at = when
			}
		}
		return at
	}
	for has("dies").IsZero() {
		time.Sleep(5 * time.Millisecond)
	}
	defer func(stop func() error) { _ = stop() }(run(t, NewNode(h, NodeConfig{Name: "lives", Cores: 2, Cache: t.TempDir(), Build: c.keyedFlow("lives", 1, time.Millisecond)})))
	time.Sleep(time.Second)
	cut.Cut()
	died := time.Now()
	_ = stopDying()
	if at := has("lives"); !at.IsZero() && at.Before(died) {
		t.Error("two nodes had a task of the key at the same time")
	}
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(time.Minute):
		t.Fatalf("the run has no end: %d lines", len(to.seen))
	}
	c.mu.Lock()
	first := c.begun["lives hot"]
	c.mu.Unlock()
	if first.IsZero() || len(to.seen) != 60 {
		t.Errorf("%d lines; the key was never run elsewhere", len(to.seen))
	}
	t.Logf("all of the dead node's keys had been run elsewhere %v after it died", first.Sub(died).Round(time.Millisecond))
	empty(t, h, m)
}
