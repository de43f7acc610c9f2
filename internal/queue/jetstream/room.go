package jetstream

import (
	"context"
	"sync"
	"time"
)

// room is what is known of the free places of a queue. Until the server has refused a message nothing is: everything is sent. After that only as much as Done
// has freed here since, because a refused message costs as much as a stored one, and its error more. Of places that another process has freed, or filled, nothing
// tells: small probes find the former, and a refusal says the latter.
type room struct {
	mu      sync.Mutex
	changed chan struct{} // closed when places have been freed here
	waiting int           // for that
	full    bool          // the server has refused for want of room
	free    int           // places freed here since
}

// claim gives how many of want may be sent, and takes their places. While it gives none, the channel is closed when it is worth another try; then call unwait.
func (r *room) claim(want int) (n int, wake <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.full {
		return want, nil
	}
	if n = min(want, r.free); n > 0 {
		r.free -= n
		return n, nil
	}
	r.waiting++
	return 0, r.changed
}

func (r *room) unwait() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting--
}

// refused notes that the server had no room for some. What a probe is told says nothing about places that were freed meanwhile.
func (r *room) refused(probed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.full = true
	if !probed {
		r.free = 0
	}
}

// freed notes n free places. When half of the queue has become free it is no longer near its bound.
func (r *room) freed(n, items int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.full {
		r.free += n
		r.full = r.free < items/2
	}
	if r.waiting > 0 {
		close(r.changed)
		r.changed = make(chan struct{})
	}
}

// probe is how one Put tries a queue that is full as far as this process knows: one message, then twice as many as went in, and after a refusal longer pauses.
type probe struct {
	size  int
	pause time.Duration
	going bool // the last probe went in whole: the next need not wait
}

const (
	shortestPause = time.Millisecond
	longestPause  = 50 * time.Millisecond
)

// places gives how many of want to send, after waiting for it if need be, and whether that is a probe. It is 0 when ctx is done.
func (q *Queue) places(ctx context.Context, p *probe, want int) (n int, probing bool) {
	for {
		n, wake := q.room.claim(want)
		if n > 0 {
			return n, false
		}
		if p.going {
			q.room.unwait()
			return min(want, p.size), true
		}
		q.purge.now()
		timer := time.NewTimer(p.pause)
		select {
		case <-wake:
			timer.Stop()
			q.room.unwait()
			continue
		case <-timer.C:
			n = min(want, p.size)
		case <-ctx.Done():
			timer.Stop()
		}
		q.room.unwait()
		return n, true
	}
}

// learn follows what came of sending n, of which rest were refused.
func (q *Queue) learn(p *probe, n, rest int, probed bool) {
	if rest < n {
		p.pause = shortestPause
	}
	switch {
	case rest > 0:
		if rest == n {
			p.pause = min(2*p.pause, longestPause)
		}
		p.size, p.going = 1, false
		q.room.refused(probed)
	case probed:
		p.size, p.going = 2*p.size, true
	}
}
