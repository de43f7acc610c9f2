// Package report makes one document of what a run has left behind, and writes it: as a page that needs nothing else, as a Perfetto trace, as JSON.
//
// Promises:
//
//   - The answer comes first: a sentence with what became of the items and what held the run up.
//   - A run may be running, stopped, killed, empty or ended, and made with or without lanes. What is not known is said, not guessed.
//   - Crashes, timeouts and kills are all there: each by itself while they are fewer than a page can hold, then gathered with their number, never left out.
//   - The page is one file of at most some two megabytes that opens from a disk without a network: its detail is cut down here, not in the browser. Its
//     content policy lets it load and send nothing.
//   - Gather reads files of the run's directory and nothing else; it never writes there. Texts of the run are shown as texts.
package report

import (
	"encoding/json"
	"errors"
	"time"

	"tandem"
	"tandem/engine"
	"tandem/internal/lanes"
	"tandem/internal/runs"
)

// Document is all a report says: what -o FILE.json writes.
type Document struct {
	Sentence   string              `json:"sentence"`
	Run        Run                 `json:"run"`
	Items      engine.Items        `json:"items"` // of all parts of the run
	Exact      bool                `json:"exact"` // false when the items are counted by the lanes alone, up to half a second before a kill
	Error      *engine.ReportError `json:"error,omitempty"`
	Bottleneck *engine.Bottleneck  `json:"bottleneck,omitempty"`
	Steps      []Step              `json:"steps"`
	Lanes      []Lane              `json:"lanes"`
	States     []StateWord         `json:"states"`
	Rows       []Row               `json:"rows"`
	Marks      []Mark              `json:"marks"`
	Failures   []Failure           `json:"failures"`
	Crashes    []tandem.Crash      `json:"crashes"`
	CrashesOff int                 `json:"crashes_not_kept,omitempty"` // reports beyond those that the run keeps
	Notes      []Note              `json:"notes"`
	About      [][2]string         `json:"about"`
	Lost       lanes.Lost          `json:"lost"` // more came than is kept each by itself: they are counted
	NoLanes    string              `json:"no_lanes,omitempty"`

	record *lanes.Record // nil without lanes
}

// Run is whose report it is.
type Run struct {
	ID      string     `json:"id"`
	Name    string     `json:"name"`
	Flow    string     `json:"flow"`
	State   runs.State `json:"state"`
	Outcome string     `json:"outcome,omitempty"`
	Started time.Time  `json:"started"`
	Seconds float64    `json:"seconds"` // from its start to its end, or to the last that is known
	Parts   int        `json:"parts"`   // processes that worked on it, one after the other
}

// Step is one step of the flow.
type Step struct {
	lanes.Step
	Report   *engine.StepReport `json:"report,omitempty"` // of its last part, once that has ended
	Ended    int64              `json:"ended"`
	Bad      int64              `json:"bad"`
	Retried  int64              `json:"retried"`
	InFlight float64            `json:"in_flight"` // on the mean
	Most     int                `json:"most_in_flight"`
	Shares   map[string]float64 `json:"shares,omitempty"` // of its workers' time by state, 0 to 1
}

// Lane is a worker or a thread over the whole run.
type Lane struct {
	lanes.Lane
	Name   string             `json:"name"`
	Ended  int64              `json:"ended"`  // tasks
	Shares map[string]float64 `json:"shares"` // of the run's time
	Marks  map[string]int64   `json:"marks,omitempty"`
}

// StateWord explains a state.
type StateWord struct {
	Name  string `json:"name"`
	Means string `json:"means"`
}

// Row is one stretch of time of the run.
type Row struct {
	From  float64               `json:"from"` // seconds since the run began
	Width float64               `json:"width"`
	OK    int64                 `json:"ok"`
	Bad   int64                 `json:"bad"`
	Steps []StepRow             `json:"steps"`
	Lanes [][lanes.States]uint8 `json:"lanes"` // by lane: shares of the states, in 255ths
}

