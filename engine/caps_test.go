package engine

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem"
	"tandem/internal/source"
	"tandem/worker"
)

var greedy = worker.Define("greedy", func(_ context.Context, n int) (string, error) {
	switch n {
	case 2:
		for spin := true; spin; {
			spin = n > 0
		}
	case 3:
		time.Sleep(time.Minute)
	case 4:
		return strings.Repeat("x", 2000), nil
	case 5:
		var all [][]byte
		for range 1 << 12 {
			b := make([]byte, 1<<20)
			for i := 0; i < len(b); i += 4096 {
				b[i] = 1
			}
			all = append(all, b)
		}
		return string(all[0][:1]), nil
	}
	return "fine", nil
})

// The library offers what the flow file does.
func TestCapsOfATypedFlow(t *testing.T) {
	stream := Compute(From("caps", slices.Values([]int{1, 2, 3, 4, 5, 6})), greedy, Step{Workers: 2,
		Caps: tandem.Caps{Memory: 300 << 20, CPUTime: 2 * time.Second, Hang: 2 * time.Second, Output: 1000}})
	want := map[string]tandem.Outcome{"1": tandem.OK, "2": tandem.TimedOut, "3": tandem.TimedOut, "4": tandem.Failed, "5": tandem.OutOfMemory, "6": tandem.OK}
	got := map[string]tandem.Outcome{}
	for r, err := range stream.Results(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got[r.ID] = r.Outcome
		if r.Outcome != want[r.ID] {
			t.Errorf("%s: %s %v, want %s", r.ID, r.Outcome, r.Err, want[r.ID])
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %v", got)
	}
}

func TestCapsThatCannotBeHeldAreRefused(t *testing.T) {
	program := Program{Argv: []string{os.Args[0]}, Handler: "greedy"}
	do := Func{Do: func(_ context.Context, t *tandem.Task) tandem.Result { return tandem.Give(t.Value) }}
	for _, c := range []struct {
		step Step
		want string
	}{
		{Step{Handler: do, Caps: tandem.Caps{Memory: 1 << 30}}, "cannot be held to memory"},
		{Step{Handler: program, Mode: tandem.Thread, Caps: tandem.Caps{CPUTime: time.Second}}, "cannot be told from that of its neighbours"},
		{Step{Handler: program, Timeout: time.Second, Caps: tandem.Caps{Soft: time.Second}}, "needs a longer timeout"},
		{Step{Handler: program, Caps: tandem.Caps{Soft: time.Second}}, "needs a longer timeout"},
		{Step{Handler: program, Mode: tandem.Thread, Caps: tandem.Caps{Memory: 1 << 30, Hang: time.Second}}, ""},
	} {
		c.step.Name = "s"
		_, err := New(Config{Cores: 2}).Run(t.Context(), Flow{Name: "f", Source: source.Range(1, 1), Steps: []Step{c.step}})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: %v, want %q", c.step.Caps, err, c.want)
		}
	}
	if c, err := choose(Step{Handler: program, Caps: tandem.Caps{CPUTime: time.Second}}, Limits{}, 3); err != nil || c.Mode != tandem.Process || c.Workers != 3 {
		t.Errorf("auto with cpu_time: %+v, %v", c, err)
	}
}
