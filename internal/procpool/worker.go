package procpool

import (
	"sync"
	"sync/atomic"
	"time"

	"tandem"
	"tandem/internal/arena"
	"tandem/internal/evidence"
	"tandem/internal/proc"
	"tandem/internal/supervise"
	"tandem/internal/wire"
)

// worker is one worker process. Fields are guarded by the pool's mutex, but for those of the reading role (whoever reads the socket:
// the worker's reader goroutine or a direct caller).
type worker struct {
	p        *Pool
	place    int
	number   int // what it is called, from 0; no two that serve have the same
	process  *proc.Process
	life     *supervise.Life
	sock     *proc.Socket
	mem      *arenas
	ctl      arena.Control
	parallel int // tasks the worker may run at a time, the most there ever were
	atOnce   int // tasks it is to run at a time now
	measures bool
	asked    wire.HelloBody // what it was started with
	changes  int            // up to so many it can be told to run while it serves; 0 when it cannot

	slots     []slot
	free      []uint32
	inflight  int
	abandoned int // of those: timed out, still running
	window    int
	bytes     int // of inline values in flight
	sent      uint64
	served    bool // it has answered a task
	blocks    *arena.Blocks
	fills     sync.WaitGroup // values being copied into the arena
	wbuf      []byte
	spare     []byte
	writing   bool   // somebody writes the socket, or is about to
	rest      []byte // what did not fit; the flusher's
	reading   bool   // somebody reads the socket, or is about to
	dead      bool
	bulky     bool              // large values went through its arenas since they were trimmed
	rested    bool              // it was idle when trim looked last
	retired   bool              // it gets no more tasks
	draining  bool              // it was told to start nothing more and to go
	halts     bool              // it looks at the control page's halt before it starts a task
	recalled  bool              // what it had not started was taken back
	limits    supervise.Recycle // its own
	tired     chan struct{}     // tells its place that it is to be replaced, or to go because it is idle
	tiredOf   string            // why; empty while it is not
	idleEnd   bool              // it goes because there is nothing to do
	spared    time.Duration     // it is not recycled before
	resigned  bool              // its number may be another's
	held      bool              // it had tasks when the kernel was seen to end it
	dying     int64             // when the kernel was seen to end it; 0 before
	severed   int64             // when its channel was seen to have ended; 0 before
	suspect   bool              // an item's time is up in it, or it is silent: it is asked where it is, then killed
	answered  chan struct{}     // closed when it was asked where it is, because a handler ran on after its time was up; nil before
	reason    *tandem.Error     // why we ended it
	verdict   verdict           // on what it runs, when it does not show what that is
	progress  int64             // coarse time of the last answer

	// What is known when it dies; see words.go.
	said    evidence.Tail                 // its standard error
	asking  atomic.Int32                  // what it writes is meant for us
	asks    sync.Mutex                    // one asks at a time
	tap     atomic.Pointer[evidence.Tail] // takes what it writes while somebody asks from outside; mostly nil
	byUser  bool                          // a person ends it: what it runs is not to blame
	dump    int                           // the signal that makes it write its stacks; 0 for none
	words   sync.WaitGroup
	softly  *tandem.Stack // where a handler was when its soft limit was over
	vital   vital
	hung    *tandem.Stack       // where the handler was when it was asked; read after words.Wait
	mark    int64               // how much it had written when it was asked, and one; 0 when it was not
	threads []tandem.ThreadView // the same in the kernel's words
	holds   []tandem.Evidence   // what keeps it from going on: it is frozen, stopped, traced
	killed  atomic.Pointer[killing]
	before  evidence.Kills
	begun   int64         // when it was started
	done    int64         // tasks it has answered
	ran     time.Duration // their handlers
	charges []charge

	flushing chan struct{} // wakes the flusher
	wakeRead chan struct{} // wakes the reader
	noticed  chan struct{} // the kernel has marked its page
	unnotice func()
	taken    chan struct{} // closed when it is a spare no more
	leave    chan struct{} // closed when the worker is of no more use: a replacement may start
	readDone chan struct{}

	// The reading role's.
	rbuf     []byte
	have     int
	answers  []answer
	slab     []byte
	bye      bool
	released uint64 // of the out-arena
}

// slot is one task inside a worker.
type slot struct {
	gen       uint32
	task      *tandem.Task
	seq       uint64 // the how manieth task sent; 0 while its value is being copied
	inline    int
	offset    uint64 // in the in-arena
	size      uint64
	values    []tandem.Value
	total     int64
	sentAt    int64
	abandoned bool
	given     int64   // bytes of its values
	asked     bool    // to end, for its soft limit is over
	expired   bool    // its time is up, and the worker is being asked where it is
	late      *charge // the task that was here, once it is abandoned
	used      *tandem.Usage
}

