package jetstream

import (
	"testing"
	"time"

	"tandem"
)

// What Has says of a message that its earlier holder has ended meanwhile, and of one that nobody has.
func TestHas(t *testing.T) {
	for _, level := range []Level{Process, Power} {
		t.Run(string(level), func(t *testing.T) {
			s, err := Serve(ServerConfig{Dir: t.TempDir(), Level: level})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			e, err := s.Connect()
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			q, err := e.Open(t.Context(), tandem.QueueConfig{Name: "q", Items: 100, Lease: time.Second})
			if err != nil {
				t.Fatal(err)
			}
			defer q.Close()
			take := func() tandem.Lease {
				t.Helper()
				l, err := q.Take(t.Context(), 1)
				if err != nil {
					t.Fatal(err)
				}
				return l[0]
			}
			has := func(l tandem.Lease, want bool, of string) {
				t.Helper()
				if got, err := q.Has(t.Context(), l); got != want || err != nil {
					t.Errorf("%s: %v, %v; want %v", of, got, err, want)
				}
			}
			if err := q.Put(t.Context(), tandem.Message{ID: "a"}, tandem.Message{ID: "b"}); err != nil {
				t.Fatal(err)
			}
			first := map[string]tandem.Lease{}
			for range 2 {
				l := take()
				first[l.Message().ID] = l
			}
			second := map[string]tandem.Lease{}
			for range 2 { // the leases lapse
				l := take()
				second[l.Message().ID] = l
				has(l, true, "one that nobody has ended")
			}
			end := func(id string) {
				t.Helper()
				first[id].(*lease).until.Store(time.Now().Add(time.Minute).UnixNano()) // a holder whose clock is slow
				if err := q.Done(t.Context(), first[id]); err != nil {
					t.Fatal(err)
				}
			}
			end("b")
			if level == Process {
				has(second["b"], false, "one that its earlier holder has ended")
			}
			has(second["a"], true, "one before it")
			end("a")
			has(second["a"], false, "the first")
			has(second["b"], false, "one behind it, when all are ended")
		})
	}
}
