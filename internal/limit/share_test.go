package limit

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Of a rate and a concurrency that several processes share each has its part, as soon as their number changes.
func TestPartsOfALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var among atomic.Int64
		l := New(Config{Rate: 100, Concurrency: 9, Among: &among})
		starts := func(d time.Duration) (n int) {
			for end := time.Now().Add(d); time.Now().Before(end); n++ {
				if err := l.Acquire(t.Context()); err != nil {
					t.Fatal(err)
				}
				l.Release(time.Millisecond, Good, 0)
			}
			return n
		}
		for _, c := range []struct{ among, least, most int }{{0, 990, 1010}, {4, 245, 255}, {1, 990, 1010}} {
			among.Store(int64(c.among))
			if n := starts(10 * time.Second); n < c.least || n > c.most {
				t.Errorf("of 100/s among %d this process started %d in 10 s", c.among, n)
			}
		}
		for among1, want := range map[int64]int{0: 9, 2: 4, 100: 1} {
			among.Store(among1)
			if got := l.State().Limit; got != want {
				t.Errorf("of 9 among %d this process has %d, want %d", among1, got, want)
			}
		}
	})
}
