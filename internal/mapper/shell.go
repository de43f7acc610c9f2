package mapper

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"tandem"
)

// ParseShell reads a script for sh. The input is $1 of the script. A placeholder becomes a reference to a parameter ("${1}", or ${1} between double
// quotes), and its value an argument of sh: whatever the input holds, the shell never reads it as program text. Between single quotes a reference would stay as
// it is, so a placeholder there is refused.
func ParseShell(script string) (*Template, error) {
	refuse := func(msg, hint string) error {
		return &tandem.Error{Op: "read the script of", On: "tandem map --shell", Kind: tandem.KindInvalid, Message: msg, Hint: hint}
	}
	if strings.TrimSpace(script) == "" {
		return nil, refuse("the script is empty", `for example: tandem map --shell 'gzip -c "$1" > "$1.gz"'`)
	}
	t := &Template{name: script}
	args := []hole{whole}
	place := map[hole]int{whole: 1}
	var b strings.Builder
	var in reader
	for i := 0; i < len(script); i++ {
		h, size := holeAt(script[i:])
		if size == 0 || in.quote == '#' {
			b.WriteByte(script[i])
			in.next(script, i)
			continue
		}
		why := ""
		switch {
		case in.escaped:
			why = "stands behind a backslash"
		case in.quote == '\'':
			why = "stands between single quotes, where the shell replaces nothing"
		case in.within('`'):
			why = "stands between backquotes, whose quoting differs from shell to shell"
		}
		if why != "" {
			return nil, refuse(fmt.Sprintf("%s at character %d %s", script[i:i+size], i+1, why), `use double quotes or $( ) there, or "$1" for the input`)
		}
		n := place[h]
		if n == 0 {
			args = append(args, h)
			n = len(args)
			place[h] = n
		}
		ref := "${" + strconv.Itoa(n) + "}"
		if in.quote != '"' {
			ref = `"` + ref + `"`
		}
		b.WriteString(ref)
		t.slots = t.slots || h == slot
		i += size - 1
	}
	t.words = [][]part{{{text: "sh"}}, {{text: "-c"}}, {{text: b.String()}}, {{text: "sh"}}}
	for _, h := range args {
		t.words = append(t.words, []part{{hole: h}})
	}
	return t, nil
}

// reader knows, as it goes through a script, in which quotes it is. When it is wrong (a case pattern inside $( )), a value may be split
// into words, but it is never read as program text.
type reader struct {
	quote   byte // the quotes that are open: ' or " or none; # for a comment
	escaped bool
	outer   []frame // of the substitutions and groups around
}

type frame struct{ quote, kind byte }

func (r *reader) within(kind byte) bool {
	return slices.ContainsFunc(r.outer, func(f frame) bool { return f.kind == kind })
}

func (r *reader) next(script string, i int) {
	c := script[i]
	top := byte(0)
	if n := len(r.outer); n > 0 {
		top = r.outer[n-1].kind
	}
	push := func(kind byte) {
		r.outer = append(r.outer, frame{r.quote, kind})
		r.quote = 0
	}
	pop := func() {
		r.quote = r.outer[len(r.outer)-1].quote
		r.outer = r.outer[:len(r.outer)-1]
	}
	switch {
	case r.escaped:
		r.escaped = false
	case r.quote == '#':
		if c == '\n' {
			r.quote = 0
		}
	case r.quote == '\'':
		if c == '\'' {
			r.quote = 0
		}
	case c == '\\':
		r.escaped = true
	case c == '`' && top == '`' && r.quote == 0:
		pop()
	case c == '`':
		push('`')
	case c == '(' && (r.quote == 0 || i > 0 && script[i-1] == '$'):
		push('(')
	case r.quote == '"':
		if c == '"' {
			r.quote = 0
		}
	case c == ')' && top == '(':
		pop()
	case c == '\'' || c == '"':
		r.quote = c
	case c == '#' && (i == 0 || strings.IndexByte(" \t\n;&|(", script[i-1]) >= 0):
		r.quote = '#'
	}
}

// Quote is argv as a line that a shell reads back as the same words.
func Quote(argv []string) string {
	var b strings.Builder
	for i, w := range argv {
		if i > 0 {
			b.WriteByte(' ')
		}
		quoteWord(&b, w)
	}
	return b.String()
}

// plain are the bytes that need no quotes in any shell.
const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+:,./-"

// quoteWord writes single quotes where they are needed; control characters need $'…' (bash, zsh, ksh), which keeps the whole in one line.
func quoteWord(b *strings.Builder, w string) {
	bare, control := w != "", false
	for i := range len(w) {
		bare = bare && strings.IndexByte(plain, w[i]) >= 0
		control = control || w[i] < 0x20 || w[i] == 0x7f
	}
	switch {
	case bare:
		b.WriteString(w)
	case !control:
		b.WriteString("'" + strings.ReplaceAll(w, "'", `'\''`) + "'")
	default:
		b.WriteString("$'")
		for i := range len(w) {
			switch c := w[i]; {
			case c == '\n':
				b.WriteString(`\n`)
			case c == '\t':
				b.WriteString(`\t`)
			case c == '\r':
				b.WriteString(`\r`)
			case c < 0x20 || c == 0x7f:
				fmt.Fprintf(b, `\%03o`, c)
			case c == '\'' || c == '\\':
				b.WriteString(`\` + string(rune(c)))
			default:
				b.WriteByte(c)
			}
		}
		b.WriteString("'")
	}
}
