// Package mapper runs a command once for every input: the engine of `tandem map`.
//
// Promises:
//
//   - One goroutine owns the state and starts, hears of and buries the commands (proc.Loop); one reads inputs, one writes output. Nothing is made per command.
//   - Inputs stream: at most three portions of 64 KiB are read ahead, and none while output waits to be written.
//   - Every input that was taken ends in exactly one outcome and is counted once; one that was canceled is not in the job log.
//   - What a command writes is kept and written whole when it ends, standard output first; above 1 MiB, or 64 MiB in all, it lies in a temporary file.
//     The job log's line follows the output, so that an input may run again after kill -9 but never goes missing.
//   - Stop starts nothing more; canceling the context kills what runs, with its process group. When Run returns, nothing of it is left.
//   - With Contained each command is started as a step of a flow starts it, with all it starts in a tree of its own (proc.Herd): that costs a millisecond.
package mapper

import (
	"cmp"
	"context"
	"io"
	"iter"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"tandem"
	"tandem/internal/measure"
	"tandem/internal/proc"
)

// Config says what to run.
type Config struct {
	Command    *Template
	Inputs     iter.Seq2[[]string, error]
	StopInputs func() // makes Inputs end although it waits; may be nil
	Stdout     io.Writer
	Stderr     io.Writer
	Env        []string // of the commands; nil means ours
	Temp       string   // directory for large outputs; empty means the system's

	Jobs    int // commands at a time; zero means as many as prove useful, see Sizer
	Cores   int // zero means what measure finds
	Keep    bool
	Tag     bool
	Lines   bool          // write whole lines as they come
	Timeout time.Duration // for one attempt; zero means none
	Retries int           // further attempts after one that failed
	Halt    Halt
	Log     *JobLog // may be nil; closed by Run
	Memory  int64   // start nothing while less is free; zero means no such bound

	Contained bool // each command in a tree of its own, with what follows; else in a process group, which starts twenty times as many
	Limits    proc.Limits
	Isolation proc.Isolation

	OnNotice func(string) // told what a person should know at once; may be nil
}

// MostJobs is the most commands at a time that auto chooses.
const MostJobs = 1024

// BecauseGiven is the reason for a size that was given.
const BecauseGiven = "-j says so"

const (
	maxHeld    = 4096 // ended commands whose output waits for an earlier one (Keep)
	maxSpilled = 64   // temporary files
)

// Map runs one command over inputs, once. Make one with New.
type Map struct {
	cfg   Config
	begun time.Time
	soon  atomic.Bool
	free  func() int64 // memory; measure.FreeMemory but in a test

	mu    sync.Mutex
	loop  commands // nil before and after
	state Snapshot
}

// Snapshot tells how a run goes.
type Snapshot struct {
	Elapsed time.Duration
	Counts
	Running int
	Size    int
	All     bool // the last input has been read: In + Skipped is the total
}

// Counts are inputs by outcome: In is the sum of the others and of those that have not ended.
type Counts struct {
	In       int64
	Skipped  int64 // done by an earlier run; not in In
	OK       int64
	Failed   int64
	TimedOut int64
	Crashed  int64
	Canceled int64
}

// Bad is how many did not end well.
func (c Counts) Bad() int64 { return c.Failed + c.TimedOut + c.Crashed + c.Canceled }

// Ended is how many have ended.
func (c Counts) Ended() int64 { return c.OK + c.Bad() }

// Report is the end of a run.
type Report struct {
	Counts
	Name     string
	Elapsed  time.Duration
	Size     int    // commands at a time, at the end
	Because  string // why so many
	Attempts int64
	Retries  int64
	Evicted  int64 // times a command was killed to free memory, to run again
	Wall     time.Duration
	CPU      time.Duration
	RunQueue time.Duration // as far as it is known
	P50, P99 time.Duration
	Reasons  []Reason
	Halted   string // the figures that ended the run early, or empty
}

