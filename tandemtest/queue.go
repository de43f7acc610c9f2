package tandemtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"tandem"
)

// queued is a queue that one test exercises.
type queued struct {
	*testing.T
	tandem.Queue
}

func (q queued) put(ms ...tandem.Message) {
	q.Helper()
	if err := q.Put(q.Context(), ms...); err != nil {
		q.Fatalf("Put: %v", err)
	}
}

// take takes up to most, and waits up to within for the first.
func (q queued) take(most int, within time.Duration) []tandem.Lease {
	q.Helper()
	ctx, cancel := context.WithTimeout(q.Context(), within)
	defer cancel()
	leases, err := q.Take(ctx, most)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		q.Fatalf("Take: %v", err)
	}
	if len(leases) > most {
		q.Fatalf("Take(%d) gave %d", most, len(leases))
	}
	return leases
}

// one takes exactly one.
func (q queued) one() tandem.Lease {
	q.Helper()
	l := q.take(1, 10*time.Second)
	if len(l) != 1 {
		q.Fatal("nothing came within ten seconds")
	}
	return l[0]
}

func (q queued) none(still time.Duration) {
	q.Helper()
	if l := q.take(1, still); len(l) > 0 {
		q.Fatalf("%s came, and should not have", l[0].Message().ID)
	}
}

func (q queued) done(l ...tandem.Lease) {
	q.Helper()
	if err := q.Done(q.Context(), l...); err != nil {
		q.Fatalf("Done: %v", err)
	}
}

func (q queued) stats() tandem.QueueStats {
	q.Helper()
	s, err := q.Stats(q.Context())
	if err != nil {
		q.Fatalf("Stats: %v", err)
	}
	return s
}

func message(id string) tandem.Message {
	return tandem.Message{ID: id, Body: []byte("body of " + id)}
}

func ids(leases []tandem.Lease) (list []string) {
	for _, l := range leases {
		list = append(list, l.Message().ID)
	}
	return list
}

