package procpool

import (
	"context"
	"time"

	"tandem"
	"tandem/internal/wire"
)

const (
	maxWindow   = 512                    // tasks inside one worker
	windowTime  = 300 * time.Microsecond // work that should wait inside a worker
	lateBinding = 10 * time.Millisecond  // from this service time on a task is bound to a worker only when that one is free
	maxInline   = 256 << 10              // bytes of inline values inside one worker: what the socket takes without waiting
)

// chores is what is left to do when the mutex is released again.
type chores struct {
	fills []fill         // values to copy into an arena
	flush []writer       // whose frames to write; we hold their writing mark
	ended []*tandem.Task // to complete
}

// writer is a worker that has frames to be written. With little in flight there is nothing to wait for: quiet.
type writer struct {
	w     *worker
	quiet bool
}

// fill is a large value on its way into a worker's arena.
type fill struct {
	w      *worker
	t      *tandem.Task
	index  uint32
	offset uint64
}

// Submit is tandem.Pool's.
func (p *Pool) Submit(ctx context.Context, tasks []*tandem.Task) (int, error) {
	if len(tasks) == 0 {
		return 0, nil
	}
	var do chores
	p.mu.Lock()
	for {
		if p.closed || p.ended || p.gaveUp {
			p.mu.Unlock()
			return 0, tandem.ErrClosed
		}
		if ctx.Err() != nil {
			p.mu.Unlock()
			return 0, context.Cause(ctx)
		}
		if n := p.accept(tasks, &do); n > 0 {
			p.mu.Unlock()
			p.finish(&do, len(tasks) > 1)
			return n, nil
		}
		p.waiting++
		stop := context.AfterFunc(ctx, func() {
			p.mu.Lock()
			p.room.Broadcast()
			p.mu.Unlock()
		})
		p.room.Wait()
		stop()
		p.waiting--
	}
}

// accept takes tasks in order: straight to a worker, else into pending as far as there is room.
func (p *Pool) accept(tasks []*tandem.Task, do *chores) (n int) {
	room := p.backlog() - p.pending.len()
	if p.down != nil && len(p.workers) == 0 {
		for _, t := range tasks {
			t.Result = p.refusal(t)
		}
		do.ended = append(do.ended, tasks...)
		return len(tasks)
	}
	for n < len(tasks) {
		if size := len(tasks[n].Value.Data); int64(size) > p.cfg.ArenaSize {
			tasks[n].Result = tandem.Result{Outcome: tandem.Failed, Err: tooLarge(size, p.cfg.ArenaSize)}
			do.ended = append(do.ended, tasks[n])
			n++
			continue
		}
		if p.pending.len() == 0 {
			if w := p.best(); w != nil && p.assign(w, tasks[n], do) {
				p.held++
				n++
				continue
			}
		}
		if room <= 0 {
			break
		}
		p.pending.push(tasks[n])
		p.held++
		n++
		room--
	}
	p.rouse()
	return n
}

// backlog is how many tasks may wait here: enough to refill every worker without asking the submitter.
func (p *Pool) backlog() int { return max(p.wanted(), p.window/2) }

// best is the worker that has the least of those with room, or nil. It is not the one with the most room: that of a worker that has just come is small until it has
// answered, and beside one that has answered often it would never get anything.
func (p *Pool) best() *worker {
	var best *worker
	for _, w := range p.workers {
		if w.inflight < w.window && (best == nil || w.inflight < best.inflight) && w != p.judge && w.bytes < w.mayHold() {
			best = w
		}
	}
	return best
}

// assign gives t to w. It is false when the value has to wait for room in w's arena.
func (p *Pool) assign(w *worker, t *tandem.Task, do *chores) bool {
	size := len(t.Value.Data)
	if size <= wire.InlineMax {
		i := w.take(t)
		s := &w.slots[i]
		w.sent++
		s.seq, s.inline = w.sent, size+wire.HeaderSize
		w.bytes += s.inline
		w.wbuf = wire.AppendTask(w.wbuf, s.id(i), t.Value)
		w.wake(do)
		return true
	}
	offset, ok := w.blocks.Take(uint64(size))
	if !ok {
		return false
	}
	i := w.take(t)
	w.slots[i].offset, w.slots[i].size = offset, uint64(size)
	w.fills.Add(1)
	do.fills = append(do.fills, fill{w, t, i, offset})
	return true
}

func tooLarge(size int, limit int64) *tandem.Error {
	return &tandem.Error{Op: "send the item to a worker", Kind: tandem.KindTooLarge,
		Message: "value of " + bytesText(int64(size)) + ", the limit is " + bytesText(limit), Hint: "pass the path of a file instead of its content"}
}

// pump gives pending tasks to workers that have room.
func (p *Pool) pump(do *chores) {
	p.refuse(do)
	if p.trial.len() > 0 || p.judge != nil {
		p.try(do)
	}
	for p.pending.len() > 0 {
		w := p.best()
		if w == nil || !p.assign(w, p.pending.peek(), do) {
			break
		}
		p.pending.pop()
	}
	p.rouse()
	if p.waiting > 0 && p.pending.len() <= p.backlog()/2 {
		p.room.Broadcast()
	}
}

// finish does the chores, without the mutex. batch says that the caller brought many tasks: then it writes itself.
func (p *Pool) finish(do *chores, batch bool) {
	for len(do.fills) > 0 {
		fills := do.fills
		do.fills = nil
		for _, f := range fills {
			copy(f.w.mem.in.Mem[f.offset:], f.t.Value.Data)
		}
		p.mu.Lock()
		for _, f := range fills {
			f.w.filled(f, do)
		}
		p.mu.Unlock()
		for _, f := range fills {
			f.w.fills.Done()
		}
	}
	for _, f := range do.flush {
		if batch || f.quiet {
			f.w.flush(false)
		} else {
			f.w.flushing <- struct{}{}
		}
	}
	do.flush = do.flush[:0]
	if len(do.ended) > 0 {
		complete(do.ended)
		do.ended = do.ended[:0]
	}
}
