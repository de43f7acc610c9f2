package mapper

import (
	"fmt"
	"time"

	"tandem"
	"tandem/internal/proc"
)

// startsAtOnce bounds what is started between two looks at what has ended, so that the ends are seen when they happen.
const startsAtOnce = 2

// fill starts what fits; true when it stopped although more would fit.
func (r *run) fill() bool {
	limit := r.limit
	if r.sizer != nil {
		limit = r.sizer.Size()
	}
	if r.room > 0 {
		limit = min(limit, r.room)
	}
	for n := 0; !r.stopped && r.running < limit; n++ {
		if n == startsAtOnce {
			return true
		}
		if len(r.held) >= maxHeld || r.printer.full() || r.running > 0 && len(r.held) > 0 && (r.store.inMem.Load() > allMemory/2 || r.store.inFile.Load() >= maxSpilled) {
			r.starved() // output has to leave first
			return false
		}
		if r.cfg.Memory > 0 && !r.enough {
			r.starved()
			return false
		}
		it := r.take()
		if it == nil {
			r.starved()
			return false
		}
		r.start(it)
	}
	return false
}

func (r *run) starved() {
	if r.sizer != nil {
		r.sizer.Starved()
	}
}

// take is the next input to run: nil when there is none now.
func (r *run) take() *item {
	if n := len(r.again); n > 0 {
		it := r.again[0]
		r.again = r.again[1:]
		return it
	}
	for {
		for len(r.inputs) == 0 {
			if r.all {
				return nil
			}
			select {
			case p, open := <-r.portions:
				if !open || p.err != nil {
					r.all = true
				}
				if p.err != nil {
					r.stop(p.err, false)
					return nil
				}
				r.inputs = p.inputs
			default:
				return nil
			}
		}
		input := r.inputs[0]
		r.inputs = r.inputs[1:]
		r.seq++
		if log := r.cfg.Log; log != nil {
			var command func() string
			if !r.cfg.Command.slots {
				command = func() string { return Quote(r.cfg.Command.Expand(nil, input, r.seq, 0)) }
			}
			done, err := log.Done(r.seq, command)
			if err != nil {
				r.stop(err, false)
				return nil
			}
			if done {
				r.counts.Skipped++
				continue
			}
		}
		it := r.fresh()
		it.seq, it.order, it.input = r.seq, r.order, input
		r.order++
		r.counts.In++
		return it
	}
}

func (r *run) fresh() *item {
	if n := len(r.spare); n > 0 {
		it := r.spare[n-1]
		r.spare = r.spare[:n-1]
		*it = item{argv: it.argv[:0]}
		return it
	}
	return &item{}
}

func (r *run) start(it *item) {
	if len(r.places) == 0 {
		r.places = append(r.places, len(r.slots))
		r.slots = append(r.slots, nil)
	}
	place := r.places[len(r.places)-1]
	it.place, it.late, it.evicted, it.received = place, false, false, 0
	it.argv = r.cfg.Command.Expand(it.argv[:0], it.input, it.seq, place)
	it.begun = time.Now()
	path, err := r.path, error(nil)
	if path == "" {
		path, err = proc.Look(it.argv[0])
	}
	if err == nil {
		err = r.loop.Start(place, path, it.argv)
	}
	if err != nil {
		r.refused(it, err)
		return
	}
	if r.herd != nil {
		r.contained(place)
	}
	r.places = r.places[:len(r.places)-1]
	r.slots[place] = it
	r.running++
	it.attempts++
	r.totals.attempts++
	it.before, it.after = r.newest, nil
	if r.newest != nil {
		r.newest.after = it
	} else {
		r.oldest = it
	}
	r.newest = it
}

// leave takes an item out of those that run.
func (r *run) leave(it *item) {
	r.slots[it.place] = nil
	r.places = append(r.places, it.place)
	r.running--
	if it.before != nil {
		it.before.after = it.after
	} else {
		r.oldest = it.after
	}
	if it.after != nil {
		it.after.before = it.before
	} else {
		r.newest = it.before
	}
	it.before, it.after = nil, nil
}

// refused deals with a command that could not be started.
func (r *run) refused(it *item, err error) {
	if proc.Exhausted(err) && r.running > 0 {
		if r.room == 0 || r.running < r.room {
			r.room = r.running
			r.cfg.OnNotice(fmt.Sprintf("no more than %d at a time: %v", r.room, err))
			if r.sizer != nil {
				r.sizer.Most(r.room)
			}
		}
		r.again = append([]*item{it}, r.again...)
		return
	}
	code := 126 // as a shell has it: found, but cannot be run
	if proc.NotFound(err) {
		code = 127
	}
	it.attempts = max(it.attempts, 1)
	it.end = entry{start: it.begun, exit: code, cpu: -1, runQueue: -1, outcome: tandem.Failed}
	it.reason = fmt.Sprintf("exit %d", code)
	r.store.add(&it.errs, []byte("tandem map: "+err.Error()+"\n"))
	r.finish(it)
}
