package journal

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
)

// A key stands for an item's id: 123 bits of its SHA-256, keyed afresh for every set, so that nobody can choose ids that meet. The lowest four bits are free
// for the outcome.
type key struct{ hi, lo uint64 }

const codeMask = 15

func (k key) code() byte { return byte(k.lo & codeMask) }

func order(a, b key) int {
	return cmp.Or(cmp.Compare(a.hi, b.hi), cmp.Compare(a.lo|codeMask, b.lo|codeMask))
}

// set maps keys to a code of four bits. Slots stand in the order of their keys, near where the key's size says, so no slot needs more than its
// sixteen bytes and tables can be filled to nine tenths; they grow in small steps, a 256th of the set at a time.
type set struct {
	secret [sha256.BlockSize]byte
	tables [256]table
}

type table struct {
	slots []key // the zero key is an empty slot
	room  int   // places that keys are spread over; some slots more take what runs over the end
	n     int
}

func newSet() *set {
	s := &set{}
	_, _ = rand.Read(s.secret[:32]) // never fails
	return s
}

func keyOf[T ~string | ~[]byte](s *set, id T) key {
	var short [192]byte // on the stack: nothing is allocated for the ids people have
	b := append(append(short[:0], s.secret[:32]...), id...)
	sum := sha256.Sum256(b)
	return key{hi: binary.LittleEndian.Uint64(sum[:]) | 1, lo: binary.LittleEndian.Uint64(sum[8:]) &^ codeMask}
}

// put notes code for k and returns the one it had.
func (s *set) put(k key, code byte) (old byte, had bool) {
	t := &s.tables[k.lo>>56]
	if t.n >= t.room/10*9 {
		t.grow()
	}
	k.lo |= uint64(code)
	i, found := t.find(k)
	if found {
		old, t.slots[i] = t.slots[i].code(), k
		return old, true
	}
	end := i
	for end < len(t.slots) && t.slots[end] != (key{}) {
		end++
	}
	if end == len(t.slots) {
		t.slots = append(t.slots, key{})
	}
	copy(t.slots[i+1:end+1], t.slots[i:end])
	t.slots[i] = k
	t.n++
	return 0, false
}

func (s *set) get(k key) (code byte, ok bool) {
	t := &s.tables[k.lo>>56]
	i, found := t.find(k)
	if !found {
		return 0, false
	}
	return t.slots[i].code(), true
}

// find is where k is or belongs.
func (t *table) find(k key) (at int, found bool) {
	for i := t.home(k); i < len(t.slots); i++ {
		if t.slots[i] == (key{}) {
			return i, false
		}
		if c := order(t.slots[i], k); c >= 0 {
			return i, c == 0
		}
	}
	return len(t.slots), false
}

func (t *table) home(k key) int {
	at, _ := bits.Mul64(k.hi, uint64(t.room))
	return int(at)
}

func (t *table) grow() {
	old := t.slots
	t.room += t.room/8 + 20
	t.slots = make([]key, t.room, t.room+t.room/64+8)
	at := 0
	for _, k := range old {
		if k == (key{}) {
			continue
		}
		at = max(at, t.home(k))
		if at >= len(t.slots) {
			t.slots = append(t.slots, key{})
		}
		t.slots[at] = k
		at++
	}
}
