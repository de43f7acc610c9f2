package engine

import (
	"container/heap"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"tandem"
	"tandem/internal/source"
)

// The pauses between attempts are those that the flow names, by a clock that nobody can set: minutes pass in the bubble at once.
func TestBackoffByTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Time
		again := Func{Do: func(context.Context, *tandem.Task) tandem.Result {
			if at = append(at, time.Now()); len(at) == 6 {
				return tandem.Give(tandem.TextValue("at last"))
			}
			return tandem.Result{Outcome: tandem.Failed, Err: &tandem.Error{Kind: tandem.KindStatus, Message: "busy", Err: errors.New("busy")}}
		}}
		report, err := New(Config{Cores: 1}).Run(t.Context(), Flow{Name: "f", Source: source.Range(1, 1), Steps: []Step{{Name: "s", Handler: again, Concurrency: 1,
			Retry: Retry{Attempts: 6, Base: time.Minute, Max: 3 * time.Minute, When: func(tandem.Outcome, *tandem.Error) bool { return true }}}}})
		if err != nil || report.Items.OK != 1 || len(at) != 6 {
			t.Fatalf("%v, %+v, %d attempts", err, report.Items, len(at))
		}
		for i, most := range []time.Duration{1, 2, 3, 3, 3} {
			if pause := at[i+1].Sub(at[i]); pause > most*time.Minute+time.Second {
				t.Errorf("pause %d: %v, want up to %d min", i+1, pause, most)
			}
		}
	})
}

// A clock that is put on or back while a task waits changes nothing: what is due is told by the monotonic clock, which a time of its own keeps beside the wall
// clock and compares by. So a time that is kept must never lose it.
func TestBackoffWhenTheClockJumps(t *testing.T) {
	s := &step{}
	s.out.L = &s.mu
	before := time.Now()
	s.again(&tandem.Task{}, time.Minute)
	at := s.later[0].at
	if at == at.Round(0) {
		t.Fatal("the time of the next attempt has lost its monotonic reading: a jump of the wall clock would move it")
	}
	if d := at.Sub(before); d < time.Minute || d > 2*time.Minute {
		t.Errorf("due in %v, want a minute", d)
	}
	heap.Push(&s.later, pause{&tandem.Task{ID: "first"}, before})
	if due, until := s.later.ready(before); len(due) != 1 || due[0].ID != "first" || until < 59*time.Second {
		t.Errorf("%d due, next in %v", len(due), until)
	}
}

// What could not begin is no attempt, and is not tried for ever.
func TestRefusalsComeToAnEnd(t *testing.T) {
	s := Step{Retry: Retry{Attempts: 4, When: func(_ tandem.Outcome, e *tandem.Error) bool { return e.Kind == tandem.KindStart }}}
	task := tandem.Task{Result: tandem.Result{Outcome: tandem.Failed, Err: &tandem.Error{Kind: tandem.KindStart}}}
	crashes, refused, n := 0, 0, 1
	for ; n < 100; n++ {
		if _, again := s.next(&task, &crashes, &refused); !again {
			break
		}
	}
	if n != 4 || task.Attempts != 0 || crashes != 0 {
		t.Errorf("given up after %d times, %d attempts, want 4 and 0", n, task.Attempts)
	}
	s.Once, task.Attempts = true, 1
	if _, again := s.next(&task, &crashes, new(int)); again {
		t.Error("it had begun, and begins again")
	}
}
