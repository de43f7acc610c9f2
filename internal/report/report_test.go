package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"tandem"
	"tandem/engine"
	"tandem/internal/lanes"
	"tandem/internal/runs"
)

// made is a run in a directory of its own, as a tandem run would have left it.
type made struct {
	root string
	dir  *runs.Dir
	rec  *lanes.Recorder
	at   time.Duration
}

func begin(t testing.TB) *made {
	t.Helper()
	root := t.TempDir()
	dir, err := runs.Create(root, runs.Run{Flow: "/flows/photos.yaml", Name: "photos", Started: time.Now().Add(-time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	m := &made{root: root, dir: dir}
	if m.rec, err = lanes.Create(dir.Lanes(), lanes.Header{Run: dir.Run().ID, Flow: dir.Run().Flow, Name: "photos", Started: dir.Run().Started, About: [][2]string{{"cores", "2"}}}); err != nil {
		t.Fatal(err)
	}
	return m
}

// rows adds rows until a moment; each has items, and its workers compute, wait and starve in turn.
func (m *made) rows(until time.Duration, workers int, items int64) {
	m.rec.Step(lanes.Step{Index: 0, Name: "thumb", Mode: "process", Workers: workers, Threads: 1, Concurrency: workers, Because: "the flow says so"})
	m.rec.Step(lanes.Step{Index: 1, Name: "upload", Mode: "goroutine", Concurrency: 64})
	for w := range workers {
		m.rec.Lane(lanes.Lane{Worker: w + 1})
	}
	for n := 0; m.at < until; n++ {
		row := lanes.Row{From: m.at, Width: lanes.WidthAt(m.at), Items: lanes.Items{In: items, OK: items},
			Steps: []lanes.StepRow{{InFlight: float64(workers), Most: workers, Queue: 900, Ended: items}, {InFlight: 17.5, Most: 20, Limit: 24, Ended: items}}}
		for w := range workers {
			row.Lanes = append(row.Lanes, lanes.Cell{Shares: lanes.Shares([lanes.States]float64{lanes.CPU: 8, lanes.Waiting: float64((n + w) % 3), lanes.Starved: 1}), Ended: items / int64(workers)})
		}
		m.rec.Row(&row)
		m.at = row.End()
	}
}

func (m *made) end(t testing.TB, r engine.Report) {
	t.Helper()
	totals, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.rec.Close(r.Outcome); err != nil {
		t.Fatal(err)
	}
	if err := m.dir.Update(func(run *runs.Run) {
		run.State, run.Outcome, run.Totals, run.Ended = runs.Ended, r.Outcome, totals, run.Started.Add(m.at)
	}); err != nil {
		t.Fatal(err)
	}
	m.dir.Close()
}

func (m *made) gather(t testing.TB) *Document {
	t.Helper()
	all, strange, err := runs.List(m.root)
	if err != nil || len(all) != 1 || len(strange) > 0 {
		t.Fatal(all, strange, err)
	}
	d, err := Gather(all[0], time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func html(t testing.TB, d *Document) string {
	t.Helper()
	var b bytes.Buffer
	if err := d.HTML(&b, false); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func photos() engine.Report {
	return engine.Report{Flow: "photos", Outcome: "failed", Seconds: 12, Items: engine.Items{In: 402, OK: 400, Quarantined: 2},
		Bottleneck: &engine.Bottleneck{Step: "thumb", Share: 0.98, Because: "its queue was full 98 % of the time"},
		Steps:      []engine.StepReport{{Name: "thumb", Mode: tandem.Process, Workers: 2, Because: "the flow says so"}, {Name: "upload", Mode: tandem.Goroutine}}}
}

// The answer of a run in every state, word for word.
func TestSentence(t *testing.T) {
	for name, c := range map[string]struct {
		make func(t *testing.T) *made
		want string
	}{
		"ended": {func(t *testing.T) *made {
			m := begin(t)
			m.rows(12*time.Second, 2, 1)
			m.end(t, photos())
			return m
		}, `^402 items in 12 s: 400 ok, 2 quarantined; bound by step thumb \(cpu: 8\d\x{a0}% of its workers' time\)\.$`},
		"running": {func(t *testing.T) *made {
			m := begin(t)
			m.rows(time.Second, 2, 10)
			return m
		}, `^Running for 60 min 00 s: 500 items ended so far, 500 ok; no queue filled up, the busiest step was thumb \(cpu: 8\d\x{a0}% of its workers' time\)\.$`},
		"killed": {func(t *testing.T) *made {
			m := begin(t)
			m.rows(5*time.Second, 2, 1)
			m.dir.Close() // the lock is free, and nobody said how it ended
			return m
		}, `^Killed after 5.0 s, when at least 250 items had ended: 250 ok; no queue filled up, the busiest step was thumb \(cpu: 8\d\x{a0}% of its workers' time\)\.$`},
		"stopped": {func(t *testing.T) *made {
			m := begin(t)
			m.rows(2*time.Second, 2, 1)
			if err := m.rec.Close("interrupted"); err != nil {
				t.Fatal(err)
			}
			totals, _ := json.Marshal(engine.Report{Outcome: "interrupted", Items: engine.Items{In: 9, OK: 7, Canceled: 2}})
			if err := m.dir.Update(func(r *runs.Run) { r.Outcome, r.Totals = "interrupted", totals }); err != nil {
				t.Fatal(err)
			}
			m.dir.Close()
			return m
		}, `^9 items in 2.0 s: 7 ok, 2 canceled; interrupted before its end; no queue filled up, the busiest step was thumb \(cpu: 8\d\x{a0}% of its workers' time\)\.$`},
		"empty": {func(t *testing.T) *made {
			m := begin(t)
			m.at = 300 * time.Millisecond
			m.end(t, engine.Report{Outcome: "ok"})
			return m
		}, `^No items: the source gave none, in 300 ms\.$`},
		"just begun": {func(t *testing.T) *made { return begin(t) }, `^Running for 60 min 00 s; no item has ended yet\.$`},
	} {
		t.Run(name, func(t *testing.T) {
			d := c.make(t).gather(t)
			if !regexp.MustCompile(c.want).MatchString(d.Sentence) {
				t.Errorf("%q\nwant %s", d.Sentence, c.want)
			}
			page := html(t, d)
			if !strings.Contains(page, `<h1 id="answer">`+strings.NewReplacer("'", "&#39;").Replace(d.Sentence)+"</h1>") {
				t.Errorf("the page does not open with the sentence %q", d.Sentence)
			}
			if going := strings.Contains(page, "was going on when this was written"); going != (d.Run.State == runs.Running) {
				t.Errorf("a run that is %s: the page says that it goes on: %v", d.Run.State, going)
			}
		})
	}
}

// A run without lanes has its totals and crash reports, and says what is missing.
func TestWithoutLanes(t *testing.T) {
	m := begin(t)
	m.at = 12 * time.Second
	m.end(t, photos())
	if err := os.Remove(m.dir.Lanes()); err != nil {
		t.Fatal(err)
	}
	d := m.gather(t)
	page := html(t, d)
	if !strings.HasPrefix(d.Sentence, "402 items in 12 s: 400 ok, 2 quarantined; bound by step thumb") || !strings.Contains(page, "No lanes: there is none: the run was made with --lanes off") || strings.Contains(page, "<canvas id=") {
		t.Errorf("%s\n%s", d.Sentence, page)
	}
	for ending, write := range Formats {
		var b bytes.Buffer
		if err := write(d, &b); err != nil || b.Len() == 0 {
			t.Errorf("%s: %d bytes, %v", ending, b.Len(), err)
		}
	}
}

// A picture of something else is told by name, and the rest of the report is there.
func TestForeignLanes(t *testing.T) {
	m := begin(t)
	m.rows(time.Second, 1, 1)
	m.end(t, photos())
	if err := os.WriteFile(m.dir.Lanes(), []byte("something else entirely"), 0o600); err != nil {
		t.Fatal(err)
	}
	if page := html(t, m.gather(t)); !strings.Contains(page, "No lanes: it is no lanes file of Tandem") {
		t.Error(page)
	}
}

// What the run's texts say is shown, never run.
func TestTextsStayTexts(t *testing.T) {
	evil := `</script><script>alert(1)</script><img src=x onerror=alert(2)>`
	m := begin(t)
	m.rows(time.Second, 1, 1)
	m.rec.Mark(lanes.Mark{At: time.Millisecond, Lane: 0, Item: evil, Reason: evil})
	m.rec.Fail(lanes.Group{Step: "thumb", Outcome: evil, Kind: evil, Reason: evil, Message: evil}, evil)
	m.rec.Note(lanes.Note{What: "decision", ID: evil, Reason: evil})
	if err := m.dir.Crashes().Keep(tandem.Crash{Step: "thumb", Item: evil, What: evil, Stderr: evil, Evidence: []tandem.Evidence{{What: evil, Says: evil}}}); err != nil {
		t.Fatal(err)
	}
	m.end(t, photos())
	page := html(t, m.gather(t))
	if strings.Contains(page, "<script>alert") || strings.Contains(page, "<img") || strings.Contains(page, "</script><script>alert") {
		t.Error("a text of the run is part of the page")
	}
	if strings.Count(page, "&lt;img") < 8 {
		t.Errorf("the texts are not shown: %d times", strings.Count(page, "&lt;img"))
	}
}

// The page loads nothing: no address but those in texts, and a policy that forbids the rest.
func TestThePageStandsAlone(t *testing.T) {
	m := begin(t)
	m.rows(time.Second, 1, 1)
	m.end(t, photos())
	page := html(t, m.gather(t))
	for _, bad := range []string{"http://", "https://", "src=", "@import", "url("} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	if !strings.Contains(page, "default-src &#39;none&#39;") && !strings.Contains(page, "default-src 'none'") {
		t.Error("the page has no content policy")
	}
}

// 200 000 crashes, or one: all are counted, whatever is gathered.
func TestNoMarkIsLost(t *testing.T) {
	for _, n := range []int{0, 1, 100, 5000, 5001, 60_000} {
		var all []Mark
		for i := range n {
			all = append(all, Mark{At: float64(i) * 0.01, Lane: i % 200, Kind: "crash", kind: lanes.Kind(i % 3), Count: 1})
		}
		got := gather(all, float64(n)*0.01, pageMarks)
		sum := int64(0)
		for _, m := range got {
			sum += m.Count
		}
		if sum != int64(n) || len(got) > pageMarks {
			t.Errorf("%d marks: %d in %d places", n, sum, len(got))
		}
		if n <= pageMarks && len(got) != n {
			t.Errorf("%d marks are gathered into %d, although there is room", n, len(got))
		}
	}
}

// Field numbers and kinds of perfetto.protos, as its readers know them.
const (
	packetTime, packetEvent, packetDescriptor = 8, 11, 60
	trackUUID                                 = 1
	eventType, eventTrack, eventName          = 9, 11, 23
	sliceBegin, sliceEnd                      = 1, 2
)

// The trace: every packet parses, every slice that begins ends, no time goes back on a track.
func TestPerfetto(t *testing.T) {
	m := begin(t)
	m.rows(3*time.Second, 3, 5)
	m.rec.Mark(lanes.Mark{At: time.Second, Kind: lanes.Crashed, Lane: 1, Item: "a.jpg", Reason: "SIGSEGV"})
	m.rec.Note(lanes.Note{At: time.Second, What: "decision", ID: "thumb", From: "auto", To: "process", Reason: "it computes"})
	m.end(t, photos())
	var b bytes.Buffer
	if err := m.gather(t).Perfetto(&b); err != nil {
		t.Fatal(err)
	}
	tracks, open, last := map[uint64]bool{}, map[uint64]int{}, map[uint64]uint64{}
	names := map[string]int{}
	fields(t, b.Bytes(), func(n protowire.Number, _ uint64, packet []byte) {
		var at uint64
		fields(t, packet, func(n protowire.Number, x uint64, body []byte) {
			switch n {
			case packetTime:
				at = x
			case packetDescriptor:
				fields(t, body, func(n protowire.Number, x uint64, _ []byte) {
					if n == trackUUID {
						tracks[x] = true
					}
				})
			case packetEvent:
				var kind, track uint64
				fields(t, body, func(n protowire.Number, x uint64, text []byte) {
					switch n {
					case eventType:
						kind = x
					case eventTrack:
						track = x
					case eventName:
						names[string(text)]++
					}
				})
				if !tracks[track] {
					t.Fatalf("an event on track %d, which nobody has described", track)
				}
				switch kind {
				case sliceBegin:
					open[track]++
				case sliceEnd:
					open[track]--
				}
				if kind == sliceBegin || kind == sliceEnd {
					if open[track] < 0 || open[track] > 1 || at < last[track] {
						t.Fatalf("track %d: %d slices open at %d, before it was %d", track, open[track], at, last[track])
					}
					last[track] = at
				}
			}
		})
	})
	for track, n := range open {
		if n != 0 {
			t.Errorf("a slice of track %d does not end", track)
		}
	}
	if len(tracks) != 1+3+2*3 || names["cpu"] == 0 || names["crash"] != 1 || names["decision"] != 1 {
		t.Errorf("%d tracks, names %v", len(tracks), names)
	}
}

func fields(t *testing.T, b []byte, call func(n protowire.Number, x uint64, body []byte)) {
	t.Helper()
	for len(b) > 0 {
		n, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			t.Fatal(protowire.ParseError(size))
		}
		b = b[size:]
		var x uint64
		var body []byte
		switch kind {
		case protowire.VarintType:
			x, size = protowire.ConsumeVarint(b)
		case protowire.Fixed64Type:
			x, size = protowire.ConsumeFixed64(b)
		case protowire.BytesType:
			body, size = protowire.ConsumeBytes(b)
		default:
			t.Fatalf("field %d has wire type %d", n, kind)
		}
		if size < 0 {
			t.Fatal(protowire.ParseError(size))
		}
		call(n, x, body)
		b = b[size:]
	}
}

func TestJSON(t *testing.T) {
	m := begin(t)
	m.rows(2*time.Second, 2, 3)
	m.rec.Fail(lanes.Group{Step: "thumb", Outcome: "failed", Kind: "exception", Reason: "ValueError"}, "a.jpg")
	m.end(t, photos())
	var b bytes.Buffer
	if err := m.gather(t).JSON(&b); err != nil {
		t.Fatal(err)
	}
	var d struct {
		Sentence string
		Items    map[string]int64
		Rows     []struct {
			From, Width float64
			OK          int64
			Lanes       [][]int
		}
		Lanes    []struct{ Name string }
		Failures []struct {
			Count int64
			Items []string
		}
	}
	if err := json.Unmarshal(b.Bytes(), &d); err != nil {
		t.Fatal(err)
	}
	sum, end := int64(0), 0.0
	for _, r := range d.Rows {
		sum += r.OK
		end = r.From + r.Width
	}
	if d.Items["ok"] != 400 || sum != 3*int64(len(d.Rows)) || end < 1.9 || len(d.Lanes) != 2 || d.Lanes[1].Name != "thumb/2" || len(d.Failures) != 1 || d.Failures[0].Items[0] != "a.jpg" || len(d.Rows[3].Lanes[0]) != int(lanes.States) {
		t.Errorf("%+v, %d items to %v s", d.Items, sum, end)
	}
}

// The server answers this machine alone, and gives what is new.
func TestServer(t *testing.T) {
	m := begin(t)
	m.rows(time.Second, 2, 1)
	h := Handler(func() (*Document, error) { return m.gather(t), nil })
	get := func(path, host string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", path, nil)
		r.Host = host
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	if w := get("/", "evil.example:8080"); w.Code != 403 {
		t.Errorf("a foreign name is answered with %d", w.Code)
	}
	if w := get("/", "127.0.0.1:8080"); w.Code != 200 || !strings.Contains(w.Body.String(), "connect-src") {
		t.Errorf("%d", w.Code)
	}
	if w := get("/nothing", "localhost:1"); w.Code != 404 {
		t.Errorf("/nothing: %d", w.Code)
	}
	rows := func() int {
		var fresh struct {
			Data drawing
			Head string
		}
		w := get("/data.json", "localhost:1")
		if err := json.Unmarshal(w.Body.Bytes(), &fresh); err != nil || !strings.Contains(fresh.Head, "Running for") {
			t.Fatal(w.Code, err, fresh.Head)
		}
		return len(fresh.Data.From)
	}
	before := rows()
	m.rows(3*time.Second, 2, 1)
	if after := rows(); after <= before {
		t.Errorf("%d rows, later %d", before, after)
	}
}

// A run of a million items and 256 lanes over ten days: the page stays within its two megabytes.
func TestPageSize(t *testing.T) {
	m := begin(t)
	m.rows(240*time.Hour, 256, 100)
	for i := range 70_000 {
		m.rec.Mark(lanes.Mark{At: time.Duration(i) * 12 * time.Second, Lane: i % 256, Item: fmt.Sprintf("photos/%d.jpg", i), Reason: "SIGSEGV (segmentation fault)"})
	}
	m.end(t, photos())
	begun := time.Now()
	d := m.gather(t)
	page := html(t, d)
	info, err := os.Stat(m.dir.Lanes())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("lanes file %.1f MB, page %.2f MB with %d rows, made in %v", float64(info.Size())/1e6, float64(len(page))/1e6, len(d.Rows), time.Since(begun).Round(time.Millisecond))
	if len(page) > 2_000_000 {
		t.Errorf("the page has %d bytes", len(page))
	}
	if !strings.Contains(page, "4\u00a0464 crashes, timeouts and kills came after the last that is drawn") {
		t.Errorf("the page does not say what is not drawn: lost %+v", d.Lost)
	}
}
