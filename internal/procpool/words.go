package procpool

import (
	"slices"
	"time"

	"tandem"
	"tandem/internal/arena"
	"tandem/internal/evidence"
	"tandem/internal/proc"
	"tandem/internal/supervise"
)

// Why Tandem kills a worker.
const (
	ranOn      = "a handler ran on after its time was up"
	stoppedRun = "the run was stopped"
)

// killing is what a worker was killed for.
type killing struct {
	as  tandem.ExitReason
	why string
}

// charge is an item that was running in a worker when it died.
type charge struct {
	id, root string
	others   []string // of its batch
	attempt  int
	outcome  tandem.Outcome
	ran      time.Duration
	begun    bool // the control page shows it as running
	input    string
}

// kill ends the process. The first reason stays, unless the process has ended by itself before, or has begun to: on a loaded machine its end takes seconds.
func (w *worker) kill(as tandem.ExitReason, why string) {
	if !isClosed(w.process.Gone()) && !w.process.Exiting() {
		w.killed.CompareAndSwap(nil, &killing{as, why})
	}
	w.life.On(supervise.Kill, now())
	w.process.Kill()
}

// killLeft ends a worker that was told to go and did not.
func (w *worker) killLeft() {
	w.p.mu.Lock()
	late := w.abandoned > 0
	w.p.mu.Unlock()
	if late {
		w.kill(tandem.ExitTimeout, ranOn)
	} else {
		w.kill(tandem.ExitKilledByUs, "it did not go when it was told to")
	}
}

// hear takes what the process writes.
func (w *worker) hear(stream int, chunk []byte) {
	if tap := w.tap.Load(); tap != nil {
		tap.Add(chunk)
	}
	if stream == 2 {
		w.said.Add(chunk)
		if w.asking.Load() > 0 {
			return // its stacks: they go with the report
		}
	}
	if out := w.p.cfg.OnOutput; out != nil {
		out(w.number, stream, chunk)
	}
}

// doubt takes a worker out of service to kill it, and first asks it where it is; a replacement starts when it is killed, so that never more tasks run than
// there are places. settle is called with the mutex held once the answer is there; it may be nil. The mutex is held.
func (p *Pool) doubt(w *worker, settle func(*chores), v verdict) {
	if !w.life.On(supervise.Doubt, now()) {
		return // it has ended, or is being killed
	}
	as, why := v.as, v.why
	w.verdict = v
	w.suspect = true
	w.reason = &tandem.Error{Kind: tandem.KindTimeout, Reason: v.reason, Message: "killed: " + why}
	w.setWindow(0)
	if i := slices.Index(p.workers, w); i >= 0 {
		p.workers = slices.Delete(p.workers, i, i+1)
	}
	known := w.answered != nil
	w.ctl.Halt() // should it come to itself meanwhile, it begins nothing more
	w.words.Add(1)
	p.owned.Go(func() {
		defer w.words.Done()
		id, _ := w.ctl.Slot(0)
		if w.dump == proc.Quit && !isClosed(w.process.Gone()) {
			w.killed.CompareAndSwap(nil, &killing{as, why}) // it may end by what it is asked with
		}
		w.life.On(supervise.Ask, now())
		if !known {
			w.ask()
		}
		if now, since := w.ctl.Slot(0); settle != nil && !w.halts && (now != id || since == 0) {
			w.hung, w.mark = nil, 0 // it may have begun another by then
		}
		var do chores
		p.mu.Lock()
		if settle != nil {
			settle(&do)
		}
		p.leave(w)
		p.checkEmpty()
		p.mu.Unlock()
		w.kill(as, why)
		p.finish(&do, true)
	})
}

// ask notes what the kernel and the process itself say about where it is, for the report of its end.
func (w *worker) ask() {
	w.asks.Lock()
	defer w.asks.Unlock()
	w.asking.Add(1) // for good: what it still writes about it goes with the report
	w.hung = w.askStack()
}

// askStack asks the process where it is. It takes a few milliseconds, and never longer than Config.AskWithin. A stopped process is not asked. One at a time
// asks.
func (w *worker) askStack() *tandem.Stack {
	w.see()
	mark := w.said.Total()
	if w.dump == 0 || len(w.threads) == 0 || w.threads[0].State == "T" {
		return nil
	}
	w.mark = mark + 1
	w.asking.Add(1)
	defer w.asking.Add(-1)
	if !w.process.Ask(w.dump, thread(w.threads)) && !w.process.Ask(w.dump, w.threads[0].ID) { // a thread may have ended since it was seen
		return nil
	}
	tick, limit := time.NewTicker(5*time.Millisecond), time.NewTimer(w.p.cfg.AskWithin)
	defer tick.Stop()
	defer limit.Stop()
	for seen, still := mark, 0; ; {
		select {
		case <-tick.C:
		case <-limit.C:
			return evidence.Hung(w.said.Since(mark))
		case <-w.process.Done():
			return evidence.Hung(w.said.Since(mark))
		}
		switch total := w.said.Total(); {
		case total != seen:
			seen, still = total, 0
		case total > mark:
			if still++; still >= 3 { // it writes nothing more
				if s := evidence.Hung(w.said.Since(mark)); s != nil {
					return s
				}
			}
		}
	}
}

// see notes what the kernel says of it. One at a time asks.
func (w *worker) see() {
	w.threads = evidence.Threads(w.process.PID())
	w.holds = evidence.Holds(w.threads)
}

// thread is the one to ask: of the process itself one that computes, else the main one.
func thread(all []tandem.ThreadView) int {
	for _, t := range all {
		if t.PID == all[0].PID && t.State == "R" {
			return t.ID
		}
	}
	return all[0].ID
}

