package page

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Whatever names and figures a report holds, the page is well formed, loads nothing, and has the table.
func TestPagesAreWellFormed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOf(rapid.RuneFrom([]rune("ab<>&\"'`/{}é ")))
		figure := rapid.Float64Range(0, 1e12)
		bars := rapid.SliceOf(rapid.Custom(func(t *rapid.T) Bar {
			return Bar{Label: text.Draw(t, "label"), Value: figure.Draw(t, "value"), High: figure.Draw(t, "high"), Text: text.Draw(t, "text"), Colour: rapid.IntRange(0, 7).Draw(t, "colour")}
		})).Draw(t, "bars")
		p := Page{Title: text.Draw(t, "title"), Lead: text.Draw(t, "lead"), Facts: []Fact{{text.Draw(t, "fact"), "1"}}, Sections: []Section{{Title: "s",
			Charts: []Chart{{Bars: bars}, {Log: true, Bars: bars}}, Stacks: []Stack{{Shares: []Share{{text.Draw(t, "share"), .5, 1}, {"b", .5, 2}}}},
			Table: &Table{[]string{"h"}, [][]string{{"cell " + text.Draw(t, "cell")}}}}}}
		var b bytes.Buffer
		if err := p.Write(&b); err != nil {
			t.Fatal(err)
		}
		d := xml.NewDecoder(strings.NewReader(strings.TrimPrefix(b.String(), "<!DOCTYPE html>")))
		d.Strict, d.Entity = true, xml.HTMLEntity
		cells := 0
		for {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%v in\n%s", err, b.String())
			}
			if e, ok := token.(xml.StartElement); ok {
				if e.Name.Local == "td" {
					cells++
				}
				for _, a := range e.Attr {
					if a.Name.Local == "src" || a.Name.Local == "href" || strings.HasPrefix(a.Name.Local, "on") {
						t.Fatalf("<%s %s=%q>", e.Name.Local, a.Name.Local, a.Value)
					}
				}
			}
		}
		if cells != 1 {
			t.Fatalf("%d cells in the table", cells)
		}
	})
}
