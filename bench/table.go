package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// table writes lines of cells in aligned columns; the columns in right are set to the right, as numbers are. The last cell of a line
// that is shorter than the head is a remark: it runs on freely and widens no column.
func table(w io.Writer, head []string, right map[int]bool, lines [][]string) {
	width := make([]int, len(head))
	for _, line := range append([][]string{head}, lines...) {
		for i := range measured(line, len(head)) {
			width[i] = max(width[i], utf8.RuneCountInString(line[i]))
		}
	}
	rule := make([]string, len(head))
	for i := range rule {
		rule[i] = strings.Repeat("─", width[i])
	}
	for _, line := range append([][]string{head, rule}, lines...) {
		var b strings.Builder
		for i, cell := range line {
			if i > 0 {
				b.WriteString("  ")
			}
			if i >= measured(line, len(head)) {
				b.WriteString(cell)
				continue
			}
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if right[i] {
				b.WriteString(pad + cell)
			} else {
				b.WriteString(cell + pad)
			}
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

// measured is how many cells of a line stand in columns.
func measured(line []string, columns int) int {
	if len(line) < columns {
		return len(line) - 1
	}
	return columns
}

// rowTable shows what was measured.
func rowTable(w io.Writer, results []*result) {
	var lines [][]string
	for _, r := range results {
		lines = append(lines, r.lines()...)
	}
	table(w, []string{"row", "figure", "median", "unit", "min..max", "rounds"}, map[int]bool{2: true, 4: true, 5: true}, lines)
}

func (r *result) lines() [][]string {
	if r.leftOut != "" {
		return [][]string{{r.name, "left out: " + r.leftOut}}
	}
	var lines [][]string
	name := r.name
	for _, f := range r.gives {
		if v := r.values(f.name); len(v) > 0 {
			s := spreadOf(v)
			lines = append(lines, []string{name, f.name, number(s.Median), f.unit, s.String(), fmt.Sprint(s.N)})
			name = ""
		}
	}
	switch n := len(r.failures); {
	case n > 0:
		lines = append(lines, []string{name, fmt.Sprintf("failed in %d rounds: %s", n, r.failures[n-1])})
	case lines == nil:
		lines = [][]string{{name, "not measured: stopped before its turn"}}
	}
	return lines
}

// reachTable shows the ratios and whether they reach their goals.
func reachTable(w io.Writer, reached []reach) {
	var lines [][]string
	for _, r := range reached {
		if r.Verdict == leftOutVerdict {
			lines = append(lines, []string{r.Name, "left out: " + r.Why})
			continue
		}
		lines = append(lines, []string{r.Name, number(r.Ratio.Median), r.Ratio.String(), r.Goal, r.Verdict})
	}
	table(w, []string{"ratio, paired round by round", "median", "min..max", "goal", "reach"}, map[int]bool{1: true, 2: true, 3: true}, lines)
}
