package procpool

import (
	"time"

	"tandem"
	"tandem/internal/arena"
	"tandem/internal/supervise"
)

// dying is how long a worker whose page was marked has to be seen on its way out by the kernel. One that is not has only given the sign.
const dying = 20 * time.Millisecond

// mostDying is how long the kernel may take to end it. After that something holds it, and it is treated as one that does not go.
const mostDying = 30 * time.Second

// attend notices the end of the process, also when a child of it keeps the channel open, and before that the beginning of its end, where the kernel tells.
func (w *worker) attend() {
	select {
	case <-w.process.Gone():
	case <-w.noticed:
		if w.process.ExitingWithin(dying) {
			w.fell()
		}
		<-w.process.Gone()
	}
	w.life.On(supervise.Gone, now())
	w.p.end(w, nil)
}

// fell takes a worker out of service that is dying but may take a while, for its memory goes first. A replacement starts; what has not begun in it goes
// elsewhere, if its page says what has. How it ended, and what it ran, is settled when it is buried.
func (w *worker) fell() {
	var do chores
	p := w.p
	p.mu.Lock()
	w.dying = arena.Now()
	alive, news := !w.dead, !w.dead && !w.retired
	p.leave(w) // first, or it would have the most room for what is taken back from it
	if alive && w.halts && !w.recalled && !p.cfg.Once && (w.busy() || p.harmless(w)) {
		w.held = w.inflight > w.abandoned
		p.recall(w, &do)
	}
	p.mu.Unlock()
	if news {
		p.event(w.number, "idle", "draining", "the kernel is ending it")
	}
	p.finish(&do, true)
}

// harmless says whether what waits in a worker that died with nothing running may go elsewhere now. What would have been next may have killed it without a
// word, and comes back only so often. The mutex is held.
func (p *Pool) harmless(w *worker) bool {
	var head *slot
	for i := range w.slots {
		if s := &w.slots[i]; s.task != nil && s.seq > w.ctl.Started() && (head == nil || s.seq < head.seq) {
			head = s
		}
	}
	if head == nil || p.lost[head.task]+1 >= maxLost {
		return head == nil
	}
	if p.lost == nil {
		p.lost = map[*tandem.Task]int{}
	}
	p.lost[head.task]++
	return true
}
