package lanes

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"tandem"
)

func create(t testing.TB) (*Recorder, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lanes")
	r, err := Create(path, Header{Run: "r", Flow: "flow.yaml", Started: time.Now(), About: [][2]string{{"cores", "2"}}})
	if err != nil {
		t.Fatal(err)
	}
	return r, path
}

func cell(at ...any) (c Cell) {
	for i := 0; i < len(at); i += 2 {
		c.Shares[at[i].(State)] = uint8(at[i+1].(int))
	}
	return c
}

// What is recorded is what is read.
func TestRoundTrip(t *testing.T) {
	r, path := create(t)
	r.Step(Step{Index: 0, Name: "thumb", Mode: "auto"})
	r.Step(Step{Index: 0, Name: "thumb", Mode: "process", Workers: 2})
	for w := 1; w <= 2; w++ {
		if n, ok := r.Lane(Lane{Worker: w}); !ok || n != w-1 {
			t.Fatalf("lane %d is number %d, %v", w, n, ok)
		}
	}
	if n, ok := r.Lane(Lane{Worker: 2}); !ok || n != 1 {
		t.Fatalf("the second worker is number %d when asked again", n)
	}
	rows := []Row{
		{From: 0, Width: 10 * time.Millisecond, Items: Items{In: 5, OK: 3, Quarantined: 1}, Steps: []StepRow{{InFlight: 1.5, Most: 2, Limit: 8, Queue: 7, Waiting: 1, Ended: 4, Bad: 1, Retried: 2}}, Lanes: []Cell{}},
		{From: 10 * time.Millisecond, Width: 10 * time.Millisecond, Steps: []StepRow{{}}, Lanes: []Cell{cell(CPU, 255), cell(CPU, 100, Waiting, 155)}},
		{From: 50 * time.Millisecond, Width: 20 * time.Millisecond, Steps: []StepRow{{}}, Lanes: []Cell{cell(CPU, 255), cell(Draining, 255)}},
	}
	rows[1].Lanes[1].Ended = 1 << 40
	for i := range rows {
		r.Row(&rows[i])
	}
	marks := []Mark{{At: 12345 * time.Microsecond, Kind: Memory, Step: 0, Lane: 1, Item: "a.jpg", Reason: "oom"}, {At: 13 * time.Millisecond, Kind: TimedOut, Lane: -1}}
	for _, m := range marks {
		r.Mark(m)
	}
	for i := range 3 {
		r.Fail(Group{Step: "thumb", Outcome: "failed", Kind: "exception", Reason: "ValueError", Message: fmt.Sprint("m", i)}, fmt.Sprint("item", i))
	}
	r.Note(Note{At: time.Second, What: "decision", ID: "thumb", From: "auto", To: "process", Reason: "because"})
	r.Bottleneck(Bottleneck{Step: "thumb", Share: 0.9, Because: "full"})
	if err := r.Close("ok"); err != nil {
		t.Fatal(err)
	}
	got, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got.Rows, rows) {
		t.Errorf("rows\n got %+v\nwant %+v", got.Rows, rows)
	}
	if !reflect.DeepEqual(got.Marks, marks) {
		t.Errorf("marks\n got %+v\nwant %+v", got.Marks, marks)
	}
	if want := []Group{{Step: "thumb", Outcome: "failed", Kind: "exception", Reason: "ValueError", Message: "m0", Count: 3}}; !reflect.DeepEqual(got.Groups, want) {
		t.Errorf("groups %+v", got.Groups)
	}
	if len(got.Failures) != 3 || got.Failures[2].Item != "item2" || len(got.Steps) != 1 || got.Steps[0].Mode != "process" || len(got.Notes) != 1 || got.Notes[0].At != time.Second {
		t.Errorf("failures %+v, steps %+v, notes %+v", got.Failures, got.Steps, got.Notes)
	}
	if got.Ended == nil || got.Ended.Outcome != "ok" || got.Torn != 0 || got.Lost != (Lost{}) || got.Header.Run != "r" || got.Bottleneck.Share != 0.9 {
		t.Errorf("ended %+v, torn %d, lost %+v, header %+v", got.Ended, got.Torn, got.Lost, got.Header)
	}
}

