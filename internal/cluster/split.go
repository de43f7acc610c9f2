package cluster

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"

	"tandem"
	"tandem/internal/queue/jetstream"
)

// A step that makes several items of one puts them into the next queue one after the other, and its node may die in between; when the step runs again it may make
// another number. So that no part of a result is on its way without the rest, what an item was split into is recorded before the first piece goes: whoever has the item
// next passes on what the record says, and does not run the step. Who gets an item that another had before claims it in the same place first, so that the other,
// should he be alive, can record nothing any more. Records go when the lease has ended; an item that goes on as one, run once, needs none.
//
// An item may still be passed on twice as a whole, with another result (its lease could not be ended in time, and the servers forget what they knew of repetitions).
// Then all of either gets to the submitter, and its ledger keeps to the one that gets there first.

// splitting is how many items are recorded at a time.
const splitting = 32

// record is what is known of an item while it is with a step.
type record struct {
	Claim  string   `json:"claim,omitempty"` // the node that runs it now
	Pieces [][]byte `json:"pieces,omitempty"`
	Object string   `json:"object,omitempty"` // a record with the pieces is there
}

// recordKey is where the record of an item is.
func (h *hop) recordKey(l *letter) string {
	sum := sha256.Sum256([]byte(h.step + "\x00" + l.name()))
	return "split-" + hex.EncodeToString(sum[:12])
}

// number sorts the pieces of a parcel and says what the item was split into: the same for the same pieces of the same item.
func (p *parcel) number() {
	if len(p.out) < 2 {
		return
	}
	slices.SortFunc(p.out, func(a, b *letter) int { return cmp.Compare(lastNumber(a.ID), lastNumber(b.ID)) })
	sum := sha256.New()
	_, _ = io.WriteString(sum, p.letter.name())
	for _, l := range p.out {
		var size [9]byte
		binary.LittleEndian.PutUint64(size[:], uint64(len(l.value.Data)))
		size[8] = byte(l.value.Kind)
		_, _ = sum.Write(size[:])
		_, _ = sum.Write(l.value.Data)
	}
	split := append(slices.Clone(p.letter.Splits), hex.EncodeToString(sum.Sum(nil)[:8]))
	for _, l := range p.out {
		l.Splits = split
	}
}

func lastNumber(id string) int {
	n, _ := strconv.Atoi(id[strings.LastIndexByte(id, '/')+1:])
	return n
}

// claim is called for an item that somebody has had before. It tells whether to run it: not when it has been passed on since, and not when a record says what came of
// it, which is then in p.
func (h *hop) claim(ctx context.Context, p *parcel) (run bool, err error) {
	key := h.recordKey(p.letter)
	for {
		r, revision, err := h.recorded(ctx, key)
		if err != nil {
			return false, err
		}
		if r.Pieces != nil {
			p.pieces, p.revision = r.Pieces, revision
			return false, nil
		}
		b, err := json.Marshal(record{Claim: h.node})
		if err != nil {
			return false, err
		}
		if p.revision, err = h.swap(ctx, key, b, revision); errors.Is(err, jetstream.ErrChanged) {
			continue
		} else if err != nil {
			return false, err
		}
		return h.still(ctx, p)
	}
}

// swap writes a record. An answer that a leader took with it is not waited for: who tries again meets what he has written, and knows it.
func (h *hop) swap(ctx context.Context, key string, b []byte, revision uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, swapWait)
	defer cancel()
	return h.records.Swap(ctx, h.run, key, b, revision)
}

// still tells whether an item is in its queue: that nobody has passed it on and ended its lease. If not, nothing of it stays here.
func (h *hop) still(ctx context.Context, p *parcel) (bool, error) {
	q, ok := h.in.(*jetstream.Queue)
	if !ok {
		return true, nil
	}
	has, err := q.Has(ctx, p.lease)
	if err == nil && !has {
		err = h.records.Remove(ctx, h.run, h.recordKey(p.letter), p.revision)
	}
	return has && err == nil, err
}

