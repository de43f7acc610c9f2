package sqlite

import "strings"

// single is the statement without what ends it, or empty when the text is none or several: what follows a semicolon would run without its values.
// It knows quotes and comments, and nothing else of the language.
func single(text string) string {
	end, seen := -1, false
	for i := 0; i < len(text); {
		n, blank := token(text[i:])
		switch {
		case text[i] == ';':
			if end < 0 {
				end = i
			}
		case !blank && end >= 0:
			return ""
		case !blank:
			seen = true
		}
		i += n
	}
	if !seen {
		return ""
	}
	if end < 0 {
		end = len(text)
	}
	return strings.TrimSpace(text[:end])
}

// token is the length of what s begins with: something quoted, a comment, or one byte. blank says that it means nothing.
func token(s string) (n int, blank bool) {
	until := func(from int, end string) int {
		if i := strings.Index(s[from:], end); i >= 0 {
			return from + i + len(end)
		}
		return len(s)
	}
	switch c := s[0]; {
	case strings.HasPrefix(s, "--"):
		return until(2, "\n"), true
	case strings.HasPrefix(s, "/*"):
		return until(2, "*/"), true
	case c == '\'', c == '"', c == '`': // a doubled quote inside is two quoted parts in a row
		return until(1, string(c)), false
	case c == '[':
		return until(1, "]"), false
	default:
		return 1, strings.IndexByte(" \t\r\n\f", c) >= 0
	}
}
