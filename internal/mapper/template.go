package mapper

import (
	"strconv"
	"strings"

	"tandem"
)

// hole is what a placeholder stands for.
type hole uint8

const (
	literal   hole = iota
	whole          // {}
	noExt          // {.}
	base           // {/}
	dir            // {//}
	baseNoExt      // {/.}
	number         // {#}
	slot           // {%}
)

// holes lists the placeholders. None is the beginning of another, so the order does not matter.
var holes = []struct {
	text string
	hole hole
}{{"{}", whole}, {"{.}", noExt}, {"{/}", base}, {"{//}", dir}, {"{/.}", baseNoExt}, {"{#}", number}, {"{%}", slot}}

type part struct {
	hole hole
	text string // of a literal
}

// Template is a command with placeholders. It is read only after it was made.
type Template struct {
	words [][]part
	name  string // for people
	slots bool   // {%} is used: the command line depends on which slot was free
}

// Parse reads a command: a program and its arguments, no shell. Without a placeholder anywhere, {} becomes the last argument.
func Parse(words []string) (*Template, error) {
	if len(words) == 0 || words[0] == "" {
		return nil, &tandem.Error{Op: "read the command of", On: "tandem map", Kind: tandem.KindInvalid, Message: "no command given",
			Hint: "for example: ls *.png | tandem map convert {} {.}.jpg"}
	}
	t := &Template{name: words[0]}
	any := false
	for _, w := range words {
		parts := split(w)
		for _, p := range parts {
			any = any || p.hole != literal
			t.slots = t.slots || p.hole == slot
		}
		t.words = append(t.words, parts)
	}
	if !any {
		t.words = append(t.words, []part{{hole: whole}})
	}
	return t, nil
}

// split cuts a word at its placeholders.
func split(w string) (parts []part) {
	for start := 0; ; {
		at, h, size := find(w[start:])
		if h == literal {
			if rest := w[start:]; rest != "" || len(parts) == 0 {
				parts = append(parts, part{text: rest})
			}
			return parts
		}
		if at > 0 {
			parts = append(parts, part{text: w[start : start+at]})
		}
		parts = append(parts, part{hole: h})
		start += at + size
	}
}

// find is the first placeholder in s; literal when there is none.
func find(s string) (at int, h hole, size int) {
	for at = 0; ; at++ {
		next := strings.IndexByte(s[at:], '{')
		if next < 0 {
			return 0, literal, 0
		}
		at += next
		if h, size := holeAt(s[at:]); size > 0 {
			return at, h, size
		}
	}
}

func holeAt(s string) (hole, int) {
	for _, h := range holes {
		if strings.HasPrefix(s, h.text) {
			return h.hole, len(h.text)
		}
	}
	return literal, 0
}

// Expand appends the command line for an input to argv.
func (t *Template) Expand(argv []string, input string, seq int64, place int) []string {
	for _, w := range t.words {
		if len(w) == 1 {
			argv = append(argv, w[0].value(input, seq, place))
			continue
		}
		var b strings.Builder
		for _, p := range w {
			b.WriteString(p.value(input, seq, place))
		}
		argv = append(argv, b.String())
	}
	return argv
}

// Program is the program when it is the same for every input.
func (t *Template) Program() (string, bool) {
	w := t.words[0]
	return w[0].text, len(w) == 1 && w[0].hole == literal
}

func (p part) value(input string, seq int64, place int) string {
	switch p.hole {
	case whole:
		return input
	case noExt:
		return stripExt(input)
	case base:
		return baseOf(input)
	case dir:
		return dirOf(input)
	case baseNoExt:
		return stripExt(baseOf(input))
	case number:
		return strconv.FormatInt(seq, 10)
	case slot:
		return strconv.Itoa(place + 1)
	}
	return p.text
}

// stripExt cuts off the last dot and what follows, unless that is nothing or holds a slash: GNU parallel's rule, by which ".bashrc" becomes "".
func stripExt(s string) string {
	dot := strings.LastIndexByte(s, '.')
	if dot < 0 || dot == len(s)-1 || strings.IndexByte(s[dot:], '/') >= 0 {
		return s
	}
	return s[:dot]
}

func baseOf(s string) string { return s[strings.LastIndexByte(s, '/')+1:] }

// Name is what is run, for people.
func (t *Template) Name() string { return t.name }

// dirOf is dirname(1).
func dirOf(s string) string {
	rooted := strings.HasPrefix(s, "/")
	s = strings.TrimRight(s, "/")
	s = strings.TrimRight(s[:strings.LastIndexByte(s, '/')+1], "/")
	switch {
	case s != "":
		return s
	case rooted:
		return "/"
	}
	return "."
}