// recorded reads a record; it is empty, of revision 0, when there is none.
func (h *hop) recorded(ctx context.Context, key string) (r record, revision uint64, err error) {
	e, err := h.records.Get(ctx, h.run, key)
	if err != nil || e.Gone {
		return r, 0, err
	}
	if err := json.Unmarshal(e.Value, &r); err != nil {
		return r, 0, err
	}
	if r.Object != "" {
		b, err := readObject(ctx, h.store, r.Object)
		if errors.Is(err, jetstream.ErrNoObject) { // it is just being forgotten
			return record{}, e.Revision, nil
		} else if err != nil {
			return r, 0, err
		}
		object := r.Object
		if err := json.Unmarshal(b, &r); err != nil {
			return r, 0, err
		}
		r.Object = object
	}
	return r, e.Revision, nil
}

// decide records what the items of a lot were split into, and gives the parcels that are to be passed on by us. The others have been taken over, or are done.
func (h *hop) decide(ctx context.Context, lot []*parcel) ([]*parcel, error) {
	keep := make([]bool, len(lot))
	errs := make([]error, len(lot))
	var all sync.WaitGroup
	places := make(chan struct{}, splitting)
	for i, p := range lot {
		if keep[i] = len(p.out) < 2; keep[i] {
			continue
		}
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			errs[i] = h.wait.try(ctx, func() (err error) { keep[i], err = h.split(ctx, p); return err })
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	ours := make([]*parcel, 0, len(lot))
	for i, p := range lot {
		if keep[i] {
			ours = append(ours, p)
		} else {
			h.drop(p)
		}
	}
	return ours, nil
}

// split records the pieces of one item, or finds what another has recorded. It is false when the item is not ours any more.
func (h *hop) split(ctx context.Context, p *parcel) (bool, error) {
	for _, l := range p.out[len(p.sealed):] { // what was stored when the store got full is not stored again
		over := h.last || l.Outcome != ""
		m, err := h.sealed(ctx, p, l, &over)
		if err != nil {
			return false, err
		}
		p.sealed = append(p.sealed, m.Body)
	}
	pieces := p.sealed
	b, err := json.Marshal(record{Pieces: pieces})
	if err != nil {
		return false, err
	}
	if len(b) > inline {
		name := h.name + "/" + p.out[0].name() + "+"
		if err := h.store.Put(ctx, name, bytes.NewReader(b)); err != nil {
			return false, err
		}
		if b, err = json.Marshal(record{Object: name}); err != nil {
			return false, err
		}
		p.object = name
	}
	key := h.recordKey(p.letter)
	revision, err := h.swap(ctx, key, b, p.revision)
	if errors.Is(err, jetstream.ErrChanged) {
		r, revision, err := h.recorded(ctx, key)
		if err != nil || r.Pieces == nil {
			return false, err // it was claimed by another, or is done
		}
		p.pieces, p.revision, p.object = r.Pieces, revision, r.Object
		return h.still(ctx, p)
	}
	if err != nil {
		return false, err
	}
	p.pieces, p.revision = pieces, revision
	return h.still(ctx, p)
}

// messages gives the pieces of a record as they go into queues: that of the next step, and that of the results.
func (p *parcel) messages(last bool) (on, over []tandem.Message, err error) {
	for _, b := range p.pieces {
		m := tandem.Message{Body: b}
		l, err := parse(&m)
		if err != nil {
			return nil, nil, err
		}
		if m.ID = l.name(); last || l.Outcome != "" {
			over = append(over, m)
		} else {
			on = append(on, m)
		}
	}
	return on, over, nil
}

// unrecord forgets the records of parcels whose leases have ended.
func (h *hop) unrecord(ctx context.Context, lot []*parcel) {
	var all sync.WaitGroup
	places := make(chan struct{}, splitting)
	for _, p := range lot {
		if p.revision == 0 {
			continue
		}
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			_ = h.records.Remove(ctx, h.run, h.recordKey(p.letter), p.revision) // what is left goes with the run
			if p.object != "" {
				_ = h.store.Delete(ctx, p.object)
			}
		})
	}
	all.Wait()
}

// drop lets go of a parcel that is somebody else's now.
func (h *hop) drop(p *parcel) {
	h.mu.Lock()
	delete(h.held, p)
	h.mu.Unlock()
}
