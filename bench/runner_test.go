package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// fake is a row that gives what f gives and notes its turn.
func fake(name string, turns *[]string, f func(turn int) (figures, error)) row {
	n := 0
	return row{name: name, gives: []figure{{"rate", "k/s"}}, measure: func(context.Context, *bench) (figures, error) {
		*turns = append(*turns, name)
		n++
		return f(n)
	}}
}

func good(turn int) (figures, error) { return figures{"rate": float64(turn)}, nil }

func TestRunInterleavesInTurningOrder(t *testing.T) {
	var turns []string
	all := []row{fake("a", &turns, good), fake("b", &turns, good), fake("c", &turns, good)}
	results := run(t.Context(), &bench{limit: time.Second}, all, 3, new(strings.Builder))
	if want := []string{"a", "b", "c", "b", "c", "a", "c", "a", "b"}; !slices.Equal(turns, want) {
		t.Errorf("the turns were %v, want %v", turns, want)
	}
	for i, r := range results {
		if r.name != all[i].name || !slices.Equal(r.values("rate"), []float64{1, 2, 3}) {
			t.Errorf("result %d: %s %v: results keep the order of the rows", i, r.name, r.values("rate"))
		}
	}
}

func TestRunKeepsGoingPastFaults(t *testing.T) {
	var turns []string
	rare := fake("rare", &turns, good)
	rare.every = 2
	results := run(t.Context(), &bench{limit: time.Second}, []row{
		fake("absent", &turns, func(int) (figures, error) { return nil, errors.Join(leftOut("no such tool")) }),
		fake("flaky", &turns, func(turn int) (figures, error) {
			if turn == 2 {
				return nil, errors.New("fell over")
			}
			return good(turn)
		}),
		fake("zero", &turns, func(int) (figures, error) { return figures{"rate": 0}, nil }),
		fake("mute", &turns, func(int) (figures, error) { return figures{}, nil }),
		rare,
	}, 3, new(strings.Builder))

	absent, flaky, zero, mute, often := results[0], results[1], results[2], results[3], results[4]
	if absent.leftOut != "no such tool" || len(slices.DeleteFunc(slices.Clone(turns), func(s string) bool { return s != "absent" })) != 1 {
		t.Errorf("absent: %q, turns %v: want the reason, and one try", absent.leftOut, turns)
	}
	if len(flaky.failures) != 1 || flaky.rounds[1] != nil || !slices.Equal(flaky.values("rate"), []float64{1, 3}) {
		t.Errorf("flaky: %v %v: want rounds 1 and 3", flaky.failures, flaky.rounds)
	}
	if len(zero.failures) != 3 || len(mute.failures) != 3 {
		t.Errorf("a figure of zero, or none, passed as a measurement: %v %v", zero.failures, mute.failures)
	}
	if often.rounds[0] == nil || often.rounds[1] != nil || often.rounds[2] == nil {
		t.Errorf("every 2: %v, want rounds 1 and 3", often.rounds)
	}
}

func TestRunBoundsAMeasurement(t *testing.T) {
	stuck := row{name: "stuck", measure: func(ctx context.Context, _ *bench) (figures, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	r := run(t.Context(), &bench{limit: 10 * time.Millisecond}, []row{stuck}, 1, new(strings.Builder))[0]
	if len(r.failures) != 1 || !strings.Contains(r.failures[0], "no result within 10ms") {
		t.Errorf("failures %q", r.failures)
	}
}

func TestRunStopsWhenInterrupted(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	var turns []string
	all := []row{fake("a", &turns, func(turn int) (figures, error) {
		if turn == 2 {
			stop()
		}
		return good(turn)
	}), fake("b", &turns, good)}
	results := run(ctx, &bench{limit: time.Second}, all, 5, new(strings.Builder))
	if len(turns) != 4 || len(results[0].values("rate")) != 1 || len(results[0].failures) != 0 {
		t.Errorf("turns %v, a %v, failures %v: want a stop in round 2 that is no failure", turns, results[0].rounds, results[0].failures)
	}
}

func TestRecordHoldsEveryRound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "x.json")
	r := &result{row: row{name: "a", gives: rate}, rounds: []figures{{"rate": 3}, nil, {"rate": 5}}}
	if err := writeRecord(path, setting{Rounds: 3}, machine{Cores: 2}, []*result{r}, nil); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Machine machine
		Rows    []rowRecord
	}
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	row := got.Rows[0]
	if got.Machine.Cores != 2 || len(row.Rounds) != 3 || row.Rounds[1] != nil || row.Summary["rate"].Median != 4 || row.Units["rate"] != "k/s" {
		t.Errorf("read back %+v", got)
	}
}
