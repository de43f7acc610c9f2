package cli

import (
	"fmt"

	"tandem"
	"tandem/engine"
	"tandem/internal/flowfile"
)

// pin writes what mode: auto has found into the flow file, and says which lines that changed. The error means that nothing was written.
func (a *app) pin(file *flowfile.File, r engine.Report) error {
	var pins []flowfile.Pinned
	asked := false
	for _, s := range r.Steps {
		if !s.Auto {
			continue
		}
		asked = true
		if !s.Known {
			fmt.Fprintf(a.err, "  not pinned: %s: too little of it was measured to say what fits\n", s.Name)
			continue
		}
		p := flowfile.Pinned{Step: s.Name, Mode: s.Mode, Workers: s.Workers}
		switch s.Mode {
		case tandem.Thread:
			p.Threads = s.Threads
		case tandem.Async:
			p.Concurrency = s.Threads
		case tandem.Goroutine:
			p.Concurrency = s.Concurrency
		}
		pins = append(pins, p)
	}
	if !asked {
		fmt.Fprintln(a.err, "  nothing to pin: no step has mode: auto")
	}
	edits, err := file.Pin(pins)
	if err != nil {
		return err
	}
	for _, e := range edits {
		fmt.Fprintf(a.err, "  %s:%d\n%s\n", printable(file.Path), e.Line, a.red("  - "+printable(e.Before)))
		for _, line := range e.After {
			fmt.Fprintln(a.err, a.green("  + "+printable(line)))
		}
	}
	return nil
}

// settled tells of one step how its setting came about, and what would fit it better.
func (a *app) settled(s engine.StepReport, width int) {
	line := func(text string) { fmt.Fprintln(a.err, a.dim(fmt.Sprintf("  %-*s  %s", width, "", printable(text)))) }
	if n := len(s.Decisions); n > 0 {
		last := s.Decisions[n-1]
		line(fmt.Sprintf("%s after %s: %s", last.To, brief(seconds(last.Seconds)), last.Because))
	} else if s.Auto && s.Because != "" {
		line(s.Because)
	}
	if ad := s.Advice; ad != nil {
		what := "mode: " + ad.Mode
		if ad.Setting != "" {
			what += " (" + ad.Setting + ")"
		}
		fmt.Fprintln(a.err, a.yellow(fmt.Sprintf("  advice: %s: %s", s.Name, what))+": "+printable(ad.Because))
	}
}
