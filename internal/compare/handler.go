package compare

import (
	"context"
	"errors"
	"hash/maphash"
	"strconv"
	"strings"
	"sync"
	"time"

	"tandem"
	"tandem/engine"
	"tandem/internal/advise"
	"tandem/internal/measure"
)

// Handler is a step whose handler is compared under several shapes, each time with the same items. A round's time is from the first item handed over to the last
// outcome: workers have started by then. Attempts are not repeated, and nothing is written.
type Handler struct {
	Step   engine.Step
	Inputs []*tandem.Task // as the step would get them
	Pools  map[string]engine.Limits
	Redact func(tandem.Value) tandem.Value

	seed maphash.Seed
}

// Candidate is the handler under a shape.
func (h *Handler) Candidate(s Shape) *Candidate {
	if h.seed == (maphash.Seed{}) {
		h.seed = maphash.MakeSeed()
	}
	k := &Candidate{Name: s.String(), Shape: s}
	k.Do = func(ctx context.Context) (Sample, error) {
		sample, _, err := h.run(ctx, s, h.Inputs, 0, false)
		if err != nil && context.Cause(ctx) == nil { // a shape that the handler cannot have is no fault of the others
			k.Left, err = "cannot: "+firstLine(err), nil
		}
		return sample, err
	}
	return k
}

func firstLine(err error) string {
	if e, ok := errors.AsType[*tandem.Error](err); ok {
		return e.Message
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// Probe runs the first items under a shape for about so long, watched from outside: what it is bound by, and how many items ended.
func (h *Handler) Probe(ctx context.Context, s Shape, limit time.Duration) (Sample, *advise.Verdict, error) {
	if h.seed == (maphash.Seed{}) {
		h.seed = maphash.MakeSeed()
	}
	return h.run(ctx, s, h.Inputs, limit, true)
}

// trial is one run: the source and the sink of its flow.
type trial struct {
	h      *Handler
	inputs []*tandem.Task
	begin  func() // called with the first item
	limit  time.Duration
	mu     sync.Mutex
	sample Sample
	from   time.Time
	last   time.Time
}

func (t *trial) Total() int64 { return int64(len(t.inputs)) }

func (t *trial) Each(_ context.Context, yield func(string, tandem.Value) bool) error {
	t.begin()
	t.from = time.Now()
	for i, in := range t.inputs {
		if !yield(strconv.Itoa(i), in.Value) || t.limit > 0 && time.Since(t.from) > t.limit {
			break
		}
	}
	return nil
}

func (t *trial) Write(ended []*tandem.Task) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = time.Now()
	for _, task := range ended {
		r := &task.Result
		if r.Outcome == tandem.Canceled {
			continue
		}
		t.sample.Items++
		if r.Outcome != tandem.OK && r.Outcome != tandem.Filtered {
			if t.sample.Bad++; t.sample.Why == "" {
				t.sample.Why = string(r.Outcome)
				if r.Err != nil {
					t.sample.Why += ": " + r.Err.Message
				}
			}
			continue
		}
		var sum maphash.Hash
		sum.SetSeed(t.h.seed)
		if r.Count > 0 {
			for _, v := range append([]tandem.Value{r.Value}, r.Rest...) {
				sum.WriteByte(byte(v.Kind))
				sum.Write(v.Data)
			}
		}
		t.sample.Outputs[task.Root] ^= sum.Sum64() // several values come in any order
	}
	return len(ended), nil
}

func (t *trial) Close() error { return nil }

// run runs the items under a shape; limit, when there is one, ends it early.
func (h *Handler) run(ctx context.Context, s Shape, inputs []*tandem.Task, limit time.Duration, watch bool) (Sample, *advise.Verdict, error) {
	t := &trial{h: h, inputs: inputs, sample: Sample{Outputs: map[string]uint64{}}}
	step := s.apply(h.Step)
	step.Retry = engine.Retry{Attempts: 1}
	step.Handler = h.asGiven(step.Handler)
	w := &watcher{wanted: watch}
	e := engine.New(engine.Config{OnEvent: w.event})
	if t.begin, t.limit = w.begin, limit; limit > 0 {
		step.Queue = engine.Bounds{Items: 1} // what is accepted is run to its end
	}
	own := measure.KinCPU()
	_, err := e.Run(ctx, engine.Flow{Name: "compare", Source: t, Steps: []engine.Step{step}, Sink: t, Pools: h.Pools, Redact: h.Redact})
	if err != nil {
		w.end(t, nil)
		return t.sample, nil, err
	}
	t.sample.Seconds = t.last.Sub(t.from).Seconds()
	t.sample.CPU = measure.KinCPU() - own
	return t.sample, w.end(t, &t.sample), nil
}

// asGiven makes the handler see each item as the step would: with its source and what earlier steps gave.
func (h *Handler) asGiven(handler engine.Handler) engine.Handler {
	restore := func(t *tandem.Task) {
		if i, err := strconv.Atoi(t.Root); err == nil && i < len(h.Inputs) {
			in := h.Inputs[i]
			t.Source, t.Earlier = in.Source, in.Earlier
		}
	}
	switch of := handler.(type) {
	case engine.Program:
		if input := of.Input; input != nil {
			of.Input = func(t *tandem.Task) (tandem.Value, error) {
				restore(t)
				return input(t)
			}
		}
		return of
	case engine.Func:
		do := of.Do
		of.Do = func(ctx context.Context, t *tandem.Task) tandem.Result {
			restore(t)
			return do(ctx, t)
		}
		of.Close = nil // it is used again
		return of
	}
	return handler
}

// watcher follows the workers of a run from outside, from the first item on.
type watcher struct {
	wanted bool
	mu     sync.Mutex
	pid    int
	tree   *measure.Tree
	quit   chan struct{}
	done   sync.WaitGroup
}

func (w *watcher) event(e tandem.Event) {
	if e.What != "worker" || e.To != "idle" {
		return
	}
	if _, pid, ok := strings.Cut(e.Reason, "pid "); ok {
		w.mu.Lock()
		w.pid, _ = strconv.Atoi(pid)
		w.mu.Unlock()
	}
}

func (w *watcher) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.wanted || w.pid == 0 {
		return
	}
	tree, err := measure.Follow(w.pid, time.Now(), measure.TreeConfig{Attach: true})
	if err != nil {
		return
	}
	w.tree, w.quit = tree, make(chan struct{})
	w.done.Go(func() { tree.Watch(w.quit) })
}

// end says what the run was bound by. Of goroutines, which are part of this process, only the computing and the rest can be told apart: the rest is waiting.
func (w *watcher) end(t *trial, s *Sample) *advise.Verdict {
	if w.tree != nil {
		close(w.quit)
		w.done.Wait()
	}
	if !w.wanted || s == nil || s.Items == 0 {
		return nil
	}
	var m *advise.Measurement
	if w.tree != nil {
		m = w.tree.End(nil)
	} else {
		wall := t.last.Sub(t.from)
		cpu := min(s.CPU, wall)
		m = &advise.Measurement{Wall: wall, CPU: cpu, Cores: float64(measure.FindCores().Effective()), Looks: 100,
			Threads: []advise.Thread{{Life: wall, On: cpu, Wait: map[advise.Cause]time.Duration{advise.Net: wall - cpu}}}}
	}
	v := advise.Judge(m)
	return &v
}