// big records a run and gives the file's bytes and where its frames end.
func big(t testing.TB, rows int) ([]byte, []int) {
	r, path := create(t)
	var ends []int
	size := func() int {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return len(b)
	}
	ends = append(ends, size())
	r.Step(Step{Name: "s"})
	r.Lane(Lane{Worker: 1})
	for i := range rows {
		at := r.end
		row := Row{From: at, Width: WidthAt(at), Items: Items{OK: int64(i)}, Steps: []StepRow{{Ended: int64(i)}}, Lanes: []Cell{cell(State(1+i%int(States-1)), 255)}}
		r.Row(&row)
		if i%7 == 0 {
			r.Mark(Mark{At: at, Lane: 0, Item: "x"})
			r.Fail(Group{Step: "s", Kind: "k", Reason: fmt.Sprint(i % 3)}, "x")
		}
		if n := size(); n != ends[len(ends)-1] {
			ends = append(ends, n)
		}
	}
	if err := r.Close("ok"); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b, append(ends, len(b))
}

// A file cut off anywhere gives all whole frames before the cut and no part of another.
func TestTornAnywhere(t *testing.T) {
	b, ends := big(t, 400)
	whole := map[int]int{} // rows by end of frame
	for _, end := range ends {
		rec, err := parse("lanes", b[:end])
		if err != nil {
			t.Fatal(err)
		}
		if rec.Torn != 0 {
			t.Fatalf("%d bytes torn at the end of a frame", rec.Torn)
		}
		whole[end] = len(rec.Rows)
	}
	if len(ends) < 5 || whole[len(b)] != 400 {
		t.Fatalf("%d frames, %d rows", len(ends), whole[len(b)])
	}
	last := 0
	for cut := range b {
		if cut >= ends[0] {
			for ends[last+1] <= cut {
				last++
			}
		}
		rec, err := parse("lanes", b[:cut])
		if cut < ends[0] {
			if err == nil {
				t.Fatalf("%d bytes, less than the header, are read as a picture", cut)
			}
			continue
		}
		if err != nil || len(rec.Rows) != whole[ends[last]] || rec.Torn != int64(cut-ends[last]) {
			t.Fatalf("cut at %d, behind the frame that ends at %d: %d rows want %d, torn %d, %v", cut, ends[last], len(rec.Rows), whole[ends[last]], rec.Torn, err)
		}
	}
}

// A flipped bit ends the reading before its frame: nothing behind it is believed.
func TestDamage(t *testing.T) {
	b, ends := big(t, 200)
	for range 500 {
		bad := bytes.Clone(b)
		at := ends[0] + rand.IntN(len(b)-ends[0])
		bad[at] ^= 1 << rand.IntN(8)
		rec, err := parse("lanes", bad)
		if err != nil {
			t.Fatalf("bit at %d: %v", at, err)
		}
		for i, end := range ends {
			if at < end {
				if rec.size != int64(ends[i-1]) {
					t.Fatalf("bit at %d: read to %d, want %d", at, rec.size, ends[i-1])
				}
				break
			}
		}
	}
}

func TestWhatIsNoLanesFile(t *testing.T) {
	versioned := func(v uint32, rest ...byte) []byte {
		return append(binary.LittleEndian.AppendUint32([]byte(magic), v), rest...)
	}
	frame := append(make([]byte, headSize), recRow, 0, 1)
	seal(frame)
	for name, b := range map[string][]byte{
		"empty": nil, "text": []byte("{\"run\": 1}\n and more"), "another version": versioned(99), "no header": versioned(version), "a row before the header": append(versioned(version), frame...),
	} {
		path := filepath.Join(t.TempDir(), "lanes")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Read(path)
		e, ok := errors.AsType[*tandem.Error](err)
		if !ok || e.Kind != tandem.KindInvalid || e.On != path || e.Hint == "" {
			t.Errorf("%s: %v, want an error that names the file and says what to do", name, err)
		}
		if _, err := Resume(path); err == nil {
			t.Errorf("%s: is gone on with", name)
		}
	}
}

