package report

import (
	"fmt"
	"strconv"
	"strings"

	"tandem/internal/lanes"
	"tandem/internal/runs"
)

// sentence is the answer: what became of the items, how long it took, what held it up.
func (d *Document) sentence() string {
	var parts []string
	for _, p := range []struct {
		n    int64
		word string
	}{{d.Items.OK, "ok"}, {d.Items.Failed, "failed"}, {d.Items.TimedOut, "timed out"}, {d.Items.Crashed, "crashed"}, {d.Items.Quarantined, "quarantined"},
		{d.Items.Filtered, "filtered"}, {d.Items.Canceled, "canceled"}} {
		if p.n > 0 {
			parts = append(parts, count(p.n)+" "+p.word)
		}
	}
	ended := d.Items.Ended()
	took := Span(d.Run.Seconds)
	var s string
	switch {
	case d.Run.State == runs.Running && ended == 0:
		s = "Running for " + took + "; no item has ended yet"
	case d.Run.State == runs.Running:
		s = fmt.Sprintf("Running for %s: %s ended so far, %s", took, plural(ended, "item"), strings.Join(parts, ", "))
	case d.Run.State == runs.Stopped && d.Run.Outcome == "":
		s = fmt.Sprintf("Killed after %s, when at least %s had ended", took, plural(ended, "item"))
		if len(parts) > 0 {
			s += ": " + strings.Join(parts, ", ")
		}
	case ended == 0 && d.Error != nil:
		return "No item was run: " + d.Error.Message + "."
	case ended == 0:
		return "No items: the source gave none, in " + took + "."
	default:
		s = fmt.Sprintf("%s in %s: %s", plural(ended, "item"), took, strings.Join(parts, ", "))
	}
	if d.Run.State == runs.Stopped && d.Run.Outcome != "" {
		s += "; " + d.Run.Outcome + " before its end"
	}
	if b := d.Bottleneck; b != nil {
		s += "; bound by step " + b.Step
		if why := d.boundBy(b.Step); why != "" {
			s += " (" + why + ")"
		}
	} else if ended > 0 {
		s += "; no queue filled up"
		if step := d.busiest(); step != "" {
			s += ", the busiest step was " + step + " (" + d.boundBy(step) + ")"
		}
	}
	return s + "."
}

// busiest is the step whose workers were at it for the largest part of their time, and at least for half of it; empty when there is none.
func (d *Document) busiest() (step string) {
	most := 0.5
	for _, s := range d.Steps {
		busy := 0.0
		for _, state := range []lanes.State{lanes.CPU, lanes.RunQueue, lanes.Waiting, lanes.Running} {
			busy += s.Shares[state.String()]
		}
		if busy > most {
			step, most = s.Name, busy
		}
	}
	return step
}

// boundBy is what the workers of a step did most of, and how much of their time.
func (d *Document) boundBy(step string) string {
	for _, s := range d.Steps {
		if s.Name != step {
			continue
		}
		if s.Workers == 0 {
			return fmt.Sprintf("waits: %.0f in flight on the mean", s.InFlight)
		}
		best := lanes.CPU
		for _, state := range []lanes.State{lanes.CPU, lanes.RunQueue, lanes.Waiting, lanes.Running, lanes.Blocked, lanes.Backoff, lanes.Starting, lanes.Starved} {
			if s.Shares[state.String()] > s.Shares[best.String()] {
				best = state
			}
		}
		if share := s.Shares[best.String()]; share > 0 {
			return fmt.Sprintf("%s: %.0f\u00a0%% of its workers' time", best, 100*share)
		}
	}
	return ""
}

func (d *Document) laneName(l lanes.Lane) string {
	name := d.stepName(l.Step) + "/" + strconv.Itoa(l.Worker)
	if l.Thread > 0 {
		name += "." + strconv.Itoa(l.Thread)
	}
	return name
}

// Span is a time for a person.
func Span(seconds float64) string {
	switch {
	case seconds < 1:
		return fmt.Sprintf("%.0f ms", seconds*1000)
	case seconds < 10:
		return fmt.Sprintf("%.1f s", seconds)
	case seconds < 120:
		return fmt.Sprintf("%.0f s", seconds)
	case seconds < 7200:
		return fmt.Sprintf("%d min %02d s", int(seconds)/60, int(seconds)%60)
	}
	return fmt.Sprintf("%d h %02d min", int(seconds)/3600, int(seconds)/60%60)
}

// count groups digits by three.
func count(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "\u00a0" + s[i:]
	}
	return s
}

func plural(n int64, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return count(n) + " " + word + "s"
}
