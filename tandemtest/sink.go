package tandemtest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem"
)

// SinkConfig is a sink under test.
type SinkConfig struct {
	Open func(t *testing.T, dir string) tandem.Resumer // the same sink in dir each time, as a run opens it before it begins
	Read func(t *testing.T, dir string) []Record       // what is in it, in order, by other means than the sink's own
	Gone func(t *testing.T, dir string)                // takes the sink's file away

	Replaces bool   // writing an item again replaces it, in whatever order: Position is 0
	Small    string // a directory on a disk of less than 2 MB; empty means no test of a full disk
}

// Record is what a sink holds of an item. Value is the bytes of the value.
type Record struct{ ID, Outcome, Value string }

// Sink runs the suite.
func Sink(t *testing.T, c SinkConfig) {
	t.Run("everything", c.everything)
	t.Run("nothing is emptied before the run begins", c.waits)
	t.Run("resume at every position", c.resume)
	t.Run("resume what is gone or short", c.lost)
	t.Run("forget", c.forget)
	t.Run("full disk", c.full)
}

// begin starts afresh, as the engine does.
func begin(t *testing.T, s tandem.Resumer) {
	t.Helper()
	if b, ok := s.(interface{ Begin() error }); ok {
		if err := b.Begin(); err != nil {
			t.Fatal(err)
		}
	}
}

func write(t *testing.T, s tandem.Sink, tasks []*tandem.Task) {
	t.Helper()
	if n, err := s.Write(tasks); err != nil || n != len(tasks) {
		t.Fatalf("wrote %d of %d: %v", n, len(tasks), err)
	}
}

