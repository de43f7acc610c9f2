package flowfile

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"tandem/internal/expr"
)

// decoder reads nodes into a File and gathers faults.
type decoder struct {
	reader
	names  map[int]string // of steps, for messages
	pooled []pooled
}

// Parse reads a flow file from src; name is for messages. The error is a [Faults].
func Parse(name string, src []byte) (*File, error) {
	f := &File{Path: name, Dir: ".", src: src, nodes: map[string]place{}, names: &expr.Names{Facts: &expr.Facts{}}}
	d := &decoder{reader: reader{f: f}, names: map[int]string{}}
	if root := d.read(); root != nil {
		d.file(root)
		if len(d.faults) == 0 {
			f.inherit()
			d.check()
		}
	}
	if len(d.faults) > 0 {
		slices.SortStableFunc(d.faults, func(a, b *Error) int { return (a.Line-b.Line)<<16 + a.Col - b.Col })
		return nil, d.faults
	}
	return f, nil
}

// Errorf is a fault at a key path such as steps, 0, python.
func (f *File) Errorf(hint string, path []any, format string, args ...any) error {
	names := map[int]string{}
	for i, s := range f.Steps {
		names[i] = s.Name
	}
	at := f.nodes[fmt.Sprint(path...)]
	return &Error{File: f.Path, Line: at.line, Col: at.col, Path: pathText(path, names), Message: fmt.Sprintf(format, args...), Hint: hint, Snippet: snippet(f.src, at)}
}

// wrong reports a fault at a node.
func (d *decoder) wrong(n *node, path []any, hint, format string, args ...any) {
	d.fault(n.at, pathText(path, d.names), hint, format, args...)
}

// with is path and one more part, in memory of its own.
func with(path []any, part ...any) []any { return append(slices.Clone(path), part...) }

// fields calls the reader of each key. Unknown keys are faults, x-… are not looked at.
func (d *decoder) fields(n *node, path []any, keys map[string]func(*node, []any)) *mapping {
	m, ok := n.value.(*mapping)
	if !ok {
		d.wrong(n, path, "", "want a mapping (key: value), got %s", n.what())
		return nil
	}
	known := make([]string, 0, len(keys))
	for k := range keys {
		known = append(known, k)
	}
	slices.Sort(known)
	for i, k := range m.keys {
		if strings.HasPrefix(k, "x-") {
			continue
		}
		here := with(path, k)
		read := keys[k]
		if read == nil {
			why := suggest(k, known)
			if slices.Contains([]string{"recycle", "java", "node", "image"}, k) {
				why = ": not in this version"
			}
			d.fault(m.places[i], pathText(path, d.names), "keys here: "+list(known), "unknown key `%s`%s", short(k), why)
			continue
		}
		d.f.nodes[fmt.Sprint(here...)] = m.values[i].at
		read(m.values[i], here)
	}
	return m
}

// need reports a missing key.
func (d *decoder) need(n *node, m *mapping, path []any, keys ...string) {
	for _, k := range keys {
		if m != nil && m.get(k) == nil {
			d.wrong(n, path, "", "the key `%s` is missing", k)
		}
	}
}

// text reads text into dst.
func (d *decoder) text(dst *string) func(*node, []any) {
	return func(n *node, path []any) {
		s, ok := n.value.(string)
		switch {
		case !ok && n.value != nil && (n.what() == "true" || n.what() == "false"):
			d.wrong(n, path, `quote it: "`+n.what()+`"`, "want text, got %s", n.what())
		case !ok:
			hint := ""
			if _, isMap := n.value.(*mapping); isMap {
				hint = `text that starts with { or ${{ inside [ ] or { } must be quoted`
			}
			d.wrong(n, path, hint, "want text, got %s", n.what())
		case s == "":
			d.wrong(n, path, "", "is empty")
		default:
			*dst = s
		}
	}
}

// texts reads a list of texts; single allows one text in its place.
func (d *decoder) texts(dst *[]string, single bool) func(*node, []any) {
	return func(n *node, path []any) {
		if s, ok := n.value.(string); ok && single && s != "" {
			*dst = []string{s}
			return
		}
		items, ok := n.value.([]*node)
		if !ok {
			d.wrong(n, path, "for example [convert, \"${{ item.path }}\"]", "want a list of texts, got %s", n.what())
			return
		}
		if len(items) == 0 {
			d.wrong(n, path, "", "the list is empty")
		}
		for i, item := range items {
			switch v := item.value.(type) {
			case string:
				*dst = append(*dst, v)
			case int64, float64:
				*dst = append(*dst, strings.TrimPrefix(item.what(), "the number "))
			default:
				d.wrong(item, with(path, i), "quote it", "want text, got %s", item.what())
			}
		}
	}
}

// whole reads a whole number of at least 1.
func (d *decoder) whole(dst *int) func(*node, []any) {
	return func(n *node, path []any) {
		v, ok := n.value.(int64)
		if !ok || v < 1 || v > math.MaxInt32 {
			d.wrong(n, path, "", "want a whole number of 1 or more, got %s", n.what())
			return
		}
		*dst = int(v)
	}
}

func (d *decoder) duration(dst *time.Duration) func(*node, []any) {
	return func(n *node, path []any) {
		s, _ := n.value.(string)
		v, ok := parseDuration(s)
		if !ok {
			d.wrong(n, path, "for example 500ms, 20s, 1m30s", "want a duration, got %s", n.what())
			return
		}
		*dst = v
	}
}

func (d *decoder) size(dst *int64) func(*node, []any) {
	return func(n *node, path []any) {
		var v int64
		ok := false
		switch x := n.value.(type) {
		case int64:
			v, ok = x, x > 0
		case string:
			v, ok = parseSize(x)
		}
		if !ok {
			d.wrong(n, path, "for example 64MiB, 10MB, 4096", "want a size, got %s", n.what())
			return
		}
		*dst = v
	}
}

// word reads one of several words.
func word[T ~string](d *decoder, dst *T, words []T) func(*node, []any) {
	return func(n *node, path []any) {
		s, _ := n.value.(string)
		if !slices.Contains(words, T(s)) {
			names := make([]string, len(words))
			for i, w := range words {
				names[i] = string(w)
			}
			d.wrong(n, path, "want one of: "+list(names), "unknown value %s%s", n.what(), suggest(s, names))
			return
		}
		*dst = T(s)
	}
}

// plain is the node as a plain Go value, for args and json.
func (d *decoder) plain(n *node) any {
	switch v := n.value.(type) {
	case []*node:
		items := make([]any, len(v))
		for i := range v {
			items[i] = d.plain(v[i])
		}
		return items
	case *mapping:
		m := map[string]any{}
		for i, k := range v.keys {
			m[k] = d.plain(v.values[i])
		}
		return m
	case float64:
		if math.IsInf(v, 0) {
			d.wrong(n, nil, "", "infinity is not JSON")
		}
	}
	return n.value
}
