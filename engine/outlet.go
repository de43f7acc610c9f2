package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tandem"
)

// finish sends items that have their outcome to the outlet.
func (e *Engine) finish(ended []*tandem.Task) {
	now := time.Since(e.start)
	for _, t := range ended {
		u := t.Ref.(*unit)
		t.Elapsed = now - u.born
		t.Attempts = max(u.attempts, t.Attempts)
	}
	_, _ = e.finished.Put(context.Background(), ended) // it is closed last
}

// outlet is where items leave: one goroutine that counts outcomes, keeps the order, applies the failure policy, writes, and notes what is written.
type outlet struct {
	e       *Engine
	resumer tandem.Resumer // the sink, when a journal needs its position
	broken  error          // why the sink, or the journal, takes no more
	ended   int64
	bad     int64
	due     []*tandem.Task
	aside   []*tandem.Task // canceled: an interrupted run goes on with them, so their lines come last and do not count as written
	whole   []string       // items of the source of which everything is among what is being written
	settled []any          // tags of the same, of a Feed
	flusher interface{ Flush() (lost int, err error) }
}

func newOutlet(e *Engine) *outlet {
	o := &outlet{e: e}
	o.flusher, _ = e.flow.Sink.(interface{ Flush() (lost int, err error) })
	if e.flow.Journal != nil {
		o.resumer, _ = e.flow.Sink.(tandem.Resumer)
	}
	return o
}

func (o *outlet) run() {
	buf := make([]*tandem.Task, 512)
	for {
		n, err := o.take(buf, o.flusher != nil && o.broken == nil)
		if errors.Is(err, context.DeadlineExceeded) {
			o.flush() // nothing comes for a while: what has ended should be seen
			n, err = o.take(buf, false)
		}
		if err != nil {
			break
		}
		o.count(buf[:n])
		due := buf[:n]
		if o.e.order != nil {
			o.due = o.e.order.line(due, o.due[:0])
			due = o.due
		}
		o.write(due)
		clear(buf[:n])
	}
	aside := o.aside
	o.aside = nil
	o.put(aside)
	o.flush()
	for _, s := range []tandem.Sink{o.e.flow.Sink, o.e.flow.Failures.Save} {
		if s != nil {
			o.fail(s.Close())
		}
	}
}

func (o *outlet) flush() {
	if o.flusher != nil && o.broken == nil {
		lost, err := o.flusher.Flush()
		o.e.unwrit.Add(int64(lost))
		o.fail(err)
	}
}

// fail stops the run for the first reason.
func (o *outlet) fail(err error) {
	if o.broken == nil && err != nil {
		o.broken = err
		o.e.stop(err)
	}
}

// take takes ended items; with a limit it fails with DeadlineExceeded when none comes for a tenth of a second.
func (o *outlet) take(buf []*tandem.Task, limited bool) (int, error) {
	ctx := context.Background()
	if n, _ := o.e.finished.Len(); limited && n == 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
	}
	return o.e.finished.Take(ctx, buf)
}

// count counts outcomes, tells who listens, and stops the run when too many are bad.
func (o *outlet) count(tasks []*tandem.Task) {
	e := o.e
	for _, t := range tasks {
		if u := t.Ref.(*unit); u.over {
			u.origin.live.Add(-1)
			e.made.Add(-1)
			continue
		}
		r := &t.Result
		if e.flow.Redact != nil {
			r.Value = e.flow.Redact(r.Value)
			r.Err = e.redacted(r.Err)
		}
		e.ended[outcomeIndex(r.Outcome)].Add(1)
		of := t.Ref.(*unit).origin
		of.live.Add(-1)
		of.cut = of.cut || r.Outcome == tandem.Canceled
		if e.cfg.OnEnded != nil {
			e.cfg.OnEnded(t)
		}
		o.ended++
		if isBad(r.Outcome) {
			o.bad++
		}
	}
	f := e.flow.Failures
	share := f.StopShare > 0 && o.ended >= 100 && float64(o.bad) > f.StopShare*float64(o.ended)
	if (f.StopAfter > 0 && o.bad >= int64(f.StopAfter) || share) && !e.stopping() {
		e.stop(&tandem.Error{Op: "run", On: e.flow.Name, Kind: tandem.KindFailures, Message: fmt.Sprintf("stopped by the failure policy: %d of %d items ended badly", o.bad, o.ended),
			Hint: "mend the cause, then run again with --resume; failures: {stop_after: …} in the flow says how many are too many"})
	}
}

