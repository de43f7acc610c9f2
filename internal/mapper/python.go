package mapper

import (
	"bytes"
	"cmp"
	"context"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"tandem"
	"tandem/engine"
)

// Workers runs a function in a pool of worker processes over inputs, once: `tandem map --python`. The engine runs the pool; Workers is the source and the
// sink of its flow, which together keep the order, run again what failed, and write the job log. Make one with NewWorkers.
type Workers struct {
	cfg    Config
	flow   engine.Flow
	engine *engine.Engine
	begun  time.Time
	cancel context.CancelCauseFunc
	soon   atomic.Bool

	mu       sync.Mutex
	turn     sync.Cond // something that the source waits for has changed
	inputs   []string  // of the portion at hand
	all      bool      // no portion follows
	fault    error     // why the inputs ended early
	ended    bool      // the source has returned
	seq      int64
	order    int64
	open     map[int64]*call // given to the engine and not ended
	again    []*call
	held     map[int64]*call // ended before an earlier one (Keep)
	next     int64
	last     *call // gave several values; more of them may follow
	printer  *printer
	store    store
	counts   Counts
	attempts int64
	retries  int64
	wall     time.Duration
	service  *hdrhistogram.Histogram
	reasons  map[string]*Reason
	halted   string
}

// call is an input that was given to the engine and has not ended.
type call struct {
	seq, order int64
	input      string
	attempts   int
	end        entry
	reason     string
	out, errs  gathered
}

// queued bounds what waits in front of the workers: enough to keep them busy, and little to be read ahead.
const queued = 64

// NewWorkers makes a run. step holds the program and its mode; Config's Command names the function for people and the log.
func NewWorkers(cfg Config, step engine.Step, ec engine.Config) *Workers {
	w := &Workers{cfg: cfg, begun: time.Now(), open: map[int64]*call{}, held: map[int64]*call{}, reasons: map[string]*Reason{},
		service: hdrhistogram.New(1, int64(24*time.Hour/time.Microsecond), 2), cancel: func(error) {}}
	if w.cfg.OnNotice == nil {
		w.cfg.OnNotice = func(string) {}
	}
	w.turn.L = &w.mu
	w.store.dir = cfg.Temp
	step.Name = "map"
	step.Workers, step.Timeout, step.Queue = cfg.Jobs, cfg.Timeout, engine.Bounds{Items: queued}
	w.flow = engine.Flow{Name: "map", Source: w, Steps: []engine.Step{step}, Sink: w}
	w.engine = engine.New(ec)
	return w
}

// Stop reads no more inputs; what was accepted goes on to its end.
func (w *Workers) Stop() {
	w.soon.Store(true)
	w.engine.Drain()
	w.wake()
}

func (w *Workers) wake() {
	w.mu.Lock()
	w.turn.Broadcast()
	w.mu.Unlock()
}

// Snapshot may be called at any time, from anywhere.
func (w *Workers) Snapshot() Snapshot {
	p := w.engine.Snapshot()
	w.mu.Lock()
	defer w.mu.Unlock()
	s := Snapshot{Elapsed: time.Since(w.begun), Counts: w.counts, All: w.all && len(w.inputs) == 0}
	for _, step := range p.Steps {
		s.Running, s.Size = step.Pool.Running, max(step.Pool.Workers*max(step.Pool.Threads, 1), step.Pool.Concurrency)
	}
	return s
}

// Run runs the function over all inputs; the report and the error are as those of [Map.Run].
func (w *Workers) Run(ctx context.Context) (Report, error) {
	ctx, w.cancel = context.WithCancelCause(ctx)
	defer w.cancel(nil)
	w.printer = newPrinter(w.cfg.Stdout, w.cfg.Stderr, &w.store, w.cfg.Log, w.wake)
	quit := make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() { w.readInputs(quit) })
	others.Go(func() {
		select {
		case <-ctx.Done():
		case <-quit:
		}
		w.wake()
	})
	engineReport, err := w.engine.Run(ctx, w.flow)
	close(quit)
	if w.cfg.StopInputs != nil {
		w.cfg.StopInputs()
	}
	w.mu.Lock()
	w.ended = true
	w.turn.Broadcast()
	w.mu.Unlock()
	others.Wait()
	w.mu.Lock()
	for _, c := range w.again { // ended badly; the run ended before another attempt
		w.finish(c)
	}
	w.mu.Unlock()
	perr := w.printer.close()
	if w.halted != "" {
		err = nil // the drain and the end of the context were ours
	}
	return w.report(engineReport), closeLog(w.cfg.Log, cmp.Or(err, w.fault, perr))
}

