package engine

import (
	"context"

	"tandem"
)

// Begun items of steps that must not run twice are noted before they run, so that a run which goes on where another was killed does not run them again. So that no item
// is noted that only waits, such a step hands over no more than run at a time.

// begin waits until the pool runs t at once and notes that it does.
func (s *step) begin(ctx context.Context, t *tandem.Task) error {
	most := max(s.pool.State().Concurrency, 1)
	s.mu.Lock()
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		s.free.Broadcast()
		s.mu.Unlock()
	})
	for s.inside >= most && ctx.Err() == nil {
		s.free.Wait()
	}
	stop()
	if ctx.Err() != nil {
		s.mu.Unlock()
		return context.Cause(ctx)
	}
	s.inside++
	s.mu.Unlock()
	if s.e.flow.Journal == nil {
		return nil
	}
	if err := s.e.flow.Journal.Begins(s.index, idsOf(t)); err != nil {
		s.left(1)
		s.e.stop(err)
		return err
	}
	return nil
}

// left says that the pool has given n tasks back.
func (s *step) left(n int) {
	s.mu.Lock()
	s.inside -= n
	s.free.Broadcast()
	s.mu.Unlock()
}

// withdraw takes back the note about a task that was given up before it ran.
func (s *step) withdraw(t *tandem.Task) {
	if s.def.Once && s.e.flow.Journal != nil && t.Result.Outcome == tandem.Canceled && t.Attempts == 0 {
		s.e.flow.Journal.Withdraws(s.index, idsOf(t))
	}
}

func idsOf(t *tandem.Task) []string {
	if t.Batch == nil {
		return []string{t.ID}
	}
	ids := make([]string, len(t.Batch))
	for i, b := range t.Batch {
		ids[i] = b.ID
	}
	return ids
}

// mayBeDone ends an item that an earlier part of the run had begun, and of which nobody knows whether it was done.
func (s *step) mayBeDone(u *unit, why string) {
	u.attempts = 1
	u.Result = tandem.Result{Outcome: tandem.Crashed, Err: &tandem.Error{Op: "run", On: s.def.Name, Kind: tandem.KindCrash, Reason: "unknown", Again: tandem.AgainNever,
		Message: why + "; it may or may not have been done, and is not run again (idempotent: false)",
		Hint:    "find out whether its effect is there; if not, run it by hand with --item"}}
}