// lastWords is what the process's runtime wrote about its end. Java writes it to standard output.
func (w *worker) lastWords(x proc.Exit) *tandem.Stack {
	if w.hung != nil {
		return w.hung
	}
	if w.mark > 0 {
		if s := evidence.Hung(w.said.Since(w.mark - 1)); s != nil { // it took longer to answer than we waited
			return s
		}
	}
	e := exitOf(x)
	s := evidence.Find(w.said.Text(), e)
	if s == nil {
		s = evidence.Find(x.Tail, e)
	}
	evidence.JavaReport(s, w.p.cfg.Dir, proc.ReadPlain)
	return s
}

func exitOf(x proc.Exit) evidence.Exit {
	e := evidence.Exit{Code: x.Code}
	if x.Signal != 0 {
		e.Signal = x.Reason()
	}
	return e
}

// name says in e where the program was, and shows its own stack.
func name(e *tandem.Error, s *tandem.Stack) {
	if s == nil {
		return
	}
	e.Trace = s.Text
	e.Message += evidence.Phrase(s)
}

// charge notes what a report says about a task that ran in slot s. The mutex is held.
func (w *worker) charge(t *tandem.Task, s *slot, o tandem.Outcome) charge {
	c := charge{id: t.ID, root: t.Root, attempt: t.Attempts, outcome: o, input: evidence.Preview(t.Value, w.p.cfg.Redact)}
	for _, b := range t.Batch {
		if b.ID != t.ID {
			c.others = append(c.others, b.ID)
		}
	}
	since := s.sentAt
	for i := range w.parallel {
		if id, at := w.ctl.Slot(i); at != 0 {
			if of, _ := w.find(id); of == s {
				since, c.begun = at, true
			}
		}
	}
	c.ran = max(0, time.Duration(arena.Now()-since))
	return c
}

// worthReport says whether a worker's end is one to report. The mutex is held.
func (w *worker) worthReport(died bool) bool {
	k := w.killed.Load()
	if k != nil && k.as == tandem.ExitKilledByUs {
		return died && w.p.stop.Err() == nil && k.why != stoppedRun
	}
	return died || k != nil
}

// report tells of the worker's death. What was charged comes from inherit.
func (w *worker) report(x proc.Exit, stack *tandem.Stack) {
	d := evidence.Death{Exit: exitOf(x), Items: len(w.charges), Before: w.before, After: evidence.Counted(), Stack: stack}
	if k := w.killed.Load(); k != nil {
		d.Killed, d.As = k.why, k.as
	} else if x.Over != nil {
		d.Memory = &tandem.Evidence{What: "memory", From: x.Over.From, Says: x.Over.Says}
	} else if w.suspect {
		d.As = tandem.ExitTimeout // it came to itself and went, when it was about to be killed
	}
	w.tell(d, x)
}

// bootFailed tells of a worker that died, or had to be killed, before it was ready. One that said why it cannot start did not die.
func (w *worker) bootFailed(err error) {
	if e, ok := err.(*tandem.Error); ok && e.Kind != tandem.KindCrash && e.Kind != tandem.KindTimeout && e.Kind != tandem.KindProtocol {
		return
	}
	x := w.process.Exit()
	d := evidence.Death{Exit: exitOf(x), As: tandem.ExitBoot, Before: w.before, After: evidence.Counted(), Stack: w.lastWords(x)}
	if k := w.killed.Load(); k != nil {
		d.Killed = k.why
	}
	w.tell(d, x)
}

func (w *worker) tell(d evidence.Death, x proc.Exit) {
	if w.p.cfg.OnCrash == nil {
		return
	}
	c := tandem.Crash{Time: time.Now(), Step: w.p.cfg.Step, Worker: w.name(), PID: w.process.PID(), Threads: w.threads, Stderr: w.said.Last(),
		PeakRSS: x.MaxRSS, CPU: x.CPU.Seconds(), Age: time.Duration(arena.Now() - w.begun).Seconds(), Done: w.done}
	if x.Signal != 0 {
		d.Signal = x.String()
	}
	for i, of := range w.charges {
		if i == 0 {
			c.Item, c.Root, c.Attempt, c.Outcome, c.Seconds, c.Input = of.id, of.root, of.attempt, of.outcome, of.ran.Seconds(), of.input
		} else {
			c.Others = append(c.Others, of.id)
		}
		c.Others = append(c.Others, of.others...)
		says := "showed " + of.id + " as running, for " + of.ran.Round(time.Millisecond).String()
		if !of.begun {
			says = "did not show " + of.id + " as running; it had been there for " + of.ran.Round(time.Millisecond).String()
		}
		c.Evidence = append(c.Evidence, tandem.Evidence{What: "item", From: "control page", Says: says})
	}
	held := w.process.Isolation()
	c.Isolation = &held
	if w.p.cfg.Caps.Memory > 0 {
		c.Memory, d.Limit = w.process.Memory(), proc.Bytes(w.p.cfg.Caps.Memory)
	}
	d.Peak = proc.Seen(w.process.Peak())
	evidence.Judge(d, &c)
	c.Evidence = append(c.Evidence, w.holds...)
	if w.p.cfg.Caps.Core > 0 && evidence.Dumps(d.Exit) {
		c.Core, c.NoCore = proc.TakeCore(c.PID, w.p.cfg.Dir, c.Time.Add(-time.Duration(arena.Now()-w.begun)), w.p.cfg.CoreDir)
	}
	w.p.cfg.OnCrash(c)
}
