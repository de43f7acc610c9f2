package worker

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tandem"
	"tandem/internal/arena"
	"tandem/internal/wire"
)

// descriptors of the channel, the in-arena, and the control page with the out-arena.
type descriptors [3]uintptr

// server is one worker process. The reader goroutine reads frames; with one thread it runs the handler too.
type server struct {
	sock  *os.File
	in    []byte
	ctl   arena.Control
	out   []byte // the out-arena
	hello wire.HelloBody
	f     Func
	meter *meter // nil when Tandem has not asked
	many  bool   // tasks run in goroutines of their own

	mu      sync.Mutex // guards what follows up to cancels
	ring    arena.Ring
	pending []byte // frames not yet written
	spare   []byte
	sending bool
	sent    uint64        // writes so far
	since   int64         // when the first unsent result was begun, or 0
	awake   bool          // the nudge looks after what is pending
	gate    chan struct{} // wakes the nudge; nil before it began
	cancels map[uint64]context.CancelFunc

	// The reader's, when it runs the handler itself.
	weighed int64 // when the last task that was measured began
	clock   int64 // now, or 0 after waiting for the socket
	count   uint64
	values  []tandem.Value
	give    func(tandem.Value)
}

func serve(d descriptors, find func(string) (handler, []string)) int {
	s := &server{sock: os.NewFile(d[0], "tandem"), cancels: map[uint64]context.CancelFunc{}}
	arena.CloseOnExec(d[:]...)
	defer s.sock.Close()
	err := s.handshake(d, find)
	if err == nil {
		defer arena.TellDeath(s.ctl)()
		if s.hello.Threads > 1 {
			defer dumps(arena.DumpSignal)()
		}
		err = s.loop()
	}
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return 0
	default:
		fmt.Fprintln(os.Stderr, "tandem worker:", err)
		return 70
	}
}

// handshake reads HELLO and answers READY or says why not.
func (s *server) handshake(d descriptors, find func(string) (handler, []string)) error {
	head := make([]byte, wire.HeaderSize)
	if _, err := io.ReadFull(s.sock, head); err != nil {
		return io.EOF
	}
	size := binary.LittleEndian.Uint32(head)
	if size < wire.HeaderSize || size > wire.MaxFrame {
		return fmt.Errorf("first frame of %d bytes", size)
	}
	buf := append(head, make([]byte, size-wire.HeaderSize)...)
	if _, err := io.ReadFull(s.sock, buf[wire.HeaderSize:]); err != nil {
		return io.EOF
	}
	f, _, err := wire.Parse(buf)
	if err != nil || f.Type != wire.Hello {
		return fmt.Errorf("want HELLO first, got %v (%v)", f.Type, err)
	}
	if err := json.Unmarshal(f.Payload, &s.hello); err != nil {
		return fmt.Errorf("read HELLO: %w", err)
	}
	refuse := func(kind, hint, format string, args ...any) error {
		e := wire.ErrorBody{Kind: kind, Message: fmt.Sprintf(format, args...), Hint: hint}
		_, _ = s.sock.Write(wire.AppendError(nil, 0, 0, e))
		return io.EOF
	}
	if s.hello.Protocol != wire.Version {
		return refuse(tandem.KindUnsupported, "build the worker and tandem from the same version", "protocol %d, this worker speaks %d", s.hello.Protocol, wire.Version)
	}
	h, names := find(s.hello.Handler)
	if h.run == nil {
		return refuse(tandem.KindNotCallable, "registered: "+strings.Join(names, ", "), "no handler %q is registered in this worker", s.hello.Handler)
	}
	s.f = h.run
	if s.hello.Batch {
		if s.f, err = h.batches(s.hello.Kwargs); err != nil {
			return refuse(tandem.KindUnsupported, "with batch:, write func(context.Context, []In) ([]Out, error)", "%s: %v", s.hello.Handler, err)
		}
	}
	if s.hello.Mode == tandem.Async {
		return refuse(tandem.KindUnsupported, "use mode: thread", "a Go worker has no event loop")
	}
	if s.in, err = arena.Open(d[1], s.hello.InArena, false); err != nil {
		return err
	}
	page, err := arena.Open(d[2], s.hello.Control+s.hello.OutArena, true)
	if err != nil {
		return err
	}
	s.ctl, s.out = arena.ControlOf(page), page[s.hello.Control:]
	s.ring.Size = uint64(s.hello.OutArena)
	mode, dump := tandem.Process, arena.QuitSignal
	if s.hello.Threads > 1 {
		mode, dump = tandem.Thread, arena.DumpSignal
	}
	ready, err := wire.AppendJSON(nil, wire.Ready, 0, wire.ReadyBody{Protocol: wire.Version, PID: os.Getpid(), Mode: mode, Language: "go " + strings.TrimPrefix(runtime.Version(), "go"), Halt: true, Dump: int(dump), Measure: s.hello.Measure, AtOnce: arena.MaxSlots})
	if err != nil {
		return err
	}
	ready = wire.Append(ready, wire.Grease+wire.Type(rand.IntN(16)), wire.Flags(rand.IntN(256)), rand.Uint64(), nil)
	_, err = s.sock.Write(ready)
	return err
}

