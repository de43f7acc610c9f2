package engine

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"time"

	"tandem"
	"tandem/internal/evidence"
	"tandem/internal/gopool"
	"tandem/internal/measure"
	"tandem/internal/procpool"
)

// choice is the execution model of a step and why.
type choice struct {
	Mode        tandem.Mode
	Workers     int
	Loops       int // workers when auto turns out to be async
	Threads     int
	Concurrency int
	Because     string
}

// choose fills in what the step leaves open. A worker in mode auto may still answer that its handler is async.
func choose(s Step, l Limits, cores int) (choice, error) {
	mode := cmp.Or(s.Mode, tandem.Auto)
	wrong := func(format string, args ...any) error {
		return &tandem.Error{Op: "run", On: s.Name, Kind: tandem.KindInvalid, Message: fmt.Sprintf(format, args...)}
	}
	if err := capped(s); err != nil {
		return choice{}, err
	}
	switch h := s.Handler.(type) {
	case Func:
		if mode != tandem.Auto && mode != tandem.Goroutine {
			return choice{}, wrong("this handler runs in goroutines, not in mode %s", mode)
		}
		because, most := "its handler waits", cmp.Or(s.Concurrency, h.Default, 64)
		if h.Computes && s.Concurrency == 0 {
			because, most = fmt.Sprintf("its commands compute: one per core of %d", cores), cores
		}
		switch { // the limits decide; the pool only has to be large enough
		case l.Auto:
			most, because = cmp.Or(s.Concurrency, l.Most()), "measured while it runs"
		case l.Concurrency > 0 && s.Concurrency == 0:
			most, because = l.Concurrency, "its pool allows it"
		}
		return choice{Mode: tandem.Goroutine, Concurrency: most, Because: because}, nil
	case Program:
		if s.WorkersOf != nil {
			s.Workers = s.WorkersOf(cores)
		}
		c := choice{Mode: mode, Workers: s.Workers, Threads: max(s.Threads, 1), Concurrency: cmp.Or(s.Concurrency, 64)}
		switch {
		case mode == tandem.Auto && s.Caps.CPUTime > 0:
			c.Mode, c.Workers, c.Because = tandem.Process, cmp.Or(c.Workers, cores), "cpu_time is told apart only where a process runs one item at a time"
			return c, nil
		}
		switch mode {
		case tandem.Auto:
			c.Because = fmt.Sprintf("one process per core of %d, unless the handler is async", cores)
			switch {
			case s.Mode == tandem.Auto && s.Workers > 0 && max(s.Threads, s.Concurrency) > 0:
				c.Because = "the flow says so" // nothing is left to decide
			case s.Mode == tandem.Auto:
				c.Because = "not measured yet: " + c.Because
			}
			c.Workers, c.Loops = cmp.Or(s.Workers, cores), cmp.Or(s.Workers, 1)
		case tandem.Process:
			c.Because = "the flow says so"
			c.Workers = cmp.Or(c.Workers, cores)
		case tandem.Thread:
			c.Because = "the flow says so"
			c.Workers, c.Threads = cmp.Or(c.Workers, 1), cmp.Or(s.Threads, 16)
		case tandem.Async:
			c.Because = "the flow says so"
			c.Workers = cmp.Or(c.Workers, 1)
		default:
			return choice{}, wrong("a worker cannot run in mode %s; want process, thread, async or auto", mode)
		}
		return c, nil
	}
	return choice{}, wrong("unknown handler %T", s.Handler)
}

