package worker

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"tandem"
	"tandem/internal/arena"
	"tandem/internal/wire"
)

const (
	measureEvery = 2 * time.Millisecond   // tasks that begin sooner after a measured one are not measured, when one runs at a time
	interimEvery = 250 * time.Millisecond // of tasks that take longer it is told meanwhile
	interimMost  = 16                     // looks in a row, without a task that begins
	queueEvery   = 20 * time.Millisecond  // the run queue is counted no more often: that opens a file for each thread
)

// meter adds up what the tasks took, and tells Tandem as section 9 of the protocol says. A Go worker counts by process: what a handler starts is its own.
type meter struct {
	s *server

	mu      sync.Mutex
	active  int   // tasks that run
	since   int64 // when wall was last brought up to date
	told    int64
	wall    int64
	tasks   int64
	at      arena.Usage
	queue   time.Duration         // not yet told
	queued  map[int]time.Duration // by thread, at the last look
	crowd   int                   // most tasks that ran at a time since then
	counted int64
	asleep  bool
	gate    chan struct{} // wakes look
}

func newMeter(s *server) *meter {
	m := &meter{s: s, at: arena.Used(), queued: arena.Queued(), gate: make(chan struct{}, 1)}
	go m.look()
	return m
}

// enter notes that a task begins.
func (m *meter) enter(now int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wall += int64(m.active) * (now - m.since)
	if m.since = now; m.active == 0 && m.tasks == 0 {
		m.at = arena.Used() // what happened between the tasks is not theirs
		m.told = now
		if now-m.counted >= int64(queueEvery)/2 {
			m.queued, m.counted = arena.Queued(), now
		}
	}
	m.active++
	m.crowd = max(m.crowd, m.active)
	if m.asleep {
		m.asleep = false
		m.gate <- struct{}{} // never waits: only one follows each falling asleep
	}
}

// leave notes that it has ended, and appends the frame that is due, to be sent before the task's answer. alone says that one task runs at a time: then each that
// entered is told of by itself.
func (m *meter) leave(now int64, id uint64, alone bool, frames []byte) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wall += int64(m.active) * (now - m.since)
	m.since = now
	m.active--
	m.tasks++
	if !alone {
		if id = 0; now-m.told < int64(measureEvery) {
			return frames
		}
	}
	return m.tell(now, id, frames)
}

// tell takes the sums. The mutex is held.
func (m *meter) tell(now int64, id uint64, frames []byte) []byte {
	if now-m.counted >= int64(queueEvery) {
		m.count(now)
	}
	u := arena.Used()
	wall := time.Duration(m.wall)
	used := tandem.Usage{Tasks: m.tasks, Wall: wall, CPU: u.CPU - m.at.CPU, Queue: min(m.queue, wall), Voluntary: u.Voluntary - m.at.Voluntary, Involuntary: u.Involuntary - m.at.Involuntary}
	m.told = now
	m.at, m.wall, m.tasks, m.queue = u, 0, 0, 0
	return wire.AppendMeasured(frames, id, used)
}

// count adds up the run queue: of as many threads as tasks ran at a time, those that stood in it longest. The others are the runtime's, which stand beside a task
// that does not wait for them. The mutex is held.
func (m *meter) count(now int64) {
	by := arena.Queued()
	var stood []time.Duration
	for thread, q := range by {
		stood = append(stood, q-m.queued[thread])
	}
	slices.SortFunc(stood, func(a, b time.Duration) int { return cmp.Compare(b, a) })
	for _, q := range stood[:min(len(stood), max(m.crowd, 1))] {
		m.queue += max(0, q)
	}
	m.queued, m.counted, m.crowd = by, now, m.active
}

// look tells of tasks that take long. Of one that takes very long it stops to: a clock that goes would keep the runtime from finding out that all goroutines sleep
// for ever. It lives as long as the process.
func (m *meter) look() {
	for looks := 0; ; looks++ {
		m.mu.Lock()
		if m.active == 0 || looks > interimMost {
			looks, m.asleep = 0, true
			m.mu.Unlock()
			<-m.gate
			continue
		}
		var frame []byte
		if now := arena.Now(); now-m.told >= int64(interimEvery) {
			m.wall += int64(m.active) * (now - m.since)
			m.since = now
			frame = m.tell(now, 0, nil)
		}
		m.mu.Unlock()
		if frame != nil {
			m.s.mu.Lock()
			m.s.pending = append(m.s.pending, frame...)
			m.s.mu.Unlock()
			_ = m.s.flush() // a broken channel shows at the next read
		}
		time.Sleep(interimEvery / 2)
	}
}
