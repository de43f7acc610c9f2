package redis

import (
	"context"
	"time"

	"tandem"
)

// lease is one delivery.
type lease struct {
	q       *Queue
	message tandem.Message
	serial  string // of the message
	number  int64  // of the lease
	attempt int
}

func (l *lease) Message() *tandem.Message { return &l.message }
func (l *lease) Attempt() int             { return l.attempt }

// Take is tandem.Queue's.
func (q *Queue) Take(ctx context.Context, most int) ([]tandem.Lease, error) {
	for {
		if err := q.over(ctx); err != nil {
			return nil, err
		}
		more, _ := q.bells()
		// What the server leases must be seen: the question is not given up half way.
		got, err := take.Run(context.WithoutCancel(ctx), q.e.c, q.keys(), q.cfg.Attempts, tandem.MaxDead, min(most, lot), q.cfg.Lease.Milliseconds(), lotBytes).Slice()
		if err != nil {
			return nil, q.failed("take from", err)
		}
		if len(got) > 1 {
			return q.leases(got[1:])
		}
		if err := q.rest(ctx, more, time.Duration(got[0].(int64))*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

func (q *Queue) leases(got []any) ([]tandem.Lease, error) {
	slab, out := make([]lease, len(got)/4), make([]tandem.Lease, len(got)/4)
	for i := range slab {
		l, of := &slab[i], got[4*i:]
		l.q, l.serial, l.number, l.attempt = q, of[0].(string), of[1].(int64), int(of[2].(int64))
		var err error
		if l.message, err = decode(of[3].(string)); err != nil {
			return nil, q.failed("read from", err)
		}
		out[i] = l
	}
	return out, nil
}

// Done is tandem.Queue's.
func (q *Queue) Done(ctx context.Context, leases ...tandem.Lease) error {
	var lost error
	var args []any
	send := func() error {
		if len(args) == 0 {
			return nil
		}
		late, err := done.Run(ctx, q.e.c, q.keys(), append([]any{q.cfg.Attempts, tandem.MaxDead, q.cfg.Ordered}, args...)...).Int()
		if late > 0 {
			lost = tandem.ErrLost
		}
		args = args[:0]
		return q.failed("end leases of", err)
	}
	for _, t := range leases {
		l, ok := t.(*lease)
		if !ok || l.q != q {
			lost = tandem.ErrLost
			continue
		}
		if args = append(args, l.serial, l.number); len(args) >= 2*lot {
			if err := send(); err != nil {
				return err
			}
		}
	}
	if err := send(); err != nil {
		return err
	}
	return lost
}

// end runs the script that ends or extends one lease. how is one of extend, retry, release and kill.
func (l *lease) end(ctx context.Context, how string, wait time.Duration, cause string) error {
	q := l.q
	said, err := ended.Run(ctx, q.e.c, q.keys(), q.cfg.Attempts, tandem.MaxDead, q.cfg.Ordered, l.serial, l.number, how, wait.Milliseconds(), cause).Text()
	switch {
	case err != nil:
		return q.failed(how+" a lease of", err)
	case said == "lost":
		return tandem.ErrLost
	case said == "full":
		return tandem.ErrFull
	}
	return nil
}

func (l *lease) Extend(ctx context.Context) error  { return l.end(ctx, "extend", l.q.cfg.Lease, "") }
func (l *lease) Release(ctx context.Context) error { return l.end(ctx, "release", 0, "") }
func (l *lease) Kill(ctx context.Context, reason string) error {
	return l.end(ctx, "kill", 0, reason)
}

func (l *lease) Retry(ctx context.Context, cause error) error {
	text := ""
	if cause != nil {
		text = cause.Error()
	}
	if l.attempt >= l.q.cfg.Attempts {
		if text == "" {
			text = "its attempts are used up"
		}
		return l.end(ctx, "kill", 0, text)
	}
	return l.end(ctx, "retry", max(l.q.cfg.Backoff(l.attempt), time.Millisecond), text)
}
