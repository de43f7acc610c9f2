package report

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"time"

	"tandem"
	"tandem/internal/lanes"
	"tandem/internal/runs"
)

//go:embed page/page.html
var pageHTML string

//go:embed page/page.css
var pageCSS string

// pageJS is made of web/src by make generate.
//
//go:embed page/page.js
var pageJS string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"count": count, "span": Span, "percent": func(x float64) string { return fmt.Sprintf("%.0f %%", 100*x) },
	"clock": clock, "when": func(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") },
	"shareText": shareText, "bars": bars, "inc": func(i int) int { return i + 1 },
}).Parse(pageHTML))

// What a page shows of long lists; the rest is counted there.
const (
	shownCrashes = 50
	shownNotes   = 200
	shownWords   = 1000 // marks with item and reason
	stackShown   = 6000
)

// HTML writes the report as one page. live is true for a page that a server renews.
func (d *Document) HTML(w io.Writer, live bool) error {
	v, err := d.view(live)
	if err != nil {
		return err
	}
	return page.ExecuteTemplate(w, "page", v)
}

// Fresh is what a page that is open asks for again: its data and the parts around the lanes.
func (d *Document) Fresh() ([]byte, error) {
	v, err := d.view(true)
	if err != nil {
		return nil, err
	}
	var head, facts bytes.Buffer
	if err := page.ExecuteTemplate(&head, "head", v); err != nil {
		return nil, err
	}
	if err := page.ExecuteTemplate(&facts, "facts", v); err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{"data": json.RawMessage(v.Data), "head": head.String(), "facts": facts.String()})
}

// view is what the page's template is filled with.
type view struct {
	*Document
	Live      bool
	Going     bool
	Data      template.JS
	CSS       template.CSS
	JS        template.JS
	Policy    string
	Outcomes  []outcome
	Decisions []Note
	Workers   []Note
	MoreNotes int
	Reports   []death
	MoreDead  int
	Hidden    []string
	Shown     time.Time
	Legend    []legend
	Sorted    []Lane
}

type outcome struct {
	Word string
	N    int64
	Bad  bool
}

type legend struct{ StateWord }

type death struct {
	tandem.Crash
	Head  string
	Stack string
}

func (d *Document) view(live bool) (*view, error) {
	data, err := d.data(live)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(pageJS))
	v := &view{Document: d, Live: live, Going: d.Run.State == runs.Running, Data: template.JS(data), CSS: template.CSS(pageCSS), JS: template.JS(pageJS), Shown: time.Now()}
	v.Policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	if live {
		v.Policy += "; connect-src 'self'"
	}
	i := d.Items
	for _, o := range []outcome{{"read", i.In, false}, {"made on the way", i.Made, false}, {"ok", i.OK, false}, {"filtered", i.Filtered, false}, {"failed", i.Failed, true},
		{"timed out", i.TimedOut, true}, {"crashed", i.Crashed, true}, {"quarantined", i.Quarantined, true}, {"canceled", i.Canceled, true}, {"not written", i.Unwritten, true}} {
		if o.N > 0 || o.Word == "read" || o.Word == "ok" {
			v.Outcomes = append(v.Outcomes, o)
		}
	}
	for _, n := range d.Notes {
		switch {
		case n.What != "worker":
			v.Decisions = append(v.Decisions, n)
		case len(v.Workers) < shownNotes:
			v.Workers = append(v.Workers, n)
		default:
			v.MoreNotes++
		}
	}
	for _, c := range d.Crashes {
		if len(v.Reports) == shownCrashes {
			v.MoreDead++
			continue
		}
		one := death{Crash: c, Head: string(c.Outcome)}
		if one.Head == "" {
			one.Head = "died"
		}
		if c.Stack != nil {
			one.Stack = c.Stack.Text
		} else {
			one.Stack = c.Stderr
		}
		if len(one.Stack) > stackShown {
			one.Stack = "… " + one.Stack[len(one.Stack)-stackShown:]
		}
		v.Reports = append(v.Reports, one)
	}
	v.MoreDead += d.CrashesOff
	for s := lanes.Starting; s < lanes.States; s++ {
		v.Legend = append(v.Legend, legend{StateWord{s.String(), s.Means()}})
	}
	v.Hidden = d.hidden()
	v.Sorted = slices.Clone(d.Lanes)
	slices.SortStableFunc(v.Sorted, func(a, b Lane) int {
		return cmp.Or(cmp.Compare(a.Step, b.Step), cmp.Compare(a.Worker, b.Worker), cmp.Compare(a.Thread, b.Thread))
	})
	return v, nil
}

// hidden says what the report counts and does not show.
func (d *Document) hidden() (list []string) {
	add := func(n int64, text string) {
		if n > 0 {
			list = append(list, count(n)+" "+text)
		}
	}
	add(d.Lost.Marks, "crashes, timeouts and kills came after the last that is drawn")
	add(d.Lost.Groups, "failures are of kinds beyond the 500 that are kept apart")
	add(d.Lost.Failures, "failures are only counted in their group")
	add(d.Lost.Lanes, "workers or threads have no lane of their own")
	add(d.Lost.Notes, "events are not kept")
	if d.record != nil && d.record.Torn > 0 && d.Run.State != runs.Running {
		list = append(list, "the last half second before the end was not written down")
	}
	return list
}

// drawing is what the page's program draws. Times are in milliseconds.
type drawing struct {
	Live   bool        `json:"live"`
	Going  bool        `json:"going"`
	End    float64     `json:"end"`
	States []StateWord `json:"states"`
	From   []float64   `json:"from"`
	Width  []float64   `json:"width"`
	OK     []int64     `json:"ok"`
	Bad    []int64     `json:"bad"`
	Steps  []drawnStep `json:"steps"`
	Lanes  []drawnLane `json:"lanes"`
	Marks  []drawnMark `json:"marks"`
	Kinds  []string    `json:"kinds"`
}

