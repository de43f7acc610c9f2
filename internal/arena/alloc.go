package arena

import "math/bits"

// Blocks hands out parts of an arena in power-of-two classes, the most recently freed first, because its pages are warm.
//
// The zero value is not usable; call NewBlocks. Not safe for concurrent use: its owner is the side that writes the arena.
type Blocks struct {
	size  uint64
	next  uint64              // everything from here on was never handed out
	free  [64][]uint64        // per class: offsets
	taken map[uint64]struct{} // offsets handed out
}

const minClass = 14 // 16 KiB

// NewBlocks shares out an arena of size bytes.
func NewBlocks(size int64) *Blocks {
	return &Blocks{size: uint64(size), taken: map[uint64]struct{}{}}
}

func class(n uint64) int { return max(minClass, bits.Len64(n-1)) }

// Take finds room for n bytes; ok is false when there is none now.
func (b *Blocks) Take(n uint64) (offset uint64, ok bool) {
	if n == 0 || n > b.size {
		return 0, false
	}
	c := class(n)
	if list := b.free[c]; len(list) > 0 {
		offset = list[len(list)-1]
		b.free[c] = list[:len(list)-1]
		b.taken[offset] = struct{}{}
		return offset, true
	}
	size := uint64(1) << c
	if size > b.size { // the top class is whatever the arena holds
		size = b.size
	}
	if b.next+size > b.size {
		if len(b.taken) > 0 {
			return 0, false
		}
		// Nothing is in use: forget the classes and share out anew, so that a past of small blocks cannot refuse one large value.
		b.next, b.free = 0, [64][]uint64{}
	}
	offset = b.next
	b.next += size
	b.taken[offset] = struct{}{}
	return offset, true
}

// Give returns a block of n bytes.
func (b *Blocks) Give(offset, n uint64) {
	delete(b.taken, offset)
	c := class(n)
	b.free[c] = append(b.free[c], offset)
}

// Used is how many blocks are handed out.
func (b *Blocks) Used() int { return len(b.taken) }

// High is the end of the part that was ever handed out.
func (b *Blocks) High() uint64 { return b.next }

// Ring is the writer's side of the out-arena: see protocol/SPEC.md section 4. Not safe for concurrent use.
type Ring struct {
	Size  uint64
	head  uint64 // all bytes ever taken
	floor uint64 // everything below is free again
}

// Take places n bytes given that the reader has released so many; ok is false when the ring is full now.
func (r *Ring) Take(n, released uint64) (offset, end uint64, ok bool) {
	n = (n + 63) &^ 63
	if n > r.Size {
		return 0, 0, false
	}
	r.floor = max(r.floor, released)
	if r.floor == r.head { // empty: start again at offset 0, where the memory is warm
		r.head += (r.Size - r.head%r.Size) % r.Size
		r.floor = r.head
	}
	head := r.head
	if at := head % r.Size; at+n > r.Size {
		head += r.Size - at
	}
	if head+n-r.floor > r.Size {
		return 0, 0, false
	}
	r.head = head + n
	return head % r.Size, r.head, true
}
