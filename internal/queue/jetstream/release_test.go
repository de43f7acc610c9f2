package jetstream

import (
	"context"
	"fmt"
	"testing"
	"time"

	"tandem"
)

// At level power a purge by one process makes the server forget what another has just given back, so no purge may follow closely upon a release. What is left is the
// moment between the look and the purge. Without the look 11 of 30 were late.
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
	late := 0
	const rounds = 30
	for i := range rounds {
		for k := range 2 {
			if err := ends.Put(t.Context(), tandem.Message{ID: fmt.Sprint(i, ".", k)}); err != nil {
				t.Fatal(err)
			}
		}
		one, two := take(ends), take(releases)
		if err := ends.Done(t.Context(), one); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(i) * 2 * time.Millisecond) // the purge comes within 50 ms
		if err := two.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(60 * time.Millisecond)
		begun := time.Now()
		two = take(releases)
		if time.Since(begun) > time.Second {
			late++
		}
		if err := releases.Done(t.Context(), two); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d of %d releases were handed out a lease late", late, rounds)
	if late > rounds/5 {
		t.Errorf("%d of %d releases were handed out a lease late", late, rounds)
	}
}
