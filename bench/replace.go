package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"tandem"
	"tandem/internal/handler"
	"tandem/internal/procpool"
	"tandem/worker"
)

// This file measures what follows the death of a worker, and what computing workers do to those who wait.

func init() {
	worker.Register("spin", func(_ context.Context, in tandem.Value, give func(tandem.Value)) error {
		spinFor(time.Second)
		give(in)
		return nil
	})
}

// born is another for each worker. It is known before the first task, which is to measure Tandem and not the handler.
var born = tandem.TextValue(strconv.FormatInt(time.Now().UnixNano(), 10))

func init() {
	worker.Register("born", func(_ context.Context, _ tandem.Value, give func(tandem.Value)) error {
		give(born)
		return nil
	})
}

func spinFor(d time.Duration) (turns int) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		turns++
	}
	return turns
}

const (
	deaths    = 9       // in one measurement; the median counts
	heldBytes = 1 << 30 // of the worker whose death is noticed
	spinners  = 4
)

func replaceRows() []row {
	first := []figure{{"first", "ms"}}
	var all []row
	for _, r := range []struct{ name, about, language string }{
		{"replace-go", "kill -9 of the only Go worker to the first result of the spare that was ready", "go"},
		{"replace-go-cold", "the same without a spare", "go"},
		{"replace-python", "kill -9 of a Python worker whose module imports for 0.2 s to the first result of the spare that the first death had forked", "python"},
		{"replace-python-fork", "the same without a spare, as at the first death: one is forked in its place", "python"},
		{"replace-python-cold", "the same where each worker starts by itself", "python"},
	} {
		all = append(all, row{name: "tandem/" + r.name, about: r.about, gives: first, measure: func(ctx context.Context, b *bench) (figures, error) {
			return replaced(ctx, b, r.language, r.name)
		}})
	}
	return append(all,
		row{name: "tandem/death-1GB", about: "kill -9 of a Python worker that holds 1 GiB: until the pool knows, and until the end of the worker's own socket, of the same deaths",
			gives: []figure{{"notice", "ms"}, {"eof", "ms"}}, measure: deathOfMuch},
		row{name: "tandem/echo-beside-cpu", about: "a TCP echo in the parent while 4 of its worker processes compute", gives: latency, measure: echoBesideWorkers},
		row{name: "limit/echo-beside-cpu", about: "the same while 4 of its goroutines compute", gives: latency, measure: echoBesideGoroutines},
		row{name: "limit/echo-idle", about: "the same while nothing computes", gives: latency, measure: func(_ context.Context, b *bench) (figures, error) { return echo(b) }},
	)
}

// mortal is a pool whose workers are killed.
type mortal struct {
	pool   *procpool.Pool
	stop   func() error
	mu     sync.Mutex
	pid    int // of the worker that serves
	spare  bool
	notice chan time.Time
}

// openMortal opens a pool of one worker; spared says that there is a spare at each death but perhaps the first.
func openMortal(ctx context.Context, b *bench, language, row string) (m *mortal, spared bool, err error) {
	c, err := programOf(b, language, "born")
	if err != nil {
		return nil, false, err
	}
	m = &mortal{notice: make(chan time.Time, 1)}
	c.Workers, c.Spares = 1, -1
	if language == "python" {
		c.Handler = "heavy.py:born"
	}
	switch row {
	case "replace-go":
		c.Spares = 1
	case "replace-python": // as it is where nobody says anything
		c.Spares, c.Template, c.MustFork = 0, handler.Template(c.Argv), true
	case "replace-python-fork":
		c.Template, c.MustFork = handler.Template(c.Argv), true
	}
	return m, c.Spares >= 0, m.open(ctx, c)
}

func (m *mortal) open(ctx context.Context, c procpool.Config) error {
	c.OnEvent = func(e tandem.Event) {
		now := time.Now()
		m.mu.Lock()
		defer m.mu.Unlock()
		what, pid, _ := strings.Cut(e.Reason, "pid ")
		switch {
		case e.What == "worker" && e.To == "idle" && what == "ready, ":
			m.pid, _ = strconv.Atoi(pid)
		case e.What == "worker" && e.To == "idle" && what == "spare, ":
			m.spare = true
		case e.To == "draining" && e.Reason == "the kernel is ending it":
			select {
			case m.notice <- now:
			default:
			}
		}
	}
	m.pool = procpool.New(c)
	ended := make(chan error, 1)
	go func() { ended <- m.pool.Run(ctx) }()
	m.stop = func() error {
		m.pool.Close()
		return <-ended
	}
	select {
	case <-m.pool.Ready():
		return nil
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), m.stop())
	}
}

// victim waits until a worker serves and, where there is to be one, a spare is ready; it gives the worker's process.
func (m *mortal) victim(spare bool) (int, error) {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		m.mu.Lock()
		pid, ready := m.pid, m.spare || !spare
		if pid > 0 && ready {
			m.pid, m.spare = 0, false
			m.mu.Unlock()
			return pid, nil
		}
		m.mu.Unlock()
	}
	return 0, errors.New("no worker is ready")
}

