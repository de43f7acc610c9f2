package flowfile

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Error is one fault of a flow file. Line and Col count from 1; 0 means the file as a whole.
type Error struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Col     int    `json:"column"`
	Path    string `json:"path"`    // steps[0] "resize", or empty
	Message string `json:"message"` // in one line
	Hint    string `json:"hint"`
	Snippet string `json:"-"` // the lines around, with a caret
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(clean(e.File))
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Col)
	}
	b.WriteString(": ")
	if e.Path != "" {
		b.WriteString(e.Path + ": ")
	}
	b.WriteString(e.Message)
	if e.Snippet != "" {
		b.WriteString("\n" + e.Snippet)
	}
	if e.Hint != "" {
		b.WriteString("\n  hint: " + e.Hint)
	}
	return b.String()
}

// Faults is several errors of one file, in its order.
type Faults []*Error

const shownFaults = 10

func (f Faults) Error() string {
	var parts []string
	for i, e := range f {
		if i == shownFaults {
			parts = append(parts, fmt.Sprintf("… and %d more", len(f)-i))
			break
		}
		parts = append(parts, e.Error())
	}
	return strings.Join(parts, "\n")
}

// Unwrap gives the single errors.
func (f Faults) Unwrap() []error {
	list := make([]error, len(f))
	for i := range f {
		list[i] = f[i]
	}
	return list
}

// place is where something stands in the source.
type place struct {
	line, col, width int
}

// clean makes control characters visible.
func clean(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			fmt.Fprintf(&b, `\x%02x`, s[i])
		} else if r != ' ' && (unicode.IsControl(r) || !unicode.IsPrint(r)) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
		i += n
	}
	return b.String()
}

// short is clean text for a message.
func short(s string) string {
	s = clean(s)
	if r := []rune(s); len(r) > 60 {
		s = string(r[:59]) + "…"
	}
	return s
}

// snippet shows a line with a caret under what is wrong, and the two lines before it.
func snippet(src []byte, at place) string {
	if at.line == 0 {
		return ""
	}
	lines := strings.Split(string(src), "\n")
	if at.line > len(lines) {
		return ""
	}
	width := len(fmt.Sprint(at.line))
	var b strings.Builder
	for n := max(1, at.line-2); n <= at.line; n++ {
		mark := "  "
		if n == at.line {
			mark = "> "
		}
		text := strings.TrimRight(lines[n-1], "\r")
		fmt.Fprintf(&b, "%s%*d | %s\n", mark, width, n, visible(text, 160))
	}
	line := []rune(strings.TrimRight(lines[at.line-1], "\r"))
	col := min(at.col, len(line)+1)
	wide := min(max(at.width, 1), max(1, len(line)-col+1))
	pad := len([]rune(visible(string(line[:min(col-1, len(line))]), 1<<20)))
	fmt.Fprintf(&b, "  %*s | %s%s", width, "", strings.Repeat(" ", min(pad, 160)), strings.Repeat("^", min(wide, 80)))
	return b.String()
}

// visible is a line of the file with tabs shown as arrows.
func visible(s string, most int) string {
	s = clean(strings.ReplaceAll(s, "\t", "→"))
	if r := []rune(s); len(r) > most {
		s = string(r[:most-1]) + "…"
	}
	return s
}

// pathText names a key path for people: steps[0] "resize".timeout.
func pathText(path []any, names map[int]string) string {
	var b strings.Builder
	for i, p := range path {
		switch p := p.(type) {
		case int:
			fmt.Fprintf(&b, "[%d]", p)
			if i == 1 && path[0] == "steps" && names[p] != "" {
				fmt.Fprintf(&b, " %q", names[p])
				if i+1 < len(path) {
					b.WriteString(" ")
				}
			}
		case string:
			if s := b.String(); s != "" && !strings.HasSuffix(s, " ") {
				b.WriteByte('.')
			}
			b.WriteString(clean(p))
		}
	}
	return b.String()
}

// suggest finds the word that was probably meant.
func suggest(wrong string, words []string) string {
	best, least := "", max(1, len(wrong)/3)+1
	for _, w := range words {
		if d := distance(strings.ToLower(wrong), w); d < least {
			best, least = w, d
		}
	}
	if best == "" {
		return ""
	}
	return " (did you mean `" + best + "`?)"
}

// distance is the edit distance with swaps of neighbours.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	prev2, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], prev2[j-2]+1)
			}
		}
		prev2, prev, row = prev, row, prev2
	}
	return prev[len(b)]
}

func list(words []string) string {
	words = slices.Clone(words)
	return strings.Join(words, ", ")
}