// StepRow is a step in a row.
type StepRow struct {
	InFlight float64 `json:"in_flight"`
	Most     int     `json:"most"`
	Limit    int     `json:"limit"`
	Queue    int     `json:"queue"`
	Waiting  int     `json:"waiting"`
	Ended    int64   `json:"ended"`
	Bad      int64   `json:"bad"`
}

// Mark is a crash, a timeout or a kill; several where they had to be gathered.
type Mark struct {
	At     float64 `json:"at"`
	Kind   string  `json:"kind"`
	Step   string  `json:"step"`
	Lane   int     `json:"lane"` // -1: a command or a goroutine
	Count  int64   `json:"count"`
	Item   string  `json:"item,omitempty"`
	Reason string  `json:"reason,omitempty"`

	kind lanes.Kind
	step int
}

// Failure is what failed in the same way.
type Failure struct {
	lanes.Group
	Items []string `json:"items"` // the first of them
}

// Note is a fact in words.
type Note struct {
	At float64 `json:"at"`
	lanes.Note
}

const samples = 5 // items of a group of failures

// Gather reads what a run has left behind. now is when the reader looks: how long a run that goes on has taken.
func Gather(e runs.Entry, now time.Time) (*Document, error) {
	d := &Document{Run: Run{ID: e.ID, Name: e.Name, Flow: e.Flow, State: e.State, Outcome: e.Outcome, Started: e.Started, Parts: 1},
		Steps: []Step{}, Lanes: []Lane{}, Rows: []Row{}, Marks: []Mark{}, Failures: []Failure{}, Crashes: []tandem.Crash{}, Notes: []Note{}}
	for s := range lanes.States {
		d.States = append(d.States, StateWord{s.String(), s.Means()})
	}
	rec, err := lanes.Read(e.LanesPath())
	if err != nil {
		te, ok := errors.AsType[*tandem.Error](err)
		if !ok {
			return nil, err
		}
		d.NoLanes = te.Message
		if te.Hint != "" {
			d.NoLanes += ": " + te.Hint
		}
	}
	d.record = rec
	if rec != nil {
		d.fromLanes(rec)
	}
	d.fromTotals(e, now)
	deaths, err := e.Deaths()
	if err != nil {
		return nil, err
	}
	d.Crashes, d.CrashesOff = append(d.Crashes, deaths.Crashes...), deaths.NotKept
	d.Sentence = d.sentence()
	return d, nil
}

func (d *Document) fromLanes(rec *lanes.Record) {
	end := rec.End()
	d.Run.Parts, d.Run.Seconds, d.About, d.Lost = max(len(rec.Parts), 1), end.Seconds(), rec.Header.About, rec.Lost
	i := rec.Items()
	d.Items = engine.Items{In: i.In, Made: i.Made, OK: i.OK, Failed: i.Failed, TimedOut: i.TimedOut, Crashed: i.Crashed, Canceled: i.Canceled, Filtered: i.Filtered, Quarantined: i.Quarantined}
	if b := rec.Bottleneck; b != nil {
		d.Bottleneck = &engine.Bottleneck{Step: b.Step, Share: b.Share, Because: b.Because}
	}
	for _, s := range rec.Steps {
		d.Steps = append(d.Steps, Step{Step: s})
	}
	for _, l := range rec.Lanes {
		d.Lanes = append(d.Lanes, Lane{Lane: l, Name: d.laneName(l), Shares: map[string]float64{}, Marks: map[string]int64{}})
	}
	d.add(rec)
	for _, m := range rec.Marks {
		d.Marks = append(d.Marks, Mark{At: m.At.Seconds(), Kind: m.Kind.String(), Step: d.stepName(m.Step), Lane: m.Lane, Count: 1, Item: m.Item, Reason: m.Reason, kind: m.Kind, step: m.Step})
		if m.Lane >= 0 {
			d.Lanes[m.Lane].Marks[m.Kind.String()]++
		}
	}
	for _, g := range rec.Groups {
		d.Failures = append(d.Failures, Failure{Group: g, Items: []string{}})
	}
	for _, f := range rec.Failures {
		if g := &d.Failures[f.Group]; len(g.Items) < samples {
			g.Items = append(g.Items, f.Item)
		}
	}
	for _, n := range rec.Notes {
		d.Notes = append(d.Notes, Note{At: n.At.Seconds(), Note: n})
	}
}