// A run that goes on writes behind the torn end of its earlier part: numbers of lanes and groups stay, time goes on.
func TestResume(t *testing.T) {
	b, ends := big(t, 300)
	path := filepath.Join(t.TempDir(), "lanes")
	if err := os.WriteFile(path, b[:ends[len(ends)-2]+5], 0o600); err != nil { // torn five bytes into the last frame
		t.Fatal(err)
	}
	before, err := Read(path)
	if err != nil || before.Torn != 5 {
		t.Fatal(before, err)
	}
	r, err := Resume(path)
	if err != nil {
		t.Fatal(err)
	}
	if n, ok := r.Lane(Lane{Worker: 1}); !ok || n != 0 {
		t.Errorf("the lane is number %d", n)
	}
	if now := r.Now(); now < before.End() {
		t.Errorf("it is %v, before the end of the earlier part, %v", now, before.End())
	}
	r.Row(&Row{From: r.Now(), Width: time.Second, Lanes: []Cell{cell(CPU, 255)}})
	r.Fail(Group{Step: "s", Kind: "k", Reason: "0"}, "y")
	if err := r.Close("ok"); err != nil {
		t.Fatal(err)
	}
	after, err := Read(path)
	if err != nil || after.Torn != 0 {
		t.Fatal(after, err)
	}
	if len(after.Rows) != len(before.Rows)+1 || len(after.Parts) != 2 || len(after.Lanes) != 1 || len(after.Groups) != len(before.Groups) || after.Groups[0].Count != before.Groups[0].Count+1 {
		t.Errorf("rows %d then %d, parts %d, lanes %d, groups %+v", len(before.Rows), len(after.Rows), len(after.Parts), len(after.Lanes), after.Groups)
	}
}

// What comes beyond the limits is counted, and the counts are in the file.
func TestBeyondTheLimits(t *testing.T) {
	r, path := create(t)
	for i := range MaxLanes + 3 {
		if _, ok := r.Lane(Lane{Worker: i + 1}); ok != (i < MaxLanes) {
			t.Fatalf("lane %d: %v", i, ok)
		}
	}
	for i := range maxMarks + 10 {
		r.Mark(Mark{At: time.Duration(i), Lane: i % MaxLanes, Item: "item", Reason: "reason"})
	}
	for i := range maxGroups + 5 {
		r.Fail(Group{Kind: fmt.Sprint(i)}, "item")
	}
	for range maxFailures {
		r.Fail(Group{Kind: "0"}, "item")
	}
	for range maxNotes + 2 {
		r.Note(Note{What: "worker"})
	}
	if err := r.Close("ok"); err != nil {
		t.Fatal(err)
	}
	got, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Lost{Marks: 10, Groups: 5, Failures: maxGroups, Notes: 2, Lanes: 3}); got.Lost != want {
		t.Errorf("lost %+v, want %+v", got.Lost, want)
	}
	if len(got.Marks) != maxMarks || got.Marks[maxWorded-1].Item == "" || got.Marks[maxWorded].Item != "" || got.Groups[0].Count != maxFailures+1 || len(got.Failures) != maxFailures {
		t.Errorf("%d marks, %d failures, group %+v", len(got.Marks), len(got.Failures), got.Groups[0])
	}
}

// A long run stays small: a day with 64 workers that change their state all the time.
func TestSizeOfADay(t *testing.T) {
	r, path := create(t)
	for i := range 64 {
		r.Lane(Lane{Worker: i + 1})
	}
	rows := 0
	var at time.Duration
	for ; at < 24*time.Hour; rows++ {
		row := Row{From: at, Width: WidthAt(at), Items: Items{In: 123456, OK: 123456}, Steps: []StepRow{{InFlight: 63.2, Most: 64, Queue: 1000, Ended: 123456}}}
		for i := range 64 {
			row.Lanes = append(row.Lanes, Cell{Shares: Shares([States]float64{CPU: 1, Waiting: float64((i+rows)%5) / 4, Starved: float64((i*rows)%3) / 2}), Ended: 2000})
		}
		r.Row(&row)
		at = row.End()
		if row.Width > max(at/500, firstWidth) {
			t.Fatalf("a row of %v at %v", row.Width, at)
		}
	}
	if err := r.Close("ok"); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("a day, 64 lanes: %d rows, %.1f MB", rows, float64(info.Size())/1e6)
	if rows > 8000 || info.Size() > 8<<20 {
		t.Errorf("a day with 64 lanes takes %d rows and %d bytes", rows, info.Size())
	}
}

