package sqlite

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"tandem"
)

// appendValue appends a value as JSON, as the JSON lines of outcomes have it.
func appendValue(b []byte, v tandem.Value) []byte {
	switch v.Kind {
	case tandem.Null:
		return append(b, "null"...)
	case tandem.JSON:
		return append(b, v.Data...)
	case tandem.Text:
		if utf8.Valid(v.Data) {
			return appendString(b, string(v.Data))
		}
	case tandem.List:
		if values, err := v.Values(); err == nil {
			b = append(b, '[')
			for i, e := range values {
				if i > 0 {
					b = append(b, ',')
				}
				b = appendValue(b, e)
			}
			return append(b, ']')
		}
	case tandem.Pickle:
		return append(base64.StdEncoding.AppendEncode(append(b, `{"pickle_base64":"`...), v.Data), `"}`...)
	}
	return appendBlob(b, v.Data)
}

func appendBlob(b, data []byte) []byte {
	return append(base64.StdEncoding.AppendEncode(append(b, `{"base64":"`...), data), `"}`...)
}

// appendString appends UTF-8 as a JSON string without HTML escapes.
func appendString(b []byte, s string) []byte {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string always encodes
	return append(b, bytes.TrimSuffix(buf.Bytes(), []byte("\n"))...)
}

// appendCell appends what the driver gave for a column.
func appendCell(b []byte, x any) ([]byte, error) {
	switch x := x.(type) {
	case nil:
		return append(b, "null"...), nil
	case int64:
		return strconv.AppendInt(b, x, 10), nil
	case bool:
		return strconv.AppendBool(b, x), nil
	case float64:
		if math.IsInf(x, 0) || math.IsNaN(x) {
			return b, fmt.Errorf("%v has no form in JSON", x)
		}
		j, err := json.Marshal(x)
		return append(b, j...), err
	case []byte:
		return appendBlob(b, x), nil
	case string:
		if !utf8.ValidString(x) {
			return appendBlob(b, []byte(x)), nil
		}
		return appendString(b, x), nil
	case time.Time: // only from RETURNING, see statement.plain
		return appendString(b, x.Format("2006-01-02 15:04:05.999999999-07:00")), nil
	}
	return b, fmt.Errorf("a column of type %T", x)
}

// argument is what a template gave, as the driver takes it: what is neither text, number, bool, bytes nor nothing is stored as JSON.
func argument(x any) (any, error) {
	switch x := x.(type) {
	case nil, bool, int, int64, float64, time.Time:
		return x, nil
	case string:
		return text(x), nil
	case []byte:
		return blob(x), nil
	case tandem.Value:
		if x.Kind == tandem.Pickle {
			return nil, fmt.Errorf("a Python object cannot be stored as it is: return bytes, text or JSON from the step before")
		}
		return cell(x), nil
	case json.Number:
		return string(x), nil
	}
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	err := e.Encode(x)
	return string(bytes.TrimSuffix(buf.Bytes(), []byte("\n"))), err
}
