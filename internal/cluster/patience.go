package cluster

import (
	"context"
	"errors"
	"time"

	"tandem"
)

// An error of the queue that may pass by itself is a cluster that is away or chooses a leader: what has been begun waits for it, and what has been taken is
// kept. Only a connection that is closed for good ends the wait.
const (
	firstPause = 50 * time.Millisecond
	mostPause  = 2 * time.Second
	longServed = time.Minute // after which a step that failed is tried again at once
)

// patience says how long to wait, and for what not.
type patience struct {
	gone func() bool // whether the connection is closed for good; nil means never
	says func(error) // told once what is waited for when that has taken [silence], and nil when it goes on; may be nil
}

// try does do until it succeeds, fails for good, or ctx is done.
func (p patience) try(ctx context.Context, do func() error) error {
	begun, said := time.Now(), false
	for pause := firstPause; ; pause = min(2*pause, mostPause) {
		err := do()
		if said && (err == nil || !again(err)) {
			p.says(nil)
		} else if !said && again(err) && p.says != nil && time.Since(begun) > silence {
			said = true
			p.says(err)
		}
		if err == nil || !again(err) || p.over() || ctx.Err() != nil {
			return err
		}
		if !rest(ctx, pause) {
			return context.Cause(ctx)
		}
	}
}

// soon is try for somebody who waits for the answer: after openWait it fails.
func (p patience) soon(ctx context.Context, op string, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, openWait, &tandem.Error{Op: op, Kind: tandem.KindQueue, Again: tandem.AgainYes,
		Message: "it does not answer within " + openWait.String(), Hint: "a cluster needs more than half of its servers"})
	defer cancel()
	err := p.try(ctx, func() error {
		once, stop := context.WithTimeout(ctx, 5*time.Second) // who is asked before it is chosen never answers
		defer stop()
		return do(once)
	})
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return err
}

func (p patience) over() bool { return p.gone != nil && p.gone() }

// rest waits; it is false when ctx is done.
func rest(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// again tells whether an error of the queue may pass by itself. A request that was not answered in the client's own time is one, so who asks looks at its own
// context first.
func again(err error) bool {
	e, ok := errors.AsType[*tandem.Error](err)
	return ok && e.Again == tandem.AgainYes || errors.Is(err, context.DeadlineExceeded)
}