func replaced(ctx context.Context, b *bench, language, row string) (_ figures, err error) {
	m, spared, err := openMortal(ctx, b, language, row)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.stop()) }()
	// kill(2) often returns only when the kernel has run what it killed, so somebody else is to call it than who waits for the result.
	victims, killed := make(chan int), make(chan error, 1)
	defer close(victims)
	go func() {
		runtime.LockOSThread()
		for pid := range victims {
			killed <- syscall.Kill(pid, syscall.SIGKILL)
		}
	}()
	var took []float64
	for n := range deaths + 1 { // the first of them does not count
		t := newTask()
		if err := callOnce(ctx, m.pool, t); err != nil {
			return nil, err
		}
		pid, err := m.victim(spared && (n > 0 || row == "replace-go"))
		if err != nil {
			return nil, err
		}
		time.Sleep(20 * time.Millisecond) // what was started has come to rest
		before := string(t.Result.Value.Data)
		begun := time.Now()
		victims <- pid
		for { // one after the other, also to the one that is about to die
			err := m.submit(ctx, t)
			if t.Result.Outcome != tandem.Crashed && err != nil {
				return nil, err
			}
			if err == nil && string(t.Result.Value.Data) != before {
				break
			}
		}
		if n > 0 {
			took = append(took, milliseconds(time.Since(begun)))
		}
		if err := <-killed; err != nil {
			return nil, fmt.Errorf("kill the worker: %w", err)
		}
	}
	return figures{"first": median(took)}, nil
}

// submit runs t as the engine does.
func (m *mortal) submit(ctx context.Context, t *tandem.Task) error {
	done := make(arrival, 1)
	t.Result, t.Owner = tandem.Result{}, done
	if _, err := m.pool.Submit(ctx, []*tandem.Task{t}); err != nil {
		return err
	}
	<-done
	return outcomeError(t)
}

type arrival chan struct{}

func (a arrival) Complete([]*tandem.Task) { a <- struct{}{} }

func milliseconds(d time.Duration) float64 { return float64(d) / 1e6 }

func deathOfMuch(ctx context.Context, b *bench) (_ figures, err error) {
	c, err := programOf(b, "python", "")
	if err != nil {
		return nil, err
	}
	c.Handler, c.Workers, c.Spares, c.Template = "heavy.py:hold", 1, -1, handler.Template(c.Argv)
	m := &mortal{notice: make(chan time.Time, 1)}
	if err := m.open(ctx, c); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.stop()) }()
	path := filepath.Join(b.dir, "death.sock")
	defer os.Remove(path)
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen for the worker: %w", err)
	}
	defer l.Close()
	var notices, ends []float64
	for range 3 {
		t := newTask()
		t.Value.Data = fmt.Appendf(nil, "%d %s", heldBytes, path)
		if err := callOnce(ctx, m.pool, t); err != nil {
			return nil, err
		}
		conn, err := l.Accept()
		if err != nil {
			return nil, fmt.Errorf("hear of the worker: %w", err)
		}
		pid, err := m.victim(false)
		if err != nil {
			return nil, err
		}
		ended := make(chan time.Time, 1)
		go func() {
			_, _ = io.Copy(io.Discard, conn)
			ended <- time.Now()
			conn.Close()
		}()
		time.Sleep(20 * time.Millisecond)
		begun := time.Now()
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			return nil, fmt.Errorf("kill the worker: %w", err)
		}
		ends = append(ends, milliseconds((<-ended).Sub(begun)))
		select {
		case at := <-m.notice:
			notices = append(notices, milliseconds(at.Sub(begun)))
		case <-time.After(time.Second):
			return nil, leftOut("this kernel tells nobody before the memory is gone")
		}
	}
	return figures{"notice": median(notices), "eof": median(ends)}, nil
}

func echoBesideWorkers(ctx context.Context, b *bench) (_ figures, err error) {
	pool, stop, err := openPool(ctx, b, "go", "spin", spinners)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	over := make(chan struct{})
	var wg sync.WaitGroup
	for range spinners {
		wg.Go(func() {
			for t := newTask(); ; {
				select {
				case <-over:
					return
				default:
					if callOnce(ctx, pool, t) != nil {
						return
					}
				}
			}
		})
	}
	defer wg.Wait()
	defer close(over)
	return echo(b)
}

func echoBesideGoroutines(_ context.Context, b *bench) (figures, error) {
	over := make(chan struct{})
	var wg sync.WaitGroup
	for range spinners {
		wg.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
					spinFor(10 * time.Millisecond)
				}
			}
		})
	}
	defer wg.Wait()
	defer close(over)
	return echo(b)
}

// echo is the time of a small message to a TCP server in this process and back, one after the other with a pause of a millisecond, for two seconds.
func echo(*bench) (figures, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = io.Copy(c, c)
			c.Close()
		}
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	defer c.Close()
	var took []float64
	buf := make([]byte, 64)
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		begun := time.Now()
		if _, err := c.Write(buf); err != nil {
			return nil, fmt.Errorf("echo: %w", err)
		}
		if _, err := io.ReadFull(c, buf); err != nil {
			return nil, fmt.Errorf("echo: %w", err)
		}
		took = append(took, float64(time.Since(begun))/1e3)
	}
	slices.Sort(took)
	return figures{"p50": quantile(took, 0.5), "p99": quantile(took, 0.99)}, nil
}