// ExerciseQueue checks the promises of tandem.Queue. open opens a fresh queue for each test; its name is in the config.
func ExerciseQueue(t *testing.T, open func(t *testing.T, cfg tandem.QueueConfig) tandem.Queue) {
	serial := 0
	run := func(name string, cfg tandem.QueueConfig, test func(q queued)) {
		serial++
		cfg.Name = fmt.Sprint("suite", serial)
		t.Run(name, func(t *testing.T) { test(queued{t, open(t, cfg)}) })
	}
	quick := func(int) time.Duration { return 50 * time.Millisecond }

	run("what is put comes out, whole and in order", tandem.QueueConfig{}, func(q queued) {
		want := tandem.Message{ID: "a/ü 1", Body: []byte("x\x00y"), Header: map[string]string{"Colour": "blue"}}
		q.put(want, message("b"))
		q.put(tandem.Message{Body: []byte("unnamed")})
		var all []tandem.Lease
		for len(all) < 3 {
			l := q.take(3-len(all), 10*time.Second)
			if len(l) == 0 {
				q.Fatalf("only %q came", ids(all))
			}
			all = append(all, l...)
		}
		got := *all[0].Message()
		if got.ID != want.ID || string(got.Body) != string(want.Body) || got.Header["Colour"] != "blue" || len(got.Header) != 1 || all[0].Attempt() != 1 {
			q.Errorf("got %+v at attempt %d", got, all[0].Attempt())
		}
		if all[1].Message().ID != "b" || all[2].Message().ID == "" || string(all[2].Message().Body) != "unnamed" {
			q.Errorf("then came %q, %q", ids(all[1:]), all[2].Message().Body)
		}
		if s := q.stats(); s.Leased != 3 || s.Ready != 0 || s.Bytes == 0 {
			q.Errorf("stats of three leases: %+v", s)
		}
		q.done(all...)
		if s := q.stats(); s.Leased+s.Ready+s.Delayed+s.Dead != 0 || s.Bytes != 0 {
			q.Errorf("stats of an empty queue: %+v", s)
		}
		q.none(100 * time.Millisecond)
	})
	run("a full queue refuses, or makes its sender wait", tandem.QueueConfig{Items: 3}, func(q queued) {
		q.put(message("1"), message("2"), message("3"))
		if err := q.TryPut(q.Context(), message("4")); !errors.Is(err, tandem.ErrFull) {
			q.Fatalf("TryPut into a full queue: %v, want ErrFull", err)
		}
		ctx, cancel := context.WithTimeout(q.Context(), 100*time.Millisecond)
		defer cancel()
		if err := q.Put(ctx, message("4")); !errors.Is(err, context.DeadlineExceeded) {
			q.Fatalf("Put into a full queue: %v, want the cause of its context", err)
		}
		l := q.one()
		if err := q.TryPut(q.Context(), message("5")); !errors.Is(err, tandem.ErrFull) {
			q.Fatalf("TryPut while one is leased: %v, want ErrFull: a leased message has its place", err)
		}
		put := make(chan error, 1)
		go func() { put <- q.Put(q.Context(), message("6")) }()
		select {
		case err := <-put:
			q.Fatalf("Put went through a full queue: %v", err)
		case <-time.After(50 * time.Millisecond):
		}
		q.done(l)
		select {
		case err := <-put:
			if err != nil {
				q.Fatal(err)
			}
		case <-time.After(10 * time.Second):
			q.Fatal("Put did not wake when there was room")
		}
	})
	run("bytes are a bound too", tandem.QueueConfig{Items: 2000, Bytes: 100_000}, func(q queued) {
		err := q.Put(q.Context(), tandem.Message{ID: "too large", Body: make([]byte, 100_001)})
		if e, ok := errors.AsType[*tandem.Error](err); !ok || e.Kind != tandem.KindTooLarge {
			q.Fatalf("a message above the bound: %v, want one of kind too_large", err)
		}
		n := 0
		for ; n < 2000; n++ {
			if err = q.TryPut(q.Context(), tandem.Message{ID: fmt.Sprint(n), Body: make([]byte, 20_000)}); err != nil {
				break
			}
		}
		// A driver may count what it adds to each message, and give room for that.
		if !errors.Is(err, tandem.ErrFull) || n < 4 || n > 80 {
			q.Errorf("%d messages of 20 kB went into a queue of 100 kB: %v", n, err)
		}
	})
	run("an ID is taken once within the window", tandem.QueueConfig{Dedupe: time.Minute}, func(q queued) {
		q.put(message("a"))
		q.put(message("a"), message("b"))
		l := q.take(10, 10*time.Second)
		for len(l) < 2 {
			l = append(l, q.take(10, 10*time.Second)...)
		}
		q.done(l...)
		q.put(message("a")) // done already, and still known
		q.none(100 * time.Millisecond)
		if got := ids(l); !slices.Equal(got, []string{"a", "b"}) {
			q.Errorf("came: %q", got)
		}
	})
	run("a lease that lapses comes again and counts", tandem.QueueConfig{Lease: 300 * time.Millisecond, Attempts: 100}, func(q queued) { lapses(q, 300*time.Millisecond) })
	run("who takes all that there is has it before its lease is over", tandem.QueueConfig{Items: 5, Lease: 900 * time.Millisecond, Attempts: 100}, func(q queued) {
		q.put(message("1"), message("2"), message("3"), message("4"), message("5"))
		for range tries { // a queue that keeps them back does so each time
			if q.Done(q.Context(), q.take(50, 10*time.Second)...) == nil {
				return
			}
		}
		q.Error("its leases are over each time")
	})
	run("Extend keeps a lease", tandem.QueueConfig{Lease: 400 * time.Millisecond, Attempts: 100}, func(q queued) { extends(q, 400*time.Millisecond) })
	run("Retry comes again after the backoff, and then it is dead", tandem.QueueConfig{Attempts: 2, Backoff: func(int) time.Duration { return 200 * time.Millisecond }}, func(q queued) {
		q.put(message("a"))
		before := time.Now()
		if err := q.one().Retry(q.Context(), errors.New("no luck")); err != nil {
			q.Fatal(err)
		}
		l := q.one()
		if d := time.Since(before); d < 150*time.Millisecond {
			q.Errorf("it came again after %v, before its backoff of 200ms", d)
		}
		if l.Attempt() != 2 {
			q.Errorf("attempt %d, want 2", l.Attempt())
		}
		if err := l.Retry(q.Context(), errors.New("no luck again")); err != nil {
			q.Fatal(err)
		}
		q.none(400 * time.Millisecond)
		dead, err := q.Dead(q.Context(), 10)
		if err != nil || len(dead) != 1 || dead[0].ID != "a" || dead[0].Attempts != 2 || dead[0].Reason != "no luck again" || string(dead[0].Body) != "body of a" {
			q.Fatalf("dead letters: %+v, %v", dead, err)
		}
		if s := q.stats(); s.Dead != 1 || s.Ready+s.Leased+s.Delayed != 0 {
			q.Errorf("stats: %+v", s)
		}
	})
	run("a message whose holders vanish is dead in the end", tandem.QueueConfig{Attempts: 2, Lease: 200 * time.Millisecond}, func(q queued) {
		q.put(message("a"))
		q.one()
		q.one()
		var dead []tandem.DeadMessage
		for end := time.Now().Add(10 * time.Second); len(dead) == 0 && time.Now().Before(end); {
			q.none(100 * time.Millisecond)
			dead, _ = q.Dead(q.Context(), 10)
		}
		if len(dead) != 1 || dead[0].Attempts != 2 || dead[0].Reason == "" {
			q.Fatalf("dead letters: %+v", dead)
		}
	})
	run("dead letters can be revived and removed", tandem.QueueConfig{}, func(q queued) {
		q.put(message("a"), message("b"))
		for range 2 {
			if err := q.one().Kill(q.Context(), "poison"); err != nil {
				q.Fatal(err)
			}
		}
		if dead, err := q.Dead(q.Context(), 1); err != nil || len(dead) != 1 {
			q.Fatalf("Dead(1): %d, %v", len(dead), err)
		}
		if err := q.Revive(q.Context(), "a"); err != nil {
			q.Fatal(err)
		}
		l := q.one()
		if l.Message().ID != "a" || l.Attempt() != 1 {
			q.Errorf("revived: %s at attempt %d, want a at 1", l.Message().ID, l.Attempt())
		}
		if err := q.Bury(q.Context(), "b"); err != nil {
			q.Fatal(err)
		}
		if err := q.Bury(q.Context(), "b"); err == nil {
			q.Error("a dead letter could be removed twice")
		}
		if s := q.stats(); s.Dead != 0 || s.Leased != 1 {
			q.Errorf("stats: %+v", s)
		}
	})
	run("a message without an ID keeps the one it is given", tandem.QueueConfig{Backoff: quick}, func(q queued) {
		q.put(tandem.Message{Body: []byte("1")}, tandem.Message{Body: []byte("2")})
		l, other := q.one(), q.one()
		id := l.Message().ID
		if id == "" || other.Message().ID == id {
			q.Fatalf("given: %q and %q", id, other.Message().ID)
		}
		q.done(other)
		if err := l.Retry(q.Context(), errors.New("again")); err != nil {
			q.Fatal(err)
		}
		if l = q.one(); l.Message().ID != id || string(l.Message().Body) != "1" {
			q.Errorf("came again: %q with %q, want %q", l.Message().ID, l.Message().Body, id)
		}
		if err := l.Kill(q.Context(), "enough"); err != nil {
			q.Fatal(err)
		}
		if dead, err := q.Dead(q.Context(), 10); err != nil || len(dead) != 1 || dead[0].ID != id {
			q.Fatalf("dead letters: %+v, %v", dead, err)
		}
		if err := q.Revive(q.Context(), id); err != nil {
			q.Fatal(err)
		}
		if l = q.one(); l.Message().ID != id {
			q.Errorf("revived: %q, want %q", l.Message().ID, id)
		}
	})
	run("Release gives back at once and counts nothing", tandem.QueueConfig{}, func(q queued) {
		q.put(message("a"))
		if err := q.one().Release(q.Context()); err != nil {
			q.Fatal(err)
		}
		if l := q.one(); l.Attempt() != 1 {
			q.Errorf("attempt %d after Release, want 1", l.Attempt())
		}
	})
	run("a message is not handed out before its time", tandem.QueueConfig{}, func(q queued) { waits(q) })
	run("messages of a key keep their order", tandem.QueueConfig{Ordered: true, Backoff: quick}, func(q queued) { keys(q) })
	run("many senders and takers: everything once", tandem.QueueConfig{Items: 64, Lease: 5 * time.Second}, func(q queued) { crowd(q) })
	run("a taker that gives up keeps nothing", tandem.QueueConfig{}, func(q queued) {
		for range 5 {
			q.none(30 * time.Millisecond)
		}
		q.put(message("a"), message("b"))
		l := append(q.take(1, 10*time.Second), q.take(1, 10*time.Second)...)
		if len(l) != 2 {
			q.Fatalf("only %q came at once", ids(l))
		}
	})
	run("Close ends what waits", tandem.QueueConfig{Items: 1}, func(q queued) {
		taken := make(chan error, 1)
		go func() {
			_, err := q.Take(context.Background(), 1)
			taken <- err
		}()
		time.Sleep(50 * time.Millisecond)
		if err := q.Close(); err != nil {
			q.Fatal(err)
		}
		select {
		case err := <-taken:
			if !errors.Is(err, tandem.ErrClosed) {
				q.Errorf("Take of a closed queue: %v", err)
			}
		case <-time.After(10 * time.Second):
			q.Fatal("Take does not notice Close")
		}
		if err := q.Put(q.Context(), message("late")); !errors.Is(err, tandem.ErrClosed) {
			q.Errorf("Put into a closed queue: %v", err)
		}
	})
}