// loop reads frames until the channel ends or DRAIN.
func (s *server) loop() error {
	run, wait := s.single, func() {}
	if s.hello.Measure {
		s.meter = newMeter(s)
	}
	s.give = func(v tandem.Value) { s.values = append(s.values, v) }
	buf := make([]byte, 512<<10)
	have := 0
	for {
		n, err := s.sock.Read(buf[have:])
		if n == 0 {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.EOF
			}
			return err
		}
		have += n
		off := 0
		s.clock = 0
		for {
			f, n, err := wire.Parse(buf[off:have])
			if err != nil {
				return err
			}
			if n == 0 {
				break
			}
			off += n
			switch {
			case f.Type == wire.Task:
				in, err := s.value(f)
				if err != nil {
					return err
				}
				if s.ctl.Halted() {
					continue // it is Tandem's again; DRAIN follows
				}
				if !s.many && max(s.ctl.AtOnce(), s.hello.Threads) > 1 {
					s.many = true
					run, wait = s.threads()
					if s.hello.Threads <= 1 {
						defer dumps(arena.QuitSignal)()
					}
				}
				run(f.ID, in)
			case f.Type == wire.Cancel:
				s.cancel(f.ID)
			case f.Type == wire.Drain:
				wait()
				s.mu.Lock()
				s.pending = wire.Append(s.pending, wire.Bye, 0, 0, nil)
				s.mu.Unlock()
				return s.flush()
			case f.Type < wire.Grease:
				return fmt.Errorf("unexpected %v", f.Type)
			}
		}
		if !s.many {
			if err := s.flush(); err != nil {
				return err
			}
		}
		have = copy(buf, buf[off:have])
	}
}

func (s *server) value(f wire.Frame) (tandem.Value, error) {
	v := tandem.Value{Kind: f.Flags.Kind(), Data: f.Payload}
	if f.Flags&wire.Blob != 0 {
		span, err := f.ReadSpan(f.Payload)
		if err != nil {
			return v, err
		}
		if !span.Within(uint64(len(s.in))) {
			return v, fmt.Errorf("task value outside the arena")
		}
		v.Data = s.in[span.Offset : span.Offset+span.Length : span.Offset+span.Length]
	}
	return v, nil
}

// single runs one task on the reader's own goroutine. One clock reading a task: the end of one is the beginning of the next.
func (s *server) single(id uint64, in tandem.Value) {
	begun := s.clock
	if begun == 0 {
		begun = arena.Now()
	}
	s.values = s.values[:0]
	s.count++
	s.ctl.SetStarted(s.count)
	s.ctl.Begin(0, id, begun)
	measured := s.meter != nil && begun-s.weighed >= int64(measureEvery)
	if measured {
		s.weighed = begun
		s.meter.enter(begun)
	}
	err := call(context.Background(), s.f, in, s.give)
	s.clock = arena.Now()
	s.ctl.End(0)
	s.ctl.SetFinished(s.count)
	took := s.clock - begun
	s.mu.Lock()
	if measured {
		s.pending = s.meter.leave(s.clock, id, true, s.pending)
	}
	if err == nil && len(s.values) == 1 && len(s.values[0].Data) <= wire.InlineMax && s.values[0].Kind != tandem.List {
		s.pending = wire.AppendResult(s.pending, id, 0, time.Duration(took), s.values[0])
	} else {
		s.answer(id, took, s.values, err)
	}
	if s.since == 0 {
		s.since = begun
	}
	full := len(s.pending) > 64<<10 || s.clock-s.since > 100_000
	if !full && !s.awake {
		s.arm()
	}
	s.mu.Unlock()
	if full {
		_ = s.flush() // a broken channel shows at the next read
		s.clock = arena.Now()
	}
}

type queued struct {
	id uint64
	in tandem.Value
}

