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
	"time"

	"tandem"
	"tandem/internal/arena"
	"tandem/internal/proc"
	"tandem/internal/supervise"
	"tandem/internal/wire"
)

const (
	controlSize = arena.ControlSize
	maxSlots    = arena.MaxSlots
)

func yield() { runtime.Gosched() }

func (w *worker) name() string { return w.p.cfg.Step + "/" + strconv.Itoa(w.number+1) }

// start starts a worker and waits until it is ready; why says what for, where that is not plain, and of is the worker that it is to replace, if that still serves.
// The error is a *tandem.Error.
func (p *Pool) start(ctx context.Context, place int, life *supervise.Life, why string, of *worker) (*worker, error) {
	p.mu.Lock()
	number := p.numberAfter(of, place)
	p.mu.Unlock()
	p.event(number, "new", "starting", why)
	w, err := p.spawn(ctx, place, number, life, p.limitsOf())
	if err != nil {
		p.mu.Lock()
		p.numberBack(of, number)
		p.mu.Unlock()
		if ctx.Err() == nil {
			err = p.tooFew(p.tooSmall(ctx, place, err))
		} else if context.Cause(ctx) == errSurplus {
			p.event(number, "starting", "dead", errSurplus.Error())
		}
		return nil, err
	}
	p.timed(w, time.Duration(arena.Now()-w.begun))
	w.unnotice = arena.OnDeath(w.ctl, func() { w.noticed <- struct{}{} })
	w.reading = true
	p.enlist(number, w)
	go w.reader()
	go w.flusher()
	go w.attend()
	return w, nil
}

