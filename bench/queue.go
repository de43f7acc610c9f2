package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tandem"
	"tandem/internal/queue"
	"tandem/internal/queue/jetstream"
)

// What all queue rows do: one sends messages of 256 bytes, one takes them and confirms each, at once, for the length of a measurement; the rate counts until the
// last is confirmed. Bodies are fresh ones, as those of a program would be.

const bodySize = 256

// pipe sends with put, lot at a time, and takes with take, which gives how many it has taken and confirmed.
func pipe(ctx context.Context, b *bench, lot int, put func(context.Context, [][]byte) error, take func(context.Context) (int, error)) (figures, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var done, sent atomic.Int64
	sent.Store(1 << 62)
	over, end := context.WithCancel(ctx) // the taker may have taken the last before the sender has said that it was the last, and then it waits for nothing
	defer end()
	var sending sync.WaitGroup
	start := time.Now()
	sending.Go(func() {
		n := int64(0)
		for time.Since(start) < b.duration() && ctx.Err() == nil {
			bodies := make([][]byte, lot)
			for i := range bodies {
				bodies[i] = make([]byte, bodySize)
			}
			if err := put(ctx, bodies); err != nil {
				cancel(err)
				return
			}
			n += int64(lot)
		}
		sent.Store(n)
		if done.Load() == n {
			end()
		}
	})
	var err error
	for done.Load() < sent.Load() && err == nil {
		within, stop := context.WithTimeout(over, 20*time.Second)
		var n int
		n, err = take(within)
		stop()
		done.Add(int64(n))
	}
	spent := time.Since(start)
	if err != nil && done.Load() != sent.Load() {
		cancel(err)
		err = fmt.Errorf("%w (%w)", err, context.Cause(ctx))
	} else {
		err = nil
	}
	sending.Wait()
	if err == nil && done.Load() != sent.Load() {
		err = fmt.Errorf("%d messages came of %d", done.Load(), sent.Load())
	}
	return perSecond(done.Load(), spent), err
}

func pipeQueue(ctx context.Context, b *bench, q tandem.Queue, lot, most int) (figures, error) {
	return pipe(ctx, b, lot, func(ctx context.Context, bodies [][]byte) error {
		messages := make([]tandem.Message, len(bodies))
		for i := range messages {
			messages[i].Body = bodies[i]
		}
		return q.Put(ctx, messages...)
	}, func(ctx context.Context) (int, error) {
		leases, err := q.Take(ctx, most)
		if err != nil {
			return 0, err
		}
		return len(leases), q.Done(ctx, leases...)
	})
}

