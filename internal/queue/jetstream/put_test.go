package jetstream

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"tandem"
)

func place(t *testing.T, level Level) (*Server, *Engine) {
	t.Helper()
	s, err := Serve(ServerConfig{Dir: t.TempDir(), Level: level})
	if err != nil {
		t.Fatal(err)
	}
	e, err := s.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = e.Close()
		_ = s.Close()
	})
	return s, e
}

func open(t *testing.T, e *Engine, cfg tandem.QueueConfig) *Queue {
	t.Helper()
	q, err := e.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Close() })
	return q
}

func named(ids ...string) (list []tandem.Message) {
	for _, id := range ids {
		list = append(list, tandem.Message{ID: id, Body: []byte(id)})
	}
	return list
}

// drain takes and ends everything that is there, and gives the IDs in their order.
func drain(t *testing.T, q *Queue, n int) (got []string) {
	t.Helper()
	for len(got) < n {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		leases, err := q.Take(ctx, 100)
		cancel()
		if err != nil {
			t.Fatalf("after %d of %d: %v", len(got), n, err)
		}
		got = append(got, ids(leases)...)
		if err := q.Done(t.Context(), leases...); err != nil {
			t.Fatal(err)
		}
	}
	return got
}

// A batch of which some are known and for whose end there is no room: what is known is skipped, the order stays, and nothing is lost or doubled.
func TestPutThatFillsTheQueue(t *testing.T) {
	for _, level := range []Level{Process, Power} {
		t.Run(string(level), func(t *testing.T) {
			_, e := place(t, level)
			q := open(t, e, tandem.QueueConfig{Name: "q", Items: 50})
			if q.fast != (level == Process) {
				t.Fatalf("fast batches: %v", q.fast)
			}
			if err := q.Put(t.Context(), named("3", "7")...); err != nil {
				t.Fatal(err)
			}
			var all []string
			for i := range 300 {
				all = append(all, fmt.Sprint(i))
			}
			put := make(chan error, 1)
			go func() { put <- q.Put(t.Context(), named(all...)...) }()
			got := drain(t, q, 300)
			if err := <-put; err != nil {
				t.Fatal(err)
			}
			want := append([]string{"3", "7"}, slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s == "3" || s == "7" })...)
			if level == Power { // there many are on their way after a batch was refused for a known one
				slices.Sort(got)
				slices.Sort(want)
			}
			if !slices.Equal(got, want) {
				t.Errorf("came %q", got)
			}
		})
	}
}

// Nobody else's Done is heard of: a Put into a queue that another process empties still goes on.
func TestPutBesideATakerElsewhere(t *testing.T) {
	s, e := place(t, Process)
	q := open(t, e, tandem.QueueConfig{Name: "q", Items: 20})
	elsewhere, err := s.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = elsewhere.Close() })
	other := open(t, elsewhere, tandem.QueueConfig{Name: "q", Items: 20})
	put := make(chan error, 1)
	go func() {
		var all []string
		for i := range 500 {
			all = append(all, fmt.Sprint(i))
		}
		put <- q.Put(t.Context(), named(all...)...)
	}()
	if got := drain(t, other, 500); len(got) != 500 {
		t.Errorf("%d came", len(got))
	}
	if err := <-put; err != nil {
		t.Fatal(err)
	}
}

// The server bounds how many batches it takes at once; a Put above that waits.
func TestMorePutsThanBatches(t *testing.T) {
	_, e := place(t, Process)
	q := open(t, e, tandem.QueueConfig{Name: "q", Items: 10_000})
	const putters, each = 1500, 5
	start := make(chan struct{})
	var putting sync.WaitGroup
	for i := range putters {
		putting.Go(func() {
			var lot []string
			for j := range each {
				lot = append(lot, fmt.Sprint(i, "-", j))
			}
			<-start
			if err := q.Put(t.Context(), named(lot...)...); err != nil {
				t.Error(err)
			}
		})
	}
	close(start)
	putting.Wait()
	got := drain(t, q, putters*each)
	slices.Sort(got)
	if n := len(slices.Compact(got)); n != putters*each {
		t.Errorf("%d different ones came", n)
	}
}

// At level power what many put at once goes together, and a known ID among them harms nobody.
func TestPutsTogether(t *testing.T) {
	_, e := place(t, Power)
	q := open(t, e, tandem.QueueConfig{Name: "q", Items: 1000})
	if err := q.Put(t.Context(), named("known")...); err != nil {
		t.Fatal(err)
	}
	var putting sync.WaitGroup
	for i := range 32 {
		putting.Go(func() {
			for j := range 8 {
				if err := q.Put(t.Context(), named(fmt.Sprint(i, "-", j))...); err != nil {
					t.Error(err)
				}
				if err := q.Put(t.Context(), named("known")...); err != nil {
					t.Error(err)
				}
			}
		})
	}
	putting.Wait()
	info, err := q.work.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := drain(t, q, 32*8+1)
	slices.Sort(got)
	if n := len(slices.Compact(got)); n != 32*8+1 || info.State.Msgs != 32*8+1 {
		t.Errorf("%d different ones came, %d were stored", n, info.State.Msgs)
	}
}

// The batches of a server at level power are collected outside of its directory, and nothing of that is left.
func TestStage(t *testing.T) {
	dir := t.TempDir()
	for round := range 2 { // the second finds the streams of the first
		s, err := Serve(ServerConfig{Dir: dir, Level: Power})
		if err != nil {
			t.Fatal(err)
		}
		e, err := s.Connect()
		if err != nil {
			t.Fatal(err)
		}
		q, err := e.Open(t.Context(), tandem.QueueConfig{Name: "q"})
		if err != nil {
			t.Fatal(err)
		}
		if s.staging == "" {
			t.Skip("no " + shared + " here")
		}
		is, err := os.Readlink(filepath.Join(dir, "jetstream", "$G", "streams", q.name, "batches"))
		if err != nil || is != filepath.Join(s.staging, q.name) {
			t.Errorf("round %d: batches are in %q: %v", round, is, err)
		}
		if err := q.Put(t.Context(), named(fmt.Sprint(round, "a"), fmt.Sprint(round, "b"))...); err != nil {
			t.Fatal(err)
		}
		_ = q.Close()
		_ = e.Close()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(s.staging); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("round %d: %s is left: %v", round, s.staging, err)
		}
	}
}

func TestAtLeast(t *testing.T) {
	for version, want := range map[string]bool{"2.14.0": true, "2.15.2": true, "3.0.0-beta": true, "2.13.9": false, "1.99.0": false, "": false, "latest": false} {
		if got := atLeast(version, 2, 14); got != want {
			t.Errorf("%q is at least 2.14: %v", version, got)
		}
	}
}
