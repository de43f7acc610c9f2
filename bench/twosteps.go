package main

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"tandem"
	"tandem/engine"
)

// This file is the row of the engine's own cost: items of 64 bytes through a no-op in Python worker processes and a no-op in goroutines, with the
// same workers and values as tandem/submit-python, which has no engine around the pool.

func twoSteps(ctx context.Context, b *bench) (figures, error) { return twoStepsWith(ctx, b, nil) }

// twoStepsWith keeps what has finished in a journal; nil means no journal.
func twoStepsWith(ctx context.Context, b *bench, keep engine.Journal) (figures, error) {
	pool, err := programOf(b, "python", "same")
	if err != nil {
		return nil, err
	}
	m := &meter{warm: b.duration() / 5, long: b.duration()}
	flow := engine.Flow{Name: "two-steps", Source: m, Sink: m, Journal: keep, Steps: []engine.Step{
		{Name: "process", Mode: tandem.Process, Workers: 2,
			Handler: engine.Program{Argv: pool.Argv, Env: pool.Env, Home: pool.Home, Handler: pool.Handler}},
		{Name: "goroutine", Handler: engine.Func{Do: func(_ context.Context, t *tandem.Task) tandem.Result { return tandem.Give(t.Value) }}},
	}}
	report, err := engine.New(engine.Config{}).Run(ctx, flow)
	if err != nil {
		return nil, fmt.Errorf("run two steps: %w", err)
	}
	if n := report.Items.In; report.Items.OK != n {
		return nil, fmt.Errorf("run two steps: %d of %d items are ok", report.Items.OK, n)
	}
	return perSecond(m.counted, m.took), nil
}

// meter gives items for a while and counts those that came out of the flow in that time, after a warm-up.
type meter struct {
	warm, long time.Duration
	ended      atomic.Int64
	counted    int64
	took       time.Duration
}

func (m *meter) Total() int64 { return -1 }

// Each is tandem.Source's.
func (m *meter) Each(_ context.Context, yield func(string, tandem.Value) bool) error {
	value := tandem.Value{Kind: tandem.Bytes, Data: make([]byte, 64)}
	begun := time.Now()
	var from time.Time
	before := int64(0)
	for n := 0; ; n++ {
		if n%1024 == 0 {
			now := time.Now()
			switch {
			case from.IsZero() && now.Sub(begun) > m.warm:
				from, before = now, m.ended.Load()
			case !from.IsZero() && now.Sub(from) > m.long:
				m.counted, m.took = m.ended.Load()-before, now.Sub(from)
				return nil
			}
		}
		if !yield(strconv.Itoa(n), value) {
			return nil
		}
	}
}

// Write is tandem.Sink's.
func (m *meter) Write(ended []*tandem.Task) (int, error) {
	m.ended.Add(int64(len(ended)))
	return len(ended), nil
}

func (m *meter) Close() error { return nil }
