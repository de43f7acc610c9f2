package engine

import (
	"context"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"tandem"
	"tandem/internal/source"
	"tandem/worker"
)

var naps = worker.Define("naps", func(_ context.Context, n int) (int, error) {
	if n == dies {
		os.Exit(9)
	}
	time.Sleep(20 * time.Millisecond)
	return n, nil
})

// dies is the item that kills its worker, when it is among those of a flow.
const dies = 100_000

// heard gathers the events of one kind.
type heard struct {
	mu   sync.Mutex
	what string
	list []tandem.Event
}

func (h *heard) event(e tandem.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e.What == h.what {
		h.list = append(h.list, e)
	}
}

func TestAutoDecides(t *testing.T) {
	for _, c := range []struct {
		name        string
		step        Step
		from, to    int64
		mode        tandem.Mode
		first, last string // of the first and of the last decision; empty when there is none
	}{
		{"a step that waits", Step{Mode: tandem.Auto}, 1, 1000, tandem.Thread, "process × 2 → thread ", "thread "},
		{"workers stay as they are asked", Step{Mode: tandem.Auto, Workers: 3}, 1, 1000, tandem.Thread, "process × 3 → thread 3 × ", "thread 3 × "},
		{"threads stay as they are asked", Step{Mode: tandem.Auto, Threads: 4}, 1, 400, tandem.Thread, "", ""},
		{"nobody asked", Step{}, 1, 150, tandem.Process, "", ""},
		{"a crash among several", Step{Mode: tandem.Auto}, dies - 700, dies + 300, "", "process × 2 → thread ", "process × "},
	} {
		t.Run(c.name, func(t *testing.T) {
			sink, told := &memory{}, &heard{what: "decision"}
			c.step.Name, c.step.Handler = "nap", Program{Argv: []string{exe()}, Handler: naps.Name(), Budget: 1}
			r, err := New(Config{Cores: 2, OnEvent: told.event}).Run(t.Context(), Flow{Name: c.name, Source: source.Range(c.from, c.to), Steps: []Step{c.step}, Sink: sink})
			if err != nil {
				t.Fatal(err)
			}
			check(t, r, sink)
			s := r.Steps[0]
			if c.mode != "" && s.Mode != c.mode || s.Auto != (c.step.Mode == tandem.Auto) {
				t.Errorf("%+v", s)
			}
			// On a busy machine it stands in the run queue behind each nap: that is neither the handler's waiting nor its computing, of which there is next to none.
			if m := s.Measured; m == nil || m.Wait < 9*m.CPU || m.Wait+m.Queue < .9 {
				t.Errorf("measured %+v", m)
			}
			if len(told.list) != len(s.Decisions) {
				t.Errorf("told of %d decisions, reported %d", len(told.list), len(s.Decisions))
			}
			for i, d := range s.Decisions {
				if e := told.list[i]; e.ID != "nap" || e.From != d.From || e.To != d.To || e.Reason != d.Because || d.Because == "" {
					t.Errorf("told %+v, reported %+v", e, d)
				}
			}
			if c.first == "" {
				return
			}
			if len(s.Decisions) == 0 {
				t.Fatalf("no decision: %s", s.Because)
			}
			first, last := s.Decisions[0], s.Decisions[len(s.Decisions)-1]
			if !strings.HasPrefix(first.From+" → "+first.To, c.first) || !strings.HasPrefix(last.To, c.last) {
				t.Errorf("%+v", s.Decisions)
			}
		})
	}
}

// A goroutine that computes is told of.
func TestAGoroutineThatComputesIsToldOf(t *testing.T) {
	told := &heard{what: "advice"}
	flow := Wait(From("numbers", func(yield func(int) bool) {
		for begun := time.Now(); time.Since(begun) < 2500*time.Millisecond; {
			if !yield(1) {
				return
			}
		}
	}), "spin", func(_ context.Context, n int) (int, error) {
		for end := time.Now().Add(5 * time.Millisecond); time.Now().Before(end); {
			n = n*1103515245 + 12345
		}
		return n, nil
	}, Step{Concurrency: 1, Queue: Bounds{Items: 4}}).Flow()
	flow.Sink = &memory{}
	r, err := New(Config{OnEvent: told.event}).Run(t.Context(), flow)
	if err != nil {
		t.Fatal(err)
	}
	m := r.Steps[0].Measured
	if m == nil || m.Tasks == 0 {
		t.Fatalf("measured %+v", m)
	}
	if a := r.Steps[0].Advice; m.CPU > .75 && m.CPU*r.Seconds > 1.5 { // else the machine gave it too little
		if a == nil || a.Mode != "process" || !strings.Contains(a.Because, "computes") || len(told.list) != 1 || told.list[0].To != "mode: process" {
			t.Errorf("advice %+v, told %+v, measured %+v", a, told.list, m)
		}
	}
}
