package journal

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tandem"
)

// truth is what a journal must say when it is whole up to size.
type truth struct {
	size int64
	says string
}

var smallIDs = []string{"a", "b", "c", "c/1", "c/2", "d", "e", "\xff"}

func says(t testing.TB, s *State) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintln(&b, s.Position, s.Begun())
	counts := maps.Clone(s.Counts)
	maps.DeleteFunc(counts, func(_ tandem.Outcome, n int64) bool { return n == 0 })
	fmt.Fprintln(&b, counts) // printed in order
	for _, id := range smallIDs {
		fmt.Fprintf(&b, "%q %v\n%s", id, s.Has(id), finished(t, s, id))
	}
	return b.String()
}

// small writes a journal of eight frames. The truths are kept by a model of maps, not by reading the journal back.
func small(t testing.TB, sync bool) (whole []byte, truths []truth) {
	t.Helper()
	j, path := started(t, Config{Sync: sync})
	ended, counts, steps, position := map[string]bool{}, map[tandem.Outcome]int64{}, map[string][]Finished{}, int64(0)
	note := func() {
		var b strings.Builder
		fmt.Fprintln(&b, position, len(steps))
		fmt.Fprintln(&b, counts)
		for _, id := range smallIDs {
			fmt.Fprintf(&b, "%q %v\n%s", id, ended[id], show(steps[id]))
		}
		truths = append(truths, truth{j.end, b.String()})
	}
	gave := func(list ...Finished) {
		j.Steps(list)
		j.flush()
		for _, f := range list {
			steps[f.Item] = append(steps[f.Item], f)
		}
		note()
	}
	end := func(o tandem.Outcome, at int64, whole []string, ids ...string) {
		if err := j.Ended(tasks(o, ids...), whole, at); err != nil {
			t.Fatal(err)
		}
		for _, id := range append(ids, whole...) {
			ended[id] = true
			delete(steps, id)
		}
		counts[o] += int64(len(ids))
		position = at
		note()
	}
	note()
	gave(step("a", 0, "1"), step("b", 0, "x", "y"))
	gave(step("a", 1, "2"))
	end(tandem.OK, 100, nil, "a")
	gave(step("c", 0, "p", "q", ""))
	end(tandem.Failed, 1<<40, []string{"c"}, "c/1", "c/2")
	gave(step("\xff", 2, "z"))
	end(tandem.Filtered, 1<<40+1, nil, "d")
	gave(step("e", 0))
	closed(t, j)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if truths[len(truths)-1].size != int64(len(whole)) {
		t.Fatal("the owner wrote a frame of its own")
	}
	return whole, truths
}

// at is the truth of a journal that is whole up to size, and no further.
func at(truths []truth, size int64) *truth {
	for i := len(truths) - 1; i >= 0; i-- {
		if truths[i].size <= size {
			return &truths[i]
		}
	}
	return nil
}

