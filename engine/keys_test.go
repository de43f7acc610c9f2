package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tandem"
	"tandem/internal/source"
)

// crowd counts who runs at the same time, by key.
type crowd struct {
	mu        sync.Mutex
	now, peak map[string]int
	ended     map[string]int
}

func newCrowd() *crowd {
	return &crowd{now: map[string]int{}, peak: map[string]int{}, ended: map[string]int{}}
}

func (c *crowd) in(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now[key]++
	c.peak[key] = max(c.peak[key], c.now[key])
}

func (c *crowd) out(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now[key]--
	c.ended[key]++
}

// keyOf is what stands before the colon.
func keyOf(t *tandem.Task) (string, error) {
	k, _, ok := strings.Cut(string(t.Value.Data), ":")
	if !ok {
		return "", errors.New("no colon")
	}
	return k, nil
}

func textsOf(all []string) tandem.Source {
	return source.Lines("keys", func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(strings.Join(all, "\n") + "\n")), nil
	})
}

// However tasks fail, are tried again, are stopped: no more of one key run at a time than may, every item has one outcome, and nothing is left aside.
func TestNoMoreOfAKeyThanMay(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		most := rapid.IntRange(1, 3).Draw(r, "most")
		keys := rapid.IntRange(1, 5).Draw(r, "keys")
		items := rapid.IntRange(1, 200).Draw(r, "items")
		stop := rapid.Bool().Draw(r, "stopped")
		var all []string
		for i := range items {
			all = append(all, fmt.Sprintf("k%d:%d", rapid.IntRange(0, keys-1).Draw(r, "key"), i))
		}
		c := newCrowd()
		do := func(ctx context.Context, t *tandem.Task) tandem.Result {
			k, _ := keyOf(t)
			c.in(k)
			defer c.out(k)
			time.Sleep(time.Duration(rand.IntN(200)) * time.Microsecond)
			if rand.IntN(3) == 0 {
				return tandem.Result{Outcome: tandem.Failed, Err: &tandem.Error{Op: "run", Kind: tandem.KindException, Message: "no", Again: tandem.AgainYes}}
			}
			return tandem.Give(t.Value)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if stop {
			time.AfterFunc(time.Duration(rand.IntN(5000))*time.Microsecond, cancel)
		}
		rep, err := New(Config{}).Run(ctx, Flow{Name: "keys", Source: textsOf(all), Steps: []Step{{Name: "one", Handler: Func{Do: do}, Concurrency: 16,
			Retry: Retry{Attempts: 3, Base: time.Millisecond, Max: 2 * time.Millisecond}, PerKey: PerKey{Key: keyOf, Concurrency: most}}}})
		if err != nil && !stop {
			r.Fatal(err)
		}
		if rep.Items.In != rep.Items.Ended() || err == nil && rep.Items.In != int64(items) {
			r.Fatalf("%+v of %d items", rep.Items, items)
		}
		for k, n := range c.peak {
			if n > most {
				r.Fatalf("%d of key %s ran at a time, and %d may", n, k, most)
			}
		}
	})
}

// A key with very many slow items does not keep the others waiting, and an item without a key waits for nobody.
func TestABusyKeyDoesNotBlockTheRest(t *testing.T) {
	var all []string
	for i := range 300 {
		all = append(all, fmt.Sprint("hot:", i))
	}
	for i := range 100 {
		all = append(all, fmt.Sprintf("k%d:%d", i%10, i), fmt.Sprint(":", i))
	}
	c := newCrowd()
	rest := make(chan struct{})
	do := func(ctx context.Context, t *tandem.Task) tandem.Result {
		k, _ := keyOf(t)
		c.in(k)
		if k == "hot" {
			select { // the first of them lasts until all the others are done
			case <-rest:
			case <-ctx.Done():
			case <-time.After(20 * time.Second):
				return tandem.Result{Outcome: tandem.Failed, Err: &tandem.Error{Op: "run", Kind: tandem.KindException, Message: "the others wait for the hot key"}}
			}
		}
		if k == "" {
			time.Sleep(time.Millisecond)
		}
		c.out(k)
		c.mu.Lock()
		defer c.mu.Unlock()
		others := 0
		for k, n := range c.ended {
			if k != "hot" {
				others += n
			}
		}
		if k != "hot" && others == 200 {
			close(rest)
		}
		return tandem.Give(t.Value)
	}
	rep, err := New(Config{}).Run(t.Context(), Flow{Name: "keys", Source: textsOf(all), Steps: []Step{{Name: "one", Handler: Func{Do: do}, Concurrency: 4, PerKey: PerKey{Key: keyOf}}}})
	if err != nil || rep.Items.Of(tandem.OK) != 500 {
		t.Fatalf("%v: %+v", err, rep.Items)
	}
	if c.peak["hot"] != 1 || c.peak[""] < 2 {
		t.Errorf("at a time: %v; want 1 of hot, and more of those without a key", c.peak)
	}
}

// An item whose key cannot be found fails alone.
func TestAnItemWithoutAKey(t *testing.T) {
	rep, err := New(Config{}).Run(t.Context(), Flow{Name: "keys", Source: textsOf([]string{"a:1", "none", "b:2"}), Steps: []Step{{Name: "one", PerKey: PerKey{Key: keyOf},
		Handler: Func{Do: func(_ context.Context, t *tandem.Task) tandem.Result { return tandem.Give(t.Value) }}}}})
	if err != nil || rep.Items.Of(tandem.OK) != 2 || rep.Items.Of(tandem.Failed) != 1 {
		t.Errorf("%v: %+v", err, rep.Items)
	}
}

// endless is a source of one key that counts what was read of it.
type endless struct{ read atomic.Int64 }

func (e *endless) Total() int64 { return -1 }
func (e *endless) Each(ctx context.Context, yield func(string, tandem.Value) bool) error {
	for n := e.read.Add(1); ctx.Err() == nil && yield(strconv.FormatInt(n, 10), tandem.TextValue("hot:")); n = e.read.Add(1) {
	}
	return nil
}

// When only a busy key is there, the step takes no more than its bound.
func TestABusyKeyIsBounded(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	src := &endless{}
	done := make(chan Report, 1)
	go func() {
		rep, _ := New(Config{}).Run(ctx, Flow{Name: "keys", Source: src, Steps: []Step{{Name: "one", PerKey: PerKey{Key: keyOf}, Queue: Bounds{Items: 10},
			Handler: Func{Do: func(ctx context.Context, t *tandem.Task) tandem.Result {
				<-ctx.Done()
				return stopped(context.Cause(ctx))
			}}}}})
		done <- rep
	}()
	for src.read.Load() < maxWaiting {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(200 * time.Millisecond)
	if n := src.read.Load(); n > maxWaiting+256+10+2 {
		t.Errorf("%d items were read while the first still runs", n)
	}
	cancel()
	if rep := <-done; rep.Items.In != rep.Items.Of(tandem.Canceled) {
		t.Errorf("%+v", rep.Items)
	}
}
