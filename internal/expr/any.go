package expr

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"tandem"
)

// Any is a JSON value with templates in its strings.
type Any struct{ root any }

// CompileAny reads the templates in v: nil, bool, number, string, []any, map[string]any. The error is an *Error or wraps one, with the place inside v.
func CompileAny(v any, n *Names) (*Any, error) {
	root, err := compileAny(v, "", n)
	return &Any{root}, err
}

func compileAny(v any, at string, n *Names) (any, error) {
	switch v := v.(type) {
	case string:
		t, err := Compile(v, n)
		if err != nil && at != "" {
			err = fmt.Errorf("%s: %w", at, err)
		}
		return t, err
	case []any:
		list := make([]any, len(v))
		for i := range v {
			var err error
			if list[i], err = compileAny(v[i], at+"["+strconv.Itoa(i)+"]", n); err != nil {
				return nil, err
			}
		}
		return list, nil
	case map[string]any:
		m := make(map[string]any, len(v))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			var err error
			if m[k], err = compileAny(v[k], at+"."+k, n); err != nil {
				return nil, err
			}
		}
		return m, nil
	}
	return v, nil
}

// Templates calls f for each template inside.
func (a *Any) Templates(f func(*Template)) { each(a.root, f) }

func each(v any, f func(*Template)) {
	switch v := v.(type) {
	case *Template:
		f(v)
	case []any:
		for _, x := range v {
			each(x, f)
		}
	case map[string]any:
		for _, x := range v {
			each(x, f)
		}
	}
}

// Value evaluates to one JSON value. Bytes must be UTF-8: they become text.
func (a *Any) Value(task *tandem.Task) (tandem.Value, error) {
	x, err := fill(a.root, task)
	if err != nil {
		return tandem.Value{}, err
	}
	b, err := marshal(x)
	return tandem.Value{Kind: tandem.JSON, Data: b}, err
}

func fill(v any, task *tandem.Task) (any, error) {
	switch v := v.(type) {
	case *Template:
		x, err := v.Eval(task)
		if b, ok := x.([]byte); ok {
			x = string(b)
		}
		return x, err
	case []any:
		list := make([]any, len(v))
		for i := range v {
			var err error
			if list[i], err = fill(v[i], task); err != nil {
				return nil, err
			}
		}
		return list, nil
	case map[string]any:
		m := make(map[string]any, len(v))
		for k := range v {
			var err error
			if m[k], err = fill(v[k], task); err != nil {
				return nil, fmt.Errorf("%s: %w", k, err)
			}
		}
		return m, nil
	}
	return v, nil
}