// keys checks the order within keys while other keys go on.
func keys(q queued) {
	var all []tandem.Message
	for i := range 30 {
		all = append(all, tandem.Message{ID: fmt.Sprint(i), Key: fmt.Sprint("key", i%3)})
	}
	q.put(all...)
	next := map[string]int{"key0": 0, "key1": 1, "key2": 2}
	open := map[string]bool{}
	var held []tandem.Lease
	retried := map[string]bool{}
	for done := 0; done < 30; {
		l := q.take(5, 10*time.Second)
		if len(l) == 0 {
			q.Fatalf("nothing comes after %d", done)
		}
		for _, x := range l {
			m := x.Message()
			if open[m.Key] {
				q.Fatalf("two of %s are out at once", m.Key)
			}
			if m.ID != fmt.Sprint(next[m.Key]) {
				q.Fatalf("of %s came %s, want %d", m.Key, m.ID, next[m.Key])
			}
			open[m.Key] = true
			held = append(held, x)
		}
		for _, x := range held {
			m := x.Message()
			open[m.Key] = false
			if i := m.ID; i == "9" && !retried[i] { // put back: it must come again before those behind it
				retried[i] = true
				if err := x.Retry(q.Context(), errors.New("again")); err != nil {
					q.Fatal(err)
				}
				continue
			}
			q.done(x)
			next[m.Key] += 3
			done++
		}
		held = held[:0]
	}
}