func (w *Workers) readInputs(quit <-chan struct{}) {
	defer func() {
		w.mu.Lock()
		w.all = true
		w.turn.Broadcast()
		w.mu.Unlock()
	}()
	for inputs, err := range w.cfg.Inputs {
		w.mu.Lock()
		for len(w.inputs) > 0 && !w.ended {
			w.turn.Wait()
		}
		w.inputs = inputs
		if err != nil {
			w.fault = err
		}
		over := w.ended || err != nil
		w.turn.Broadcast()
		w.mu.Unlock()
		if over {
			return
		}
	}
}

// Total is tandem.Source's: not known before the end.
func (w *Workers) Total() int64 { return -1 }

// Each is tandem.Source's: the inputs, and between them those that are to run again.
func (w *Workers) Each(ctx context.Context, yield func(string, tandem.Value) bool) error {
	for {
		c, err := w.take(ctx)
		if c == nil {
			return err
		}
		if !yield(strconv.FormatInt(c.seq, 10), tandem.TextValue(c.input)) {
			w.mu.Lock()
			delete(w.open, c.seq)
			if c.attempts == 1 {
				w.counts.In--
			} else {
				c.attempts--
				w.again = append(w.again, c)
			}
			w.mu.Unlock()
			return nil
		}
	}
}

// take waits for the next call; nil when there will be none.
func (w *Workers) take(ctx context.Context) (*call, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		if ctx.Err() != nil || w.soon.Load() || w.halted != "" {
			return nil, nil
		}
		if err := w.printer.failure(); err != nil {
			return nil, err
		}
		if len(w.again) > 0 {
			c := w.again[0]
			w.again = w.again[1:]
			return w.give(c), nil
		}
		room := len(w.held) < maxHeld && !w.printer.full()
		switch {
		case len(w.inputs) > 0 && room:
			input := w.inputs[0]
			w.inputs = w.inputs[1:]
			if len(w.inputs) == 0 {
				w.turn.Broadcast()
			}
			w.seq++
			if log := w.cfg.Log; log != nil {
				done, err := log.Done(w.seq, func() string { return w.command(input) })
				if err != nil {
					return nil, err
				}
				if done {
					w.counts.Skipped++
					continue
				}
			}
			c := &call{seq: w.seq, order: w.order, input: input}
			w.order++
			w.counts.In++
			return w.give(c), nil
		case len(w.inputs) == 0 && w.all && len(w.open) == 0:
			return nil, nil
		}
		w.turn.Wait()
	}
}

func (w *Workers) give(c *call) *call {
	c.attempts++
	w.open[c.seq] = c
	return c
}

func (w *Workers) command(input string) string {
	return Quote(w.cfg.Command.Expand(nil, input, 0, 0))
}

// Write is tandem.Sink's.
func (w *Workers) Write(ended []*tandem.Task) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.printer.failure(); err != nil {
		return 0, err
	}
	for _, t := range ended {
		w.result(t)
	}
	w.turn.Broadcast()
	return len(ended), nil
}

// Flush is called when nothing has ended for a while: then no further value of a call is under way.
func (w *Workers) Flush() (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conclude()
	return 0, nil
}

// Close is tandem.Sink's.
func (w *Workers) Close() error {
	_, err := w.Flush()
	return err
}

// result takes one value of a call. The engine sends the values of one call one after another.
func (w *Workers) result(t *tandem.Task) {
	id, part, several := strings.Cut(t.ID, "/")
	seq, err := strconv.ParseInt(id, 10, 64)
	if w.last != nil && (err != nil || w.last.seq != seq || part == "1") {
		w.conclude()
	}
	c := w.last
	if c == nil {
		if c = w.open[seq]; c == nil {
			return // cannot happen: the ids are ours
		}
		delete(w.open, seq)
		now := time.Now()
		c.end = entry{start: now.Add(-t.Result.Service), wall: t.Result.Service, cpu: -1, runQueue: -1, outcome: t.Result.Outcome}
		w.attempts++
		if t.Result.Outcome != tandem.Canceled {
			w.wall += t.Result.Service
			_ = w.service.RecordValue(min(int64(t.Result.Service/time.Microsecond), w.service.HighestTrackableValue()))
		}
	}
	if t.Result.Outcome == tandem.OK {
		line := append(bytes.Clone(t.Result.Value.Data), '\n')
		if t.Result.Value.Kind == tandem.Null {
			line = []byte("null\n")
		}
		w.store.add(&c.out, line)
		c.end.received += int64(len(line))
		if several {
			w.last = c // the next may be of the same call
			return
		}
	}
	w.end(c, t.Result.Err)
}