// threads gives the function that queues a task for a goroutine, and one that waits until all have ended. There are as many goroutines as the control page says,
// else as HELLO does.
func (s *server) threads() (run func(uint64, tandem.Value), wait func()) {
	tasks := make(chan queued, 4096)
	var order sync.Mutex // taking a task and counting it as started are one step
	var open sync.WaitGroup
	want := func() int { return min(cmp.Or(s.ctl.AtOnce(), s.hello.Threads), arena.MaxSlots) }
	var alive [arena.MaxSlots]atomic.Bool
	var live atomic.Int64
	serve := func(slot int) {
		alive[slot].Store(true)
		live.Add(1)
		go func() {
			for {
				order.Lock()
				if slot >= want() {
					alive[slot].Store(false)
					live.Add(-1)
					order.Unlock()
					return
				}
				t := <-tasks
				if s.ctl.Halted() {
					order.Unlock()
					open.Done()
					continue
				}
				begun := arena.Now()
				s.ctl.AddStarted()
				s.ctl.Begin(slot, t.id, begun)
				if s.meter != nil {
					s.meter.enter(begun)
				}
				order.Unlock()
				ctx, stop := context.WithCancel(context.Background())
				s.mu.Lock()
				s.cancels[t.id] = stop
				s.mu.Unlock()
				var values []tandem.Value
				err := call(ctx, s.f, t.in, func(v tandem.Value) { values = append(values, v) })
				if err != nil && ctx.Err() != nil {
					err = &tandem.Error{Kind: tandem.KindCanceled, Message: "canceled"}
				}
				took := arena.Now() - begun
				stop()
				s.mu.Lock()
				delete(s.cancels, t.id)
				s.mu.Unlock()
				s.ctl.End(slot)
				s.ctl.AddFinished()
				s.mu.Lock()
				if s.meter != nil {
					s.pending = s.meter.leave(begun+took, t.id, false, s.pending)
				}
				s.answer(t.id, took, values, err)
				s.mu.Unlock()
				_ = s.flush()
				open.Done()
			}
		}()
	}
	return func(id uint64, in tandem.Value) {
		if n := want(); int(live.Load()) < n {
			for slot := range n {
				if !alive[slot].Load() {
					serve(slot)
				}
			}
		}
		open.Add(1)
		in.Data = append([]byte(nil), in.Data...) // the read buffer is used again while the thread runs
		tasks <- queued{id, in}
	}, open.Wait
}

func (s *server) cancel(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if stop := s.cancels[id]; stop != nil {
		stop()
	}
}

// answer appends the frames of one task's end. The mutex is held; it is released while a large value waits for room.
func (s *server) answer(id uint64, took int64, values []tandem.Value, err error) {
	service := time.Duration(took)
	if err == nil {
		values, err = flat(values)
	}
	if err != nil {
		s.pending = wire.AppendError(s.pending, id, service, errorBody(err))
		return
	}
	if len(values) == 1 {
		s.result(id, 0, service, values[0])
		return
	}
	for _, v := range values {
		if !s.result(id, wire.More, service, v) {
			return
		}
	}
	s.pending = wire.AppendResult(s.pending, id, wire.None, service, tandem.Value{})
}

// flat is values with the elements of lists in place of the lists.
func flat(values []tandem.Value) ([]tandem.Value, error) {
	if !slices.ContainsFunc(values, func(v tandem.Value) bool { return v.Kind == tandem.List }) {
		return values, nil
	}
	var all []tandem.Value
	for _, v := range values {
		if v.Kind != tandem.List {
			all = append(all, v)
			continue
		}
		parts, err := v.Values()
		if err != nil {
			return nil, &tandem.Error{Op: "encode the result", Kind: tandem.KindUnserialisable, Message: err.Error(), Err: err}
		}
		all = append(all, parts...)
	}
	return all, nil
}

// result appends one value; false means that it was too large and an ERROR took its place.
func (s *server) result(id uint64, mark wire.Flags, service time.Duration, v tandem.Value) bool {
	if len(v.Data) <= wire.InlineMax {
		s.pending = wire.AppendResult(s.pending, id, mark, service, v)
		return true
	}
	n := uint64(len(v.Data))
	if n > s.ring.Size {
		s.pending = wire.AppendError(s.pending, id, service, wire.ErrorBody{Kind: tandem.KindTooLarge,
			Message: fmt.Sprintf("result of %d bytes, the limit is %d", n, s.ring.Size), Hint: "write it to a file and return the path"})
		return false
	}
	offset, end, ok := s.ring.Take(n, s.ctl.Released())
	for wait := 50 * time.Microsecond; !ok; wait = min(2*wait, 5*time.Millisecond) {
		s.mu.Unlock()
		_ = s.flush()
		time.Sleep(wait)
		s.mu.Lock()
		offset, end, ok = s.ring.Take(n, s.ctl.Released())
	}
	copy(s.out[offset:], v.Data)
	s.pending = wire.AppendResultBlob(s.pending, id, mark, service, v.Kind, wire.Span{Offset: offset, Length: n, End: end})
	return true
}

// flush writes what is pending. Of several threads one writes; the others leave their frames to it.
func (s *server) flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since = 0
	for !s.sending && len(s.pending) > 0 {
		s.sending = true
		s.sent++
		b := s.pending
		s.pending = s.spare[:0]
		s.mu.Unlock()
		_, err := s.sock.Write(b)
		s.mu.Lock()
		s.sending, s.spare = false, b
		if arena.Severed(err) { // a reader that was inside its call when the descriptor was closed would not hear of it
			fmt.Fprintln(os.Stderr, "tandem worker: something in this process has closed descriptor 3, the channel to Tandem:", err)
			os.Exit(70)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func errorBody(err error) wire.ErrorBody {
	if e, ok := errors.AsType[*tandem.Error](err); ok {
		body := wire.BodyOf(e)
		switch err.(type) {
		case *tandem.Error, *said:
		default:
			body.Message = err.Error() // with what was said around it
		}
		return body
	}
	return wire.ErrorBody{Kind: tandem.KindException, Message: err.Error()}
}
