package engine_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tandem"
	"tandem/engine"
	"tandem/internal/lanes"
	"tandem/worker"
)

// pictured runs a flow and reads its picture.
func pictured(t *testing.T, flow engine.Flow) (engine.Report, *lanes.Record) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lanes")
	rec, err := lanes.Create(path, lanes.Header{Run: "r", Started: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	report, err := engine.New(engine.Config{Lanes: rec}).Run(t.Context(), flow)
	if err != nil {
		t.Fatal(err)
	}
	if err := rec.Close(report.Outcome); err != nil {
		t.Fatal(err)
	}
	got, err := lanes.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	return report, got
}

// time by state of one lane, in seconds.
func times(r *lanes.Record, lane int) map[lanes.State]float64 {
	sum := map[lanes.State]float64{}
	for i := range r.Rows {
		if lane < len(r.Rows[i].Lanes) {
			for s, share := range r.Rows[i].Lanes[lane].Shares {
				sum[lanes.State(s)] += float64(share) / 255 * r.Rows[i].Width.Seconds()
			}
		}
	}
	return sum
}

// The counts of the picture are those of the report, and the rows follow one another without a gap.
func TestPictureCounts(t *testing.T) {
	flow := engine.Compute(engine.From("t", numbers(2000)), picky, engine.Step{Name: "odd", Workers: 2}).Flow()
	report, rec := pictured(t, flow)
	items := rec.Items()
	if items.OK != report.Items.OK || items.Failed != report.Items.Failed || items.In != report.Items.In || items.Failed != 1000 {
		t.Errorf("the picture has %+v, the report %+v", items, report.Items)
	}
	var ended, tasks int64
	for i := range rec.Rows {
		ended += rec.Rows[i].Steps[0].Ended
		for _, c := range rec.Rows[i].Lanes {
			tasks += c.Ended
		}
		if i > 0 && rec.Rows[i].From != rec.Rows[i-1].End() {
			t.Errorf("row %d begins at %v, the one before ends at %v", i, rec.Rows[i].From, rec.Rows[i-1].End())
		}
	}
	if ended != 2000 || tasks != 2000 {
		t.Errorf("%d items through the step, %d tasks of its workers, want 2000 each", ended, tasks)
	}
	if len(rec.Groups) != 1 || rec.Groups[0].Count != 1000 || !strings.Contains(rec.Groups[0].Message, "odd") {
		t.Errorf("groups %+v", rec.Groups)
	}
	if len(rec.Lanes) != 2 || len(rec.Steps) != 1 || rec.Steps[0].Mode != "process" || rec.Steps[0].Workers != 2 {
		t.Errorf("lanes %+v, steps %+v", rec.Lanes, rec.Steps)
	}
}

// A worker that computes is on the processor or wants one; one that sleeps in its items waits.
func TestPictureTellsComputingFromWaiting(t *testing.T) {
	if _, err := os.Stat("/proc/self/schedstat"); errors.Is(err, os.ErrNotExist) {
		t.Skip("NOT TESTED: this kernel has no schedstat")
	}
	for name, c := range map[string]struct {
		step engine.Step
		flow engine.Stream[int]
		is   func(cpu, runq, waiting float64) bool // shares of what is not starting; beside busy neighbours even a sleeper is in the run queue now and then
	}{
		"computes": {flow: engine.Compute(engine.From("t", numbers(40)), spins, engine.Step{Workers: 1, Mode: tandem.Process}), is: func(cpu, runq, waiting float64) bool { return cpu+runq > 0.6 && cpu > waiting }},
		"waits":    {flow: engine.Compute(engine.From("t", numbers(40)), sleeps, engine.Step{Workers: 1, Mode: tandem.Process}), is: func(cpu, runq, waiting float64) bool { return cpu < 0.15 && waiting > 2*cpu && waiting+runq > 0.6 }},
	} {
		t.Run(name, func(t *testing.T) {
			_, rec := pictured(t, c.flow.Flow())
			spent := times(rec, 0)
			sum := 0.0
			for s, x := range spent {
				if s != lanes.Off && s != lanes.Starting {
					sum += x
				}
			}
			if sum < 0.3 || !c.is(spent[lanes.CPU]/sum, spent[lanes.RunQueue]/sum, spent[lanes.Waiting]/sum) {
				t.Errorf("seconds by state: %v", spent)
			}
		})
	}
}

// Every death is a mark on the lane of the worker that died, with its item; the place is starting again afterwards.
func TestPictureMarksEveryCrash(t *testing.T) {
	flow := engine.Compute(engine.From("t", numbers(300)), fragile, engine.Step{Name: "fragile", Workers: 2, Retry: engine.Retry{Attempts: 1}}).Flow()
	report, rec := pictured(t, flow)
	if report.Items.Crashed != 6 || len(rec.Marks) != 6 {
		t.Fatalf("%d items crashed, %d marks", report.Items.Crashed, len(rec.Marks))
	}
	for _, m := range rec.Marks {
		if m.Kind != lanes.Crashed || m.Lane < 0 || m.Item == "" || m.At <= 0 || m.At > rec.End()+time.Second {
			t.Errorf("%+v", m)
		}
	}
}

// An attempt in a goroutine whose time is up is a mark of its step.
func TestPictureMarksTimeouts(t *testing.T) {
	slow := func(ctx context.Context, n int) (int, error) {
		if n%10 == 0 {
			<-ctx.Done()
			return 0, ctx.Err()
		}
		return n, nil
	}
	report, rec := pictured(t, engine.Wait(engine.From("t", numbers(50)), "slow", slow, engine.Step{Timeout: 100 * time.Millisecond}).Flow())
	if report.Items.TimedOut != 5 || len(rec.Marks) != 5 || rec.Marks[0].Kind != lanes.TimedOut || rec.Marks[0].Lane != -1 {
		t.Errorf("%d timed out, marks %+v", report.Items.TimedOut, rec.Marks)
	}
	most := 0
	for i := range rec.Rows {
		most = max(most, rec.Rows[i].Steps[0].Most)
	}
	if most < 5 {
		t.Errorf("at most %d in flight, want the five that hang", most)
	}
}

// What a flow keeps secret stays out of the picture.
func TestPictureKeepsSecrets(t *testing.T) {
	fails := func(_ context.Context, n int) (int, error) { return 0, fmt.Errorf("no access with hunter2") }
	flow := engine.Wait(engine.From("t", numbers(3)), "asks", fails, engine.Step{}).Flow()
	flow.Redact = func(v tandem.Value) tandem.Value {
		return tandem.Value{Kind: v.Kind, Data: []byte(strings.ReplaceAll(string(v.Data), "hunter2", "[secret]"))}
	}
	_, rec := pictured(t, flow)
	if len(rec.Groups) != 1 || rec.Groups[0].Message != "no access with [secret]" || rec.Groups[0].Count != 3 {
		t.Errorf("%+v", rec.Groups)
	}
}

var (
	picky = worker.Define("picky", func(_ context.Context, n int) (int, error) {
		if n%2 == 1 {
			return 0, errors.New("odd")
		}
		return n, nil
	})
	spins = worker.Define("spins", func(_ context.Context, n int) (int, error) {
		for end := time.Now().Add(20 * time.Millisecond); time.Now().Before(end); {
			n++
		}
		return n, nil
	})
	sleeps = worker.Define("sleeps", func(_ context.Context, n int) (int, error) {
		time.Sleep(20 * time.Millisecond)
		return n, nil
	})
	fragile = worker.Define("fragile", func(_ context.Context, n int) (int, error) {
		if n%50 == 7 {
			os.Exit(3)
		}
		return n, nil
	})
)

func numbers(n int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}