func position(t *testing.T, s tandem.Resumer, sync bool) int64 {
	t.Helper()
	p, err := s.Position(sync)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func closeSink(t *testing.T, s tandem.Sink) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// ended makes n items of every outcome and every kind of value, with ids that some format or other finds hard.
func ended(n int) []*tandem.Task {
	values := []tandem.Value{
		{Kind: tandem.Text, Data: []byte("plain")}, {Kind: tandem.Text, Data: []byte("a,\"b\"\r\n'c';\x01")}, {}, {Kind: tandem.JSON, Data: []byte(`{"a": [1, "\n", null]}`)},
		{Kind: tandem.Bytes, Data: []byte{0, 255, '\n', '"'}}, {Kind: tandem.Text, Data: []byte("base64:AAAA")}, {Kind: tandem.Text, Data: []byte("\xff/\xfe.jpg")},
		{Kind: tandem.Pickle, Data: []byte{0x80, 5, '.'}}, {Kind: tandem.Bytes, Data: bytes.Repeat([]byte("0123456789"), 9000)}, {Kind: tandem.Text, Data: []byte(" = grün\u2028")},
	}
	ids := []string{"a/b.jpg", "line\nend", "cr\r\nlf", "q\"uo'te", "com,ma", "\xff\xfe/no utf8", "..", "../../up", "/abs", ".hidden", "a//b", "end/", ".", "nul\x00byte", "base64:x", " space ",
		"outcomes.jsonl", ".tandem-part", "x", "x/y", "", "'; DROP TABLE items; --", "☃\u2028", "\\", strings.Repeat("long/", 900), strings.Repeat("l", 5000), `\udc80`, "%2E%2E", "-"}
	tasks := make([]*tandem.Task, n)
	for i := range tasks {
		id := fmt.Sprint("item ", i)
		if i < len(ids) {
			id = ids[i]
		}
		o := tandem.Outcomes[i%len(tandem.Outcomes)]
		if i%3 > 0 {
			o = tandem.OK
		}
		task := &tandem.Task{ID: id, Attempts: i % 4, Elapsed: time.Duration(i) * 1234567 * time.Microsecond, Result: tandem.Result{Outcome: o}}
		switch o {
		case tandem.OK:
			task.Result = tandem.Give(values[i%len(values)])
		case tandem.Filtered:
		default:
			task.Result.Err = &tandem.Error{Op: "run", On: "st\"ep", Kind: tandem.KindException, Message: "no,\n\"\xff\x00", Hint: "h,int", Trace: "a\nb"}
		}
		tasks[i] = task
	}
	return tasks
}

func want(tasks []*tandem.Task) []Record {
	records := make([]Record, len(tasks))
	for i, t := range tasks {
		records[i] = Record{t.ID, string(t.Result.Outcome), string(t.Result.Value.Data)}
	}
	return records
}

func (c SinkConfig) check(t *testing.T, dir string, tasks []*tandem.Task) {
	t.Helper()
	have, want := c.Read(t, dir), want(tasks)
	if c.Replaces {
		order := func(a, b Record) int { return strings.Compare(a.ID, b.ID) }
		slices.SortFunc(have, order)
		slices.SortFunc(want, order)
	}
	for i := range max(len(have), len(want)) {
		switch {
		case i >= len(have):
			t.Fatalf("record %d of item %.80q is missing, and %d more", i, want[i].ID, len(want)-i-1)
		case i >= len(want):
			t.Fatalf("record %d, %.200q, is one too many", i, have[i])
		case have[i] != want[i]:
			t.Fatalf("record %d is %.200q, want %.200q", i, have[i], want[i])
		}
	}
}

func (c SinkConfig) everything(t *testing.T) {
	dir, tasks := t.TempDir(), ended(300)
	s := c.Open(t, dir)
	begin(t, s)
	for part := range slices.Chunk(tasks, 7) {
		write(t, s, part)
	}
	closeSink(t, s)
	c.check(t, dir, tasks)
	s = c.Open(t, dir) // the next run starts with nothing
	begin(t, s)
	write(t, s, tasks[5:9])
	closeSink(t, s)
	c.check(t, dir, tasks[5:9])
}

func (c SinkConfig) waits(t *testing.T) {
	dir, tasks := t.TempDir(), ended(20)
	s := c.Open(t, dir)
	begin(t, s)
	write(t, s, tasks)
	closeSink(t, s)
	closeSink(t, c.Open(t, dir)) // a run whose steps could not start
	c.check(t, dir, tasks)
}

// A run is killed after each position, with more written behind it, and the next goes on from there.
func (c SinkConfig) resume(t *testing.T) {
	const batch = 9
	tasks := ended(60)
	for cut := 0; cut <= len(tasks); cut += batch {
		dir := t.TempDir()
		s := c.Open(t, dir)
		begin(t, s)
		var at int64
		for n := 0; n < cut; n += batch {
			write(t, s, tasks[n:min(n+batch, len(tasks))])
			at = position(t, s, n%2 == 0)
		}
		if c.Replaces != (at == 0) && cut > 0 {
			t.Fatalf("position %d after %d items", at, cut)
		}
		known := min(cut, len(tasks))
		if more := min(known+4, len(tasks)); more > known {
			write(t, s, tasks[known:more]) // no position knows these: they run again, and end otherwise
			if f, ok := s.(interface{ Flush() (int, error) }); ok && cut%2 == 0 {
				if lost, err := f.Flush(); err != nil || lost != 0 {
					t.Fatal(lost, err)
				}
			}
		}
		t.Cleanup(func() { _ = s.Close() }) // what a killed run has in memory is never written, so not before all is read
		again := slices.Clone(tasks)
		for i := known; i < len(again); i++ {
			other := *again[i]
			other.Result = tandem.Give(tandem.TextValue(fmt.Sprint("again ", i)))
			again[i] = &other
		}
		s2 := c.Open(t, dir)
		if err := s2.Resume(at); err != nil {
			t.Fatalf("resume at %d: %v", at, err)
		}
		if p := position(t, s2, true); cut > 0 && p != at {
			t.Fatalf("position %d after resuming at %d", p, at)
		}
		for part := range slices.Chunk(again[known:], 5) {
			write(t, s2, part)
		}
		closeSink(t, s2)
		c.check(t, dir, again)
	}
}

func (c SinkConfig) lost(t *testing.T) {
	dir, tasks := t.TempDir(), ended(30)
	s := c.Open(t, dir)
	begin(t, s)
	write(t, s, tasks)
	at := position(t, s, false)
	closeSink(t, s)
	refused := func(what string, at int64) {
		t.Helper()
		s := c.Open(t, dir)
		defer s.Close()
		err := s.Resume(at)
		e, ok := errors.AsType[*tandem.Error](err)
		if !ok || !strings.Contains(e.Message+e.Hint, "--resume") || e.Kind != tandem.KindSink {
			t.Errorf("%s: %v", what, err)
		}
	}
	if !c.Replaces {
		refused("a file that is shorter", at+1)
		refused("a position inside a record", at-3)
		c.check(t, dir, tasks) // and nothing was cut off
	}
	c.Gone(t, dir)
	refused("a file that is gone", at)
}

func (c SinkConfig) forget(t *testing.T) {
	dir, tasks := t.TempDir(), ended(90)
	s := c.Open(t, dir)
	begin(t, s)
	write(t, s, tasks)
	at := position(t, s, true)
	closeSink(t, s)
	var kept, again []*tandem.Task
	gone := map[string]bool{}
	for i, task := range tasks {
		if i%3 == 1 {
			again = append(again, task)
			gone[task.ID] = true
		} else {
			kept = append(kept, task)
		}
	}
	for round := range 2 { // the second forgets what the first wrote anew
		s = c.Open(t, dir)
		if err := s.Resume(at); err != nil {
			t.Fatal(err)
		}
		if err := s.Forget(func(string) bool { return false }); err != nil || position(t, s, false) != at {
			t.Fatalf("nothing to forget: %v", err)
		}
		if err := s.Forget(func(id string) bool { return gone[id] }); err != nil {
			t.Fatal(err)
		}
		position(t, s, round == 0)
		c.check(t, dir, kept)
		write(t, s, again)
		at = position(t, s, true)
		closeSink(t, s)
		c.check(t, dir, append(slices.Clone(kept), again...))
	}
}

// What the sink says is written is in it, and whole, when the disk is full.
func (c SinkConfig) full(t *testing.T) {
	if c.Small == "" {
		t.Skip("no small disk here")
	}
	s := c.Open(t, c.Small)
	begin(t, s)
	var said int
	var err error
	var tasks []*tandem.Task
	for i := 0; err == nil && i < 100_000; i++ {
		id := fmt.Sprint("full ", i)
		task := &tandem.Task{ID: id, Result: tandem.Give(tandem.TextValue(strings.Repeat(id, 100+i%300)))}
		tasks = append(tasks, task)
		if i%4 < 3 {
			continue
		}
		var n int
		n, err = s.Write(tasks[len(tasks)-4:])
		said += n
	}
	if f, ok := s.(interface{ Flush() (int, error) }); ok {
		lost, _ := f.Flush()
		said -= lost
	}
	e, ok := errors.AsType[*tandem.Error](err)
	if !ok || e.Kind != tandem.KindSink || !strings.Contains(e.Hint, "free some room") {
		t.Errorf("a full disk is told as %v", err)
	}
	if n, err := s.Write(tasks[:1]); n != 0 || err == nil {
		t.Errorf("it goes on after a fault: %d, %v", n, err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("the fault was told already, Close says %v", err)
	}
	if said == 0 {
		t.Error("nothing fitted: the disk is too small for this test")
	}
	c.check(t, c.Small, tasks[:said])
}
