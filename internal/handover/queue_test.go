package handover

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tandem"
)

func task(n int, size int) *tandem.Task {
	return &tandem.Task{ID: fmt.Sprint(n), Value: tandem.Value{Kind: tandem.Bytes, Data: make([]byte, size)}}
}

func TestAFullQueueStopsItsSender(t *testing.T) {
	for _, c := range []struct {
		name   string
		bounds Bounds
		size   int
		fit    int
	}{{"items", Bounds{Items: 3}, 1, 3}, {"bytes", Bounds{Items: 100, Bytes: 3 * (1000 + 64)}, 1000, 3}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := New(c.bounds)
				in := make(chan int, 100)
				var sender sync.WaitGroup
				sender.Go(func() {
					for i := range 10 {
						if _, err := q.Put(t.Context(), []*tandem.Task{task(i, c.size)}); err != nil {
							t.Error(err)
						}
						in <- i
					}
					q.Close()
				})
				synctest.Wait()
				if len(in) != c.fit {
					t.Errorf("%d went in, want %d", len(in), c.fit)
				}
				buf := make([]*tandem.Task, 2)
				next := 0
				for {
					n, err := q.Take(t.Context(), buf)
					if errors.Is(err, tandem.ErrClosed) {
						break
					}
					for _, x := range buf[:n] {
						if x.ID != fmt.Sprint(next) {
							t.Errorf("got %s, want %d", x.ID, next)
						}
						next++
					}
				}
				if next != 10 {
					t.Errorf("%d came out, want 10", next)
				}
				sender.Wait()
			})
		})
	}
}

func TestATaskLargerThanTheQueueGoesInAlone(t *testing.T) {
	q := New(Bounds{Bytes: 100})
	if n, err := q.Put(t.Context(), []*tandem.Task{task(1, 1000)}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if n, err := q.Put(ctx, []*tandem.Task{task(2, 1)}); n != 0 || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a second one: %d %v, want it to wait", n, err)
	}
}

func TestCanceledWaitsReturnTheCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New(Bounds{Items: 1})
		cause := errors.New("because")
		ctx, cancel := context.WithCancelCause(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := q.Take(ctx, make([]*tandem.Task, 1)); err != cause {
				t.Errorf("Take: %v", err)
			}
		})
		full := New(Bounds{Items: 1})
		_, _ = full.Put(t.Context(), []*tandem.Task{task(0, 0)})
		wg.Go(func() {
			if n, err := full.Put(ctx, []*tandem.Task{task(1, 0), task(2, 0)}); n != 0 || err != cause {
				t.Errorf("Put: %d %v", n, err)
			}
		})
		synctest.Wait()
		cancel(cause)
		wg.Wait()
	})
}

func TestManySendersAndReceiversLoseNothing(t *testing.T) {
	q := New(Bounds{Items: 7, Bytes: 5000})
	var put, took sync.WaitGroup
	var mu sync.Mutex
	seen := map[string]int{}
	for c := range 4 {
		put.Go(func() {
			for i := range 500 {
				if _, err := q.Put(context.Background(), []*tandem.Task{task(c*1000+i, i%900), task(c*1000+500+i, 3)}); err != nil {
					t.Error(err)
				}
			}
		})
		took.Go(func() {
			buf := make([]*tandem.Task, 5)
			for {
				n, err := q.Take(context.Background(), buf)
				if err != nil {
					return
				}
				mu.Lock()
				for _, x := range buf[:n] {
					seen[x.ID]++
				}
				mu.Unlock()
			}
		})
	}
	put.Wait()
	q.Close()
	took.Wait()
	if len(seen) != 4000 {
		t.Errorf("%d different tasks, want 4000", len(seen))
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s came %d times", id, n)
		}
	}
	if n, b := q.Len(); n != 0 || b != 0 {
		t.Errorf("%d items, %d bytes left", n, b)
	}
}
