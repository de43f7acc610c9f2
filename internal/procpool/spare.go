package procpool

import (
	"context"
	"slices"
	"strconv"
	"time"

	"tandem/internal/supervise"
)

const (
	// Workers that are ready sooner are not worth a spare unless somebody asks for it.
	slowStart = 100 * time.Millisecond
	breath    = 10 * time.Millisecond
	// The share of the free memory that a spare which nobody asked for may take.
	spareShare = 20
	// What a forked worker and the process above it have of their own while they do nothing, but for their page tables.
	forkedCosts = 8 << 20
)

func itoa(n int) string { return strconv.Itoa(n) }

// number is the lowest that no worker has; prefer is taken when it is free. The mutex is held.
func (p *Pool) number(prefer int) int {
	for len(p.numbers) <= prefer {
		p.numbers = append(p.numbers, false)
	}
	if p.numbers[prefer] {
		if prefer = slices.Index(p.numbers, false); prefer < 0 {
			prefer = len(p.numbers)
			p.numbers = append(p.numbers, false)
		}
	}
	p.numbers[prefer] = true
	return prefer
}

// numberAfter is the number of the worker that is to replace of, which may be nil: the same, though of has still to end what it runs. The mutex is held.
func (p *Pool) numberAfter(of *worker, place int) int {
	if of == nil || of.resigned {
		return p.number(place)
	}
	of.resigned = true
	return of.number
}

// numberBack takes the number of a worker that did not start: the one that it was to replace keeps it, if that serves. The mutex is held.
func (p *Pool) numberBack(of *worker, number int) {
	if of != nil && of.number == number && !of.dead && !of.retired {
		of.resigned = false
		return
	}
	p.numbers[number] = false
}

// resign gives a worker's number to the next. The mutex is held.
func (w *worker) resign() {
	if !w.resigned {
		w.resigned = true
		w.p.numbers[w.number] = false
	}
}

// stocked says whether a spare is ready. The mutex is held.
func (p *Pool) stocked() bool {
	return slices.ContainsFunc(p.spares, func(w *worker) bool { return !w.dead })
}

// spare takes a ready worker for a place, which need not wait for it: whoever keeps spares waits in its stead. Nil when there is none. The mutex is held.
func (p *Pool) spare(n int, at *supervise.Place) *worker {
	for len(p.spares) > 0 {
		w := p.spares[0]
		p.spares = p.spares[1:]
		if w.dead {
			continue
		}
		pause, ok := at.Adopt(w.life, now())
		if !ok {
			panic("procpool: a spare beside a worker for " + p.cfg.Step + "/" + strconv.Itoa(n+1)) // a mistake in this package
		}
		p.restock = max(p.restock, now()+pause)
		w.place = n
		close(w.taken)
		return w
	}
	return nil
}

// provide sees to it that as many spares are kept as are wanted; free is the memory there is. A pool that was not told how many keeps one from the first death
// on, if the memory is there and its workers are forked, for then a spare is cheap, or take long to start. The mutex is held.
func (p *Pool) provide(free int64) {
	if p.run == nil || p.ended || p.gaveUp {
		return
	}
	want := p.cfg.Spares
	if want == 0 && p.stats.Crashes+p.stats.Losses > 0 && p.spareCosts > 0 && p.spareCosts < free/spareShare {
		want = 1
		p.restock = max(p.restock, now()+breath) // the worker that takes the dead one's place comes first
	}
	for ; p.keepers < want; p.keepers++ {
		p.owned.Go(func() { p.keep(p.run) })
	}
}

// keep has one spare ready until ctx ends. Whoever takes it buries it. A spare has no place, so it keeps one of its own, which is a new one for the next.
func (p *Pool) keep(ctx context.Context) {
	var at supervise.Place
	for ctx.Err() == nil {
		p.mu.Lock()
		turn, closed, rest := p.turn, p.sup.Breaker() == supervise.Closed, p.restock-now()
		p.mu.Unlock()
		if !closed { // the places find out whether workers can be had
			select {
			case <-turn:
			case <-ctx.Done():
			}
			continue
		}
		if rest > 0 {
			select {
			case <-time.After(rest):
			case <-ctx.Done():
			}
			continue
		}
		life := at.Start(now())
		w, err := p.start(ctx, p.cfg.Workers, life, "a spare", nil)
		how := supervise.Fruitless
		if err == nil {
			if p.stored(ctx, w) {
				at = supervise.Place{}
				continue
			}
			if ctx.Err() != nil {
				how = supervise.Meant
			}
		} else if ctx.Err() == nil {
			p.mu.Lock()
			p.stats.BootFailures++
			p.mu.Unlock()
		}
		at.Ended(how, now())
		select {
		case <-time.After(at.Pending(now()) + breath):
		case <-ctx.Done():
		}
	}
}

// stored keeps w until it is taken, and tells whether it was: else it has ended, or the run has, and it is buried.
func (p *Pool) stored(ctx context.Context, w *worker) (taken bool) {
	w.life.On(supervise.Ready, now())
	w.process.Brisk(true) // its first task comes while the kernel takes down the one before it
	p.mu.Lock()
	p.spares = append(p.spares, w)
	p.mu.Unlock()
	p.event(w.number, "starting", "idle", "spare, pid "+itoa(w.process.PID()))
	select {
	case <-w.taken: // the next one waits until what was waiting for this one is under way
		select {
		case <-time.After(breath):
		case <-ctx.Done():
		}
		w.process.Brisk(false)
		return true
	case <-w.leave:
	case <-ctx.Done():
	}
	p.mu.Lock()
	i := slices.Index(p.spares, w)
	if i >= 0 {
		p.spares = slices.Delete(p.spares, i, i+1)
	}
	p.mu.Unlock()
	if i < 0 {
		return true // in this very moment
	}
	w.bury()
	return false
}

// timed notes what it took to start a worker by itself: one that takes long is worth a spare.
func (p *Pool) timed(w *worker, took time.Duration) {
	if p.cfg.Spares != 0 || w.process.Forked() {
		return
	}
	var costs int64
	if took >= slowStart {
		costs = w.process.RSS()
	}
	p.mu.Lock()
	p.spareCosts = costs
	p.mu.Unlock()
}
