// Package expr is the ${{ }} of the flow file: templates over an item, checked when the file is loaded.
//
// A string that is one whole ${{ … }} keeps the type of its value: bytes stay bytes. Anything else becomes text. `$${{` is a literal `${{`. A compiled
// template is safe for concurrent use; `${{ prev }}`, `${{ item }}` and plain text cost no evaluation.
package expr

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"

	"tandem"
)

// FromValue is v as a Go value: nil, []byte, string, bool, int64, float64, json.Number for numbers that fit neither, []any, map[string]any.
func FromValue(v tandem.Value) (any, error) {
	switch v.Kind {
	case tandem.Null:
		return nil, nil
	case tandem.Bytes:
		return v.Data, nil
	case tandem.Text:
		return string(v.Data), nil
	case tandem.JSON:
		if n, ok := integer(v.Data); ok {
			return n, nil
		}
		d := json.NewDecoder(bytes.NewReader(v.Data))
		d.UseNumber()
		var x any
		if err := d.Decode(&x); err != nil {
			return nil, fmt.Errorf("the value is not JSON: %w", err)
		}
		return numbers(x), nil
	case tandem.List:
		values, err := v.Values()
		if err != nil {
			return nil, err
		}
		list := make([]any, len(values))
		for i, v := range values {
			if list[i], err = FromValue(v); err != nil {
				return nil, err
			}
			if b, ok := list[i].([]byte); ok {
				list[i] = string(b)
			}
		}
		return list, nil
	}
	return nil, fmt.Errorf("a Python object can only go to the next Python step: return bytes, text or JSON to use it here")
}

// integer reads an integer without the library, which makes a reader for it. It is false for everything else, and for what need not fit.
func integer(b []byte) (n int64, ok bool) {
	digits := b
	if len(b) > 0 && b[0] == '-' {
		digits = b[1:]
	}
	if len(digits) == 0 || len(digits) > 18 || digits[0] == '0' && len(b) > 1 {
		return 0, false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int64(c-'0')
	}
	if len(digits) < len(b) {
		n = -n
	}
	return n, true
}

// numbers turns json.Number into the number type that holds it exactly.
func numbers(x any) any {
	switch x := x.(type) {
	case json.Number:
		if n, err := strconv.ParseInt(string(x), 10, 64); err == nil {
			return n
		}
		if f, err := x.Float64(); err == nil && !math.IsInf(f, 0) && bytes.ContainsAny([]byte(x), ".eE") {
			return f
		}
		return x
	case []any:
		for i := range x {
			x[i] = numbers(x[i])
		}
	case map[string]any:
		for k := range x {
			x[k] = numbers(x[k])
		}
	}
	return x
}

// ToValue is x as a value.
func ToValue(x any) (tandem.Value, error) {
	switch x := x.(type) {
	case nil:
		return tandem.Value{}, nil
	case []byte:
		return tandem.Value{Kind: tandem.Bytes, Data: x}, nil
	case string:
		return tandem.TextValue(x), nil
	case tandem.Value:
		return x, nil
	}
	b, err := marshal(x)
	if err != nil {
		return tandem.Value{}, fmt.Errorf("a value of type %T is not JSON: %w", x, err)
	}
	return tandem.Value{Kind: tandem.JSON, Data: b}, nil
}

// marshal is json.Marshal without HTML escapes.
func marshal(x any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(x)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// appendText appends x as text: bytes and text as they are, numbers plainly, objects as JSON, null as nothing.
func appendText(b []byte, x any) ([]byte, error) {
	switch x := x.(type) {
	case nil:
		return b, nil
	case []byte:
		return append(b, x...), nil
	case string:
		return append(b, x...), nil
	}
	j, err := marshal(x)
	return append(b, j...), err
}