// crowd sends with four and takes with four, with some that put back.
func crowd(q queued) {
	const senders, each = 4, 250
	var mu sync.Mutex
	done := map[string]int{}
	ctx, cancel := context.WithTimeout(q.Context(), time.Minute)
	defer cancel()
	var all sync.WaitGroup
	for s := range senders {
		all.Go(func() {
			for i := 0; i < each; i += 10 {
				var lot []tandem.Message
				for j := range 10 {
					lot = append(lot, message(fmt.Sprint(s, "-", i+j)))
				}
				if err := q.Put(ctx, lot...); err != nil {
					q.Errorf("Put: %v", err)
					return
				}
			}
		})
	}
	for range 4 {
		all.Go(func() {
			for ctx.Err() == nil {
				l, err := q.Take(ctx, 16)
				if err != nil {
					return
				}
				if len(l) > 3 {
					_ = l[2].Release(ctx)
					l = slices.Delete(l, 2, 3)
				}
				if err := q.Done(ctx, l...); err != nil {
					q.Errorf("Done: %v", err)
					return
				}
				mu.Lock()
				for _, x := range l {
					done[x.Message().ID]++
				}
				if len(done) == senders*each {
					cancel()
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	for id, n := range done {
		if n != 1 {
			q.Errorf("%s was done %d times", id, n)
		}
	}
	if len(done) != senders*each {
		q.Errorf("%d of %d were done", len(done), senders*each)
	}
}
