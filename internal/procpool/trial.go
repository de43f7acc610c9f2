package procpool

import (
	"cmp"
	"slices"
	"strconv"

	"tandem"
	"tandem/internal/proc"
)

// A worker that runs several tasks at a time and dies leaves several suspects; so is a task that was the next to run in several that died. They run again one at
// a time, each alone in a worker: the one that kills that too is to blame, the others end as they end. Which of them were running, the control page says; that
// only decides the order, the likely one last.

// accuse puts the tasks that ran in w when it died on trial, or that were lost too often. Each has made an attempt. The mutex is held.
func (p *Pool) accuse(w *worker, running []uint32, exit proc.Exit, stack *tandem.Stack, do *chores) {
	since := map[uint32]int64{}
	for s := range w.parallel {
		if id, at := w.ctl.Slot(s); at != 0 {
			since[uint32(id)] = at
		}
	}
	slices.SortFunc(running, func(a, b uint32) int { return cmp.Compare(since[a], since[b]) })
	for _, i := range running {
		t := w.slots[i].task
		tries := p.accused[t]
		if tries == 2 || tries == 1 && w.done == 0 {
			p.convict(w, i, exit, stack, do)
			continue
		}
		p.attempted(t)
		w.charges = append(w.charges, w.charge(t, &w.slots[i], tandem.Crashed))
		if p.accused == nil {
			p.accused = map[*tandem.Task]int{}
		}
		p.accused[t]++
		w.drop(i)
		if tries > 0 { // others had run in that worker before: once that is an excuse
			p.trial.unpop(t)
		} else {
			p.trial.push(t)
		}
	}
}

// convict ends a task that killed a fresh worker in which it was alone, or two others. The mutex is held.
func (p *Pool) convict(w *worker, i uint32, exit proc.Exit, stack *tandem.Stack, do *chores) {
	t := w.slots[i].task
	before := "it had run beside others in one that died"
	if n := p.lost[t]; n >= maxLost {
		before = strconv.Itoa(n-1) + " had died with it before they said that it had begun, or that it was done"
	}
	p.crash(w, i, exit, stack, do)
	if r := &t.Result; r.Outcome == tandem.Crashed && w.parallel > 1 {
		r.Outcome = tandem.Quarantined
		r.Err.Again = tandem.AgainNever
		r.Err.Message += "; it was alone in it, after " + before
		r.Err.Hint = "the other items are not affected; run the handler on this item alone to see why"
		w.charges[len(w.charges)-1].outcome = tandem.Quarantined
	}
}

// try gives the next suspect to a worker that has nothing else. The mutex is held.
func (p *Pool) try(do *chores) {
	if p.judge != nil && !p.judge.life.Serves() {
		p.judge = nil
	}
	if p.trial.len() == 0 {
		if p.judge != nil && p.judge.inflight == 0 {
			p.judge = nil
		}
		return
	}
	if p.judge == nil {
		p.judge = p.appoint()
	}
	if w := p.judge; w != nil && w.inflight == 0 && p.assign(w, p.trial.peek(), do) {
		p.trial.pop()
	}
}

// appoint chooses the worker for suspects: a fresh one. When none will come it is any other, which ends what it has first; should it die, the next one is fresh.
func (p *Pool) appoint() (least *worker) {
	for _, w := range p.workers {
		if w.done == 0 && w.inflight == 0 {
			return w
		}
		if least == nil || w.inflight < least.inflight {
			least = w
		}
	}
	if p.down == nil && len(p.workers) < p.wanted()-len(p.asleep) {
		return nil // one is about to start
	}
	return least
}

// putBack puts a task in front of all that wait. The mutex is held.
func (p *Pool) putBack(t *tandem.Task) {
	if p.accused[t] > 0 {
		p.trial.unpop(t)
	} else {
		p.pending.unpop(t)
	}
}

// believed tells whether what w's control page says of started tasks can be relied on.
func (w *worker) believed() bool {
	started := w.ctl.Started()
	return started >= uint64(w.done) && (started > 0 || w.draining)
}

// unknown says of a task that must not run twice that its worker has died.
func unknown(e *tandem.Error) {
	e.Message += "; it may or may not have been done, and is not run again (idempotent: false)"
	e.Hint = "find out whether its effect is there; if not, run it by hand with --item"
	e.Again = tandem.AgainNever
}
