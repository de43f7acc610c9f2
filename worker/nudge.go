package worker

import "time"

const (
	nap   = 5 * time.Millisecond // between two looks
	quiet = 20                   // looks without a write after which the nudge sleeps
)

// arm wakes the nudge: results are pending and the reader goes on to another task, which may be slow. The mutex is held.
func (s *server) arm() {
	s.awake = true
	if s.gate == nil {
		s.gate = make(chan struct{}, 1)
		go s.nudge()
		return
	}
	s.gate <- struct{}{} // never waits: only one arm follows each falling asleep
}

// nudge sends what is finished while the reader is inside a slow task. It lives as long as the process, and sleeps when nothing moves.
func (s *server) nudge() {
	seen, still := uint64(0), 0
	for {
		time.Sleep(nap)
		s.mu.Lock()
		moved, waiting := s.sent != seen, len(s.pending) > 0
		if seen = s.sent; moved {
			still = 0
		} else {
			still++
		}
		sleep := still > quiet && !waiting
		s.awake = !sleep
		s.mu.Unlock()
		switch {
		case sleep:
			still = 0
			<-s.gate
		case !moved && waiting:
			_ = s.flush() // a broken channel shows at the reader's next read
		}
	}
}
