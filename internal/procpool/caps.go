package procpool

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"tandem"
	"tandem/internal/evidence"
	"tandem/internal/proc"
)

// verdict is why an attempt is ended.
type verdict struct {
	outcome tandem.Outcome
	as      tandem.ExitReason
	why     string // Tandem kills the worker
	kind    string
	reason  string
	message string // for the item
	hint    string
}

func (p *Pool) tooLong() verdict {
	return verdict{outcome: tandem.TimedOut, as: tandem.ExitTimeout, why: "an item ran longer than " + p.cfg.Timeout.String(), kind: tandem.KindTimeout,
		message: fmt.Sprintf("not done after %v, killed", p.cfg.Timeout), hint: "raise the step's timeout, or find out what it waits for"}
}

func (p *Pool) tooMuchCPU() verdict {
	return verdict{outcome: tandem.TimedOut, as: tandem.ExitCPULimit, why: "an item used more than " + p.cfg.Caps.CPUTime.String() + " of processor time", kind: tandem.KindTimeout,
		reason: tandem.ReasonCPUTime, message: fmt.Sprintf("used more than %v of processor time, killed", p.cfg.Caps.CPUTime), hint: "raise the step's cpu_time, or find out what it computes"}
}

func (p *Pool) hung() verdict {
	return verdict{outcome: tandem.TimedOut, as: tandem.ExitHung, why: fmt.Sprintf("neither an answer nor processor time for %v", p.cfg.Caps.Hang), kind: tandem.KindTimeout,
		reason: tandem.ReasonHung, message: fmt.Sprintf("hung: neither an answer nor processor time for %v, killed", p.cfg.Caps.Hang),
		hint: "find out what it waits for; raise the step's hang when such a wait is in order"}
}

// vital is how a worker that has work showed life. It is the watch's alone, but for what look notes in it.
type vital struct {
	use  proc.TreeUse
	sign [4]uint64 // what its answers and its control page said when it last moved
	at   int64     // when that was
	cpu  time.Duration
	want time.Duration // how long its own threads have had a processor, or waited for one that they could have used; exact where use counts hundredths of a second
	was  time.Duration // the same at at

	item    uint64 // that it runs
	itemCPU time.Duration
}

// idle is the share of one processor below which a worker does nothing: what runtimes need for themselves.
const idle = 100

// lookInterval is how often attempts are looked at, zero for not at all.
func (c Config) lookInterval() time.Duration {
	every := time.Duration(0)
	for _, limit := range []struct{ d, most time.Duration }{{c.Timeout, 50 * time.Millisecond}, {c.Caps.Soft, 50 * time.Millisecond},
		{c.Caps.CPUTime, 100 * time.Millisecond}, {c.Caps.Hang, time.Second}} {
		if limit.d <= 0 {
			continue
		}
		if d := min(max(limit.d/20, time.Millisecond), limit.most); every == 0 || d < every {
			every = d
		}
	}
	return every
}

// measure looks at the processes of workers that have work, without the mutex. It costs some ten microseconds for each.
func (p *Pool) measure() {
	p.mu.Lock()
	var busy []*worker
	for _, w := range slices.Concat(p.workers, p.leaving) {
		if !w.dead && !w.suspect && w.inflight > w.abandoned {
			busy = append(busy, w)
		}
	}
	p.mu.Unlock()
	for _, w := range busy {
		w.vital.use = w.process.Use()
		if p.cfg.Caps.Hang > 0 {
			w.vital.want = evidence.Wanted(w.process.PID())
		}
	}
}

// budget says whether the item that a worker runs alone has used up its processor time. It is counted from the first look at it. The mutex is held.
func (w *worker) budget(id uint64) bool {
	v := &w.vital
	if v.item != id {
		v.item, v.itemCPU = id, v.use.CPU
	}
	return v.use.CPU-v.itemCPU > w.p.cfg.Caps.CPUTime
}

// lifeless says whether a worker with work has shown no life for too long: no answer, nothing new on its control page and next to no processor time
// of its whole tree. A time in which we could not look is none in which it was seen to do nothing: late is added. The mutex is held.
func (w *worker) lifeless(now, late int64) bool {
	v := &w.vital
	if w.inflight == w.abandoned {
		v.at = 0
		return false
	}
	sign := [4]uint64{uint64(w.done), w.ctl.Started(), w.ctl.Finished()}
	for s := range w.parallel {
		id, since := w.ctl.Slot(s)
		sign[3] = sign[3]*31 + id + uint64(since)
	}
	used := max(v.use.CPU-v.cpu, v.want-v.was)
	switch {
	case v.at == 0, sign != v.sign, used > 0 && int64(used) > (now-v.at)/idle:
		v.at, v.sign, v.cpu, v.was = now, sign, v.use.CPU, v.want
		return false
	}
	v.at += late
	if now-v.at <= int64(w.p.cfg.Caps.Hang) {
		return false
	}
	// It may want a processor and get none.
	if slices.ContainsFunc(evidence.Threads(w.process.PID()), func(t tandem.ThreadView) bool { return t.State == "R" }) {
		v.at = now
		return false
	}
	return true
}

