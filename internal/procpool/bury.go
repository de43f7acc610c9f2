package procpool

import (
	"time"

	"tandem"
	"tandem/internal/evidence"
	"tandem/internal/proc"
	"tandem/internal/supervise"
)

// tally counts the end of a worker, and tells whether it died. blame says that it had items, or broke the protocol. The mutex is held.
func (p *Pool) tally(w *worker, exit proc.Exit, blame bool) (died bool) {
	s := &p.stats
	switch {
	case p.stop.Err() != nil:
		s.Stopped++
		return blame || !w.retired && !w.bye
	case exit.Lost && w.killed.Load() == nil, w.byUser:
		s.Losses++
	case blame:
		s.Crashes++
	case !w.retired && !w.bye:
		s.Losses++
	case w.tiredOf != "" && !w.idleEnd:
		s.Recycled++
		return false
	default:
		s.Stopped++
		return false
	}
	return true
}

// awaitEnd waits until the process has ended. It is false when the process was killed and is still there seconds later: nothing can be done about it.
func (w *worker) awaitEnd() bool {
	const often = 100 * time.Millisecond
	tick := time.NewTicker(often)
	defer tick.Stop()
	for slow := time.Duration(0); ; {
		select {
		case <-w.process.Gone():
			w.life.On(supervise.Gone, now())
			return true
		case <-tick.C:
		}
		if slow < mostDying && w.process.Exiting() { // the kernel takes the time it takes
			slow += often
			continue
		}
		if to, _ := w.life.Overdue(now(), w.p.patient); to == supervise.Unkillable {
			return false
		} else if to == supervise.Killing {
			w.process.Kill() // also when it is the table that ends it
		}
	}
}

// abandon settles what an unkillable worker held, as far as anybody can. It keeps its arenas: it may still write there.
func (w *worker) abandon() {
	p := w.p
	w.sock.Close() // wakes the reader and the flusher
	<-w.readDone
	w.fills.Wait()
	w.unnotice()
	w.words.Wait()
	w.see()
	exit := proc.Exit{Code: -1, Tail: w.said.Text()}
	var do chores
	p.mu.Lock()
	p.leave(w)
	if w.reason == nil {
		w.reason = &tandem.Error{Kind: tandem.KindCrash, Message: "its worker was killed and is still there: the kernel does not let it end",
			Hint: "is it frozen, or does it wait for a device or a network file system? It ends when that answers"}
	}
	p.inherit(w, exit, w.hung, &do)
	p.delist(w)
	p.stats.Crashes++
	for i, x := range p.leaving {
		if x == w {
			p.leaving = append(p.leaving[:i], p.leaving[i+1:]...)
			break
		}
	}
	w.flushClosed()
	p.pump(&do)
	p.checkEmpty()
	p.mu.Unlock()
	p.event(w.number, "killing", "unkillable", w.reason.Message+w.heldBy())
	w.stuck()
	if w.tiredOf != "" {
		p.recycledPlace(w.place)
	}
	p.finish(&do, true)
}

// stuck reports a worker that was killed and does not end.
func (w *worker) stuck() {
	d := evidence.Death{Exit: evidence.Exit{Code: -1}, Alive: true, Items: len(w.charges), Killed: "it was of no more use", Stack: w.hung}
	if k := w.killed.Load(); k != nil {
		d.Killed = k.why
	}
	used := w.process.Use()
	w.tell(d, proc.Exit{Code: -1, CPU: used.CPU, MaxRSS: used.Memory})
}

// heldBy says what keeps it, for a sentence.
func (w *worker) heldBy() string {
	if len(w.holds) == 0 {
		return ""
	}
	return "; " + w.holds[0].Says
}