type drawnStep struct {
	Name     string    `json:"name"`
	Mode     string    `json:"mode"`
	InFlight []float64 `json:"inFlight"`
	Limit    []int     `json:"limit"`
	Queue    []int     `json:"queue"`
	Ended    []int64   `json:"ended"`
	Bad      []int64   `json:"bad"`
}

// drawnLane has four bytes a row: two states, the shares of both, and the third state, which has the rest.
type drawnLane struct {
	Name   string `json:"name"`
	Step   int    `json:"step"`
	Worker int    `json:"worker"`
	Thread int    `json:"thread"` // 0 for the worker itself
	Cells  string `json:"cells"`  // base64
}

type drawnMark struct {
	At     float64 `json:"at"`
	Lane   int     `json:"lane"`
	Step   int     `json:"step"`
	Kind   int     `json:"kind"`
	Count  int64   `json:"count"`
	Item   string  `json:"item,omitempty"`
	Reason string  `json:"reason,omitempty"`
}

func (d *Document) data(live bool) ([]byte, error) {
	d.detail(d.forPage())
	g := drawing{Live: live, Going: d.Run.State == runs.Running, States: d.States, From: []float64{}, Width: []float64{}, OK: []int64{}, Bad: []int64{}, Steps: []drawnStep{}, Lanes: []drawnLane{}, Marks: []drawnMark{}}
	for k := range lanes.Kinds {
		g.Kinds = append(g.Kinds, k.String())
	}
	for i := range d.Steps {
		g.Steps = append(g.Steps, drawnStep{Name: d.Steps[i].Name, Mode: d.Steps[i].Mode, InFlight: []float64{}, Limit: []int{}, Queue: []int{}, Ended: []int64{}, Bad: []int64{}})
	}
	cells := make([][]byte, len(d.Lanes))
	for _, r := range d.Rows {
		g.From, g.Width = append(g.From, round2(r.From*1000)), append(g.Width, round2(r.Width*1000))
		g.OK, g.Bad = append(g.OK, r.OK), append(g.Bad, r.Bad)
		for i := range g.Steps {
			var s StepRow
			if i < len(r.Steps) {
				s = r.Steps[i]
			}
			to := &g.Steps[i]
			to.InFlight, to.Limit, to.Queue = append(to.InFlight, s.InFlight), append(to.Limit, s.Limit), append(to.Queue, s.Queue)
			to.Ended, to.Bad = append(to.Ended, s.Ended), append(to.Bad, s.Bad)
		}
		for i := range cells {
			c := [lanes.States]uint8{lanes.Off: 255} // before it was there
			if i < len(r.Lanes) {
				c = r.Lanes[i]
			}
			cells[i] = append(cells[i], pack(c)...)
		}
		g.End = round2((r.From + r.Width) * 1000)
	}
	for i, l := range d.Lanes {
		g.Lanes = append(g.Lanes, drawnLane{Name: l.Name, Step: l.Step, Worker: l.Worker, Thread: l.Thread, Cells: base64.StdEncoding.EncodeToString(cells[i])})
	}
	for i, m := range gather(d.Marks, d.Run.Seconds, pageMarks) {
		one := drawnMark{At: round2(m.At * 1000), Lane: m.Lane, Step: m.step, Kind: int(m.kind), Count: m.Count}
		if i < shownWords {
			one.Item, one.Reason = m.Item, m.Reason
		}
		g.Marks = append(g.Marks, one)
		g.End = max(g.End, one.At)
	}
	return json.Marshal(g)
}

// pack keeps the three largest shares.
func pack(c [lanes.States]uint8) []byte {
	var top [3]int
	used := [lanes.States]bool{}
	for n := range top {
		best := -1
		for s, share := range c {
			if !used[s] && (best < 0 || share > c[best]) {
				best = s
			}
		}
		top[n], used[best] = best, true
	}
	return []byte{byte(top[0]<<4 | top[1]), c[top[0]], c[top[1]], byte(top[2])}
}

func round2(x float64) float64 { return math.Round(x*100) / 100 }

// clock is a moment of the run for a person.
func clock(seconds float64) string {
	if seconds < 60 {
		return fmt.Sprintf("%.3f s", seconds)
	}
	return fmt.Sprintf("%d:%06.3f", int(seconds)/60, math.Mod(seconds, 60))
}

// shareText lists the states that took a per cent or more, the largest first.
func shareText(shares map[string]float64) string {
	var b bytes.Buffer
	left := map[string]float64{}
	for s, x := range shares {
		left[s] = x
	}
	for range shares {
		best := ""
		for s := lanes.Off; s < lanes.States; s++ {
			if n := s.String(); best == "" || left[n] > left[best] {
				best = n
			}
		}
		if left[best] < 0.005 {
			break
		}
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s %.0f %%", best, 100*left[best])
		delete(left, best)
	}
	return b.String()
}

type bar struct {
	Class    string
	X, Width float64
	Title    string
}

// bars are the parts of a stacked bar a hundred wide.
func bars(shares map[string]float64) (list []bar) {
	x := 0.0
	for s := lanes.Off; s < lanes.States; s++ {
		if share := shares[s.String()]; share > 0.001 {
			list = append(list, bar{fmt.Sprintf("s%d", s), round2(x), round2(100 * share), fmt.Sprintf("%s %.1f %%", s, 100*share)})
			x += 100 * share
		}
	}
	return list
}
