package procpool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"tandem"
	"tandem/internal/arena"
	"tandem/internal/evidence"
	"tandem/internal/proc"
	"tandem/internal/supervise"
	"tandem/internal/wire"
)

const (
	controlSize = arena.ControlSize
	maxSlots    = arena.MaxSlots
)

func yield() { runtime.Gosched() }

func (w *worker) name() string { return w.p.cfg.Step + "/" + strconv.Itoa(w.place+1) }

// place keeps one worker running until ctx ends: a dead one is replaced at once, while its burial goes on beside.
func (p *Pool) place(ctx context.Context, place int) {
	var policy supervise.Policy
	var burials sync.WaitGroup
	defer burials.Wait()
	for ctx.Err() == nil {
		p.event(place, "new", "starting", "")
		w, err := p.start(ctx, place)
		if ctx.Err() != nil && w == nil {
			if context.Cause(ctx) == errSurplus {
				p.event(place, "starting", "dead", errSurplus.Error())
			}
			return
		}
		end := supervise.Start
		if err == nil {
			if surplus := p.admit(w); !surplus {
				select {
				case <-w.leave:
				case <-ctx.Done():
				}
			}
			if context.Cause(ctx) == errSurplus {
				p.dismiss(w)
			}
			burials.Go(w.bury)
			if ctx.Err() != nil {
				return
			}
			p.mu.Lock()
			end = supervise.Idle
			if w.served || w.inflight > 0 {
				end = supervise.Served
			}
			err = w.reason
			p.mu.Unlock()
		} else if e, ok := errors.AsType[*tandem.Error](err); ok && e.Kind != tandem.KindCrash && e.Kind != tandem.KindTimeout {
			end = supervise.Fatal
		}
		d := policy.Next(end, time.Now())
		if d.GiveUp {
			p.giveUp(place, err)
			return
		}
		select {
		case <-time.After(d.Wait):
		case <-ctx.Done():
		}
	}
}

// admit lets a started worker take tasks, unless there are to be fewer by now. In mode auto an async handler may need fewer of them.
func (p *Pool) admit(w *worker) (surplus bool) {
	p.mu.Lock()
	p.fit() // the mode may be known only now
	if w.place >= p.wanted() {
		p.mu.Unlock()
		return true
	}
	if !w.dead && !w.retired {
		p.workers = append(p.workers, w)
		if p.atOnce > 0 {
			w.change(p.atOnce)
		}
		w.setWindow(min(windowFor(w.atOnce, p.service), 2*w.atOnce))
	}
	var do chores
	p.pump(&do)
	p.room.Broadcast()
	p.setReady()
	p.mu.Unlock()
	p.event(w.place, "starting", "idle", "ready, pid "+strconv.Itoa(w.process.PID()))
	p.finish(&do, true)
	return false
}

// giveUp ends the pool: err says why no worker can be had.
func (p *Pool) giveUp(place int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.gaveUp {
		p.gaveUp = true
		p.err = err
		if err == nil {
			p.err = &tandem.Error{Op: "start worker", On: p.cfg.Step, Kind: tandem.KindStart, Message: "the worker ends again and again before it runs anything"}
		}
		p.setReady()
		p.room.Broadcast()
		p.checkEmpty()
	}
}

// start starts a worker and waits until it is ready. The error is a *tandem.Error.
func (p *Pool) start(ctx context.Context, place int) (*worker, error) {
	fail := func(err error) (*worker, error) {
		e, ok := errors.AsType[*tandem.Error](err)
		if !ok {
			e = &tandem.Error{Kind: tandem.KindStart, Message: err.Error(), Err: err}
		}
		e.Op, e.On = "start worker", p.cfg.Step
		return nil, e
	}
	mem, err := p.takeArenas()
	if err != nil {
		return fail(err)
	}
	sock, child, err := proc.SocketPair()
	if err != nil {
		p.giveArenas(mem)
		return fail(err)
	}
	w := &worker{p: p, place: place, sock: sock, mem: mem, ctl: arena.ControlOf(mem.out.Mem),
		blocks: arena.NewBlocks(p.cfg.ArenaSize), rbuf: make([]byte, 2*wire.MaxFrame),
		flushing: make(chan struct{}, 1), wakeRead: make(chan struct{}, 1), leave: make(chan struct{}), readDone: make(chan struct{})}
	w.ctl.Reset()
	spec := proc.Spec{Argv: p.cfg.Argv, Dir: p.cfg.Dir, Env: p.environ(place), Files: []*os.File{child, mem.in.File(), mem.out.File()}}
	spec.Output = w.hear
	w.before, w.begun = p.memory.Before(), arena.Now()
	w.process, err = proc.Start(spec)
	child.Close()
	if err != nil {
		sock.Close()
		p.giveArenas(mem)
		return fail(err)
	}
	stop := context.AfterFunc(ctx, func() { w.kill(tandem.ExitKilledByUs, stoppedRun) })
	defer stop()
	if err := w.handshake(); err != nil {
		w.threads = evidence.Threads(w.process.PID())
		w.kill(tandem.ExitBoot, err.Error())
		<-w.process.Done()
		sock.Close()
		p.giveArenas(mem)
		if ctx.Err() == nil {
			w.bootFailed(err)
			p.event(place, "starting", "dead", err.Error())
		}
		return fail(err)
	}
	w.reading = true
	go w.reader()
	go w.flusher()
	go w.attend()
	return w, nil
}