// chanPipe is the Go programmer's own queue: the same messages through a channel of the same length.
func chanPipe(ctx context.Context, b *bench) (figures, error) {
	c := make(chan tandem.Message, 10_000)
	return pipe(ctx, b, 64, func(_ context.Context, bodies [][]byte) error {
		for _, body := range bodies {
			c <- tandem.Message{Body: body}
		}
		return nil
	}, func(ctx context.Context) (int, error) {
		select {
		case <-c:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
		n := 1
		for ; n < 64; n++ {
			select {
			case <-c:
			default:
				return n, nil
			}
		}
		return n, nil
	})
}

func memoryPipe(ctx context.Context, b *bench) (figures, error) {
	q := queue.New(tandem.QueueConfig{Name: "bench"})
	defer q.Close()
	return pipeQueue(ctx, b, q, 64, 64)
}

// embedded starts a server in this process for as long as do runs.
func embedded(b *bench, level jetstream.Level, do func(e *jetstream.Engine) (figures, error)) (f figures, err error) {
	dir, err := os.MkdirTemp(b.dir, "queue")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	s, err := jetstream.Serve(jetstream.ServerConfig{Dir: filepath.Join(dir, "js"), Level: level})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	e, err := s.Connect()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	return do(e)
}

func levelPipe(level jetstream.Level) func(context.Context, *bench) (figures, error) {
	return func(ctx context.Context, b *bench) (figures, error) {
		return embedded(b, level, func(e *jetstream.Engine) (figures, error) {
			q, err := e.Open(ctx, tandem.QueueConfig{Name: "bench", Items: 10_000, Dedupe: 2 * time.Minute})
			if err != nil {
				return nil, err
			}
			defer q.Close()
			return pipeQueue(ctx, b, q, 256, 256)
		})
	}
}

// wake measures from the moment at which Done has confirmed a place free until the Put that waited for it has returned.
func wake(ctx context.Context, b *bench) (figures, error) {
	return embedded(b, jetstream.Process, func(e *jetstream.Engine) (figures, error) {
		q, err := e.Open(ctx, tandem.QueueConfig{Name: "bench", Items: 1})
		if err != nil {
			return nil, err
		}
		defer q.Close()
		if err := q.Put(ctx, tandem.Message{}); err != nil {
			return nil, err
		}
		var took []float64
		for start := time.Now(); time.Since(start) < b.duration() || len(took) < 20; {
			leases, err := q.Take(ctx, 1)
			if err != nil {
				return nil, err
			}
			put := make(chan error, 1)
			go func() { put <- q.Put(ctx, tandem.Message{}) }()
			nap(ctx, 5*time.Millisecond) // it waits by now
			if err := q.Done(ctx, leases...); err != nil {
				return nil, err
			}
			freed := time.Now()
			if err := <-put; err != nil {
				return nil, err
			}
			took = append(took, time.Since(freed).Seconds()*1e3)
		}
		slices.Sort(took)
		return figures{"p50": quantile(took, 0.5), "p99": quantile(took, 0.99)}, nil
	})
}

// startEmbedded measures from nothing to a server that answers.
func startEmbedded(_ context.Context, b *bench) (figures, error) {
	var took []float64
	for range 5 {
		start := time.Now()
		_, err := embedded(b, jetstream.Process, func(*jetstream.Engine) (figures, error) {
			took = append(took, time.Since(start).Seconds()*1e3)
			return nil, nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(took)
	return figures{"p50": quantile(took, 0.5)}, nil
}

func queueRows() []row {
	ms := []figure{{"p50", "ms"}, {"p99", "ms"}}
	return []row{
		{name: "limit/chan-pipe", about: "Go: the messages of the queue rows through one channel", gives: rate, measure: chanPipe},
		{name: "peer/nats-loop", about: "nats.go as its manual has it, server inside, 0.1 s sync: 256 publishes in flight, fetched and acknowledged", gives: rate, measure: natsLoop(false)},
		{name: "peer/nats-always", about: "the same with a sync for each message and acknowledgement", gives: rate, measure: natsLoop(true)},
		{name: "peer/nats-always-tcp", about: "the same, the server a process of its own", gives: rate, measure: natsServers(1, false)},
		{name: "peer/river", about: "River on PostgreSQL 15, started for the row: batches of 256", gives: rate, measure: riverPipe},
		{name: "peer/asynq", about: "asynq on redis-server, started for the row, fsync each second: 64 workers", gives: rate, measure: asynqPipe},
		{name: "tandem/queue-memory", about: "tandem.Queue in memory: Put, Take and Done of 64", gives: rate, measure: memoryPipe},
		{name: "tandem/queue-process", about: "the embedded queue at level process: Put, Take and Done of 256", gives: rate, measure: levelPipe(jetstream.Process)},
		{name: "tandem/queue-power", about: "the same at level power", gives: rate, measure: levelPipe(jetstream.Power)},
		{name: "tandem/queue-cluster", about: "the same on three servers, each a process, three copies, a sync for each write", gives: rate, measure: natsServers(3, true)},
		{name: "tandem/queue-redis", about: "queue/redis on a redis-server started for the row, fsync each second", gives: rate, measure: redisPipe},
		{name: "tandem/queue-wake", about: "a Put that waits for room: from Done's return to its own", gives: ms, measure: wake},
		{name: "tandem/queue-start", about: "from nothing to an embedded server that answers", gives: ms[:1], measure: startEmbedded},
		{name: "tandem/queue-size", about: "what the server adds to a stripped program that has the client already", gives: []figure{{"size", "MB"}}, every: 1000, minutes: 5, measure: serverSize},
	}
}