func TestCutAtEveryByte(t *testing.T) {
	whole, truths := small(t, false)
	path := filepath.Join(t.TempDir(), "journal")
	for n := range len(whole) + 1 {
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		j, s, err := Resume(path, Config{})
		want := at(truths, int64(n))
		if want == nil { // inside the header
			if e, ok := errors.AsType[*tandem.Error](err); !ok || e.Hint == "" || !strings.Contains(err.Error(), "before it wrote anything") {
				t.Fatalf("cut at %d: %v", n, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("cut at %d: %v", n, err)
		}
		if got := says(t, s); got != want.says || s.Cut != int64(n)-want.size {
			t.Fatalf("cut at %d of %d: cut off %d, says\n%swant\n%s", n, len(whole), s.Cut, got, want.says)
		}
		// What the next part writes stands right behind what was whole.
		if err := j.Ended(tasks(tandem.OK, "next"), nil, 7); err != nil {
			t.Fatal(err)
		}
		closed(t, j)
		j, s = resumed(t, path)
		if !s.Has("next") || s.Position != 7 || s.Cut != 0 {
			t.Fatalf("cut at %d: the next part is not there", n)
		}
		closed(t, j)
	}
}

func TestFlipEveryByte(t *testing.T) {
	whole, truths := small(t, false)
	last := truths[len(truths)-2]
	for n := range whole {
		for _, bit := range []byte{1, 0x80, 0xff} {
			b := bytes.Clone(whole)
			b[n] ^= bit
			s, err := read("journal", bytes.NewReader(b), int64(len(b)))
			if int64(n) >= last.size { // the last frame may have been torn
				if err != nil || says(t, s) != last.says {
					t.Fatalf("byte %d ^ %#x: %v", n, bit, err)
				}
				continue
			}
			e, ok := errors.AsType[*tandem.Error](err)
			if !ok || e.On != "journal" || e.Hint == "" || e.Kind != kindJournal {
				t.Fatalf("byte %d ^ %#x of the middle: %v", n, bit, err)
			}
			if int64(n) < truths[0].size {
				continue
			}
			damaged := at(truths, int64(n)).size
			if !strings.Contains(e.Message, fmt.Sprintf("damaged at byte %d:", damaged)) || !strings.Contains(e.Message, "expected") || !strings.Contains(e.Hint, "without --resume") {
				t.Fatalf("byte %d ^ %#x, in the frame at %d: %v", n, bit, damaged, err)
			}
		}
	}
}

// A power cut may leave holes behind the last fsync: with Sync they are the torn end, though good frames may follow. What an fsync has covered is not.
func TestHolesOfAPowerCut(t *testing.T) {
	for _, sync := range []bool{false, true} {
		whole, truths := small(t, sync)
		// The frames are 1: steps, 2: steps, 3: transaction, 4: steps, 5: transaction, 6: steps, 7: transaction, 8: steps.
		for frame := 1; frame <= 8; frame++ {
			b := bytes.Clone(whole)
			clear(b[truths[frame-1].size:truths[frame].size])
			s, err := read("journal", bytes.NewReader(b), int64(len(b)))
			// Covered by a later frame: without Sync all but the last; with it all up to a transaction that another frame follows.
			if covered := !sync && frame < 8 || sync && frame <= 7; covered != (err != nil) {
				t.Fatalf("sync %v, frame %d: %v", sync, frame, err)
			}
			if err == nil && says(t, s) != truths[frame-1].says {
				t.Fatalf("sync %v, frame %d: says\n%swant\n%s", sync, frame, says(t, s), truths[frame-1].says)
			}
		}
		// The cut came before the fsync of the last transaction had ended: frames 6 and 7 are there or not, in any mixture, and 8 was not yet written.
		b := bytes.Clone(whole[:truths[7].size])
		clear(b[truths[5].size:truths[6].size])
		s, err := read("journal", bytes.NewReader(b), int64(len(b)))
		if sync && (err != nil || says(t, s) != truths[5].says) || !sync && err == nil {
			t.Fatalf("sync %v: %v", sync, err)
		}
	}
}

// A value that holds a journal, even this one, is a value.
func TestAJournalInsideAJournal(t *testing.T) {
	j, path := started(t, Config{})
	if err := j.Ended(tasks(tandem.OK, "a"), nil, 1); err != nil {
		t.Fatal(err)
	}
	sofar, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	other, _ := small(t, false)
	j.Steps([]Finished{step("b", 0, string(sofar), string(other), string(sofar))})
	closed(t, j)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(sofar)+3] ^= 1 // the head of the last frame, with the values behind it
	s, err := read(path, bytes.NewReader(b), int64(len(b)))
	if err != nil || !s.Has("a") || s.Begun() != 0 {
		t.Fatalf("%v", err)
	}
}

// The proof of damage may stand megabytes behind it, and across any border of what is read at a time.
func TestProofFarBehind(t *testing.T) {
	for _, size := range []int{1<<20 - 60, 1<<20 - 40, 1<<20 - 30, 1<<20 - 20, 1<<20 - 10, 1 << 20, 3<<20 + 5} {
		j, path := started(t, Config{Limit: 4 << 20})
		begin := j.end
		j.Steps([]Finished{step("a", 0, strings.Repeat("x", size))})
		j.flush()
		if err := j.Ended(tasks(tandem.OK, "a"), nil, 1); err != nil {
			t.Fatal(err)
		}
		closed(t, j)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b[begin] ^= 1
		if _, err := read(path, bytes.NewReader(b), int64(len(b))); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("damaged at byte %d:", begin)) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

// A good frame in the place of another, as a disk that writes to the wrong block leaves it, is damage.
func TestAFrameInTheWrongPlace(t *testing.T) {
	j, path := started(t, Config{})
	ends := []int64{j.end}
	for _, id := range []string{"a", "b", "c"} {
		j.Steps([]Finished{step(id, 0, "x")})
		j.flush()
		ends = append(ends, j.end)
	}
	closed(t, j)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	copy(b[ends[1]:ends[2]], b[ends[0]:ends[1]])
	if _, err := read(path, bytes.NewReader(b), int64(len(b))); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("damaged at byte %d:", ends[1])) {
		t.Errorf("%v", err)
	}
}