func (p *Pool) environ(place int) []string {
	env := p.cfg.Env
	if env == nil {
		env = os.Environ()
	}
	env = append(slices.Clone(env), "TANDEM_WORKER=1", "TANDEM_STEP="+p.cfg.Step, "TANDEM_PLACE="+strconv.Itoa(place+1))
	if p.cfg.Run != "" {
		env = append(env, "TANDEM_RUN_ID="+p.cfg.Run)
	}
	return append(env, proc.Budget(env, p.cfg.Budget)...)
}

// handshake sends HELLO and reads the answer.
func (w *worker) handshake() error {
	w.asked = w.p.hello()
	hello, err := wire.AppendJSON(nil, wire.Hello, 0, w.asked)
	if err != nil {
		return err
	}
	if _, err := w.sock.Write(hello); err != nil {
		return w.diedAtStart()
	}
	limit := w.p.cfg.StartTimeout
	w.sock.SetReadDeadline(time.Now().Add(limit))
	for {
		n, err := w.sock.Read(w.rbuf[w.have:])
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return &tandem.Error{Kind: tandem.KindTimeout, Message: fmt.Sprintf("not ready after %v", limit), Trace: w.process.Tail(),
				Hint: "does the module do long work while it is imported?"}
		}
		if err != nil {
			return w.diedAtStart()
		}
		w.have += n
		f, n, err := wire.Parse(w.rbuf[:w.have])
		if err != nil {
			return &tandem.Error{Kind: tandem.KindProtocol, Message: err.Error(), Trace: w.process.Tail(), Hint: "is this program a Tandem worker? See protocol/SPEC.md"}
		}
		if n == 0 {
			continue
		}
		payload := append([]byte(nil), f.Payload...)
		w.have = copy(w.rbuf, w.rbuf[n:w.have])
		switch f.Type {
		case wire.Ready:
			w.sock.SetReadDeadline(time.Time{})
			return w.readied(payload)
		case wire.Error:
			return refused(f, payload)
		}
		if f.Type < wire.Grease {
			return &tandem.Error{Kind: tandem.KindProtocol, Message: fmt.Sprintf("want READY, got %v", f.Type)}
		}
	}
}

func (w *worker) readied(payload []byte) error {
	var r wire.ReadyBody
	if err := json.Unmarshal(payload, &r); err != nil || r.Protocol != wire.Version {
		return &tandem.Error{Kind: tandem.KindProtocol, Message: fmt.Sprintf("READY speaks protocol %d, want %d (%v)", r.Protocol, wire.Version, err)}
	}
	w.halts = r.Halt
	if proc.MayAsk(r.Dump) {
		w.dump = r.Dump
	}
	if r.Mode != tandem.Thread && r.Mode != tandem.Async && r.Mode != tandem.Process {
		return &tandem.Error{Kind: tandem.KindProtocol, Message: fmt.Sprintf("READY with mode %q", r.Mode)}
	}
	w.setAtOnce(r)
	w.p.mu.Lock()
	if w.p.mode == tandem.Auto || w.place == 0 {
		w.p.mode = r.Mode
	}
	w.p.mu.Unlock()
	return nil
}

// refused is the worker's own word that it cannot start.
func refused(f wire.Frame, payload []byte) error {
	f.Payload = payload
	var e wire.ErrorBody
	if _, b, err := f.Service(); err == nil {
		_ = json.Unmarshal(b, &e)
	}
	if e.Kind == "" {
		e.Kind = tandem.KindProtocol
	}
	return e.Error("")
}

