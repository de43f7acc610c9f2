package sink

import (
	"encoding/base64"
	"errors"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"tandem"
)

// AppendLine appends the line of one item.
func AppendLine(b []byte, t *tandem.Task) []byte {
	b = append(b, `{"id":`...)
	b = appendText(b, t.ID)
	b = append(b, `,"outcome":"`...)
	b = append(b, t.Result.Outcome...)
	b = append(b, '"')
	if e := t.Result.Err; e != nil {
		b = append(b, `,"error":{"kind":`...)
		b = appendText(b, e.Kind)
		b = append(b, `,"message":`...)
		b = appendText(b, e.Message)
		b = append(b, `,"hint":`...)
		b = appendText(b, e.Hint)
		b = append(b, `,"step":`...)
		b = appendText(b, e.On)
		if e.Reason != "" {
			b = append(b, `,"reason":`...)
			b = appendText(b, e.Reason)
		}
		if e.Trace != "" {
			b = append(b, `,"trace":`...)
			b = appendText(b, e.Trace)
		}
		b = append(b, '}')
	} else {
		b = append(b, `,"value":`...)
		b = appendValue(b, t.Result.Value)
	}
	b = append(b, `,"attempts":`...)
	b = strconv.AppendInt(b, int64(t.Attempts), 10)
	b = append(b, `,"seconds":`...)
	b = strconv.AppendFloat(b, t.Elapsed.Seconds(), 'f', 6, 64)
	return append(b, '}', '\n')
}

func appendValue(b []byte, v tandem.Value) []byte {
	switch v.Kind {
	case tandem.Text:
		return appendText(b, string(v.Data))
	case tandem.JSON:
		for _, c := range v.Data { // a JSON text may hold line ends between its parts, a line may not
			if c == '\n' || c == '\r' {
				c = ' '
			}
			b = append(b, c)
		}
		return b
	case tandem.Bytes:
		return appendBase64(append(b, `{"base64":"`...), v.Data)
	case tandem.Pickle:
		return appendBase64(append(b, `{"pickle_base64":"`...), v.Data)
	case tandem.List:
		values, err := v.Values()
		if err != nil {
			return appendBase64(append(b, `{"base64":"`...), v.Data)
		}
		b = append(b, '[')
		for i, e := range values {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendValue(b, e)
		}
		return append(b, ']')
	}
	return append(b, "null"...)
}

func appendBase64(b, data []byte) []byte {
	return append(base64.StdEncoding.AppendEncode(b, data), `"}`...)
}

const hexDigits = "0123456789abcdef"

// appendText appends s as a JSON string. Bytes that are no UTF-8, which a path may hold, become lone surrogates \udcXX: Python reads them back
// as the same path (os.fsencode).
func appendText(b []byte, s string) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			switch {
			case c == '"' || c == '\\':
				b = append(b, '\\', c)
			case c == '\n':
				b = append(b, '\\', 'n')
			case c == '\t':
				b = append(b, '\\', 't')
			case c < 0x20 || c == 0x7f:
				b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			default:
				b = append(b, c)
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			b = append(b, '\\', 'u', 'd', 'c', hexDigits[c>>4], hexDigits[c&15])
		} else {
			b = append(b, s[i:i+n]...)
		}
		i += n
	}
	return append(b, '"')
}

var errLine = errors.New("is no line of an outcome")

// lineID reads the id at the beginning of a line of AppendLine's; rest is what follows it.
func lineID(line []byte) (id string, rest []byte, err error) {
	const head = `{"id":`
	if len(line) < len(head) || string(line[:len(head)]) != head {
		return "", nil, errLine
	}
	return unquote(line[len(head):])
}

// unquote reads a JSON string and, other than encoding/json, gives back the bytes that appendText has put into lone surrogates.
func unquote(b []byte) (s string, rest []byte, err error) {
	if len(b) == 0 || b[0] != '"' {
		return "", nil, errLine
	}
	var out []byte
	for i := 1; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return string(out), b[i+1:], nil
		case c != '\\':
			out = append(out, c)
		case i+1 == len(b):
			return "", nil, errLine
		case b[i+1] != 'u':
			i++
			plain, ok := escapes[b[i]]
			if !ok {
				return "", nil, errLine
			}
			out = append(out, plain)
		default:
			r, ok := hex4(b[i:])
			if !ok {
				return "", nil, errLine
			}
			i += 5
			if low, ok := hex4(b[i+1:]); ok && utf16.IsSurrogate(r) && utf16.DecodeRune(r, low) != utf8.RuneError {
				r = utf16.DecodeRune(r, low)
				i += 6
			}
			if r >= 0xdc80 && r <= 0xdcff {
				out = append(out, byte(r))
			} else {
				out = utf8.AppendRune(out, r)
			}
		}
	}
	return "", nil, errLine
}

var escapes = map[byte]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// hex4 reads \uXXXX.
func hex4(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	return rune(n), err == nil
}
