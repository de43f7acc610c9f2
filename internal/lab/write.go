package lab

import (
	"fmt"
	"slices"
	"strings"

	"tandem/internal/page"
)

// Figure writes a row's value for people.
func (row Row) Figure() string {
	switch row.Unit {
	case "µs":
		return short(row.Value)
	case "ms":
		return short(row.Value * 1e3)
	case "s":
		return fmt.Sprintf("%.3g s", row.Value)
	case "KB":
		if row.Value >= 1024 {
			return megabytes(row.Value / 1024)
		}
		return fmt.Sprintf("%.3g KB", row.Value)
	case "of 3":
		return fmt.Sprintf("%.0f of 3", row.Value)
	}
	return fmt.Sprintf("%.3g %s", row.Value, row.Unit)
}

// Of are the rows of an experiment, the smallest figure first within a measure.
func (r *Report) Of(experiment string) (rows []Row) {
	for _, row := range r.Rows {
		if row.Experiment == experiment {
			rows = append(rows, row)
		}
	}
	var order []string
	for _, row := range rows {
		if !slices.Contains(order, row.Measure) {
			order = append(order, row.Measure)
		}
	}
	slices.SortStableFunc(rows, func(a, b Row) int {
		if d := slices.Index(order, a.Measure) - slices.Index(order, b.Measure); d != 0 {
			return d
		}
		switch {
		case a.Value < b.Value:
			return -1
		case a.Value > b.Value:
			return 1
		}
		return 0
	})
	return rows
}

// Text is the missing in a line.
func (m Missing) Text() string {
	if m.Experiment == "" {
		return m.Runtime + ": " + m.Why
	}
	return m.Runtime + " in " + m.Experiment + ": " + m.Why
}

// About is the machine in a line.
func (m Machine) About() string {
	var have []string
	for _, name := range []string{"go", "python", "java", "node"} {
		if v := m.Runtimes[name]; v != "" {
			have = append(have, name+" "+strings.TrimPrefix(v, "go"))
		}
	}
	return fmt.Sprintf("%s, %.3g processors, %s, Linux %s, %s", m.Processor, m.Cores, megabytes(float64(m.MemoryMB)), m.Kernel, strings.Join(have, ", "))
}

// Lead is what the figures say in a sentence.
func (r *Report) Lead() string {
	var parts []string
	ratio := func(experiment, measure, a, b, text string) {
		x, ok := r.Value(experiment, a, measure)
		y, ok2 := r.Value(experiment, b, measure)
		if ok && ok2 && y > 0 && x > 0 {
			parts = append(parts, fmt.Sprintf(text, about(x/y)))
		}
	}
	ratio("create", "create", "python process", "python thread", "a Python process costs %s times a Python thread")
	ratio("create", "create", "os thread", "goroutine", "a thread %s times a goroutine")
	if up, ok := r.speedUp("python thread"); ok {
		parts = append(parts, fmt.Sprintf("four Python threads compute %.1f times as fast as a loop", up))
	}
	if up, ok := r.speedUp("python process"); ok {
		parts = append(parts, fmt.Sprintf("four Python processes %.1f times", up))
	}
	ratio("share", "hand over", "pickle", "shared memory", "shared memory is %s times as fast as pickle")
	if len(parts) == 0 {
		return "Measured on this machine."
	}
	s := strings.Join(parts, "; ")
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

// speedUp is how many times as fast four computing tasks are under a model than in a loop.
func (r *Report) speedUp(model string) (float64, bool) {
	loop, ok := r.Value("cpu", loopOf(model), "four tasks")
	x, ok2 := r.Value("cpu", model, "four tasks")
	return loop / max(x, 1e-9), ok && ok2 && x > 0
}

// colours by language, the same in every picture.
func colour(model string) int {
	switch first, _, _ := strings.Cut(model, " "); first {
	case "goroutine", "go":
		return 0
	case "python", "asyncio", "pickle", "copy", "shared", "thread":
		return 1
	case "jvm":
		return 2
	case "node":
		return 4
	}
	return 7
}

// Page is the report with plots.
func (r *Report) Page() page.Page {
	p := page.Page{Title: "tandem lab: processes, threads and the rest on this machine", Lead: r.Lead(), Foot: fmt.Sprintf("Measured %s in %.0f s by `tandem lab`. Figures are of this machine; ratios travel better.", r.Time.Format("2006-01-02 15:04 MST"), r.Seconds)}
	p.Facts = []page.Fact{{Name: "machine", Value: r.Machine.About()}}
	if r.Foreign >= 0 {
		p.Facts = append(p.Facts, page.Fact{Name: "processors used by others", Value: fmt.Sprintf("%.1f", r.Foreign)})
	}
	for _, e := range Experiments {
		rows := r.Of(e.Name)
		if len(rows) == 0 {
			continue
		}
		s := page.Section{Title: e.Title, Text: e.Question, Table: &page.Table{Head: []string{"model", "what", "figure", "of", "means for you", "note"}}}
		for _, row := range rows {
			if n := len(s.Charts); n == 0 || s.Charts[n-1].Title != row.Measure {
				s.Charts = append(s.Charts, page.Chart{Title: row.Measure, Log: e.Log && row.Unit != "s"})
			}
			c := &s.Charts[len(s.Charts)-1]
			c.Bars = append(c.Bars, page.Bar{Label: row.Model, Value: row.Value, Text: row.Figure(), Colour: colour(row.Model)})
			s.Table.Rows = append(s.Table.Rows, []string{row.Model, row.Measure, row.Figure(), fmt.Sprint(row.N), row.Means, row.Note})
		}
		for i := range s.Charts {
			if s.Charts[i].Log {
				s.Charts[i].Title += ", logarithmic"
			}
		}
		p.Sections = append(p.Sections, s)
	}
	if len(r.Missing) > 0 {
		s := page.Section{Title: "Not measured"}
		for _, m := range r.Missing {
			s.Notes = append(s.Notes, m.Text())
		}
		p.Sections = append(p.Sections, s)
	}
	return p
}