// Reason is a way in which commands ended badly.
type Reason struct {
	What  string // exit 1, SIGKILL, timeout
	Count int64
	First string // the first input
}

// New makes a run.
func New(cfg Config) *Map {
	cfg.Cores = cmp.Or(cfg.Cores, measure.FindCores().Effective())
	cfg.Temp = cmp.Or(cfg.Temp, os.TempDir())
	if cfg.OnNotice == nil {
		cfg.OnNotice = func(string) {}
	}
	return &Map{cfg: cfg, begun: time.Now(), free: measure.FreeMemory}
}

// Stop starts no more commands; those that run go on to their end. It may be called at any time, from anywhere.
func (m *Map) Stop() {
	m.soon.Store(true)
	m.wake()
}

func (m *Map) wake() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.loop != nil {
		m.loop.Wake()
	}
}

// Snapshot may be called at any time, from anywhere.
func (m *Map) Snapshot() Snapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.state
	s.Elapsed = time.Since(m.begun)
	return s
}

// Run runs the command over all inputs. The report is true in every case; the error says why the run did not come to the end of the
// inputs: tandem.ErrInterrupted after Stop, the cause of ctx, or a *tandem.Error of kind start, source or sink.
func (m *Map) Run(ctx context.Context) (Report, error) {
	r := &run{m: m, cfg: &m.cfg, halted: "", reasons: map[string]*Reason{}, portions: make(chan portion, 1)}
	r.store.dir = m.cfg.Temp
	if err := r.prepare(); err != nil {
		return r.report(), closeLog(m.cfg.Log, err)
	}
	loop, err := r.commands()
	if err != nil {
		return r.report(), closeLog(m.cfg.Log, &tandem.Error{Op: "run", On: m.cfg.Command.name, Kind: tandem.KindStart, Message: err.Error(), Err: err})
	}
	r.loop = loop
	m.mu.Lock()
	m.loop = loop
	m.mu.Unlock()
	r.printer = newPrinter(m.cfg.Stdout, m.cfg.Stderr, &r.store, m.cfg.Log, m.wake)

	quit := make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() { r.readInputs(quit) })
	others.Go(func() {
		select {
		case <-ctx.Done():
			m.wake()
		case <-quit:
		}
	})
	err = r.work(ctx)
	close(quit)
	if m.cfg.StopInputs != nil {
		m.cfg.StopInputs()
	}
	others.Wait()
	perr := r.printer.close()
	m.mu.Lock()
	m.loop = nil
	m.mu.Unlock()
	loop.Close()
	return r.report(), closeLog(m.cfg.Log, cmp.Or(err, perr))
}

func closeLog(l *JobLog, err error) error {
	if l == nil {
		return err
	}
	return cmp.Or(err, l.Close())
}

// commands starts, hears of and buries the commands: a proc.Loop, or a proc.Herd.
type commands interface {
	Start(place int, path string, argv []string) error
	Wait(limit time.Duration) ([]proc.Ending, error)
	Hold(on bool)
	Kill(place int)
	Wake()
	Close()
}

func (r *run) commands() (commands, error) {
	cfg := proc.LoopConfig{Env: r.cfg.Env, Output: r.wrote}
	if !r.cfg.Contained {
		return proc.NewLoop(cfg)
	}
	r.herd = proc.NewHerd(cfg, r.cfg.Limits, r.cfg.Isolation)
	return r.herd, nil
}

// contained says once, and again when it changes, what of the isolation the machine does not give.
func (r *run) contained(place int) {
	i := r.herd.Isolation(place)
	if said := i.String(); said != r.said && len(i.Missing) > 0 {
		r.said = said
		r.cfg.OnNotice("isolation " + said)
	}
}

type portion struct {
	inputs []string
	err    error
}

func (r *run) readInputs(quit <-chan struct{}) {
	defer r.m.wake()
	defer close(r.portions)
	for inputs, err := range r.cfg.Inputs {
		select {
		case r.portions <- portion{inputs, err}:
			r.m.wake()
		case <-quit:
			return
		}
	}
}
