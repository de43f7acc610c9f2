package mapper

import (
	"bytes"
	"fmt"
	"time"

	"tandem"
	"tandem/internal/proc"
)

// wrote takes what a command has written.
func (r *run) wrote(place, stream int, chunk []byte) {
	it := r.slots[place]
	if it == nil {
		return
	}
	if stream == 1 {
		it.received += int64(len(chunk))
	}
	if !r.cfg.Lines {
		r.store.add(it.stream(stream), chunk)
		return
	}
	held := it.line[stream-1]
	cut := bytes.LastIndexByte(chunk, '\n') + 1
	if cut == 0 && len(held)+len(chunk) > ownMemory {
		cut = len(chunk) // a line longer than this comes in pieces
	}
	if cut > 0 {
		r.print(it, stream, append(held, chunk[:cut]...))
		held = nil
	}
	it.line[stream-1] = append(held, chunk[cut:]...)
}

func (it *item) stream(n int) *gathered {
	if n == 1 {
		return &it.out
	}
	return &it.errs
}

func (r *run) print(it *item, stream int, lines []byte) {
	r.store.inMem.Add(int64(len(lines)))
	r.printer.put(text{tag: r.tag(it), stream: stream, line: lines})
}

func (r *run) tag(it *item) string {
	if r.cfg.Tag {
		return it.input
	}
	return ""
}

// ended hears of the end of an attempt.
func (r *run) ended(e proc.Ending, now time.Time) {
	it := r.slots[e.ID]
	r.leave(it)
	r.totals.wall += e.Wall
	r.totals.cpu += e.CPU
	r.totals.runQueue += max(0, e.RunQueue)
	r.totals.rss += (e.MaxRSS - r.totals.rss) / 8
	for i, rest := range it.line {
		if len(rest) > 0 {
			r.print(it, i+1, append(rest, '\n'))
			it.line[i] = nil
		}
	}
	it.end = entry{start: it.begun, wall: e.Wall, received: it.received, exit: e.Code, signal: int(e.Signal), cpu: e.CPU, runQueue: e.RunQueue, maxRSS: e.MaxRSS}
	switch {
	case e.Signal == 0 && e.Code == 0:
		it.end.outcome = tandem.OK
	case it.evicted && !it.canceled:
		r.totals.evicted++
		it.attempts--
		it.end.outcome = ""
		r.repeat(it)
		return
	case it.canceled:
		it.end.outcome = tandem.Canceled
	case it.late:
		it.end.outcome, it.end.exit, it.reason = tandem.TimedOut, -1, "timeout"
	case e.Over != nil:
		it.end.outcome, it.end.exit, it.reason = tandem.Crashed, 0, "out of memory"
		r.overNotice(it, e)
	case e.Signal != 0:
		it.end.outcome, it.end.exit, it.reason = tandem.Crashed, 0, e.Reason()
	default:
		it.end.outcome, it.reason = tandem.Failed, e.Reason()
	}
	if !it.canceled {
		_ = r.service.RecordValue(min(int64(e.Wall/time.Microsecond), r.service.HighestTrackableValue()))
		if r.sizer != nil {
			if r.sizer.Ended(now, e.Wall, e.CPU, e.RunQueue) {
				r.sizer.Judge(now, r.idle.Share())
			}
		}
	}
	if it.end.outcome != tandem.OK && !it.canceled && it.attempts <= r.cfg.Retries && !r.stopped {
		r.totals.retries++
		r.repeat(it)
		return
	}
	r.finish(it)
}

// overNotice tells of the first command that went over its limit of memory.
func (r *run) overNotice(it *item, e proc.Ending) {
	if r.reasons[it.reason] == nil {
		r.cfg.OnNotice(fmt.Sprintf("out of memory: %s: %s", Quote(it.argv), e.Over.Says))
	}
}

// repeat puts an item back; the output of the attempt is dropped.
func (r *run) repeat(it *item) {
	r.store.drop(&it.out)
	r.store.drop(&it.errs)
	r.again = append(r.again, it)
}

// finish gives an item its outcome.
func (r *run) finish(it *item) {
	switch it.end.outcome {
	case tandem.OK:
		r.counts.OK++
	case tandem.TimedOut:
		r.counts.TimedOut++
	case tandem.Crashed:
		r.counts.Crashed++
	case tandem.Canceled:
		r.counts.Canceled++
	default:
		r.counts.Failed++
	}
	if it.reason != "" && it.end.outcome != tandem.OK && it.end.outcome != tandem.Canceled {
		r.reason(it)
	}
	if r.cfg.Keep {
		r.hold(it)
	} else {
		r.emit(it)
	}
	if why, reached := r.cfg.Halt.Reached(r.counts.OK, r.counts.Bad()-r.counts.Canceled); reached && !r.stopped {
		r.halted = why
		r.stop(nil, r.cfg.Halt.Now)
	}
}

const maxReasons = 64

func (r *run) reason(it *item) {
	if old := r.reasons[it.reason]; old != nil {
		old.Count++
		return
	}
	what := it.reason
	if len(r.reasons) >= maxReasons {
		what = "other"
		if old := r.reasons[what]; old != nil {
			old.Count++
			return
		}
	}
	r.reasons[what] = &Reason{What: what, Count: 1, First: it.input}
	if it.end.outcome == tandem.TimedOut {
		r.cfg.OnNotice(fmt.Sprintf("timed out after %s, killed: %s", r.cfg.Timeout, Quote(it.argv)))
	}
}

// hold keeps the output back until those before it are out.
func (r *run) hold(it *item) {
	r.held[it.order] = it
	for {
		it := r.held[r.next]
		if it == nil {
			return
		}
		delete(r.held, r.next)
		r.next++
		r.emit(it)
	}
}

// emit hands output and log line to the printer.
func (r *run) emit(it *item) {
	var log *entry
	if r.cfg.Log != nil && it.end.outcome != tandem.Canceled {
		e := it.end
		e.seq, e.attempts, e.command = it.seq, it.attempts, Quote(it.argv)
		log = &e
	}
	if log != nil || it.out.size > 0 || it.errs.size > 0 {
		r.printer.put(text{tag: r.tag(it), out: it.out, errs: it.errs, log: log})
		it.out, it.errs = gathered{}, gathered{}
	}
	r.spare = append(r.spare, it)
}
