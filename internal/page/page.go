// Package page writes a report as one HTML file that needs nothing else: no script, no font, no network. It is light or dark as the reader's system is, every
// picture has its figures in a table beside it, and colours are those that colour-blind readers tell apart.
//
// A [Page] is a value; Write blocks only on its writer and keeps nothing.
package page

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
)

// Page is a report: the answer first, then facts, then sections.
type Page struct {
	Title    string
	Lead     string // the answer, in a sentence
	Facts    []Fact
	Sections []Section
	Foot     string // how it was made
}

// Fact is a figure with its name.
type Fact struct{ Name, Value string }

// Section is a part of a page; what is empty is left out.
type Section struct {
	Title  string
	Text   string
	Charts []Chart
	Stacks []Stack
	Table  *Table
	Notes  []string
}

// Chart is bars beside each other, each with its figure.
type Chart struct {
	Title string
	Log   bool // a logarithmic scale, for figures that span decades
	Bars  []Bar
}

// Bar is one figure, with the interval that it may be in; Low and High are zero when there is none.
type Bar struct {
	Label            string
	Value, Low, High float64
	Text             string // the figure for people
	Colour           int    // index of the palette
	Faint            bool
}

// Stack is one bar of shares that add up to 1.
type Stack struct {
	Label  string
	Shares []Share
}

// Share is a part of a stack.
type Share struct {
	Name   string
	Part   float64
	Colour int
}

// Table is figures in rows.
type Table struct {
	Head []string
	Rows [][]string
}

//go:embed page.html
var source string

var tmpl = template.Must(template.New("page").Parse(source))

// Write writes the page.
func (p Page) Write(w io.Writer) error { return tmpl.Execute(w, p) }

const (
	labelWidth = 190
	plotWidth  = 420
	textWidth  = 150
	rowHeight  = 26
)

// placed is a bar with its place in the picture.
type placed struct {
	Bar
	X, Y, Width, Middle, TextX float64
	From, To                   float64 // of the interval's line; equal when there is none
}

// Width is the picture's.
func (c Chart) Width() int { return labelWidth + plotWidth + textWidth }

// Height is the picture's.
func (c Chart) Height() int { return len(c.Bars)*rowHeight + 6 }

// Placed are the bars in the picture.
func (c Chart) Placed() []placed {
	low, high := math.Inf(1), 0.0
	for _, b := range c.Bars {
		high = max(high, b.Value, b.High)
		if b.Value > 0 {
			low = min(low, b.Value)
		}
	}
	at := func(v float64) float64 {
		switch {
		case v <= 0 || high <= 0:
			return 0
		case c.Log && high > low:
			return max(2, plotWidth*(.08+.92*math.Log(v/low)/math.Log(high/low)))
		}
		return max(1, plotWidth*v/high)
	}
	var all []placed
	for i, b := range c.Bars {
		p := placed{Bar: b, X: labelWidth, Y: float64(i*rowHeight) + 5, Width: at(b.Value)}
		p.Middle = p.Y + 8
		p.From, p.To = labelWidth+at(b.Low), labelWidth+at(b.High)
		p.TextX = labelWidth + max(p.Width, at(b.High)) + 8
		all = append(all, p)
	}
	return all
}

// Parts are the shares that can be seen, with their places in percent.
func (s Stack) Parts() []part {
	var all []part
	at := 0.0
	for _, x := range s.Shares {
		if x.Part >= .001 {
			all = append(all, part{x, fmt.Sprintf("%.2f", 100*at), fmt.Sprintf("%.2f", 100*x.Part), fmt.Sprintf("%.1f %%", 100*x.Part)})
		}
		at += x.Part
	}
	return all
}

type part struct {
	Share
	At, Width, Text string
}
