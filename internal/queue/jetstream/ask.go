package jetstream

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
)

// ask asks the servers something that may be asked twice. What is asked of a stream that has just lost its leader, or has none yet, is never answered, so who waits
// long for the first answer loses that time each time a stream is made or a server dies. A slow network gets more with every further question, 7 s in all.
func ask[T any](ctx context.Context, do func(context.Context) (T, error)) (answer T, err error) {
	for within := time.Second; ; within *= 2 {
		once, stop := context.WithTimeout(ctx, within)
		answer, err = do(once)
		stop()
		if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, nats.ErrTimeout) || ctx.Err() != nil || within >= 4*time.Second {
			return answer, err
		}
	}
}
