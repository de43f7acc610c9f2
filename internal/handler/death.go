package handler

import (
	"cmp"
	"sync"
	"time"

	"tandem"
	"tandem/internal/evidence"
	"tandem/internal/proc"
)

// death gathers what is known about a command that may not end well.
type death struct {
	step   string
	t      *tandem.Task
	before evidence.Kills
	shell  bool
	caps   tandem.Caps
	dir    string
	cores  string
	begun  time.Time
	said   [2]evidence.Tail // Java writes its last words to standard output

	mu      sync.Mutex // the command may end by itself while it is looked at
	threads []tandem.ThreadView
	holds   []tandem.Evidence
	asked   *tandem.Stack // where it was, in its own words
}

func (d *death) hear(stream int, chunk []byte) { d.said[stream-1].Add(chunk) }

// doomed looks at the command before it is killed.
func (d *death) doomed(pid int, last bool) {
	threads := evidence.Threads(pid)
	holds := evidence.Holds(threads)
	d.mu.Lock()
	d.threads, d.holds = threads, holds
	d.mu.Unlock()
	if last {
		d.ask(threads)
	}
}

// askWithin is how long a Java machine has to say where it is before it is killed.
const askWithin = 300 * time.Millisecond

// ask lets a Java machine write its stacks, if one is among these. It writes them to standard output, and what a command that is killed wrote there is no result.
func (d *death) ask(threads []tandem.ThreadView) {
	for _, t := range threads {
		if t.ID != t.PID || t.State == "T" || t.State == "Z" || !evidence.Java(t.PID) {
			continue
		}
		o, err := proc.Hold(t.PID)
		if err != nil {
			return
		}
		defer o.Close()
		mark := d.said[0].Total()
		if !evidence.Java(t.PID) || !o.Ask(proc.Quit) { // again, for now it is held and can be no other
			return
		}
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for end, seen := time.Now().Add(askWithin), mark; time.Now().Before(end); {
			<-tick.C
			if total := d.said[0].Total(); total == mark || total != seen {
				seen = total
				continue
			}
			if s := evidence.Hung(d.said[0].Since(mark)); s != nil {
				d.mu.Lock()
				d.asked = s
				d.mu.Unlock()
				return
			}
		}
		return
	}
}

// report adds to r what the command's runtime said about its end, and the report of its death. One that ended in good order, even if with a bad exit code, has none.
func (d *death) report(x proc.Ended, r tandem.Result, as tandem.ExitReason, killed string) tandem.Result {
	e := evidence.Exit{Code: x.Code, Signal: x.Signal}
	if x.Left {
		d.doomed(x.PID, false)
		r.Err.Message += ", and it is still there"
		if len(d.holds) > 0 {
			r.Err.Message += ": " + d.holds[0].Says
		}
	}
	stack := evidence.Find(d.said[1].Text(), e)
	if stack == nil {
		stack = evidence.Find(d.said[0].Text(), e)
	}
	evidence.JavaReport(stack, d.dir, proc.ReadPlain)
	d.mu.Lock()
	if d.asked != nil && killed != "" {
		stack = d.asked
		r.Err.Message += evidence.Phrase(stack)
		r.Err.Trace = stack.Text
	}
	d.mu.Unlock()
	if stack != nil && killed == "" {
		r.Err.Message += evidence.Phrase(stack)
		r.Err.Trace = stack.Text
	}
	if stack != nil && stack.Kind == "out_of_memory" && d.caps.Memory > 0 && killed == "" {
		r.Outcome, r.Err.Kind, r.Err.Hint = tandem.OutOfMemory, tandem.KindMemory, memoryHint
		r.Err.Message = "reached the memory limit of " + proc.Bytes(d.caps.Memory) + ": " + r.Err.Message
	}
	passedOn := d.shell && e.PassedOn() != ""
	if x.Signal == "" && killed == "" && !passedOn && (stack == nil || evidence.Exception(stack)) {
		return r
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	c := tandem.Crash{Time: time.Now(), Step: d.step, PID: x.PID, Item: d.t.ID, Root: cmp.Or(d.t.Root, d.t.ID), Attempt: d.t.Attempts, Outcome: r.Outcome, Threads: d.threads,
		Stderr: d.said[1].Last(), Seconds: x.WallClock.Seconds(), Age: x.WallClock.Seconds(), CPU: x.CPU.Seconds(), PeakRSS: x.MaxRSS, Isolation: &x.Isolation}
	of := evidence.Death{Exit: e, Signal: x.Signal, Shell: d.shell, Killed: killed, Alive: x.Left, As: as, Before: d.before, After: evidence.Counted(), Stack: stack}
	if d.caps.Memory > 0 {
		c.Memory, of.Limit, of.Peak = x.Memory, proc.Bytes(d.caps.Memory), proc.Seen(x.Peak)
	}
	if as == tandem.ExitMemoryLimit {
		of.Killed, of.As, of.Memory = "", "", &tandem.Evidence{What: "memory", From: x.Over.From, Says: x.Over.Says}
	}
	evidence.Judge(of, &c)
	c.Evidence = append(c.Evidence, d.holds...)
	if d.caps.Core > 0 && evidence.Dumps(e) {
		c.Core, c.NoCore = proc.TakeCore(x.PID, d.dir, d.begun, d.cores)
	}
	r.Crash = &c
	return r
}
