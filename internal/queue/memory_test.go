package queue

import (
	"testing"

	"go.uber.org/goleak"

	"tandem"
	"tandem/tandemtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMemory(t *testing.T) {
	tandemtest.ExerciseQueue(t, func(t *testing.T, cfg tandem.QueueConfig) tandem.Queue {
		q := New(cfg)
		t.Cleanup(func() { _ = q.Close() })
		return q
	})
}

// The names of messages that came without one never repeat, also where they get longer.
func TestNames(t *testing.T) {
	q := New(tandem.QueueConfig{Name: "q", Items: 5000})
	seen := map[string]bool{}
	n := 0
	for size := 1; n < 2000; size = size%97 + 3 {
		if err := q.Put(t.Context(), make([]tandem.Message, size)...); err != nil {
			t.Fatal(err)
		}
		n += size
	}
	leases, err := q.Take(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range leases {
		if id := l.Message().ID; id == "" || seen[id] {
			t.Fatalf("the name %q came twice", id)
		} else {
			seen[id] = true
		}
	}
	if len(seen) != n {
		t.Errorf("%d names of %d messages", len(seen), n)
	}
}
