package expr

import (
	"strconv"
	"strings"
)

// CompileShell reads a shell script with templates. Their values never become part of the script: each ${{ }} stands for a positional parameter that the shell
// expands as one word, whatever is in it. So a template must stand outside quotes, where that is what "${1}" means.
func CompileShell(src string, n *Names) (script string, params []*Template, err error) {
	t, err := Compile(src, n)
	if err != nil {
		return "", nil, err
	}
	var b strings.Builder
	quote := byte(0)
	for _, p := range t.parts {
		if p.prog == nil {
			b.WriteString(p.text)
			quote = quoted(p.text, quote)
			continue
		}
		if quote != 0 {
			return "", nil, &Error{Offset: max(0, strings.Index(src, p.source)-4), Message: "`${{ " + p.source + " }}` stands inside " + string(quote) + " quotes",
				Hint: "take the quotes away: Tandem hands the value over as one word, whatever it holds"}
		}
		params = append(params, &Template{n: n, parts: []part{p}})
		b.WriteString(`"${` + strconv.Itoa(len(params)) + `}"`)
	}
	return b.String(), params, nil
}

// quoted is the quote that is open behind text, or 0.
func quoted(text string, open byte) byte {
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case open == '\'':
			if c == '\'' {
				open = 0
			}
		case c == '\\':
			i++
		case open == '"':
			if c == '"' {
				open = 0
			}
		case c == '\'' || c == '"':
			open = c
		case c == '#' && (i == 0 || strings.IndexByte(" \t\n;&|(", text[i-1]) >= 0):
			for i+1 < len(text) && text[i+1] != '\n' {
				i++
			}
		}
	}
	return open
}
