package main

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tandem"
)

// echoPool is a pool on goroutines: it gives back the argument, or its length above 64 bytes. After failAfter tasks each one fails.
type echoPool struct {
	mu        sync.Mutex
	ran       int
	failAfter int
	open      sync.WaitGroup
}

func (p *echoPool) run(t *tandem.Task) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ran++; p.failAfter > 0 && p.ran > p.failAfter {
		t.Result = tandem.Result{Outcome: tandem.Crashed, Err: &tandem.Error{Op: "run", Message: "gone"}}
		return
	}
	v := t.Value
	if len(v.Data) > 64 {
		v = tandem.TextValue(strconv.Itoa(len(v.Data)))
	}
	t.Result = tandem.Give(v)
}

func (p *echoPool) Call(_ context.Context, t *tandem.Task) error {
	time.Sleep(time.Microsecond)
	p.run(t)
	return nil
}

// Submit takes no more than 100 tasks at a time, as a pool may.
func (p *echoPool) Submit(_ context.Context, tasks []*tandem.Task) (int, error) {
	n := min(len(tasks), 100)
	batch := append([]*tandem.Task(nil), tasks[:n]...)
	p.open.Go(func() {
		time.Sleep(time.Millisecond)
		for _, t := range batch {
			p.run(t)
		}
		batch[0].Owner.Complete(batch)
	})
	return n, nil
}

func (p *echoPool) Run(context.Context) error { return nil }
func (p *echoPool) Close()                    {}
func (p *echoPool) Ready() <-chan struct{}    { return nil }
func (p *echoPool) State() tandem.PoolState   { return tandem.PoolState{} }

func TestLoads(t *testing.T) {
	// In a bubble the clock stands still while code runs: a call takes 1 µs and a batch 1 ms, exactly.
	synctest.Test(t, func(t *testing.T) {
		b, p := &bench{seconds: 0.05, inFlight: 256, workers: 2}, new(echoPool)
		got, err := syncCalls(t.Context(), b, p)
		if err != nil || got["p50"] != 1 || got["p99"] != 1 {
			t.Errorf("one by one: %v, %v; want 1 µs", got, err)
		}
		got, err = waitingCallers(t.Context(), b, p)
		if err != nil || got["rate"] < 255_000 || got["rate"] > 257_000 {
			t.Errorf("256 callers: %v, %v; want 256 tasks a µs", got, err)
		}
		got, err = submitted(t.Context(), b, p)
		if err != nil || got["rate"] < 505 || got["rate"] > 520 {
			t.Errorf("submitted: %v, %v; want 512 tasks a ms", got, err)
		}
		p.open.Wait()
	})
}

func TestLoadsReportABadOutcome(t *testing.T) {
	for name, load := range map[string]load{"sync": syncCalls, "callers": waitingCallers, "submit": submitted} {
		p := &echoPool{failAfter: 100}
		_, err := load(t.Context(), &bench{seconds: 0.1, inFlight: 256, workers: 2}, p)
		if e := new(tandem.Error); !errors.As(err, &e) || e.Message != "gone" {
			t.Errorf("%s: %v, want the task's error: a crash would pass as speed", name, err)
		}
		p.open.Wait()
	}
}

func TestHandOverChecksTheAnswer(t *testing.T) {
	b, p, data := &bench{seconds: 0.01, workers: 2}, new(echoPool), make([]byte, 1<<20)
	got, err := handOver(t.Context(), b, p, data, strconv.Itoa(len(data)))
	if err != nil || got["call"] <= 0 || got["rate"] <= 0 {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := handOver(t.Context(), b, p, data, "7"); err == nil {
		t.Error("a worker that saw another length passed")
	}
}
