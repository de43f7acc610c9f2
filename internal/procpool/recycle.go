package procpool

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"tandem/internal/supervise"
)

// Recycle says when workers are replaced though nothing is wrong with them.
type Recycle = supervise.Recycle

// notAgain is how long a worker that could not be replaced is left alone.
const notAgain = 30 * time.Second

// tire has the place of w replace it, unless another worker is being replaced. The mutex is held.
func (p *Pool) tire(w *worker, why string) {
	if w.tiredOf != "" || !w.life.Serves() || now() < w.spared || !p.sup.Recycle(w.place) {
		return
	}
	w.tiredOf = why
	w.tired <- struct{}{}
}

// tireDone is tire for a worker that may have done its share of tasks. The mutex is held.
func (p *Pool) tireDone(w *worker) {
	if w.limits.Items > 0 && w.tiredOf == "" {
		if why := w.limits.Due(w.done, 0, 0); why != "" {
			p.tire(w, why)
		}
	}
}

// age looks which workers are to be recycled, which have been idle for long, which prove by their age that workers can live, and which have closed their channel. It
// comes once a second.
func (p *Pool) age() {
	p.mu.Lock()
	workers := append([]*worker(nil), p.workers...)
	mute := p.mute()
	p.mu.Unlock()
	for _, w := range mute {
		if w.process.Dropped(w.sock) {
			p.end(w, w.closedChannel())
		}
	}
	for _, w := range workers {
		var held int64
		if w.limits.Memory > 0 {
			held = resident(w.process.PID())
		}
		p.mu.Lock()
		at := now()
		if canary, ok := p.sup.Canary(); ok && w.place == canary && w.life.Served(at) > time.Minute {
			p.proved()
		}
		if why := w.limits.Due(w.done, at-time.Duration(w.begun), held); why != "" {
			p.tire(w, why)
		}
		idle := at - time.Duration(w.progress)
		if w.limits.Idle > 0 && w.tiredOf == "" && w.inflight == 0 && idle >= w.limits.Idle && len(p.workers) > max(w.limits.Floor, 1) && p.pending.len() == 0 && w != p.judge {
			w.tiredOf, w.idleEnd = fmt.Sprintf("it had nothing to do for %v", idle.Round(time.Second)), true
			p.retire(w) // it gets no more
			w.tired <- struct{}{}
		}
		p.mu.Unlock()
	}
}

// recycledPlace lets the next worker be recycled.
func (p *Pool) recycledPlace(place int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sup.Recycled(place)
	for _, w := range p.workers {
		p.tireDone(w)
	}
}

// notRecycled keeps w, because its replacement did not become ready.
func (p *Pool) notRecycled(w *worker, tell bool, err error) {
	p.mu.Lock()
	w.tiredOf, w.spared = "", now()+notAgain
	if tell {
		p.stats.BootFailures++
	}
	p.mu.Unlock()
	if tell {
		p.event(w.number, "idle", "idle", fmt.Sprintf("kept for another %v: its replacement could not start: %v", notAgain, err))
	}
	p.recycledPlace(w.place)
}

// parked waits until there is something to do for the worker of a place again, and tells whether the place has ended meanwhile.
func (p *Pool) parked(ctx context.Context, n int) (over bool) {
	p.mu.Lock()
	if p.pending.len() > 0 {
		p.mu.Unlock()
		return false
	}
	wake := make(chan struct{})
	p.asleep = append(p.asleep, wake)
	p.mu.Unlock()
	p.event(n, "dead", "new", "until there is more to do")
	select {
	case <-wake:
		return false
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, c := range p.asleep {
		if c == wake {
			p.asleep = append(p.asleep[:i], p.asleep[i+1:]...)
			break
		}
	}
	return true
}

// rouse wakes as many places as there are tasks that wait. The mutex is held.
func (p *Pool) rouse() {
	for n := p.pending.len(); n > 0 && len(p.asleep) > 0; n-- {
		last := len(p.asleep) - 1
		close(p.asleep[last])
		p.asleep = p.asleep[:last]
	}
}

// resident is the memory that a process holds, in bytes; 0 when it cannot be told. What it has started counts for itself.
func resident(pid int) int64 {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "statm"))
	if f := bytes.Fields(b); err == nil && len(f) > 1 {
		pages, _ := strconv.ParseInt(string(f[1]), 10, 64)
		return pages * int64(os.Getpagesize())
	}
	return 0
}
