package procpool

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"tandem"
	"tandem/internal/arena"
	"tandem/internal/proc"
	"tandem/internal/wire"
)

const (
	maxValues   = 1 << 20 // values one task may give
	maxGathered = 1 << 30 // and their bytes
)

// answer is one frame of a worker about a task, its bytes copied out.
type answer struct {
	id      uint64
	size    int64 // of the value, which may be left out when it is more than the task may give
	mark    wire.Flags
	failed  bool
	service time.Duration
	value   tandem.Value
	err     *wire.ErrorBody
	used    *tandem.Usage // of a MEASURED, which has nothing else
}

// reader is the worker's own goroutine for reading. It rests while nothing is in flight, so that a direct caller can read itself.
func (w *worker) reader() {
	defer close(w.readDone)
	for {
		n, err := w.sock.Read(w.rbuf[w.have:])
		if err == nil {
			w.have += n
			err = w.handle()
		}
		if err != nil {
			w.readEnded(err)
			return
		}
		if w.rest1() {
			<-w.wakeRead
		}
	}
}

// rest1 gives the reading role back when nothing is in flight.
func (w *worker) rest1() bool {
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	if w.inflight > 0 || w.dead {
		return false
	}
	w.reading = false
	return true
}

// readEnded notes why no more answers will come. EOF needs no reason: the process's exit gives it.
func (w *worker) readEnded(err error) {
	if f, ok := err.(*wire.Fault); ok {
		w.p.end(w, &tandem.Error{Op: "talk to worker", On: w.name(), Kind: tandem.KindProtocol, Message: f.Reason, Err: err,
			Hint: "the worker program breaks the protocol: see protocol/SPEC.md"})
		return
	}
	w.p.mu.Lock()
	w.severed = arena.Now()
	w.p.leave(w)
	w.p.mu.Unlock()
	for range dyingGrace / channelGrace {
		select {
		case <-w.process.Gone():
			return
		case <-time.After(channelGrace): // the channel of a process that is dying ends before the process
		}
		if !w.process.Ending() {
			break
		}
	}
	w.p.mu.Lock()
	if w.reason == nil && !w.draining {
		w.reason = w.closedChannel()
	}
	w.p.mu.Unlock()
	w.kill(tandem.ExitProtocol, closedItsChannel)
}

func (w *worker) closedChannel() *tandem.Error {
	return &tandem.Error{Kind: tandem.KindProtocol, Message: "worker " + w.name() + " closed its channel and went on: it was killed",
		Hint: "nothing in a handler may close descriptors that it has not opened: 3 to 5 are the worker's"}
}

// mute are the workers that have had tasks for a second and said nothing. The mutex is held.
func (p *Pool) mute() (all []*worker) {
	for _, w := range slices.Concat(p.workers, p.leaving) {
		if !w.dead && w.inflight > 0 && now()-time.Duration(w.progress) > time.Second {
			all = append(all, w)
		}
	}
	return all
}

const closedItsChannel = "it closed its channel and went on"

// channelGrace is how long a worker may be there after its channel has ended.
const channelGrace = 200 * time.Millisecond

// dyingGrace is the same for one that the kernel is taking down: on a busy machine that takes a while, and is no breach of the protocol.
const dyingGrace = 5 * time.Second

// handle takes every whole frame in rbuf: decode and copy first, then settle all under one lock.
func (w *worker) handle() error {
	off := 0
	var bad error
	w.answers = w.answers[:0]
	for {
		f, n, err := wire.Parse(w.rbuf[off:w.have])
		if err != nil {
			bad = err
			break
		}
		if n == 0 {
			break
		}
		off += n
		if bad = w.decode(f); bad != nil {
			break
		}
	}
	w.have = copy(w.rbuf, w.rbuf[off:w.have])
	if len(w.answers) == 0 {
		return bad
	}
	var do chores
	p := w.p
	p.mu.Lock()
	do.ended = w.ended(len(w.answers))
	for i := range w.answers {
		if err := p.settle(w, &w.answers[i], &do); err != nil {
			bad = err
			break
		}
	}
	w.progress = p.lastSeen
	w.setWindowNow()
	p.tireDone(w)
	p.pump(&do)
	p.checkEmpty()
	p.mu.Unlock()
	clear(w.answers)
	p.finish(&do, true)
	return bad
}

// ended is a list to gather ended tasks in; its backing is fresh for large batches only.
func (w *worker) ended(n int) []*tandem.Task { return make([]*tandem.Task, 0, n) }

func (w *worker) setWindowNow() {
	if !w.dead && !w.retired && !w.suspect {
		// Doubling from a small start: one quick item does not make a hundred wait behind the next, which may be slow.
		w.setWindow(min(w.most(), max(2*w.window, 2*w.atOnce)))
	}
}

