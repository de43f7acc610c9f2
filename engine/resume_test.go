package engine

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"tandem"
	"tandem/internal/journal"
	"tandem/internal/source"
)

// onDisk is a journal in a file, and what it says of the earlier part of the run.
type onDisk struct {
	*journal.Journal
	*journal.State
}

func (d onDisk) Before(o tandem.Outcome) int64 {
	if d.State == nil {
		return 0
	}
	return d.Counts[o]
}

// twice runs a flow over one item, interrupts it at the first line or where a handler calls stop, and resumes it, with a journal that holds ten bytes of a result.
func twice(t *testing.T, steps func(stop func()) []Step) (lines []string) {
	t.Helper()
	path, small := filepath.Join(t.TempDir(), "journal"), journal.Config{Limit: 10}
	out := &file{}
	j, err := journal.Create(path, journal.Header{}, small)
	if err != nil {
		t.Fatal(err)
	}
	var s *journal.State
	for part := range 2 {
		ctx, cancel := context.WithCancelCause(context.Background())
		stop := func() {}
		if out.stop = 0; part == 0 {
			stop = func() { cancel(tandem.ErrInterrupted) }
			out.stop, out.on = 1, stop
		}
		_, err := New(Config{}).Run(ctx, Flow{Name: "twice", Source: source.Range(1, 1), Sink: out, Journal: onDisk{j, s}, Steps: steps(stop)})
		if part == 0 && (!errors.Is(err, tandem.ErrInterrupted) || j.Skipped() != 1) || part == 1 && err != nil {
			t.Fatalf("part %d: %v, %d results above the limit", part, err, j.Skipped())
		}
		cancel(nil)
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		if j, s, err = journal.Resume(path, small); err != nil {
			t.Fatal(err)
		}
		if err := out.Resume(s.Position); err != nil {
			t.Fatal(err)
		}
	}
	defer j.Close()
	if !s.Has("1") {
		t.Error("the journal does not know that the item has ended")
	}
	return out.lines
}

var large = strings.Repeat("x", 100)

// A value above the journal's limit is made again when a later step asks for it, and only then.
func TestKeptValueAboveTheLimit(t *testing.T) {
	for _, keep := range []bool{true, false} {
		calls, seen := 0, ""
		lines := twice(t, func(stop func()) []Step {
			return []Step{
				{Name: "big", Keep: keep, Handler: Func{Do: func(context.Context, *tandem.Task) tandem.Result {
					calls++
					return tandem.Give(tandem.TextValue(large))
				}}},
				{Name: "small", Handler: Func{Do: func(context.Context, *tandem.Task) tandem.Result { return tandem.Give(tandem.TextValue("s")) }}},
				{Name: "use", Handler: Func{Do: func(ctx context.Context, t *tandem.Task) tandem.Result {
					stop()
					if ctx.Err() != nil {
						return tandem.Result{Outcome: tandem.Canceled}
					}
					if seen = string(t.Value.Data); keep && t.Earlier != nil {
						seen = string(t.Earlier[0].Data)
					}
					return tandem.Give(t.Value)
				}}},
			}
		})
		want, runs := "s", 1
		if keep {
			want, runs = large, 2
		}
		if seen != want || calls != runs || !slices.Equal(lines, []string{"1 ok"}) {
			t.Errorf("keep %v: the last step saw %q, the first ran %d times, want %d; lines %v", keep, seen, calls, runs, lines)
		}
	}
}

// A step whose many values are above the journal's limit runs again; those of its items that had ended neither run nor stand in the sink twice.
func TestManyValuesAboveTheLimit(t *testing.T) {
	var mu sync.Mutex
	ran := map[string]int{}
	first := true
	lines := twice(t, func(func()) []Step {
		wait := first
		first = false
		return []Step{
			{Name: "many", Handler: Func{Do: func(context.Context, *tandem.Task) tandem.Result {
				v := tandem.TextValue(large)
				return tandem.Result{Outcome: tandem.OK, Count: 3, Value: v, Rest: []tandem.Value{v, v}}
			}}},
			{Name: "use", Handler: Func{Do: func(ctx context.Context, t *tandem.Task) tandem.Result {
				if wait && t.ID != "1/2" {
					<-ctx.Done() // until 1/2 is written
					return tandem.Result{Outcome: tandem.Canceled}
				}
				mu.Lock()
				defer mu.Unlock()
				ran[t.ID]++
				return tandem.Give(t.Value)
			}}},
		}
	})
	slices.Sort(lines)
	if want := []string{"1/1 ok", "1/2 ok", "1/3 ok"}; !slices.Equal(lines, want) || ran["1/2"] != 1 {
		t.Errorf("lines %v, want %v; ran %v", lines, want, ran)
	}
}
