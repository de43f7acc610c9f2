package journal

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tandem"
)

func TestMain(m *testing.M) {
	if what := os.Getenv("TANDEM_TEST_JOURNAL"); what != "" {
		child(what)
		return
	}
	goleak.VerifyTestMain(m)
}

func started(t testing.TB, c Config) (*Journal, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "journal")
	j, err := Create(path, Header{Flow: "photos", Run: "r1", PID: 7}, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j, path
}

func resumed(t testing.TB, path string) (*Journal, *State) {
	t.Helper()
	j, s, err := Resume(path, Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j, s
}

func closed(t testing.TB, j *Journal) {
	t.Helper()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

func step(item string, n int, values ...string) Finished {
	f := Finished{Item: item, Step: n}
	for i, v := range values {
		f.Values = append(f.Values, tandem.Value{Kind: tandem.Kind(1 + i%4), Data: []byte(v)})
	}
	return f
}

func tasks(o tandem.Outcome, ids ...string) (list []*tandem.Task) {
	for _, id := range ids {
		list = append(list, &tandem.Task{ID: id, Result: tandem.Result{Outcome: o}})
	}
	return list
}

func show(list []Finished) string {
	var b strings.Builder
	for _, f := range list {
		fmt.Fprintf(&b, "%s %d", f.Item, f.Step)
		for _, v := range f.Values {
			fmt.Fprintf(&b, " %s:%q", v.Kind, v.Data)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func finished(t testing.TB, s *State, item string) string {
	t.Helper()
	list, err := s.Finished(item)
	if err != nil {
		t.Fatal(err)
	}
	return show(list)
}

func TestWhatWasNotedIsThereAgain(t *testing.T) {
	for _, sync := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "journal")
		h := Header{Flow: "fl\xffow", Fingerprint: "f", Source: "s\x00\xfe", Params: strings.Repeat("p", 70000), Version: "v", Run: "r",
			Started: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), PID: 12}
		j, err := Create(path, h, Config{Sync: sync, Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		j.Steps([]Finished{step("a", 0, "x"), step("a", 1, "", "b\x00"), step("b", 0), step("\xff\x00", 3, "odd id"), step("", 0, "no id")})
		j.Steps([]Finished{step("b", 1, strings.Repeat("l", 101)), step("b", 2, strings.Repeat("l", 50), strings.Repeat("l", 50))})
		j.Steps([]Finished{step("a", 0, "again")})
		if n := j.Skipped(); n != 1 {
			t.Errorf("skipped %d, want the one above the limit", n)
		}
		j.Steps([]Finished{step("c", 0, "1", "2")})
		if err := j.Ended(append(tasks(tandem.OK, "c/1", "d"), tasks(tandem.Failed, "e")...), []string{"c"}, 100); err != nil {
			t.Fatal(err)
		}
		if err := j.Ended(tasks(tandem.Crashed, "e"), nil, 120); err != nil { // the last word counts
			t.Fatal(err)
		}
		closed(t, j)

		j, s := resumed(t, path)
		if s.Header != h {
			t.Errorf("header %+v", s.Header)
		}
		if s.Position != 120 || s.Cut != 0 || s.Begun() != 4 {
			t.Errorf("position %d, cut %d, begun %d", s.Position, s.Cut, s.Begun())
		}
		if want := map[tandem.Outcome]int64{tandem.OK: 2, tandem.Failed: 0, tandem.Crashed: 1}; !maps.Equal(s.Counts, want) {
			t.Errorf("counts %v", s.Counts)
		}
		for id, want := range map[string]bool{"a": false, "b": false, "c": true, "c/1": true, "c/2": false, "d": true, "e": true, "": false} {
			if s.Has(id) != want {
				t.Errorf("Has(%q) is not %v", id, want)
			}
		}
		for id, want := range map[string]string{
			"a":        "a 0 bytes:\"again\"\na 1 bytes:\"\" text:\"b\\x00\"\n",
			"b":        fmt.Sprintf("b 0\nb 1\nb 2 bytes:%q text:%[1]q\n", strings.Repeat("l", 50)),
			"\xff\x00": "\xff\x00 3 bytes:\"odd id\"\n", "": " 0 bytes:\"no id\"\n", "c": "", "d": "", "z": "",
		} {
			if got := finished(t, s, id); got != want {
				t.Errorf("%q finished\n%swant\n%s", id, got, want)
			}
		}

		// The next part goes on in the same file.
		j.Steps([]Finished{step("a", 2, "y")})
		if err := j.Ended(tasks(tandem.OK, "b"), nil, 140); err != nil {
			t.Fatal(err)
		}
		closed(t, j)
		s.frame = nil
		if _, err := s.Finished("a"); err == nil {
			t.Error("values were read from a closed journal")
		}
		_, s = resumed(t, path)
		if got := finished(t, s, "a"); !s.Has("b") || !s.Has("d") || s.Position != 140 || strings.Count(got, "\n") != 3 {
			t.Errorf("after two parts: position %d, a finished\n%s", s.Position, got)
		}
	}
}

func TestARunThatBeginsHasNothing(t *testing.T) {
	var s *State
	if list, err := s.Finished("a"); s.Has("a") || list != nil || err != nil {
		t.Error("a nil state has something")
	}
}

func TestEndedRefusesWhatHasNotEnded(t *testing.T) {
	j, path := started(t, Config{})
	for name, err := range map[string]error{
		"canceled": j.Ended(tasks(tandem.Canceled, "a"), nil, 1),
		"unknown":  j.Ended(tasks("", "a"), nil, 1),
		"position": j.Ended(nil, nil, -1),
		"long":     j.Ended(nil, []string{strings.Repeat("x", maxID+1)}, 1),
	} {
		if e, ok := errors.AsType[*tandem.Error](err); !ok || e.Kind != kindJournal {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := j.Ended(tasks(tandem.OK, "b"), nil, 1); err != nil {
		t.Fatalf("a refused transaction spoiled the next: %v", err)
	}
	closed(t, j)
	closed(t, j)
	if err := j.Ended(tasks(tandem.OK, "c"), nil, 2); !errors.Is(err, tandem.ErrClosed) {
		t.Errorf("Ended after Close: %v", err)
	}
	if err := j.Ended(tasks(tandem.OK, "c"), nil, 2); !errors.Is(err, tandem.ErrClosed) {
		t.Errorf("Ended after Close, again: %v", err)
	}
	j.Steps([]Finished{step("c", 0)})
	if _, s := resumed(t, path); s.Has("a") || !s.Has("b") || s.Has("c") || s.Begun() != 0 || j.Skipped() != 1 {
		t.Error("not just b has ended")
	}
}

// Steps alone reach the file without a transaction and without Close.
func TestStepsReachTheFileSoon(t *testing.T) {
	j, path := started(t, Config{})
	j.Steps([]Finished{step("a", 0, "x")})
	for begin := time.Now(); ; time.Sleep(time.Millisecond) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		s, err := read(path, bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		if finished(t, s, "a") == "a 0 bytes:\"x\"\n" {
			return
		}
		if time.Since(begin) > 10*time.Second {
			t.Fatal("the step is not in the file")
		}
	}
}

// A transaction of 40 MiB takes several frames. Cut anywhere between them it is as if it had not been, and what is cut does not come back with the next mark.
func TestALongTransactionIsStillOne(t *testing.T) {
	j, path := started(t, Config{})
	if err := j.Ended(tasks(tandem.OK, "first"), nil, 1); err != nil {
		t.Fatal(err)
	}
	before := j.end
	var ids []string
	for i := range 40 {
		ids = append(ids, fmt.Sprint(i, strings.Repeat("x", 1<<20)))
	}
	j.Steps([]Finished{step("s", 0, "x")})
	if err := j.Ended(tasks(tandem.OK, ids...), ids[:2], 2); err != nil {
		t.Fatal(err)
	}
	closed(t, j)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	j, s := resumed(t, path)
	if s.Position != 2 || s.Counts[tandem.OK] != 41 || !s.Has(ids[39]) || finished(t, s, "s") == "" {
		t.Fatalf("position %d, counts %v", s.Position, s.Counts)
	}
	closed(t, j)
	var frames []int64
	for at := before; at < int64(len(whole)); {
		h, ok := parseHead(whole[at:], s.salt, at)
		if !ok {
			t.Fatalf("no frame at %d", at)
		}
		at += headSize + int64(h.length)
		frames = append(frames, at)
	}
	if len(frames) < 3 {
		t.Fatalf("%d frames: the test tests nothing", len(frames))
	}
	for _, end := range append(frames[:len(frames)-1], frames[len(frames)-1]-1, before+100) {
		if err := os.WriteFile(path, whole[:end], 0o600); err != nil {
			t.Fatal(err)
		}
		j, s := resumed(t, path)
		if s.Position != 1 || s.Counts[tandem.OK] != 1 || s.Has(ids[0]) || s.Begun() != 0 || s.Cut != end-before {
			t.Fatalf("cut at %d: position %d, counts %v, begun %d, cut %d of %d", end, s.Position, s.Counts, s.Begun(), s.Cut, end-before)
		}
		if err := j.Ended(tasks(tandem.OK, "next"), nil, 3); err != nil {
			t.Fatal(err)
		}
		closed(t, j)
		j, s = resumed(t, path)
		if s.Position != 3 || s.Counts[tandem.OK] != 2 || s.Has(ids[0]) {
			t.Fatalf("cut at %d, after the next mark: position %d, counts %v", end, s.Position, s.Counts)
		}
		closed(t, j)
	}
}

// Many goroutines note steps while one ends items; nothing is lost, and a value is never another's.
func TestManyGoroutines(t *testing.T) {
	j, path := started(t, Config{})
	const writers, each = 8, 2000
	ended := make(chan string, 100)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				id := fmt.Sprintf("%d-%d", w, i)
				j.Steps([]Finished{step(id, 0, id, strings.Repeat(id, i%50)), step(id, 1, id+"!")})
				if i%3 != 0 {
					ended <- id
				}
			}
		})
	}
	go func() { wg.Wait(); close(ended) }()
	n := int64(0)
	for id := range ended {
		n++
		if err := j.Ended(tasks(tandem.OK, id), nil, n); err != nil {
			t.Fatal(err)
		}
	}
	closed(t, j)
	_, s := resumed(t, path)
	if s.Counts[tandem.OK] != n || s.Position != n {
		t.Fatalf("%v ended, position %d, want %d", s.Counts, s.Position, n)
	}
	for w := range writers {
		for i := range each {
			id := fmt.Sprintf("%d-%d", w, i)
			list, err := s.Finished(id)
			if err != nil {
				t.Fatal(err)
			}
			want := []Finished{step(id, 0, id, strings.Repeat(id, i%50)), step(id, 1, id+"!")}
			if i%3 != 0 {
				want = nil
			}
			if s.Has(id) != (i%3 != 0) || show(list) != show(want) || want != nil && !reflect.DeepEqual(list[1], want[1]) {
				t.Fatalf("%s: has %v, finished\n%s", id, s.Has(id), show(list))
			}
		}
	}
}

// While the disk does not keep up Steps waits, and goes on when it does or when the journal is closed.
func TestStepsWaitForTheDisk(t *testing.T) {
	j, path := started(t, Config{})
	j.writing.Lock() // the disk hangs
	const n = 20
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range n {
			j.Steps([]Finished{step(fmt.Sprint(i), 0, strings.Repeat("x", 1<<20))})
		}
	}()
	for {
		j.mu.Lock()
		full := len(j.buf) >= holdBytes
		j.mu.Unlock()
		if full {
			break
		}
		time.Sleep(time.Millisecond)
	}
	select {
	case <-done:
		t.Fatal("20 MiB went into a buffer of 2")
	case <-time.After(50 * time.Millisecond):
	}
	j.writing.Unlock()
	<-done
	closed(t, j)
	if _, s := resumed(t, path); s.Begun() != n {
		t.Errorf("%d of %d items are there", s.Begun(), n)
	}
}

// Should two ids ever meet in one key, neither is given the other's values.
func TestIDsThatMeet(t *testing.T) {
	j, path := started(t, Config{})
	j.Steps([]Finished{step("a", 0, "x")})
	closed(t, j)
	_, s := resumed(t, path)
	s.begun[keyOf(s.ended, "b")] = s.begun[keyOf(s.ended, "a")]
	if got := finished(t, s, "b"); got != "" {
		t.Errorf("b was given what a has: %s", got)
	}
}
