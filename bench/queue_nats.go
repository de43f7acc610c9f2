package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"tandem"
	"tandem/internal/queue/jetstream"
)

// The peers on the same engine: what one writes with nats.go without Tandem.

// natsLoop is the bare loop on a server in this process.
func natsLoop(always bool) func(context.Context, *bench) (figures, error) {
	return func(ctx context.Context, b *bench) (figures, error) {
		dir, err := os.MkdirTemp(b.dir, "nats")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		s, err := natsserver.NewServer(&natsserver.Options{NoSigs: true, NoLog: true, DontListen: true, JetStream: true, StoreDir: dir, SyncAlways: always, SyncInterval: 100 * time.Millisecond})
		if err != nil {
			return nil, err
		}
		s.Start()
		defer func() { s.Shutdown(); s.WaitForShutdown() }()
		if !s.ReadyForConnections(10 * time.Second) {
			return nil, errors.New("the NATS server does not start")
		}
		nc, err := nats.Connect("", nats.InProcessServer(s))
		if err != nil {
			return nil, err
		}
		defer nc.Close()
		return barePipe(ctx, b, nc, 1)
	}
}

// barePipe publishes with 256 in flight, fetches up to 500 at a time and acknowledges each; the acknowledgements of a batch are awaited by a confirmed one at its
// end: the server takes them in order.
func barePipe(ctx context.Context, b *bench, nc *nats.Conn, replicas int) (figures, error) {
	js, err := natsjs.New(nc, natsjs.WithPublishAsyncMaxPending(256))
	if err != nil {
		return nil, err
	}
	if _, err := js.CreateStream(ctx, natsjs.StreamConfig{Name: "bench", Subjects: []string{"bench.go"}, Retention: natsjs.WorkQueuePolicy, Replicas: replicas}); err != nil {
		return nil, err
	}
	c, err := js.CreateConsumer(ctx, "bench", natsjs.ConsumerConfig{Durable: "w", AckPolicy: natsjs.AckExplicitPolicy, MaxAckPending: 10_000})
	if err != nil {
		return nil, err
	}
	var flying []natsjs.PubAckFuture
	settle := func(n int) error {
		for len(flying) > n {
			select {
			case <-flying[0].Ok():
			case err := <-flying[0].Err():
				return err
			}
			flying = flying[1:]
		}
		return nil
	}
	return pipe(ctx, b, 256, func(_ context.Context, bodies [][]byte) error {
		for _, body := range bodies {
			f, err := js.PublishAsync("bench.go", body, natsjs.WithStallWait(10*time.Second))
			if err != nil {
				return err
			}
			if flying = append(flying, f); len(flying) >= 256 {
				if err := settle(255); err != nil {
					return err
				}
			}
		}
		return nil
	}, func(ctx context.Context) (n int, err error) {
		batch, err := c.FetchNoWait(500)
		if err != nil {
			return 0, err
		}
		var last natsjs.Msg
		for m := range batch.Messages() {
			if last != nil {
				if err := last.Ack(); err != nil {
					return n, err
				}
			}
			last = m
			n++
		}
		if last == nil {
			return 0, context.Cause(ctx)
		}
		return n, last.DoubleAck(ctx)
	})
}

// natsServers measures on servers that are processes of their own and sync each write: the bare loop, or Tandem's queue.
func natsServers(n int, ours bool) func(context.Context, *bench) (figures, error) {
	return func(ctx context.Context, b *bench) (figures, error) {
		dir, err := os.MkdirTemp(b.dir, "nats")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		ports, err := freePorts(2 * n)
		if err != nil {
			return nil, err
		}
		var routes, urls []string
		for i := range n {
			routes = append(routes, fmt.Sprint("nats://", ports[i]))
		}
		for i := range n {
			cfg := jetstream.ServerConfig{Dir: filepath.Join(dir, fmt.Sprint(i)), Name: fmt.Sprint("n", i), Level: jetstream.Power, Listen: ports[n+i]}
			if n > 1 {
				cfg.Cluster, cfg.Routes = ports[i], routes
			}
			text, err := json.Marshal(cfg)
			if err != nil {
				return nil, err
			}
			s, err := startServer(ctx, "serve-nats", string(text))
			if err != nil {
				return nil, err
			}
			defer s.stop()
			urls = append(urls, s.address)
		}
		all := strings.Join(urls, ",")
		e, err := jetstream.Connect(all, jetstream.Config{Replicas: n})
		if err != nil {
			return nil, err
		}
		defer e.Close()
		if err := e.Await(ctx, 20*time.Second); err != nil {
			return nil, err
		}
		if ours {
			q, err := e.Open(ctx, tandem.QueueConfig{Name: "bench"})
			if err != nil {
				return nil, err
			}
			defer q.Close()
			return pipeQueue(ctx, b, q, 256, 256)
		}
		nc, err := nats.Connect(all)
		if err != nil {
			return nil, err
		}
		defer nc.Close()
		return barePipe(ctx, b, nc, n)
	}
}

// serveNATS is the role of such a server.
func serveNATS(args []string) error {
	var cfg jetstream.ServerConfig
	if err := json.Unmarshal([]byte(args[0]), &cfg); err != nil {
		return err
	}
	s, err := jetstream.Serve(cfg)
	if err != nil {
		return err
	}
	fmt.Println(s.URL())
	untilStdinEnds()
	return s.Close()
}

func freePorts(n int) (all []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		all = append(all, l.Addr().String())
	}
	return all, nil
}

// serverSize builds two programs and compares them.
func serverSize(ctx context.Context, b *bench) (figures, error) {
	size := func(which string) (float64, error) {
		path := filepath.Join(b.dir, "size-"+which)
		c := exec.CommandContext(ctx, "go", "build", "-ldflags", "-s -w", "-o", path, "./size/"+which)
		if out, err := c.CombinedOutput(); err != nil {
			return 0, leftOut(fmt.Sprintf("cannot build ./size/%s: %v: %s", which, err, tail(string(out))))
		}
		i, err := os.Stat(path)
		if err != nil {
			return 0, err
		}
		return float64(i.Size()) / (1 << 20), nil
	}
	with, err := size("server")
	if err != nil {
		return nil, err
	}
	without, err := size("client")
	return figures{"size": with - without}, err
}
