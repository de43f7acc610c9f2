package flowfile

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"tandem"
)

var paramTypes = []string{"text", "int", "number", "bool"}

// params reads parameters: a plain default, or type, default and about.
func (d *decoder) params(n *node, path []any) {
	m, ok := n.value.(*mapping)
	if !ok {
		d.wrong(n, path, "for example params: {photos: ./photos}", "want names and values, got %s", n.what())
		return
	}
	d.f.Params = map[string]Param{}
	d.f.names.Params = map[string]any{}
	for i, name := range m.keys {
		here, v := with(path, name), m.values[i]
		d.f.nodes[fmt.Sprint(here...)] = v.at
		if !isName(name) {
			d.fault(m.places[i], pathText(path, d.names), "use letters, digits and _", "`%s` is no name for a parameter", short(name))
		}
		p := Param{Default: v.value}
		if _, nested := v.value.(*mapping); nested {
			p.Default = nil
			d.fields(v, here, reads{
				"type": word(d, &p.Type, paramTypes), "about": d.text(&p.About),
				"default": func(n *node, path []any) { p.Default = n.value },
			})
		} else if _, list := v.value.([]*node); list {
			d.wrong(v, here, "give several parameters, or a file", "a parameter is one value, got %s", v.what())
			continue
		}
		p.check(d, v, here)
		d.f.Params[name] = p
		d.f.names.Params[name] = p.Default
	}
}

// check finds the type that the default has and holds it against the declared one.
func (p *Param) check(d *decoder, n *node, path []any) {
	has := "text"
	switch p.Default.(type) {
	case int64:
		has = "int"
	case float64:
		has = "number"
	case bool:
		has = "bool"
	case nil:
		has = p.Type
	}
	if p.Type == "" {
		p.Type = has
		if has == "" {
			p.Type = "text"
		}
	}
	if p.Type == "number" && has == "int" {
		n, _ := p.Default.(int64)
		p.Default, has = float64(n), "number"
	}
	if has != p.Type && p.Default != nil {
		d.wrong(n, path, "", "the default is of type %s, the parameter of type %s", has, p.Type)
	}
}

// read is the value of a parameter as it stands on the command line.
func (p *Param) read(text string) (any, bool) {
	var v any
	var err error
	switch p.Type {
	case "int":
		v, err = strconv.ParseInt(text, 10, 64)
	case "number":
		v, err = strconv.ParseFloat(text, 64)
	case "bool":
		v, err = strconv.ParseBool(text)
	default:
		v = text
	}
	return v, err == nil
}

// SetParams sets parameters from NAME=VALUE texts, and finds those that are missing.
func (f *File) SetParams(given []string) error {
	names := slices.Sorted(maps.Keys(f.Params))
	wrong := func(on, hint, format string, args ...any) error {
		return &tandem.Error{Op: "set the parameter", On: on, Kind: tandem.KindInvalid, Message: fmt.Sprintf(format, args...), Hint: hint}
	}
	for _, g := range given {
		name, text, ok := strings.Cut(g, "=")
		if !ok {
			return wrong(g, "write --param NAME=VALUE", "no value")
		}
		p, ok := f.Params[name]
		if !ok {
			hint := "the flow has none; declare it with params:"
			if len(names) > 0 {
				hint = "parameters of this flow: " + strings.Join(names, ", ")
			}
			return wrong(name, hint, "%s has no such parameter%s", f.Path, suggest(name, names))
		}
		v, ok := p.read(text)
		if !ok {
			return wrong(name, "", "want a value of type %s, got %q", p.Type, text)
		}
		f.names.Params[name] = v
	}
	var missing []string
	for _, name := range names {
		if f.names.Params[name] == nil {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		hint := "give " + "--param " + strings.Join(missing, "=… --param ") + "=…"
		if about := f.Params[missing[0]].About; about != "" {
			hint += "; " + missing[0] + ": " + about
		}
		return wrong(strings.Join(missing, ", "), hint, "has no default and must be given")
	}
	return nil
}

// ParamText is the parameters as they are, for people and for telling one run from another.
func (f *File) ParamText() string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(f.names.Params)) {
		parts = append(parts, fmt.Sprintf("%s=%v", name, f.names.Params[name]))
	}
	return strings.Join(parts, " ")
}

func isName(s string) bool {
	for i, r := range s {
		if r != '_' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != ""
}
