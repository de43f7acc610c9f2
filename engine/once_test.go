package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"tandem"
	"tandem/internal/journal"
	"tandem/internal/source"
)

// A run over a step that must not run an item twice is stopped at random moments and goes on: no item begins twice, every item ends, and what had begun and not ended says that it
// may have been done.
func TestOnceOverManyRuns(t *testing.T) {
	for _, batch := range []int{0, 3} {
		t.Run(fmt.Sprint("batch ", batch), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "journal")
			out := &file{}
			j, err := journal.Create(path, journal.Header{}, journal.Config{})
			if err != nil {
				t.Fatal(err)
			}
			var s *journal.State
			var mu sync.Mutex
			begun, done := map[string]int{}, map[string]int{}
			why := map[string]string{}
			const items = 200
			for part := 0; ; part++ {
				ctx, cancel := context.WithCancelCause(context.Background())
				if part < 8 {
					time.AfterFunc(time.Duration(5+rand.IntN(20))*time.Millisecond, func() { cancel(tandem.ErrInterrupted) })
				}
				ended := func(task *tandem.Task) {
					if e := task.Result.Err; e != nil {
						mu.Lock()
						why[task.ID] = e.Message
						mu.Unlock()
					}
				}
				pay := Step{Name: "pay", Once: true, Concurrency: 4, Batch: Batch{Size: batch, Every: time.Millisecond}, Retry: Retry{Attempts: 5, When: func(tandem.Outcome, *tandem.Error) bool { return true }},
					Handler: Func{Do: func(ctx context.Context, t *tandem.Task) tandem.Result {
						all := t.Batch
						if all == nil {
							all = []*tandem.Task{t}
						}
						mu.Lock()
						for _, t := range all {
							begun[t.ID]++
						}
						mu.Unlock()
						select {
						case <-time.After(time.Duration(rand.IntN(3)) * time.Millisecond):
						case <-ctx.Done():
							return tandem.Result{Outcome: tandem.Canceled}
						}
						mu.Lock()
						defer mu.Unlock()
						values := make([]tandem.Value, len(all))
						for i, t := range all {
							done[t.ID]++
							values[i] = tandem.TextValue(t.ID)
						}
						if strings.HasSuffix(t.ID, "7") {
							return tandem.Result{Outcome: tandem.Failed, Err: &tandem.Error{Kind: tandem.KindStatus, Again: tandem.AgainYes, Message: "busy"}}
						}
						return tandem.Result{Outcome: tandem.OK, Value: values[0], Rest: values[1:], Count: len(values)}
					}}}
				then := Step{Name: "then", Handler: Func{Do: func(_ context.Context, t *tandem.Task) tandem.Result { return tandem.Give(t.Value) }}}
				_, err := New(Config{OnEnded: ended}).Run(ctx, Flow{Name: "once", Source: source.Range(1, items), Sink: out, Journal: onDisk{j, s}, Steps: []Step{pay, then}})
				cancel(nil)
				if cerr := j.Close(); cerr != nil {
					t.Fatal(cerr)
				}
				if j, s, _ = journal.Resume(path, journal.Config{}); j == nil {
					t.Fatal("the journal is gone")
				}
				if rerr := out.Resume(s.Position); rerr != nil {
					t.Fatal(rerr)
				}
				if err == nil {
					break
				}
			}
			defer j.Close()
			how := map[string]string{}
			for _, line := range out.lines {
				id, outcome, _ := strings.Cut(line, " ")
				if how[id] != "" {
					t.Errorf("%s stands in the sink twice", id)
				}
				how[id] = outcome
			}
			unknown := 0
			for i := range items {
				id := fmt.Sprint(i + 1)
				if begun[id] != 1 {
					t.Errorf("%s has begun %d times", id, begun[id])
				}
				switch {
				case how[id] == "ok" && done[id] == 1:
				case how[id] == "failed" && why[id] == "busy":
				case how[id] == "crashed" && strings.Contains(why[id], "may or may not have been done"):
					unknown++
				default:
					t.Errorf("%s ended as %q (%s), done %d times", id, how[id], why[id], done[id])
				}
			}
			if len(how) != items || unknown > 8*4*max(batch, 1)+items/20 {
				t.Errorf("%d items, %d unknown", len(how), unknown)
			}
			t.Logf("%d unknown", unknown)
		})
	}
}