// conclude ends the task in slot i; its handler runs on until the worker is killed. The mutex is held.
func (p *Pool) conclude(w *worker, i uint32, v verdict, do *chores) {
	s := &w.slots[i]
	t := s.task
	p.attempted(t)
	p.forget(t)
	late := w.charge(t, s, v.outcome)
	p.stats.Service += late.ran
	e := &tandem.Error{Op: "run", Kind: v.kind, Reason: v.reason, Message: v.message, Hint: v.hint}
	if w.parallel == 1 || v.reason == tandem.ReasonHung {
		name(e, w.hung)
	}
	t.Result = tandem.Result{Outcome: v.outcome, Service: late.ran, Err: e}
	p.held--
	do.ended = append(do.ended, t)
	s.task, s.abandoned, s.expired, s.late = nil, true, false, &late
	s.values = s.values[:0]
	w.abandoned++
}

// endAll ends every task that the worker shows as running. The mutex is held.
func (p *Pool) endAll(w *worker, v verdict, do *chores) {
	for s := range w.parallel {
		if id, since := w.ctl.Slot(s); since != 0 {
			if sl, i := w.find(id); sl != nil && sl.task != nil && !sl.abandoned {
				p.conclude(w, i, v, do)
			}
		}
	}
}

// cancel asks the handler in slot i to end, and retires the worker when it does not. The mutex is held.
func (p *Pool) cancel(w *worker, i uint32, do *chores) {
	w.sayCancel(i, do)
	gen, since := w.slots[i].gen, now()
	time.AfterFunc(p.cfg.Grace, func() { p.overdue(w, i, gen, since) })
}

// tooMuch ends a task that gives more than it may. A worker that runs it alone is killed: the rest of it is read by nobody. The mutex is held.
func (p *Pool) tooMuch(w *worker, i uint32, given int64, do *chores) {
	v := verdict{outcome: tandem.Failed, as: tandem.ExitKilledByUs, why: "an item gave more than " + proc.Bytes(p.cfg.Caps.Output), kind: tandem.KindTooLarge, reason: tandem.ReasonOutput}
	v.message, v.hint = overOutput(given, p.cfg.Caps.Output)
	p.conclude(w, i, v, do)
	if w.parallel > 1 {
		p.cancel(w, i, do)
		return
	}
	if w.reason == nil {
		w.reason = &tandem.Error{Op: "run", Kind: tandem.KindTooLarge, Message: "killed: " + v.why}
	}
	p.leave(w)
	w.kill(v.as, v.why)
}

func overOutput(given, limit int64) (message, hint string) {
	return fmt.Sprintf("gave %s, the limit is %s", proc.Bytes(given), proc.Bytes(limit)), "raise the step's output, or write a file and give its path"
}

// remind asks a task whose soft limit is over to end, and notes where it is. The mutex is held.
func (p *Pool) remind(w *worker, i uint32, do *chores) {
	w.slots[i].asked = true
	w.sayCancel(i, do)
	w.words.Add(1)
	p.owned.Go(func() {
		defer w.words.Done()
		where := ""
		if w.dump != proc.Quit { // that would end it
			w.asks.Lock()
			s := w.askStack()
			w.asks.Unlock()
			if at := evidence.Where(s); at != "" {
				where = "; it is in " + at
			}
			p.mu.Lock()
			w.softly = s
			p.mu.Unlock()
		}
		p.event(w.number, "busy", "suspect", fmt.Sprintf("an item is asked to end after %v%s", p.cfg.Caps.Soft, where))
	})
}

// reminded makes of a failure after the soft limit what it is: time was up. The mutex is held.
func (p *Pool) reminded(w *worker, r *tandem.Result) {
	said := r.Err.Message
	r.Outcome = tandem.TimedOut
	r.Err.Kind, r.Err.Reason = tandem.KindTimeout, tandem.ReasonSoft
	r.Err.Message = fmt.Sprintf("not done after %v; it ended when it was asked: %s", p.cfg.Caps.Soft, said)
	r.Err.Hint = "raise the step's timeout, or find out what it waits for"
	if r.Err.Trace == "" && w.softly != nil {
		r.Err.Trace = w.softly.Text
	}
}

// memoryFull says whether what a handler raised is its limit of memory.
func (p *Pool) memoryFull(e *tandem.Error) bool {
	full := strings.HasSuffix(e.Reason, "MemoryError") || e.Reason == "OSError" && strings.HasPrefix(e.Message, "OSError: [Errno 12]")
	return p.cfg.Caps.Memory > 0 && e.Kind == tandem.KindException && full
}

// outOfMemory says whether a worker ended because its limit of memory was reached: by the proof of who watched it, or by its runtime's own words under a limit.
func (w *worker) outOfMemory(x proc.Exit, s *tandem.Stack) bool {
	if w.killed.Load() != nil || w.p.cfg.Caps.Memory <= 0 {
		return false
	}
	return x.Over != nil || s != nil && s.Kind == "out_of_memory"
}

// limitsOf are what a worker's process may use.
func (p *Pool) limitsOf() proc.Limits {
	return proc.Limits{Memory: p.cfg.Caps.Memory, Core: p.cfg.Caps.Core}.WithData(p.cfg.Argv[0])
}
