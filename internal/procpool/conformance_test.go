package procpool

import (
	"testing"

	"tandem"
	"tandem/tandemtest"
)

// The same suite on Go workers as on goroutines: modes are interchangeable.
func TestPoolKeepsItsPromises(t *testing.T) {
	tandemtest.ExercisePool(t, func(_ *testing.T, c tandemtest.PoolConfig) tandem.Pool {
		cfg := testConfig(c.Handler)
		cfg.Workers, cfg.Timeout = c.Concurrency, c.Timeout
		return New(cfg)
	})
}