func (w *worker) diedAtStart() error {
	select {
	case <-w.process.Gone():
	case <-time.After(channelGrace):
		w.kill(tandem.ExitBoot, "it closed its channel before it was ready")
	}
	<-w.process.Done()
	x := w.process.Exit()
	e := &tandem.Error{Kind: tandem.KindCrash, Message: "the worker ended before it was ready: " + x.String(), Trace: x.Tail,
		Hint: "run it by hand to see why: " + fmt.Sprint(w.p.cfg.Argv)}
	name(e, w.lastWords(x))
	return e
}

// attend notices the end of the process, also when a child of it keeps the channel open.
func (w *worker) attend() {
	<-w.process.Gone()
	w.p.end(w, nil)
}

// end takes a worker out of service, for reason, or because its process has ended (nil). Its replacement may start.
func (p *Pool) end(w *worker, reason *tandem.Error) {
	p.mu.Lock()
	if reason != nil && w.reason == nil && !w.dead {
		w.reason = reason
	}
	p.leave(w)
	p.mu.Unlock()
	if reason != nil {
		w.kill(tandem.ExitProtocol, reason.Message)
	}
}

// leave is the part of end that needs the mutex.
func (p *Pool) leave(w *worker) {
	w.setWindow(0)
	if i := slices.Index(p.workers, w); i >= 0 {
		p.workers = slices.Delete(p.workers, i, i+1)
	}
	if !isClosed(w.leave) {
		close(w.leave)
	}
	if !w.dead {
		w.dead = true
		if !w.reading {
			w.reading = true
			w.wakeRead <- struct{}{} // to read what is left
		}
	}
}

// retire lets a worker finish what it has; it gets no more. The mutex is held.
func (p *Pool) retire(w *worker) {
	if !w.retired {
		p.leaving = append(p.leaving, w)
	}
	w.retired = true
	w.setWindow(0)
	if i := slices.Index(p.workers, w); i >= 0 {
		p.workers = slices.Delete(p.workers, i, i+1)
	}
	if !isClosed(w.leave) {
		close(w.leave)
	}
}

// drain asks the worker to finish and go, and kills it when it does not.
func (w *worker) drain() {
	var do chores
	w.p.mu.Lock()
	w.p.retire(w)
	w.sayDrain(&do)
	w.p.mu.Unlock()
	w.p.finish(&do, true)
	select {
	case <-w.process.Gone():
	case <-time.After(w.p.cfg.Grace):
		w.killLeft()
	}
}

// bury waits for the end of a worker that left, gives back what it had not started and settles what it was running.
func (w *worker) bury() {
	w.linger(w.p.run)
	<-w.process.Gone()
	w.sock.SetDeadline(time.Now().Add(200 * time.Millisecond)) // all there is to read is there; a child may keep the channel open
	<-w.readDone
	<-w.process.Done()
	w.fills.Wait()
	p := w.p
	exit := w.process.Exit()
	p.mu.Lock()
	p.leave(w) // from here on nobody begins to ask it
	p.mu.Unlock()
	w.words.Wait()
	stack := w.lastWords(exit)
	var do chores
	p.mu.Lock()
	p.stats.CPU += exit.CPU
	if i := slices.Index(p.leaving, w); i >= 0 {
		p.leaving = slices.Delete(p.leaving, i, i+1)
	}
	held := w.inflight > w.abandoned
	why := exit.String()
	if w.reason != nil {
		why = w.reason.Message
	}
	hurt := p.inherit(w, exit, stack, &do)
	died := hurt || held && !w.draining || w.reason != nil || !w.retired && !w.bye
	if died {
		p.stats.Crashes++
	}
	died = w.worthReport(died)
	w.flushClosed()
	p.pump(&do)
	p.checkEmpty()
	p.mu.Unlock()
	w.sock.Close()
	p.event(w.place, "draining", "dead", why)
	if died {
		w.report(exit, stack)
	}
	p.finish(&do, true)
	if w.draining {
		w.mem.close() // it may be that no worker follows
		return
	}
	p.giveArenas(w.mem)
}

// flushClosed ends the flusher once nobody holds the writing mark.
func (w *worker) flushClosed() {
	w.wbuf = nil
	for w.writing {
		w.p.mu.Unlock()
		time.Sleep(50 * time.Microsecond)
		w.p.mu.Lock()
	}
	w.writing = true // for ever: nothing is written any more
	close(w.flushing)
}