// add sums up the rows.
func (d *Document) add(rec *lanes.Record) {
	total := 0.0
	lane := make([][lanes.States]float64, len(d.Lanes))
	for r := range rec.Rows {
		row := &rec.Rows[r]
		w := row.Width.Seconds()
		total += w
		for i := range row.Steps {
			if i < len(d.Steps) {
				s, to := &row.Steps[i], &d.Steps[i]
				to.Ended, to.Bad, to.Retried = to.Ended+s.Ended, to.Bad+s.Bad, to.Retried+s.Retried
				to.Most = max(to.Most, s.Most)
				to.InFlight += s.InFlight * w
			}
		}
		for i := range row.Lanes {
			d.Lanes[i].Ended += row.Lanes[i].Ended
			for s, share := range row.Lanes[i].Shares {
				lane[i][s] += float64(share) / 255 * w
			}
		}
	}
	for i := range d.Steps {
		d.Steps[i].InFlight /= max(total, 1e-9)
	}
	steps := make([][lanes.States]float64, len(d.Steps))
	for i := range lane {
		known := 0.0
		for s, t := range lane[i] {
			known += t
			if l := d.Lanes[i]; l.Thread == 0 && l.Step < len(steps) {
				steps[l.Step][s] += t
			}
		}
		lane[i][lanes.Off] += max(total-known, 0) // before it was there
		d.Lanes[i].Shares = shares(lane[i], total)
	}
	for i := range steps {
		there := 0.0
		for s, t := range steps[i] {
			if lanes.State(s) != lanes.Off {
				there += t
			}
		}
		if there > 0 {
			steps[i][lanes.Off] = 0
			d.Steps[i].Shares = shares(steps[i], there)
		}
	}
}

func shares(t [lanes.States]float64, total float64) map[string]float64 {
	m := map[string]float64{}
	for s, n := range t {
		if n > 0 && total > 0 {
			m[lanes.State(s).String()] = n / total
		}
	}
	return m
}

// fromTotals takes what the run itself said when it ended.
func (d *Document) fromTotals(e runs.Entry, now time.Time) {
	if e.State == runs.Running {
		d.Run.Seconds = max(d.Run.Seconds, now.Sub(e.Started).Seconds())
		return
	}
	if !e.Ended.IsZero() {
		d.Run.Seconds = e.Ended.Sub(e.Started).Seconds()
	}
	var r engine.Report
	again := e.State == runs.Stopped && d.record != nil && d.record.Ended == nil
	if len(e.Totals) == 0 || json.Unmarshal(e.Totals, &r) != nil || again {
		return // killed, or killed again after it was stopped: what run.json says is of an earlier part
	}
	if len(d.Run.Name) == 0 {
		d.Run.Name = r.Flow
	}
	d.Exact, d.Items, d.Error = true, r.Items, r.Error
	if b := r.Before; b != nil {
		d.Items.OK += b.OK
		d.Items.Failed += b.Failed
		d.Items.TimedOut += b.TimedOut
		d.Items.Crashed += b.Crashed
		d.Items.Canceled += b.Canceled
		d.Items.Filtered += b.Filtered
		d.Items.Quarantined += b.Quarantined
		d.Items.In += b.In
	}
	if r.Bottleneck != nil {
		d.Bottleneck = r.Bottleneck
	}
	if d.record == nil {
		d.Run.Seconds = r.Seconds
	}
	for i := range r.Steps {
		if i >= len(d.Steps) {
			s := &r.Steps[i]
			d.Steps = append(d.Steps, Step{Step: lanes.Step{Index: i, Name: s.Name, Mode: string(s.Mode), Workers: s.Workers, Threads: s.Threads, Concurrency: s.Concurrency, Because: s.Because}})
		}
		d.Steps[i].Report = &r.Steps[i]
	}
}

func (d *Document) stepName(i int) string {
	if i >= 0 && i < len(d.Steps) {
		return d.Steps[i].Name
	}
	return "?"
}
