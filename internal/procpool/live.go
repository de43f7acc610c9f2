package procpool

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"tandem"
	"tandem/internal/arena"
)

// roll is who is there, for those who look at the pool from outside. It is guarded by the pool's mutex.
type roll struct {
	there   []*worker    // ready or on their way out
	booting map[int]boot // by number
	starts  map[int]int  // by number
}

// boot is a worker that is not ready yet.
type boot struct {
	pid   int
	begun int64
}

// seat notes that a process was started.
func (p *Pool) seat(w *worker) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.roll.booting == nil {
		p.roll.booting, p.roll.starts = map[int]boot{}, map[int]int{}
	}
	p.roll.starts[w.number]++
	p.roll.booting[w.number] = boot{w.process.PID(), w.begun}
}

// enlist notes that it is ready, or with nil that it never will be.
func (p *Pool) enlist(place int, w *worker) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.roll.booting, place)
	if w != nil {
		p.roll.there = append(p.roll.there, w)
	}
}

// delist notes that it is gone. The mutex is held.
func (p *Pool) delist(w *worker) {
	p.roll.there = slices.DeleteFunc(p.roll.there, func(o *worker) bool { return o == w })
}

// Workers is every worker process, by place. It may be called at any time; it looks at the workers' control pages under the pool's mutex, some hundred
// nanoseconds for each.
func (p *Pool) Workers() []tandem.WorkerView {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := arena.Now()
	views := make([]tandem.WorkerView, 0, len(p.roll.there)+len(p.roll.booting))
	places := map[string]int{}
	add := func(place int, v tandem.WorkerView) {
		v.Worker = p.cfg.Step + "/" + strconv.Itoa(place+1)
		v.Restarts = max(0, p.roll.starts[place]-1)
		places[v.Worker] = place
		views = append(views, v)
	}
	for place, b := range p.roll.booting {
		add(place, tandem.WorkerView{PID: b.pid, State: "starting", Age: time.Duration(now - b.begun).Seconds()})
	}
	for _, w := range p.roll.there {
		v := tandem.WorkerView{PID: w.process.PID(), Done: w.done, Age: time.Duration(now - w.begun).Seconds(), Running: w.running(now)}
		v.Waiting = max(0, w.inflight-w.abandoned-len(v.Running))
		v.State = w.state(len(v.Running))
		add(w.number, v)
	}
	slices.SortStableFunc(views, func(a, b tandem.WorkerView) int { return cmp.Compare(places[a.Worker], places[b.Worker]) })
	return views
}

// running is what the control page shows. The mutex is held.
func (w *worker) running(now int64) (all []tandem.Running) {
	for i := range w.parallel {
		id, since := w.ctl.Slot(i)
		if since == 0 {
			continue
		}
		if s, _ := w.find(id); s != nil && s.task != nil {
			all = append(all, tandem.Running{Item: s.task.ID, Others: max(0, len(s.task.Batch)-1), Seconds: max(0, time.Duration(now-since).Seconds())})
		}
	}
	slices.SortStableFunc(all, func(a, b tandem.Running) int { return cmp.Compare(b.Seconds, a.Seconds) })
	return all
}

func (w *worker) state(running int) string {
	switch {
	case w.dead:
		return "dead"
	case w.suspect:
		return "suspect"
	case w.retired || w.draining:
		return "draining"
	case running > 0 || w.inflight > w.abandoned:
		return "busy"
	}
	return "idle"
}

// present is the worker of a place that has not ended. The mutex is held.
func (p *Pool) present(place int) (*worker, error) {
	for _, w := range slices.Backward(p.roll.there) {
		if w.number == place && !w.dead {
			return w, nil
		}
	}
	e := &tandem.Error{Op: "find worker", On: p.cfg.Step + "/" + strconv.Itoa(place+1), Kind: tandem.KindInvalid, Message: "there is no such worker", Hint: "tandem ps lists them"}
	if _, ok := p.roll.booting[place]; ok {
		e.Message, e.Hint = "it is not ready yet", "try again"
	} else if p.roll.starts[place] > 0 {
		e.Message, e.Hint = "it has ended; another takes its place", "try again"
	}
	return nil, e
}

// killedByUser is why a worker died that a person killed.
const killedByUser = "killed by the user (tandem kill)"

// KillWorker ends the worker of a place because a person said so. What it runs and what waits in it runs elsewhere, without an attempt being counted: it is not
// to blame. It does not wait for the end.
func (p *Pool) KillWorker(place int) error {
	p.mu.Lock()
	w, err := p.present(place)
	if err == nil && w.suspect {
		err = &tandem.Error{Op: "kill worker", On: w.name(), Kind: tandem.KindInvalid, Message: "it is being killed already: " + w.reason.Message}
	}
	if err == nil {
		w.byUser = true
		if w.reason == nil {
			w.reason = &tandem.Error{Kind: tandem.KindCrash, Message: killedByUser}
		}
	}
	p.mu.Unlock()
	if err != nil {
		return err
	}
	w.kill(tandem.ExitKilledByUs, killedByUser)
	return nil
}