// spawn starts a process with limits and waits until it is ready; nobody reads from it yet.
func (p *Pool) spawn(ctx context.Context, place, number int, life *supervise.Life, limits proc.Limits) (*worker, error) {
	fail := func(err error) (*worker, error) {
		e, ok := errors.AsType[*tandem.Error](err)
		if !ok {
			e = &tandem.Error{Kind: tandem.KindStart, Message: err.Error(), Err: err}
		}
		if e.On != "" && e.On != p.cfg.Step { // the program
			e.Message = e.On + ": " + e.Message
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
	w := &worker{p: p, place: place, number: number, life: life, limits: p.cfg.Recycle.Draw(nil), tired: make(chan struct{}, 1), sock: sock, mem: mem, ctl: arena.ControlOf(mem.out.Mem),
		taken: make(chan struct{}), noticed: make(chan struct{}, 1), blocks: arena.NewBlocks(p.cfg.ArenaSize), rbuf: make([]byte, 2*wire.MaxFrame),
		flushing: make(chan struct{}, 1), wakeRead: make(chan struct{}, 1), leave: make(chan struct{}), readDone: make(chan struct{})}
	w.ctl.Reset()
	spec := proc.Spec{Argv: p.cfg.Argv, Dir: p.cfg.Dir, Env: p.environ(number, true), Files: []*os.File{child, mem.in.File(), mem.out.File()}}
	spec.Output, spec.Limits, spec.Isolation = w.hear, limits, p.cfg.Isolation
	w.before, w.begun = p.memory.Before(), arena.Now()
	w.process, err = p.launch(ctx, number, spec)
	child.Close()
	if err != nil {
		sock.Close()
		p.giveArenas(mem)
		return fail(err)
	}
	p.seat(w)
	life.On(supervise.Exec, now())
	p.isolated(w.process.Isolation())
	stop := context.AfterFunc(ctx, func() { w.kill(tandem.ExitKilledByUs, stoppedRun) })
	defer stop()
	if err := w.handshake(); err != nil {
		p.enlist(number, nil)
		w.see()
		w.kill(tandem.ExitBoot, err.Error())
		ended := w.awaitEnd()
		sock.Close()
		if !ended { // it is left behind, and keeps its arenas
			w.see()
			w.stuck()
			p.event(number, "starting", "unkillable", err.Error())
			return fail(err)
		}
		<-w.process.Done()
		p.giveArenas(mem)
		if ctx.Err() == nil {
			w.bootFailed(err)
			p.event(number, "starting", "dead", err.Error())
		}
		return fail(err)
	}
	return w, nil
}

// environ is the environment of workers; with own also what is a worker's own.
func (p *Pool) environ(number int, own bool) []string {
	env := p.cfg.Env
	if env == nil {
		env = os.Environ()
	}
	env = append(slices.Clone(env), "TANDEM_WORKER=1", "TANDEM_STEP="+p.cfg.Step)
	if own {
		env = append(env, p.own(number)...)
	}
	if p.cfg.Run != "" {
		env = append(env, "TANDEM_RUN_ID="+p.cfg.Run)
	}
	env = append(env, proc.MemoryFlags(env, p.cfg.Caps.Memory, p.cfg.Caps.JVM)...)
	return append(env, proc.Budget(env, p.cfg.Budget)...)
}

// own is the part of the environment that tells workers apart.
func (p *Pool) own(number int) []string { return []string{"TANDEM_PLACE=" + strconv.Itoa(number+1)} }

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
	limit, since := w.p.cfg.StartTimeout, now()
	w.sock.SetReadDeadline(time.Now().Add(limit))
	for {
		n, err := w.sock.Read(w.rbuf[w.have:])
		if left := limit - w.p.patient(since); errors.Is(err, os.ErrDeadlineExceeded) && left > 0 { // it was us who did not run
			w.sock.SetReadDeadline(time.Now().Add(left))
			continue
		}
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
	if !w.awaitEnd() {
		return &tandem.Error{Kind: tandem.KindCrash, Message: "the worker closed its channel before it was ready, was killed, and is still there"}
	}
	<-w.process.Done()
	x := w.process.Exit()
	e := &tandem.Error{Kind: tandem.KindCrash, Message: "the worker ended before it was ready: " + x.String(), Trace: x.Tail,
		Hint: "run it by hand to see why: " + fmt.Sprint(w.p.cfg.Argv)}
	name(e, w.lastWords(x))
	return e
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
	w.resign()
	w.setWindow(0)
	if i := slices.Index(p.workers, w); i >= 0 {
		p.workers = slices.Delete(p.workers, i, i+1)
	}
	if !isClosed(w.leave) {
		close(w.leave)
	}
	if !w.dead {
		w.dead = true
		w.life.On(supervise.Doubt, now()) // it has closed its channel; whether it is gone, the kernel will say
		if !w.reading {
			w.reading = true
			w.wakeRead <- struct{}{} // to read what is left
		}
	}
}

// retire lets a worker finish what it has; it gets no more. The mutex is held.
func (p *Pool) retire(w *worker) {
	if w.life.On(supervise.Drain, now()) {
		p.leaving = append(p.leaving, w)
	}
	w.retired = true
	w.resign()
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
	if !w.awaitEnd() {
		w.abandon()
		return
	}
	w.sock.SetDeadline(time.Now().Add(200 * time.Millisecond)) // all there is to read is there; a child may keep the channel open
	<-w.readDone
	<-w.process.Done()
	w.fills.Wait()
	w.unnotice()
	p := w.p
	exit := w.process.Exit()
	if w.killed.Load() != nil {
		exit.Over = nil // we were first
	}
	p.mu.Lock()
	p.leave(w) // from here on nobody begins to ask it
	p.mu.Unlock()
	w.words.Wait()
	stack := w.lastWords(exit)
	var do chores
	free := proc.FreeMemory()
	p.mu.Lock()
	p.stats.CPU += exit.CPU
	p.delist(w)
	if i := slices.Index(p.leaving, w); i >= 0 {
		p.leaving = slices.Delete(p.leaving, i, i+1)
	}
	held := w.inflight > w.abandoned
	why := exit.String()
	if exit.Over != nil {
		why = "out of memory: " + exit.Over.Says
	}
	if w.reason != nil {
		why = w.reason.Message
	}
	hurt := p.inherit(w, exit, stack, &do)
	died := p.tally(w, exit, hurt || held && !w.draining || w.reason != nil)
	if died {
		p.provide(free)
	}
	died = w.worthReport(died)
	w.flushClosed()
	p.pump(&do)
	p.checkEmpty()
	p.mu.Unlock()
	w.sock.Close()
	w.life.On(supervise.Buried, now())
	p.event(w.number, "draining", "dead", why)
	if w.tiredOf != "" {
		p.recycledPlace(w.place)
	}
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
