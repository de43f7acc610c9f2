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
