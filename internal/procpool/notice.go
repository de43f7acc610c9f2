package procpool

import "time"

// dying is how long a worker whose page was marked has to be seen on its way out by the kernel. One that is not has only given the sign.
const dying = 20 * time.Millisecond

// attend notices the end of the process, also when a child of it keeps the channel open, and before that the beginning of its end, where the kernel tells.
func (w *worker) attend() {
	select {
	case <-w.process.Gone():
	case <-w.noticed:
		for end := time.Now().Add(dying); !w.process.Exiting() && time.Now().Before(end); {
			time.Sleep(200 * time.Microsecond)
		}
		if w.process.Exiting() {
			w.fell()
		}
		<-w.process.Gone()
	}
	w.p.end(w, nil)
}

// fell takes a worker out of service that is dying but may take a while, for its memory goes first. A replacement starts; what has not begun in it goes
// elsewhere, if its page says what has. How it ended, and what it ran, is settled when it is buried.
func (w *worker) fell() {
	var do chores
	p := w.p
	p.mu.Lock()
	w.dying = true
	if !w.dead && w.halts && !w.recalled && w.busy() {
		p.recall(w, &do)
	}
	p.leave(w)
	p.mu.Unlock()
	p.event(w.number, "idle", "draining", "the kernel is ending it")
	p.finish(&do, true)
}
