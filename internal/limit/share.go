package limit

import (
	"cmp"
	"time"

	"golang.org/x/time/rate"
)

// share sets the bucket's rate to this process's part.
func (l *Limit) share(now time.Time) {
	if l.bucket == nil || l.cfg.Among == nil {
		return
	}
	n := max(1, l.cfg.Among.Load())
	if n == l.among {
		return
	}
	l.among = n
	part := l.cfg.Rate / float64(n)
	l.bucket.SetLimitAt(now, rate.Limit(part))
	// The burst stays what the whole rate has: with a timer that is late a part that may start one task at a time would fall behind for good.
	l.bucket.SetBurstAt(now, max(cmp.Or(l.cfg.Burst/int(n), int(l.cfg.Rate/50)), 1))
}