func isBad(o tandem.Outcome) bool {
	return o == tandem.Failed || o == tandem.TimedOut || o == tandem.Crashed || o == tandem.Quarantined || o == tandem.OutOfMemory
}

// redacted is err without secrets, as a copy.
func (e *Engine) redacted(err *tandem.Error) *tandem.Error {
	if err == nil {
		return nil
	}
	c := *err
	for _, s := range []*string{&c.Message, &c.Hint, &c.Trace, &c.Reason} {
		*s = string(e.flow.Redact(tandem.Value{Kind: tandem.Text, Data: []byte(*s)}).Data)
	}
	return &c
}

// write gives tasks to the sink, and keeps those aside that an interrupted run will go on with. Those that had ended in an earlier part stand there already.
func (o *outlet) write(tasks []*tandem.Task) {
	for _, t := range tasks {
		of := t.Ref.(*unit).origin
		if of.written++; of.live.Load() == 0 && of.written == of.units.Load() && !of.cut && !of.part && (t.ID != t.Root || o.e.flow.Done != nil) {
			o.whole = append(o.whole, t.Root)
		}
		if o.e.flow.Settled != nil && of.live.Load() == 0 && of.written == of.units.Load() && !of.cut {
			o.settled = append(o.settled, of.tag)
		}
	}
	if o.e.flow.Journal != nil {
		kept := tasks[:0]
		for _, t := range tasks {
			switch {
			case t.Ref.(*unit).over:
			case t.Result.Outcome == tandem.Canceled:
				o.aside = append(o.aside, t)
			default:
				kept = append(kept, t)
			}
		}
		tasks = kept
	}
	in := o.put(tasks)
	if in && o.e.flow.Journal != nil && len(tasks)+len(o.whole) > 0 {
		o.note(tasks)
	}
	if in && o.e.flow.Done != nil {
		for _, id := range o.whole {
			o.e.flow.Done(id)
		}
	}
	if in && o.e.flow.Settled != nil {
		for _, tag := range o.settled {
			o.e.flow.Settled(tag)
		}
	}
	o.whole, o.settled = o.whole[:0], o.settled[:0]
}

// put writes tasks to the sinks. It is false when not all of them are in.
func (o *outlet) put(tasks []*tandem.Task) bool {
	e := o.e
	if len(tasks) == 0 {
		return o.broken == nil
	}
	if save := e.flow.Failures.Save; save != nil && o.broken == nil {
		var bad []*tandem.Task
		for _, t := range tasks {
			if isBad(t.Result.Outcome) {
				bad = append(bad, t)
			}
		}
		if len(bad) > 0 {
			_, err := save.Write(bad)
			o.fail(err)
		}
	}
	if e.flow.Sink == nil {
		return o.broken == nil
	}
	written := 0
	if o.broken == nil {
		var err error
		if written, err = e.flow.Sink.Write(tasks); err != nil {
			o.fail(err)
		} else {
			written = len(tasks)
		}
	}
	e.unwrit.Add(int64(len(tasks) - written))
	return written == len(tasks) && o.broken == nil
}

// note says in the journal that the sink holds tasks.
func (o *outlet) note(tasks []*tandem.Task) {
	var at int64
	o.flush()
	if save, ok := o.e.flow.Failures.Save.(tandem.Resumer); ok {
		_, err := save.Position(o.e.flow.Sync) // first: a failed item that counts as ended must be there to be retried
		o.fail(err)
	}
	if o.resumer != nil {
		var err error
		at, err = o.resumer.Position(o.e.flow.Sync)
		o.fail(err)
	}
	if o.broken == nil {
		o.fail(o.e.flow.Journal.Ended(tasks, o.whole, at))
	}
}

func outcomeIndex(o tandem.Outcome) int {
	for i, x := range tandem.Outcomes {
		if x == o {
			return i
		}
	}
	return 1 // failed: an outcome nobody knows is no success
}