// Folding loses no count, keeps the shares of time and never closes a pause.
func TestDetail(t *testing.T) {
	rec := &Record{Lanes: []Lane{{Worker: 1}}}
	var at time.Duration
	want := Items{}
	cpu := 0.0
	for i := range 1000 {
		if i == 500 {
			at += 10 * time.Second // a pause between two parts
		}
		row := Row{From: at, Width: 10 * time.Millisecond, Items: Items{OK: int64(i)}, Steps: []StepRow{{Most: i % 9, Ended: int64(i), InFlight: 2}}, Lanes: []Cell{cell(CPU, i%256, Starved, 255-i%256)}}
		rec.Rows = append(rec.Rows, row)
		want.Add(row.Items)
		cpu += float64(i % 256)
		at = row.End()
	}
	for _, n := range []int{1, 7, 100, 1000, 5000} {
		var got Items
		share, most, ended := 0.0, 0, int64(0)
		rows := rec.Detail(0, at, n)
		for i, r := range rows {
			got.Add(r.Items)
			share += float64(r.Lanes[0].Shares[CPU]) * float64(r.Width/(10*time.Millisecond))
			most = max(most, r.Steps[0].Most)
			ended += r.Steps[0].Ended
			if r.Steps[0].InFlight != 2 {
				t.Errorf("%d rows: %v in flight on the mean", n, r.Steps[0].InFlight)
			}
			if i > 0 && r.From < rows[i-1].End() {
				t.Errorf("%d rows: row %d begins before the end of the one before", n, i)
			}
			if r.From < 5*time.Second && r.End() > 5*time.Second {
				t.Errorf("%d rows: one goes over the pause, %v to %v", n, r.From, r.End())
			}
		}
		if got != want || most != 8 || ended != want.OK {
			t.Errorf("%d rows: items %+v want %+v, at most %d, ended %d", n, got, want, most, ended)
		}
		if d := share/cpu - 1; d > 0.02 || d < -0.02 {
			t.Errorf("%d rows: share of cpu off by %.1f %%", n, 100*d)
		}
		if len(rows) > 2*n+2 {
			t.Errorf("%d rows where %d were asked for", len(rows), n)
		}
	}
}

func TestShares(t *testing.T) {
	for range 1000 {
		var a [States]float64
		for s := range a {
			if rand.IntN(3) == 0 {
				a[s] = rand.Float64() * 1e9
			}
		}
		sum := 0
		for s, share := range Shares(a) {
			sum += int(share)
			if a[s] == 0 && share > 0 && State(s) != Off {
				t.Fatalf("%v has a share of nothing: %v", State(s), a)
			}
		}
		if sum != 255 {
			t.Fatalf("the shares of %v add up to %d", a, sum)
		}
	}
}

// A disk that takes no more costs the picture, not the run: Close says why.
func TestCannotWrite(t *testing.T) {
	r, path := create(t)
	r.file.Close() // whatever is written from here on fails
	for range 100 {
		r.Row(&Row{From: r.end, Width: time.Second})
		r.Fail(Group{Kind: "x"}, "item")
	}
	err := r.Close("ok")
	e, ok := errors.AsType[*tandem.Error](err)
	if !ok || e.On != path || !errors.Is(err, os.ErrClosed) {
		t.Errorf("%v, want an error that names the file", err)
	}
}

func FuzzRead(f *testing.F) {
	b, ends := big(f, 50)
	f.Add(b, false)
	f.Add(b[:ends[0]+3], false)
	f.Add(b[ends[0]+headSize:ends[1]], true)
	f.Fuzz(func(t *testing.T, data []byte, body bool) {
		file := data
		if body { // a frame whose checksum is right
			frame := append(make([]byte, headSize), data...)
			seal(frame)
			file = append(bytes.Clone(b[:ends[0]]), frame...)
		}
		rec, err := parse("lanes", file)
		if err != nil {
			return
		}
		if rec.size > int64(len(file)) || rec.End() < 0 {
			t.Fatalf("size %d of %d, end %v", rec.size, len(file), rec.End())
		}
		rec.Detail(0, rec.End(), 100)
	})
}

// While the disk takes its time, those who have something to say do not wait for it.
func TestASlowDiskHoldsNobodyUp(t *testing.T) {
	r, path := create(t)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	file := r.file
	r.file = write // takes 64 KiB, and then nothing until it is read
	written := make(chan struct{})
	go func() {
		defer close(written)
		for i := range 20 {
			for range 200 {
				r.Note(Note{What: "worker", Reason: fmt.Sprint(i, string(bytes.Repeat([]byte("x"), 200)))})
			}
			r.Row(&Row{From: r.end, Width: time.Second})
		}
	}()
	for held := 0; held < 5; time.Sleep(20 * time.Millisecond) { // until a write is under way, and stays
		if r.out.TryLock() {
			r.out.Unlock()
			held = 0
		} else {
			held++
		}
	}
	said := make(chan struct{})
	go func() {
		defer close(said)
		r.Mark(Mark{Lane: -1})
		r.Fail(Group{Kind: "x"}, "item")
	}()
	select {
	case <-said:
	case <-time.After(20 * time.Second):
		t.Error("a mark waits for the disk")
	}
	go func() { _, _ = io.Copy(io.Discard, read) }()
	<-written
	write.Close()
	r.file = file
	if err := r.Close("ok"); err != nil {
		t.Fatal(path, err)
	}
}
