package report

import (
	"io"

	"tandem/internal/lanes"
	"tandem/internal/perfetto"
)

// ourPID is of the run, as the trace shows it.
const ourPID = 1

// Perfetto writes the run as a trace for ui.perfetto.dev: a track for each lane with a slice for each stretch in one state, named by the state, so that each has
// one colour; counters of what is in flight, limited and queued; crashes, timeouts and kills as instants. Of a row the state counts that took most of it.
func (d *Document) Perfetto(w io.Writer) error {
	t := perfetto.New(w)
	run := t.Process(ourPID, "tandem "+d.Run.Name+" "+d.Run.ID)
	var of []perfetto.Track // of lanes
	for i, l := range d.Lanes {
		of = append(of, t.Thread(ourPID, i+2, l.Name))
	}
	type counters struct{ inflight, limit, queue perfetto.Track }
	steps := make([]counters, len(d.Steps))
	for i, s := range d.Steps {
		steps[i] = counters{t.Counter(run, s.Name+" in flight"), t.Counter(run, s.Name+" limit"), t.Counter(run, s.Name+" queue")}
	}
	d.slices(t, of)
	for _, r := range d.rows() {
		at := r.From.Nanoseconds()
		for i, s := range r.Steps[:min(len(r.Steps), len(steps))] {
			t.Count(at, steps[i].inflight, s.InFlight)
			t.Count(at, steps[i].queue, float64(s.Queue))
			if s.Limit > 0 {
				t.Count(at, steps[i].limit, float64(s.Limit))
			}
		}
	}
	for _, m := range d.Marks {
		on := run
		if m.Lane >= 0 {
			on = of[m.Lane]
		}
		t.Instant(since(m.At).Nanoseconds(), on, m.Kind, perfetto.Note{"step", m.Step}, perfetto.Note{"item", m.Item}, perfetto.Note{"reason", m.Reason})
	}
	for _, n := range d.Notes {
		if n.What != "worker" {
			t.Instant(since(n.At).Nanoseconds(), run, n.What, perfetto.Note{"of", n.ID}, perfetto.Note{"from", n.From}, perfetto.Note{"to", n.To}, perfetto.Note{"because", n.Reason})
		}
	}
	return t.Flush()
}

// rows are those of the picture; none without one.
func (d *Document) rows() []lanes.Row {
	if d.record == nil {
		return nil
	}
	return d.record.Rows
}

// slices writes each stretch in which a lane was mostly in one state.
func (d *Document) slices(t *perfetto.Trace, of []perfetto.Track) {
	rows := d.rows()
	for i := range d.Lanes {
		state, end := lanes.Off, int64(0)
		for r := range rows {
			row := &rows[r]
			now := lanes.Off
			if i < len(row.Lanes) {
				now = row.Lanes[i].Main()
			}
			from := row.From.Nanoseconds()
			if now == state && from == end {
				end = row.End().Nanoseconds()
				continue
			}
			if state != lanes.Off {
				t.End(end, of[i])
			}
			if now != lanes.Off {
				t.Begin(from, of[i], now.String())
			}
			state, end = now, row.End().Nanoseconds()
		}
		if state != lanes.Off {
			t.End(end, of[i])
		}
	}
}
