package jetstream

import (
	"context"
	"fmt"
	"testing"
	"time"

	"tandem"
)

// At level power a purge by one process does not make the server forget what another has just given back, nor what waits for somebody to take it.
func TestAReleaseBesideAPurge(t *testing.T) {
	s, err := Serve(ServerConfig{Dir: t.TempDir(), Level: Power})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	open := func() *Queue {
		e, err := s.Connect()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = e.Close() })
		q, err := e.Open(t.Context(), tandem.QueueConfig{Name: "q", Items: 100, Lease: 3 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = q.Close() })
		return q
	}
	ends, releases := open(), open()
	take := func(q *Queue) tandem.Lease {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		l, err := q.Take(ctx, 1)
		if err != nil {
			t.Fatal(err)
		}
		return l[0]
	}
	const rounds = 30
	for i := range rounds {
		for k := range 2 {
			if err := ends.Put(t.Context(), tandem.Message{ID: fmt.Sprint(i, ".", k)}); err != nil {
				t.Fatal(err)
			}
		}
		one, two := take(ends), take(releases)
		first := ends.work.CachedInfo().State.FirstSeq
		if i%2 == 0 { // the purge comes after the release: whoever takes is not there yet
			if err := two.Release(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if err := ends.Done(t.Context(), one); err != nil {
			t.Fatal(err)
		}
		if i%2 == 1 { // or about when it does, which is within 50 ms
			time.Sleep(time.Duration(i) * 2 * time.Millisecond)
			if err := two.Release(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for purged := false; !purged; time.Sleep(time.Millisecond) {
			info, err := ends.work.Info(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			purged = info.State.FirstSeq > first
		}
		two = take(releases)
		if two.Attempt() != 1 {
			t.Errorf("round %d: what was released came as attempt %d: its lease lapsed", i, two.Attempt())
		}
		if err := releases.Done(t.Context(), two); err != nil {
			t.Fatal(err)
		}
	}
}