func (s *slot) id(index uint32) uint64 { return uint64(s.gen)<<32 | uint64(index) }

// take puts t into a free slot.
func (w *worker) take(t *tandem.Task) uint32 {
	var i uint32
	if n := len(w.free); n > 0 {
		i = w.free[n-1]
		w.free = w.free[:n-1]
	} else {
		i = uint32(len(w.slots))
		w.slots = append(w.slots, slot{gen: 1})
	}
	s := &w.slots[i]
	s.task, s.sentAt = t, w.p.lastSeen
	if w.inflight++; w.inflight == 1 {
		w.life.On(supervise.Give, time.Duration(w.p.lastSeen))
	}
	return i
}

// drop frees a slot.
func (w *worker) drop(i uint32) {
	s := &w.slots[i]
	if s.size > 0 {
		w.blocks.Give(s.offset, s.size)
		w.bulky = w.bulky || s.size > keepWarm/4
	}
	if s.abandoned {
		w.abandoned--
	}
	w.bytes -= s.inline
	gen := s.gen + 1
	if gen == 0 {
		gen = 1
	}
	*s = slot{gen: gen, values: s.values[:0]}
	w.free = append(w.free, i)
	if w.inflight--; w.inflight == 0 {
		w.life.On(supervise.Rest, now())
	}
}

// find is the slot of an id the worker sent, or nil when it is stale or forged.
func (w *worker) find(id uint64) (*slot, uint32) {
	i := uint32(id)
	if int(i) >= len(w.slots) {
		return nil, 0
	}
	s := &w.slots[i]
	if s.gen != uint32(id>>32) || s.seq == 0 {
		return nil, 0
	}
	return s, i
}

// wake makes sure that somebody writes what is in wbuf and that somebody reads the answers.
func (w *worker) wake(do *chores) {
	if !w.writing {
		w.writing = true
		do.flush = append(do.flush, writer{w, w.inflight <= 2})
	}
	if !w.reading {
		w.reading = true
		w.wakeRead <- struct{}{}
	}
}

// filled sends the frame of a value that now lies in the arena, or puts the task back when the worker has died or was retired meanwhile.
func (w *worker) filled(f fill, do *chores) {
	s := &w.slots[f.index]
	if w.dead || w.retired {
		w.p.putBack(s.task)
		w.drop(f.index)
		w.p.pump(do)
		return
	}
	w.sent++
	s.seq = w.sent
	w.wbuf = wire.AppendTaskBlob(w.wbuf, s.id(f.index), s.task.Value.Kind, wire.Span{Offset: f.offset, Length: s.size})
	w.wake(do)
}

// flusher writes for callers that brought one task: it lets others add theirs first.
func (w *worker) flusher() {
	for range w.flushing {
		w.flush(true)
	}
}

// flush writes wbuf until it is empty. The caller holds the writing mark. Only the flusher may wait for the worker.
func (w *worker) flush(flusher bool) {
	p := w.p
	if flusher {
		if len(w.rest) > 0 {
			_, _ = w.sock.Write(w.rest) // a broken channel shows at the reader
			w.rest = nil
		}
		yield()
	}
	p.mu.Lock()
	for len(w.wbuf) > 0 && !w.dead {
		b := w.wbuf
		w.wbuf, w.spare = w.spare[:0], nil
		p.mu.Unlock()
		var n int
		var err error
		if flusher {
			_, err = w.sock.Write(b)
			n = len(b)
		} else {
			n, err = w.sock.TryWrite(b)
		}
		if err == nil && n < len(b) {
			w.rest = b[n:]
			w.flushing <- struct{}{} // the mark goes with it
			return
		}
		p.mu.Lock()
		w.spare = b[:0]
	}
	w.writing = false
	p.mu.Unlock()
}

// window is how many tasks may be inside the worker.
func windowFor(parallel int, service time.Duration) int {
	switch {
	case service <= 0:
		return 2 * parallel
	case service >= lateBinding:
		return parallel
	}
	return min(max(int(windowTime/service)*parallel, parallel)+parallel, max(maxWindow, 2*parallel))
}

// most is how many tasks may be inside w now. One that must not run twice is handed over only to be started.
func (w *worker) most() int {
	if w.p.cfg.Once {
		return w.atOnce
	}
	return windowFor(w.atOnce, w.p.service)
}

func (w *worker) setWindow(n int) {
	w.p.window += n - w.window
	w.window = n
}
