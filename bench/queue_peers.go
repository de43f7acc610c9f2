package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"tandem"
	"tandem/queue/redis"
)

// The peers on servers of their own: each is started for the row, in a temporary directory, reached by a socket, and ended with it.

// withRedis starts a redis-server, with a file and a sync each second, for as long as do runs.
func withRedis(ctx context.Context, b *bench, do func(socket string) (figures, error)) (figures, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, leftOut("redis-server is not here (apt-get install redis-server)")
	}
	dir, err := os.MkdirTemp(b.dir, "redis")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "s")
	c := command(ctx, program, "--port", "0", "--unixsocket", socket, "--dir", dir, "--appendonly", "yes", "--save", "", "--loglevel", "warning")
	if err := c.Start(); err != nil {
		return nil, err
	}
	defer func() { _ = c.Process.Kill(); _ = c.Wait() }()
	if err := await(ctx, socket); err != nil {
		return nil, err
	}
	return do(socket)
}

// await waits for a socket.
func await(ctx context.Context, socket string) error {
	for ctx.Err() == nil {
		if _, err := os.Stat(socket); err == nil {
			return nil
		}
		nap(ctx, 5*time.Millisecond)
	}
	return context.Cause(ctx)
}

func redisPipe(ctx context.Context, b *bench) (figures, error) {
	return withRedis(ctx, b, func(socket string) (figures, error) {
		e, err := redis.Connect(ctx, "unix://"+socket)
		if err != nil {
			return nil, err
		}
		defer e.Close()
		q, err := e.Open(ctx, tandem.QueueConfig{Name: "bench"})
		if err != nil {
			return nil, err
		}
		defer q.Close()
		return pipeQueue(ctx, b, q, 256, 256)
	})
}

// handled counts what a peer's workers have done: a peer calls handlers instead of handing messages over.
type handled struct {
	n    atomic.Int64
	seen int64
}

// more waits until something new was done.
func (h *handled) more(ctx context.Context) (int, error) {
	for ctx.Err() == nil {
		if n := h.n.Load(); n > h.seen {
			n, h.seen = n-h.seen, n
			return int(n), nil
		}
		time.Sleep(200 * time.Microsecond)
	}
	return 0, context.Cause(ctx)
}

func asynqPipe(ctx context.Context, b *bench) (figures, error) {
	return withRedis(ctx, b, func(socket string) (figures, error) {
		at := asynq.RedisClientOpt{Network: "unix", Addr: socket}
		c := asynq.NewClient(at)
		defer c.Close()
		var h handled
		s := asynq.NewServer(at, asynq.Config{Concurrency: 64, LogLevel: asynq.FatalLevel})
		if err := s.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error { h.n.Add(1); return nil })); err != nil {
			return nil, err
		}
		defer s.Shutdown()
		return pipe(ctx, b, 64, func(ctx context.Context, bodies [][]byte) error { // no batches: 64 at the same time
			errs := make(chan error, len(bodies))
			for _, body := range bodies {
				go func() {
					_, err := c.EnqueueContext(ctx, asynq.NewTask("bench", body))
					errs <- err
				}()
			}
			var all error
			for range bodies {
				all = errors.Join(all, <-errs)
			}
			return all
		}, h.more)
	})
}

type riverArgs struct {
	Body []byte `json:"body"`
}

func (riverArgs) Kind() string { return "bench" }

type riverWorker struct {
	river.WorkerDefaults[riverArgs]
	h *handled
}

func (w *riverWorker) Work(context.Context, *river.Job[riverArgs]) error { w.h.n.Add(1); return nil }

// withPostgres makes a database cluster and starts a server on it. PostgreSQL does not run as root: then it is the user postgres.
func withPostgres(ctx context.Context, b *bench, do func(url string) (figures, error)) (figures, error) {
	bin := "/usr/lib/postgresql/15/bin"
	if _, err := os.Stat(filepath.Join(bin, "postgres")); err != nil {
		return nil, leftOut("PostgreSQL 15 is not here (apt-get install postgresql-15)")
	}
	dir, err := os.MkdirTemp("", "tandem-pg") // its user must be able to walk there
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	as := func(name string, args ...string) (*exec.Cmd, error) {
		c := command(ctx, filepath.Join(bin, name), args...)
		if os.Getuid() != 0 {
			return c, nil
		}
		u, err := user.Lookup("postgres")
		if err != nil {
			return nil, leftOut("root cannot run PostgreSQL, and there is no user postgres")
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		c.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		c.Dir = dir
		return c, os.Chown(dir, uid, gid)
	}
	data := filepath.Join(dir, "data")
	init, err := as("initdb", "-D", data, "-U", "bench", "--auth=trust", "-N")
	if err != nil {
		return nil, err
	}
	if out, err := init.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, tail(string(out)))
	}
	c, err := as("postgres", "-D", data, "-k", dir, "-c", "listen_addresses=", "-c", "logging_collector=off")
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	defer func() { _ = c.Process.Signal(syscall.SIGQUIT); _ = c.Wait() }()
	if err := await(ctx, filepath.Join(dir, ".s.PGSQL.5432")); err != nil {
		return nil, err
	}
	return do("postgres://bench@/postgres?host=" + dir)
}

func riverPipe(ctx context.Context, b *bench) (figures, error) {
	return withPostgres(ctx, b, func(url string) (figures, error) {
		pool, err := pgxpool.New(ctx, url)
		if err != nil {
			return nil, err
		}
		defer pool.Close()
		for pool.Ping(ctx) != nil && ctx.Err() == nil {
			nap(ctx, 10*time.Millisecond)
		}
		driver := riverpgxv5.New(pool)
		m, err := rivermigrate.New[pgx.Tx](driver, nil)
		if err != nil {
			return nil, err
		}
		if _, err := m.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
			return nil, err
		}
		var h handled
		workers := river.NewWorkers()
		river.AddWorker(workers, &riverWorker{h: &h})
		c, err := river.NewClient(driver, &river.Config{Workers: workers, Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 500}},
			FetchCooldown: time.Millisecond, FetchPollInterval: 10 * time.Millisecond})
		if err != nil {
			return nil, err
		}
		if err := c.Start(ctx); err != nil {
			return nil, err
		}
		defer func() { _ = c.Stop(context.WithoutCancel(ctx)) }()
		return pipe(ctx, b, 256, func(ctx context.Context, bodies [][]byte) error {
			jobs := make([]river.InsertManyParams, len(bodies))
			for i := range jobs {
				jobs[i].Args = riverArgs{bodies[i]}
			}
			_, err := c.InsertManyFast(ctx, jobs)
			return err
		}, h.more)
	})
}