// decode turns a frame into an answer.
func (w *worker) decode(f wire.Frame) error {
	switch {
	case f.Type >= wire.Grease:
		return nil
	case f.Type == wire.Bye:
		w.bye = true
		return nil
	case f.Type == wire.Error && f.ID == 0:
		var e wire.ErrorBody
		if _, b, err := f.Service(); err == nil {
			_ = json.Unmarshal(b, &e)
		}
		return &wire.Fault{Reason: "the worker gave up: " + e.Message}
	case f.Type == wire.Measured && w.measures:
		u, err := f.Usage()
		if err == nil {
			w.answers = append(w.answers, answer{id: f.ID, used: &u})
		}
		return err
	case f.Type != wire.Result && f.Type != wire.Error:
		return &wire.Fault{Reason: fmt.Sprintf("%v frame from a worker that is ready", f.Type)}
	}
	service, body, err := f.Service()
	if err != nil {
		return err
	}
	a := answer{id: f.ID, service: service, mark: f.Flags & (wire.More | wire.None)}
	switch {
	case f.Type == wire.Error:
		a.failed, a.err = true, new(wire.ErrorBody)
		if err := json.Unmarshal(body, a.err); err != nil {
			return &wire.Fault{Reason: "ERROR whose payload is not the JSON of section 6: " + err.Error()}
		}
	case f.Flags&wire.Blob != 0:
		span, err := f.ReadSpan(body)
		if err != nil {
			return err
		}
		out := w.mem.out.Mem[controlSize:]
		if !span.Within(uint64(len(out))) || span.End < w.released || span.End-w.released > 2*uint64(len(out)) {
			return &wire.Fault{Reason: fmt.Sprintf("RESULT outside the arena: offset %d, length %d, end %d", span.Offset, span.Length, span.End)}
		}
		a.value.Kind, a.size = f.Flags.Kind(), int64(span.Length)
		if most := w.p.cfg.Caps.Output; most <= 0 || a.size <= most {
			a.value.Data = append([]byte(nil), out[span.Offset:span.Offset+span.Length]...)
		}
		w.released = span.End
		w.ctl.Release(span.End)
	case f.Flags&wire.None == 0:
		a.value, a.size = tandem.Value{Kind: f.Flags.Kind(), Data: w.carve(body)}, int64(len(body))
	}
	w.answers = append(w.answers, a)
	return nil
}

// carve copies b. Small values share a slab of 4 KiB: one allocation for dozens of them.
func (w *worker) carve(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	if len(b) > 512 {
		return append([]byte(nil), b...)
	}
	if len(w.slab) < len(b) {
		w.slab = make([]byte, 4096)
	}
	c := w.slab[:len(b):len(b)]
	w.slab = w.slab[len(b):]
	copy(c, b)
	return c
}

// settle applies an answer to its task.
func (p *Pool) settle(w *worker, a *answer, do *chores) error {
	s, i := w.find(a.id)
	if a.used != nil {
		p.stats.Used.Add(*a.used)
		if s != nil {
			s.used = a.used
		}
		return nil
	}
	if s == nil && w.recalled {
		return nil
	}
	if s == nil {
		return &wire.Fault{Reason: fmt.Sprintf("answer for task %#x, which does not run on this worker", a.id)}
	}
	if s.expired {
		return nil // too late by a little: it is being asked where it is
	}
	t := s.task
	s.given += a.size
	over := t != nil && p.cfg.Caps.Output > 0 && s.given > p.cfg.Caps.Output
	if over && a.mark&wire.More != 0 {
		p.tooMuch(w, i, s.given, do)
		return nil
	}
	if a.mark&wire.More != 0 {
		s.total += int64(len(a.value.Data)) + 64
		if len(s.values) >= maxValues || s.total > maxGathered {
			return &wire.Fault{Reason: fmt.Sprintf("a task gave more than %d values or 1 GiB", maxValues)}
		}
		if t != nil {
			s.values = append(s.values, a.value)
		}
		return nil
	}
	w.bulky = w.bulky || len(a.value.Data) > keepWarm/4
	p.service += (min(a.service, time.Second) - p.service) / 8
	p.stats.Service += a.service
	w.ran += a.service
	if !w.served {
		w.served = true
		p.proved()
	}
	w.done++
	if a.failed {
		p.stats.Errors++
	}
	if t != nil {
		p.attempted(t)
		p.forget(t)
		t.Result = w.result(s, a)
		if over && !a.failed {
			e := &tandem.Error{Op: "run", Kind: tandem.KindTooLarge, Reason: tandem.ReasonOutput}
			e.Message, e.Hint = overOutput(s.given, p.cfg.Caps.Output)
			t.Result = tandem.Result{Outcome: tandem.Failed, Service: a.service, Err: e}
		}
		p.weigh(s, t)
		p.held--
		do.ended = append(do.ended, t)
	}
	w.drop(i)
	asked := w.answered == nil || isClosed(w.answered) // else who asks will end it
	if w.retired && asked && w.inflight == w.abandoned && (w.abandoned > 0 || !w.draining) {
		w.kill(tandem.ExitTimeout, ranOn)
	}
	return nil
}

func (w *worker) result(s *slot, a *answer) tandem.Result {
	r := tandem.Result{Outcome: tandem.OK, Service: a.service}
	switch {
	case a.failed:
		r.Outcome = tandem.Failed
		r.Err = a.err.Error("run")
		switch {
		case s.asked:
			w.p.reminded(w, &r)
		case w.p.memoryFull(r.Err):
			r.Outcome, r.Err.Kind = tandem.OutOfMemory, tandem.KindMemory
			r.Err.Message = "reached the memory limit of " + proc.Bytes(w.p.cfg.Caps.Memory) + ": " + r.Err.Message
			r.Err.Hint = memoryHint
		}
		return r
	case len(s.values) == 0 && a.mark&wire.None != 0:
		r.Outcome = tandem.Filtered
		return r
	case len(s.values) == 0:
		r.Value, r.Count = a.value, 1
		return r
	}
	values := append([]tandem.Value(nil), s.values...)
	if a.mark&wire.None == 0 {
		values = append(values, a.value)
	}
	r.Value, r.Rest, r.Count = values[0], values[1:], len(values)
	return r
}

// forget drops what is remembered of a task that has ended: it may be submitted again, and begins anew.
func (p *Pool) forget(t *tandem.Task) {
	if len(p.lost) > 0 {
		delete(p.lost, t)
	}
	if len(p.accused) > 0 {
		delete(p.accused, t)
	}
}

// attempted counts an attempt at t that has ended.
func (p *Pool) attempted(t *tandem.Task) {
	t.Attempts++
	p.stats.Attempts++
	if t.Attempts > 1 {
		p.stats.Retries++
	}
}