// conclude ends the call whose values are all there.
func (w *Workers) conclude() {
	if c := w.last; c != nil {
		w.last = nil
		w.end(c, nil)
	}
}

// end takes a call that has ended: it runs again, or it has its outcome.
func (w *Workers) end(c *call, err *tandem.Error) {
	switch c.end.outcome {
	case tandem.OK, tandem.Filtered, tandem.Canceled:
	default:
		c.end.exit = 1
		c.reason = string(c.end.outcome)
		if err != nil {
			c.reason = cmp.Or(err.Reason, err.Kind)
			if err.Kind == tandem.KindTimeout {
				c.end.exit = -1
			}
		}
		if c.attempts <= w.cfg.Retries && !w.soon.Load() && w.halted == "" && (err == nil || err.Again != tandem.AgainNever) {
			w.retries++
			w.again = append(w.again, c)
			w.open[c.seq] = c // so that the source waits for it
			return
		}
		if err != nil {
			text := "tandem map: " + Quote([]string{c.input}) + ": " + err.Message + "\n"
			if err.Trace != "" {
				text = strings.TrimRight(err.Trace, "\n") + "\n" + text
			}
			w.store.add(&c.errs, []byte(text))
		}
	}
	w.finish(c)
}

// finish gives a call its outcome.
func (w *Workers) finish(c *call) {
	delete(w.open, c.seq)
	switch c.end.outcome {
	case tandem.OK, tandem.Filtered:
		w.counts.OK++
	case tandem.TimedOut:
		w.counts.TimedOut++
	case tandem.Crashed, tandem.Quarantined, tandem.OutOfMemory:
		w.counts.Crashed++
	case tandem.Canceled:
		w.counts.Canceled++
	default:
		w.counts.Failed++
	}
	if c.reason != "" && c.end.outcome != tandem.Canceled {
		if old := w.reasons[c.reason]; old != nil {
			old.Count++
		} else if len(w.reasons) < maxReasons {
			w.reasons[c.reason] = &Reason{What: c.reason, Count: 1, First: c.input}
		}
	}
	w.held[c.order] = c
	if !w.cfg.Keep {
		delete(w.held, c.order)
		w.emit(c)
	}
	for w.cfg.Keep && w.held[w.next] != nil {
		c := w.held[w.next]
		delete(w.held, w.next)
		w.next++
		w.emit(c)
	}
	if why, reached := w.cfg.Halt.Reached(w.counts.OK, w.counts.Bad()-w.counts.Canceled); reached && w.halted == "" {
		w.halted = why
		if w.cfg.Halt.Now {
			w.cancel(tandem.ErrInterrupted)
		}
	}
}

func (w *Workers) emit(c *call) {
	t := text{out: c.out, errs: c.errs}
	if w.cfg.Tag {
		t.tag = c.input
	}
	if w.cfg.Log != nil && c.end.outcome != tandem.Canceled {
		e := c.end
		e.seq, e.attempts, e.command = c.seq, c.attempts, w.command(c.input)
		t.log = &e
	}
	w.printer.put(t)
}

func (w *Workers) report(er engine.Report) Report {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := Report{Counts: w.counts, Name: w.cfg.Command.name, Elapsed: time.Since(w.begun), Attempts: w.attempts, Retries: w.retries, Wall: w.wall, CPU: -1, Halted: w.halted}
	for _, s := range er.Steps {
		r.Size, r.Because = max(s.Workers*max(s.Threads, 1), s.Concurrency), s.Because
		if s.CPU != nil {
			r.CPU = time.Duration(*s.CPU * float64(time.Second))
		}
	}
	if w.service.TotalCount() > 0 {
		r.P50 = time.Duration(w.service.ValueAtQuantile(50)) * time.Microsecond
		r.P99 = time.Duration(w.service.ValueAtQuantile(99)) * time.Microsecond
	}
	for _, one := range w.reasons {
		r.Reasons = append(r.Reasons, *one)
	}
	sortReasons(r.Reasons)
	return r
}
