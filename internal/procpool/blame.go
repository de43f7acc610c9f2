package procpool

import (
	"cmp"
	"context"
	"slices"
	"strconv"

	"tandem"
	"tandem/internal/proc"
)

// maxLost bounds how often a task is run again because its worker died after running it, or before saying that it had begun.
const maxLost = 3

// inherit settles what a dead worker held. What its control page shows as running is to blame. What it had not started goes back without
// counting an attempt. What it had finished but not delivered is run again and counts one. It tells whether something was running.
func (p *Pool) inherit(w *worker, exit proc.Exit, stack *tandem.Stack, do *chores) (hurt bool) {
	running := map[uint64]bool{}
	for s := range w.parallel {
		if id, since := w.ctl.Slot(s); since != 0 && (w.severed == 0 || since < w.severed) { // what began after the channel had been closed did not close it
			running[id] = true
		}
	}
	started := w.ctl.Started()
	believed := w.believed()
	gone := exit.Lost && w.killed.Load() == nil // what held the worker died, and neither the worker nor its items are to blame
	var back, ran []uint32
	blamed := false
	for i := range w.slots {
		s := &w.slots[i]
		switch {
		case s.abandoned:
			blamed = true
			if s.late != nil {
				w.charges = append(w.charges, *s.late)
			}
			w.drop(uint32(i))
		case s.task == nil || s.seq == 0: // free, or put back by who copies its value
		case running[s.id(uint32(i))] && !w.byUser && !(w.suspect && w.abandoned > 0): // one that began while we asked about another is not to blame
			blamed, hurt = true, true
			ran = append(ran, uint32(i))
		case p.cfg.Once && (s.seq <= started || !believed):
			ran = append(ran, uint32(i))
		default:
			back = append(back, uint32(i))
		}
	}
	tries := w.parallel > 1 && !p.cfg.Once && !p.cfg.NoTrial && p.stop.Err() == nil
	switch {
	case gone && !p.cfg.Once:
		hurt, back = false, append(back, ran...)
	case tries:
		p.accuse(w, ran, exit, stack, do)
	default:
		for _, i := range ran {
			p.crash(w, i, exit, stack, do)
		}
	}
	if len(back) == 0 {
		return hurt
	}
	if w.byUser {
		p.giveBack(w, back)
		return hurt
	}
	head := slices.MinFunc(back, func(a, b uint32) int { return cmp.Compare(w.slots[a].seq, w.slots[b].seq) })
	var lost []uint32 // too often
	answers := 0
	for _, i := range back {
		if w.slots[i].seq <= started {
			answers++
		}
	}
	alone := tries || answers > 1 && !p.cfg.Once && p.stop.Err() == nil // the answers of several went with it, and one of them may be to blame
	back = slices.DeleteFunc(back, func(i uint32) bool {
		t, seq := w.slots[i].task, w.slots[i].seq
		first := i == head && !blamed && !w.draining && !p.cfg.Once
		if seq <= started || first {
			// It ran, or it was the next to run and something killed the worker without a word: not for ever.
			if p.lost == nil {
				p.lost = map[*tandem.Task]int{}
			}
			silent := first && w.reason != nil && w.reason.Kind == tandem.KindTimeout
			switch p.lost[t]++; {
			case silent || p.lost[t] >= maxLost && !alone:
				p.crash(w, i, exit, stack, do)
				return true
			case p.lost[t] >= maxLost: // it is always the next to run, so whoever kills fresh workers kills it with them: it is tried alone as well
				lost = append(lost, i)
				return true
			}
			if seq <= started {
				p.attempted(t)
			}
		}
		return false
	})
	p.giveBack(w, back)
	p.accuse(w, lost, exit, stack, do)
	return hurt
}

// crash ends a task whose worker died under it.
func (p *Pool) crash(w *worker, i uint32, exit proc.Exit, stack *tandem.Stack, do *chores) {
	t := w.slots[i].task
	p.attempted(t)
	e := &tandem.Error{Op: "run", Kind: tandem.KindCrash, Reason: exit.Reason(), Trace: exit.Tail,
		Message: "worker " + w.name() + " (pid " + strconv.Itoa(w.process.PID()) + ") died under it: " + exit.String(),
		Hint:    "the other items are not affected; run the handler on this item alone to see why"}
	if exit.Signal == 0 {
		e.Message += " (exited without result)"
	}
	if w.parallel > 1 && p.accused[t] == 0 {
		e.Hint = "other items that ran in the same worker ended with it; mode: process gives each item a process of its own"
	}
	if w.reason != nil {
		e.Kind, e.Message = w.reason.Kind, w.reason.Message
		e.Hint = cmp.Or(w.reason.Hint, e.Hint)
	}
	o := tandem.Crashed
	switch {
	case w.outOfMemory(exit, stack):
		o, e.Kind, e.Hint = tandem.OutOfMemory, tandem.KindMemory, memoryHint
		e.Message = "reached the memory limit of " + proc.Bytes(p.cfg.Caps.Memory)
		if exit.Over != nil {
			e.Message += " (" + exit.Over.Says + ")"
		}
		e.Message += ": worker " + w.name() + " (pid " + strconv.Itoa(w.process.PID()) + ") ended by " + exit.Reason()
	case w.verdict.reason != "":
		v := w.verdict
		o, e.Kind, e.Reason, e.Message, e.Hint = v.outcome, v.kind, v.reason, v.message, v.hint
	}
	name(e, stack)
	if p.cfg.Once && o == tandem.Crashed {
		unknown(e)
	}
	t.Result = tandem.Result{Outcome: o, Err: e}
	w.charges = append(w.charges, w.charge(t, &w.slots[i], o))
	if p.stop.Err() != nil { // we killed it, because the run was stopped
		t.Result = canceled(context.Cause(p.stop))
	}
	p.held--
	do.ended = append(do.ended, t)
	p.forget(t)
	w.drop(i)
}

const memoryHint = "raise the step's memory, or give it less at a time; it is not tried again unless retry: {when: [memory]} says so"

func bytesText(n int64) string {
	switch {
	case n >= 1<<30:
		return strconv.FormatFloat(float64(n)/(1<<30), 'f', 1, 64) + " GiB"
	case n >= 1<<20:
		return strconv.FormatFloat(float64(n)/(1<<20), 'f', 1, 64) + " MiB"
	}
	return strconv.FormatInt(n, 10) + " bytes"
}
