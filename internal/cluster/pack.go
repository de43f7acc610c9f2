package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"sync"
	"time"

	"tandem"
)

// A message costs the servers the same whether it holds one result or a hundred: it is stored, handed out, confirmed and deleted. So what has ended together on a node
// goes to the submitter in one message, a pack. Nothing waits for a pack to get full: a node packs what has ended while the last one was being stored, so a result that
// comes alone goes alone, and at once. A pack ends as a whole, when the lines of all that it holds are in the sink.
//
// Only a submitter that says in the manifest that it reads packs gets any; it reads both, because a node of an earlier version sends none.

const (
	packed    = 2        // the first byte of a pack, where a letter has its version
	packMost  = 256      // results in one pack
	packBytes = 64 << 10 // of them together
	askFirst  = 4        // messages that the submitter asks for to begin with
	askMost   = 256      // and when they come fast
	askBytes  = 2 << 20  // of those, as far as what came last tells
	askFast   = time.Second / 4
	askSlow   = time.Second
)

// pack puts messages together, in their order. One that has no company stays what it is.
func pack(single []tandem.Message) (all []tandem.Message) {
	for len(single) > 0 {
		n, size := 0, 0
		for n < min(len(single), packMost) {
			if size += 4 + len(single[n].Body); size > packBytes && n > 0 {
				size -= 4 + len(single[n].Body)
				break
			}
			n++
		}
		if n == 1 {
			all = append(all, single[0])
		} else {
			all = append(all, packOf(single[:n], size))
		}
		single = single[n:]
	}
	return all
}

// packOf makes one message of several. Those of the same items have the same id, so that one which is put again is known.
func packOf(single []tandem.Message, size int) tandem.Message {
	names := sha256.New()
	body := append(make([]byte, 0, 1+size), packed)
	for _, m := range single {
		_, _ = io.WriteString(names, m.ID)
		_, _ = names.Write([]byte{0})
		body = append(binary.LittleEndian.AppendUint32(body, uint32(len(m.Body))), m.Body...)
	}
	return tandem.Message{ID: "pack-" + hex.EncodeToString(names.Sum(nil)[:16]), Body: body}
}

// lettersIn gives the bodies of the letters that a message holds: its own, when it is no pack. They share its memory.
func lettersIn(m *tandem.Message) (bodies [][]byte, err error) {
	if len(m.Body) == 0 || m.Body[0] != packed {
		return [][]byte{m.Body}, nil
	}
	for b := m.Body[1:]; len(b) > 0; {
		if len(b) < 4 {
			return nil, fmt.Errorf("%w: a pack is cut off", errLetter)
		}
		n := binary.LittleEndian.Uint32(b)
		if uint64(n) > uint64(len(b)-4) {
			return nil, fmt.Errorf("%w: a pack is cut off", errLetter)
		}
		bodies = append(bodies, b[4:4+n:4+n])
		b = b[4+n:]
	}
	return bodies, nil
}

// envelope is a message of results that the submitter has.
type envelope struct {
	lease tandem.Lease
	left  int // letters in it whose lines are still to be written
}

// envelopes are those of which lines are on the way to the sink. Their leases are renewed: a sink may take longer for a pack than a lease lasts.
type envelopes struct {
	mu  sync.Mutex
	all map[*envelope]struct{}
}

func (e *envelopes) add(o *envelope) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.all == nil {
		e.all = map[*envelope]struct{}{}
	}
	e.all[o] = struct{}{}
}

func (e *envelopes) drop(o *envelope) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.all, o)
}

// renew renews leases until ctx is done.
func (e *envelopes) renew(ctx context.Context) {
	for rest(ctx, Lease/4) {
		e.mu.Lock()
		leases := make([]tandem.Lease, 0, len(e.all))
		for o := range e.all {
			leases = append(leases, o.lease)
		}
		e.mu.Unlock()
		for _, l := range leases {
			_ = l.Extend(ctx) // one that is lost comes again, and is known
		}
	}
}

// asking is how many messages of results to ask for at once. What is on its way over a slow link is on lease already, and what does not arrive within it comes again; and
// what has arrived is in memory.
type asking int

// learn is told what came, and in which time.
func (a *asking) learn(leases []tandem.Lease, took time.Duration) {
	size := 1
	for _, l := range leases {
		size += len(l.Message().Body)
	}
	n := int(*a)
	switch came := len(leases); {
	case came > 1 && took > askSlow:
		n /= 2
	case came >= n && took < askFast:
		n *= 2
	}
	*a = asking(min(max(n, 1), askMost, max(askFirst, askBytes*len(leases)/size)))
}
