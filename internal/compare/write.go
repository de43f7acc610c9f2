package compare

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"tandem/internal/page"
)

// Formats are the endings of the files that Write knows.
var Formats = []string{".md", ".json", ".csv", ".html"}

// Write writes the document in the format of a file's ending.
func (d Document) Write(w io.Writer, ending string) error {
	switch ending {
	case ".md":
		_, err := io.WriteString(w, d.markdown())
		return err
	case ".csv":
		return d.csv(w)
	case ".html":
		return d.page().Write(w)
	}
	return json.NewEncoder(w).Encode(d)
}

// head and cells are the table of people.
var head = []string{"candidate", "median", "spread", "items/s", "times as fast", "predicted", "off"}

func (d Document) cells(r Row) []string {
	if r.Left != "" {
		return []string{r.Name, "–", "", "", "left out: " + r.Left, "", ""}
	}
	if r.Ratio == nil {
		return []string{r.Name, "–", "", "", "withheld", "", ""}
	}
	row := []string{r.Name, Seconds(r.Median), "± " + Seconds(r.Spread), "", times(*r.Ratio), "", ""}
	if r.PerSecond > 0 {
		row[3] = fmt.Sprintf("%.4g", r.PerSecond)
	}
	if r.Predicted != nil {
		row[5], row[6] = interval(*r.Predicted), fmt.Sprintf("%+.0f %%", 100**r.Off)
	}
	return row
}

// Seconds writes a duration in three digits.
func Seconds(s float64) string {
	switch {
	case s >= 1:
		return fmt.Sprintf("%.3g s", s)
	case s >= 1e-3:
		return fmt.Sprintf("%.3g ms", 1e3*s)
	}
	return fmt.Sprintf("%.3g µs", 1e6*s)
}

// Table is the rows for a terminal, the head first.
func (d Document) Table() [][]string {
	all := [][]string{head}
	for _, r := range d.Candidates {
		all = append(all, d.cells(r))
	}
	return all
}

// how says what the figures mean.
func (d Document) how() string {
	return fmt.Sprintf("%d interleaved rounds in %s; times are medians, ratios are to %s with the interval that holds 95 times in 100", d.Rounds, Seconds(d.Seconds), d.Candidates[0].Name)
}

func (d Document) markdown() string {
	b := &strings.Builder{}
	fmt.Fprintf(b, "**%s**\n\n%s\n\n", escape(d.Sentence), escape(d.Subject+": "+d.how()))
	for i, row := range d.Table() {
		for j := range row {
			row[j] = escape(row[j])
		}
		fmt.Fprintf(b, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			b.WriteString(strings.Repeat("|---", len(row)) + "|\n")
		}
	}
	b.WriteString("\n")
	if d.Pick != nil {
		fmt.Fprintf(b, "%s. %s.\n", escape(d.Pick.Sentence), escape(d.Pick.Because))
	}
	for _, n := range d.Notes {
		fmt.Fprintf(b, "- %s\n", escape(n))
	}
	return b.String()
}

func escape(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;", "*", `\*`, "`", "\\`").Replace(s)
}

func (d Document) csv(w io.Writer) error {
	c := csv.NewWriter(w)
	number := func(x float64) string { return strconv.FormatFloat(x, 'g', 6, 64) }
	rows := [][]string{{"candidate", "median_seconds", "spread_seconds", "items", "items_per_second", "times_as_fast", "low", "high", "predicted_low", "predicted_high", "off", "left_out"}}
	for _, r := range d.Candidates {
		row := make([]string, len(rows[0]))
		row[0], row[11] = r.Name, r.Left
		if r.Left == "" {
			row[1], row[2], row[3], row[4] = number(r.Median), number(r.Spread), strconv.Itoa(r.Items), number(r.PerSecond)
		}
		if r.Ratio != nil {
			row[5], row[6], row[7] = number(r.Ratio.Times), number(r.Ratio.Low), number(r.Ratio.High)
		}
		if r.Predicted != nil {
			row[8], row[9], row[10] = number(r.Predicted[0]), number(r.Predicted[1]), number(*r.Off)
		}
		rows = append(rows, row)
	}
	return c.WriteAll(rows)
}

func (d Document) page() page.Page {
	p := page.Page{Title: "tandem compare: " + d.Subject, Lead: d.Sentence, Foot: d.how() + "."}
	p.Facts = []page.Fact{{Name: "rounds", Value: strconv.Itoa(d.Rounds)}, {Name: "not counted", Value: strconv.Itoa(d.Disturbed)}, {Name: "took", Value: Seconds(d.Seconds)}, {Name: "processors", Value: fmt.Sprintf("%.3g", d.Cores)}}
	if d.Foreign >= 0 {
		p.Facts = append(p.Facts, page.Fact{Name: "used by others", Value: fmt.Sprintf("%.2f", d.Foreign)})
	}
	speed := page.Chart{Title: "Times as fast as " + d.Candidates[0].Name}
	table := &page.Table{Head: head}
	for i, r := range d.Candidates {
		table.Rows = append(table.Rows, d.cells(r))
		if r.Ratio != nil {
			speed.Bars = append(speed.Bars, page.Bar{Label: r.Name, Value: r.Ratio.Times, Low: r.Ratio.Low, High: r.Ratio.High, Text: times(*r.Ratio), Colour: i % 7})
			if r.Predicted != nil {
				speed.Bars = append(speed.Bars, page.Bar{Label: "  predicted", Value: (r.Predicted[0] + r.Predicted[1]) / 2, Low: r.Predicted[0], High: r.Predicted[1], Text: interval(*r.Predicted), Colour: i % 7, Faint: true})
			}
		}
	}
	s := page.Section{Title: "Measured", Table: table, Notes: d.Notes}
	if len(speed.Bars) > 0 {
		s.Charts = []page.Chart{speed}
	}
	p.Sections = append(p.Sections, s)
	bounds := page.Section{Title: "What each is bound by"}
	for _, r := range d.Candidates {
		if r.Says != "" {
			bounds.Notes = append(bounds.Notes, r.Name+": "+r.Says)
		}
	}
	if len(bounds.Notes) > 0 {
		p.Sections = append(p.Sections, bounds)
	}
	if d.Pick != nil {
		p.Sections = append(p.Sections, page.Section{Title: "What Tandem would pick", Text: d.Pick.Sentence + ".", Notes: []string{d.Pick.Because}})
	}
	return p
}
