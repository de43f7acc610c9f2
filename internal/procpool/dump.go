package procpool

import (
	"time"

	"tandem"
	"tandem/internal/evidence"
	"tandem/internal/proc"
)

// Dump asks the worker of a place where it is and lets it go on. A worker that can only answer as it ends is asked when end says so, and then it is killed by the
// user, as with KillWorker; else there is what the kernel sees. It takes some milliseconds, and no longer than Config.AskWithin.
func (p *Pool) Dump(place int, end bool) (tandem.Dump, error) {
	p.mu.Lock()
	w, err := p.present(place)
	if err != nil {
		p.mu.Unlock()
		return tandem.Dump{}, err
	}
	w.words.Add(1) // before it is dead, so that its burial waits for us
	p.mu.Unlock()
	defer w.words.Done()
	d := tandem.Dump{Worker: w.name(), PID: w.process.PID(), How: "the kernel alone", Threads: evidence.Threads(w.process.PID())}
	java := w.dump == proc.Quit && evidence.Java(d.PID)
	switch {
	case w.dump == 0:
		d.Why = "its READY names no signal by which it could be asked: see protocol/SPEC.md"
	case len(d.Threads) == 0:
		d.Why = "it is gone, or the kernel does not show it to this user"
	case d.Threads[0].State == "T":
		d.Why = "it is stopped, and could not answer"
	case w.dump == proc.Quit && !java && !end:
		d.Why = "a Go worker that runs one item at a time writes its stacks only as it ends: tandem dump --end does that, and its item runs elsewhere"
	default:
		w.say(&d, java, w.dump == proc.Quit && !java)
	}
	return d, nil
}

// say asks by the worker's signal and gathers what it writes.
func (w *worker) say(d *tandem.Dump, java, ends bool) {
	p := w.p
	if ends {
		why := "asked by the user where it was (tandem dump --end), which ended it"
		p.mu.Lock()
		w.byUser = true
		if w.reason == nil {
			w.reason = &tandem.Error{Kind: tandem.KindCrash, Message: why}
		}
		p.mu.Unlock()
		w.killed.CompareAndSwap(nil, &killing{tandem.ExitKilledByUs, why})
	}
	heard := &evidence.Tail{}
	w.tap.Store(heard)
	if !java {
		w.asking.Add(1)
		defer w.asking.Add(-1)
	}
	if w.process.Ask(w.dump, thread(d.Threads)) || w.process.Ask(w.dump, d.Threads[0].ID) {
		gather(heard, w.process.Done(), p.cfg.AskWithin)
	}
	w.tap.Store(nil)
	d.Text = heard.Text()
	d.Stack = evidence.Hung(d.Text)
	d.Ended = ends
	switch {
	case d.Text == "":
		d.Why = "it did not answer within " + p.cfg.AskWithin.String()
	case java:
		d.How = "the Java machine's thread dump"
	case d.Stack != nil && d.Stack.Language == "python":
		d.How = "python's faulthandler"
	case d.Stack != nil && d.Stack.Language == "go":
		d.How = "go's goroutine dump"
	default:
		d.How = "the worker itself"
	}
}

// gather waits until nothing more is written for a moment, the process is gone, or time is up.
func gather(heard *evidence.Tail, gone <-chan struct{}, within time.Duration) {
	tick, limit := time.NewTicker(5*time.Millisecond), time.NewTimer(within)
	defer tick.Stop()
	defer limit.Stop()
	for seen, still := int64(0), 0; ; {
		select {
		case <-tick.C:
		case <-limit.C:
			return
		case <-gone:
			return
		}
		total := heard.Total()
		if total != seen {
			seen, still = total, 0
		} else if still++; total > 0 && still >= 4 {
			return
		}
	}
}