// capped says what of a step's caps cannot be held.
func capped(s Step) error {
	wrong := func(message, hint string) error {
		return &tandem.Error{Op: "run", On: s.Name, Kind: tandem.KindInvalid, Message: message, Hint: hint}
	}
	_, inProcess := s.Handler.(Program)
	if err := s.Isolation.Check(); err != nil {
		return err
	}
	switch c := s.Caps; {
	case !inProcess && !s.Isolation.IsZero():
		return wrong("a handler in goroutines cannot be isolated", "run it in worker processes, or leave Isolation out")
	case c == tandem.Caps{}:
	case !inProcess:
		return wrong("a handler in goroutines cannot be held to memory, processor time or output", "run it in worker processes, or leave Caps out")
	case c.CPUTime > 0 && (s.Mode == tandem.Thread || s.Mode == tandem.Async):
		return wrong(fmt.Sprintf("in mode %s the processor time of one item cannot be told from that of its neighbours", s.Mode), "use mode process, or leave CPUTime out")
	case c.Soft > 0 && c.Soft >= s.Timeout:
		return wrong("a soft limit needs a longer timeout behind it", "set Timeout above Caps.Soft")
	}
	return nil
}

// pool makes the step's pool.
func (e *Engine) pool(s Step, c choice, redact func(tandem.Value) tandem.Value) tandem.Pool {
	switch h := s.Handler.(type) {
	case Func:
		cfg := gopool.Config{Name: s.Name, Handle: h.Do, Concurrency: c.Concurrency, Timeout: s.Timeout, Measure: !h.Computes}
		if h.Computes {
			cfg.Leave = 2 * time.Second // it kills a tree of processes, and reports how that died
			cfg.OnLate = func(t *tandem.Task, c tandem.Crash) {
				c.Input = evidence.Preview(t.Value, redact)
				e.crashed(c)
			}
		}
		return gopool.New(cfg)
	case Program:
		cfg := procpool.Config{Step: s.Name, Argv: h.Argv, Dir: h.Dir, Env: h.Env, Handler: h.Handler, Home: h.Home, Output: h.Output, Kwargs: h.Kwargs, Batch: h.Batch, Budget: h.Budget, Run: e.cfg.Run,
			Mode: c.Mode, Workers: c.Workers, Loops: c.Loops, Threads: c.Threads, Concurrency: c.Concurrency, Measure: true, Timeout: s.Timeout, OnEvent: e.event,
			Caps: s.Caps, CoreDir: e.cfg.CoreDir, Isolation: s.Isolation, Template: h.Template, MustFork: h.MustFork, Spares: s.Spares,
			Recycle: s.Recycle, Once: s.Once, NoTrial: s.Retry.Attempts == 1}
		if e.cfg.OnCrash != nil || e.picture != nil {
			cfg.OnCrash, cfg.Redact = e.crashed, redact
		}
		if out := e.cfg.OnOutput; out != nil {
			cfg.OnOutput = func(worker, stream int, chunk []byte) { out(s.Name, worker, stream, chunk) }
		}
		return procpool.New(cfg)
	}
	return nil
}

// follow keeps worker counts at the cores that are really available: a container's quota may change while the run goes on.
func (e *Engine) follow(ctx context.Context) {
	measure.WatchCores(ctx, 0, func(c measure.Cores) {
		e.cores.Store(int64(c.Effective()))
		for _, s := range e.steps {
			n, follows := s.def.followed(c.Effective())
			if pool, ok := s.pool.(interface{ Resize(int) }); ok && follows {
				pool.Resize(n)
			}
		}
		e.event(tandem.Event{Time: time.Now(), What: "cores", ID: e.flow.Name, To: strconv.Itoa(c.Effective()), Reason: c.String()})
	})
}

// followed is how many workers a step should have on so many cores, when their number follows the cores.
func (s Step) followed(cores int) (n int, yes bool) {
	if s.tunes() {
		return 0, false // its tuning follows
	}
	switch h := s.Handler.(type) {
	case Func:
		return cores, h.Computes && s.Concurrency == 0
	case Program:
		if s.WorkersOf != nil {
			return s.WorkersOf(cores), true
		}
		return cores, s.Workers == 0 && (s.Mode == tandem.Process || s.Mode == tandem.Auto || s.Mode == "")
	}
	return 0, false
}

// tunes says that the step's setting is decided while it runs.
func (s Step) tunes() bool {
	if s.Mode != tandem.Auto {
		return false
	}
	switch h := s.Handler.(type) {
	case Func:
		return h.Computes && s.Concurrency == 0
	case Program:
		return s.WorkersOf == nil && s.Workers == 0
	}
	return false
}
