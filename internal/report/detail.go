package report

import (
	"math"
	"time"

	"tandem/internal/lanes"
)

// What a page holds at most; beyond it detail is cut down.
const (
	pageRows  = 4000
	pageCells = 200_000 // rows × lanes
	pageSteps = 40_000  // rows × steps
	pageMarks = 5_000
)

// detail fills in the rows of the whole run, about n of them.
func (d *Document) detail(n int) {
	d.Rows = d.Rows[:0]
	if d.record == nil {
		return
	}
	for _, r := range d.record.Detail(0, max(d.record.End(), 1), n) {
		row := Row{From: r.From.Seconds(), Width: r.Width.Seconds(), OK: r.Items.OK + r.Items.Filtered, Bad: r.Items.Bad(), Steps: []StepRow{}, Lanes: [][lanes.States]uint8{}}
		for _, s := range r.Steps {
			row.Steps = append(row.Steps, StepRow{round1(s.InFlight), s.Most, s.Limit, s.Queue, s.Waiting, s.Ended, s.Bad})
		}
		for i := range r.Lanes {
			row.Lanes = append(row.Lanes, r.Lanes[i].Shares)
		}
		d.Rows = append(d.Rows, row)
	}
}

func round1(x float64) float64 { return math.Round(x*10) / 10 }

// forPage is how many rows a page shows.
func (d *Document) forPage() int {
	return max(min(pageRows, pageCells/max(len(d.Lanes), 1), pageSteps/max(len(d.Steps), 1)), 100)
}

// gather makes at most about most marks of all: those of one lane and kind that are close in time become one with their number, and none is left out.
func gather(all []Mark, seconds float64, most int) []Mark {
	if len(all) <= most {
		return all
	}
	type place struct {
		at, lane, step int
		kind           lanes.Kind
	}
	for cells := most; ; cells /= 2 {
		width := max(seconds, 1e-6) / float64(max(cells, 1))
		index := map[place]int{}
		var out []Mark
		for _, m := range all {
			p := place{int(m.At / width), m.Lane, m.step, m.kind}
			if i, ok := index[p]; ok {
				out[i].Count += m.Count
				continue
			}
			index[p] = len(out)
			out = append(out, m)
		}
		if len(out) <= most || cells <= 1 {
			return out
		}
	}
}

// Since is a time of the run.
func since(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }
