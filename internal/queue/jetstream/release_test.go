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
	const lease = 30 * time.Second // so that what comes before half of it is over has not come because it is
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
		q, err := e.Open(t.Context(), tandem.QueueConfig{Name: "q", Items: 100, Lease: lease})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = q.Close() })
		return q
	}
	ends, releases := open(), open()
	take := func(q *Queue) tandem.Lease {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), lease/2)
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
		if err := releases.Done(t.Context(), two); err != nil {
			t.Fatal(err)
		}
	}
}

// Who connects to a server at level power from outside makes the same queues as the process with the server, whoever is first; and where somebody did not, both go on.
func TestAllAgreeOnTheLevel(t *testing.T) {
	s, err := Serve(ServerConfig{Dir: t.TempDir(), Level: Power, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	inside, err := s.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	outside, err := Connect(s.URL(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	both := func(name string, kept bool) {
		t.Helper()
		var all []*Queue
		for _, e := range []*Engine{outside, inside} {
			q, err := e.Open(t.Context(), tandem.QueueConfig{Name: name, Items: 10})
			if err != nil {
				t.Fatal(err)
			}
			defer q.Close()
			if q.purges() != kept {
				t.Errorf("%s: purged now and then: %v, want %v", name, q.purges(), kept)
			}
			all = append(all, q)
		}
		for i := range 30 { // three times what there is room for
			if err := all[i%2].Put(t.Context(), tandem.Message{Body: []byte("x")}); err != nil {
				t.Fatal(err)
			}
			l, err := all[(i+1)%2].Take(t.Context(), 1)
			if err == nil {
				err = all[(i+1)%2].Done(t.Context(), l...)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	both("before", false)
	for _, e := range []*Engine{inside, outside} {
		if err := e.Agree(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	both("after", true)
	inside.cfg.Level = Process // as after a start at another level
	if err := inside.Agree(t.Context()); err != nil {
		t.Fatal(err)
	}
	later, err := Connect(s.URL(), Config{})
	if err == nil {
		defer later.Close()
		err = later.Agree(t.Context())
	}
	if err != nil || later.cfg.Level != Process {
		t.Errorf("later the level is %s, %v", later.cfg.Level, err)
	}
}
