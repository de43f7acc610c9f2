package evidence

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"tandem"
)

// maxPreview bounds the input that a report shows.
const maxPreview = 1 << 10

// Preview is the beginning of a value for a report, without what redact takes out; redact may be nil. It is applied first: a secret that is cut in two is still one.
func Preview(v tandem.Value, redact func(tandem.Value) tandem.Value) string {
	if v.Kind == tandem.List {
		values, err := v.Values()
		if err != nil || len(values) == 0 {
			return ""
		}
		return fmt.Sprintf("a batch of %d, the first: ", len(values)) + Preview(values[0], redact)
	}
	if redact != nil {
		v = redact(v)
	}
	size := len(v.Data)
	data := v.Data[:min(size, maxPreview)]
	var s string
	switch {
	case v.Kind == tandem.Null:
		return ""
	case v.Kind == tandem.Bytes, v.Kind == tandem.Pickle, !utf8.Valid(v.Data):
		data = data[:min(len(data), maxPreview/4)]
		s = strings.Trim(strconv.QuoteToASCII(string(data)), `"`)
	default:
		s = strings.ToValidUTF8(string(data), "")
	}
	if size > len(data) {
		s += fmt.Sprintf(" … (%s of %d bytes)", v.Kind, size)
	}
	return s
}
