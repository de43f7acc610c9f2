package arena

import (
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// Blocks never hands out overlapping ranges, never leaves the arena, and an empty arena always has room for its full size.
func TestBlocksDoNotOverlap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const size = 1 << 20
		b := NewBlocks(size)
		type block struct{ at, n uint64 }
		var live []block
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if len(live) > 0 && rapid.Bool().Draw(t, "give") {
				i := rapid.IntRange(0, len(live)-1).Draw(t, "which")
				b.Give(live[i].at, live[i].n)
				live = append(live[:i], live[i+1:]...)
				continue
			}
			n := uint64(rapid.IntRange(1, size).Draw(t, "n"))
			at, ok := b.Take(n)
			if !ok {
				if len(live) == 0 {
					t.Fatalf("no room for %d in an empty arena", n)
				}
				continue
			}
			if at+n > size {
				t.Fatalf("[%d,+%d) leaves the arena", at, n)
			}
			for _, l := range live {
				if at < l.at+l.n && l.at < at+n {
					t.Fatalf("[%d,+%d) overlaps [%d,+%d)", at, n, l.at, l.n)
				}
			}
			live = append(live, block{at, n})
		}
	})
}

// Ring places never overlap what the reader has not released, and a ring whose reader catches up takes anything up to its size.
func TestRingKeepsWhatIsUnread(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Ring{Size: 1 << 12}
		type place struct{ at, n, end uint64 }
		var unread []place
		var released uint64
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			if len(unread) > 0 && rapid.Bool().Draw(t, "read") {
				released, unread = unread[0].end, unread[1:]
				continue
			}
			n := uint64(rapid.IntRange(1, 1<<12).Draw(t, "n"))
			at, end, ok := r.Take(n, released)
			if !ok {
				if len(unread) == 0 {
					t.Fatalf("an empty ring refuses %d bytes", n)
				}
				continue
			}
			if at+n > r.Size || end <= released {
				t.Fatalf("place %d+%d end %d, released %d", at, n, end, released)
			}
			for _, u := range unread {
				if at < u.at+u.n && u.at < at+n {
					t.Fatalf("[%d,+%d) overlaps unread [%d,+%d)", at, n, u.at, u.n)
				}
			}
			unread = append(unread, place{at, n, end})
		}
	})
}

func TestASealedRegionKeepsItsSize(t *testing.T) {
	r, err := New("test", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.Seal(); err != nil {
		t.Fatal(err)
	}
	mem, err := Open(r.File().Fd(), 1<<20, false)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mem)
	r.Mem[12345] = 7
	if mem[12345] != 7 {
		t.Error("the two mappings are not the same memory")
	}
	if err := r.File().Truncate(0); err == nil {
		t.Error("a sealed region could be shrunk: its reader would die of SIGBUS")
	}
	r.Discard(0, 1<<20)
	if mem[12345] != 0 {
		t.Error("Discard kept the bytes")
	}
}

func TestNowIsTheSharedClock(t *testing.T) {
	a := monotonic()
	b := Now()
	c := monotonic()
	if b < a-1e6 || b > c+1e6 {
		t.Errorf("Now %d is not between %d and %d", b, a, c)
	}
}
