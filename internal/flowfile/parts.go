package flowfile

import "fmt"

type reads = map[string]func(*node, []any)

// file reads the root.
func (d *decoder) file(n *node) {
	f := d.f
	m := d.fields(n, nil, reads{
		"tandem": func(n *node, path []any) {
			if s, _ := n.value.(string); s != Version {
				d.wrong(n, path, "write tandem: v1", "this version reads v1, got %s", n.what())
			}
			f.Tandem = Version
		},
		"name": d.text(&f.Name), "about": d.text(&f.About), "params": d.params, "secrets": d.text(&f.Secrets), "pools": d.pools,
		"from": d.from, "steps": d.steps, "into": d.into, "isolation": d.isolation(&f.Isolation), "order": word(d, &f.Order, []string{"keep"}), "failures": d.failures, "resume": d.resume,
	})
	d.need(n, m, nil, "tandem", "name", "from", "steps")
}

func (d *decoder) from(n *node, path []any) {
	from := &d.f.From
	m := d.fields(n, path, reads{
		"files": d.texts(&from.Files, true), "lines": d.text(&from.Lines), "jsonl": d.text(&from.JSONL), "csv": d.text(&from.CSV),
		"stdin": word(d, &from.Stdin, []string{"lines", "jsonl", "csv"}),
		"range": func(n *node, path []any) {
			from.Range, _ = n.value.(string)
			var ok bool
			if from.First, from.Last, ok = parseRange(from.Range); !ok {
				d.wrong(n, path, "for example 1..1000", "want first..last, got %s", n.what())
			} else if from.Last < from.First {
				d.wrong(n, path, fmt.Sprintf("did you mean %d..%d?", from.Last, from.First), "the range runs backwards")
			}
		},
	})
	d.one(n, m, path, "source", sources)
}

var sources = []string{"files", "lines", "jsonl", "csv", "stdin", "range"}

// one checks that exactly one of the keys is there.
func (d *decoder) one(n *node, m *mapping, path []any, what string, keys []string) (found string) {
	if m == nil {
		return ""
	}
	for i, k := range m.keys {
		for _, want := range keys {
			if k != want {
				continue
			}
			if found != "" {
				d.fault(m.places[i], pathText(path, d.names), "keep one of them", "a second %s `%s` beside `%s`", what, k, found)
				return found
			}
			found = k
		}
	}
	if found == "" {
		d.wrong(n, path, "write one of: "+list(keys), "no %s", what)
	}
	return found
}

var sinks = []string{"jsonl", "csv", "dir", "sqlite"}

func (d *decoder) into(n *node, path []any) {
	into := &Into{}
	d.f.Into = into
	m := d.fields(n, path, reads{
		"jsonl": d.text(&into.JSONL), "csv": d.text(&into.CSV), "dir": d.text(&into.Dir), "sqlite": d.text(&into.SQLite),
		"name": d.text(&into.Name), "table": d.text(&into.Table),
		"columns": func(n *node, path []any) {
			into.Columns, into.order = d.textMap(n, path, "for example {id: \"${{ item.id }}\"}")
		},
	})
	sink := d.one(n, m, path, "sink", sinks)
	for key, of := range map[string]string{"columns": "csv", "name": "dir", "table": "sqlite"} {
		if m != nil && m.get(key) != nil && sink != "" && sink != of {
			d.wrong(m.get(key), with(path, key), "", "`%s` goes with `%s`, not with `%s`", key, of, sink)
		}
	}
}

// textMap reads names and texts, in their order.
func (d *decoder) textMap(n *node, path []any, example string) (texts map[string]string, order []string) {
	m, ok := n.value.(*mapping)
	if !ok || len(m.keys) == 0 {
		d.wrong(n, path, example, "want names and texts, got %s", n.what())
		return nil, nil
	}
	texts = map[string]string{}
	for i, k := range m.keys {
		var v string
		d.f.nodes[fmt.Sprint(with(path, k)...)] = m.values[i].at
		d.text(&v)(m.values[i], with(path, k))
		texts[k] = v
	}
	return texts, m.keys
}

func (d *decoder) steps(n *node, path []any) {
	items, ok := n.value.([]*node)
	if !ok || len(items) == 0 {
		d.wrong(n, path, "for example\n  steps:\n    - name: thumb\n      python: images.py:thumb", "want a list of steps, got %s", n.what())
		return
	}
	for i, item := range items {
		if m, ok := item.value.(*mapping); ok {
			if name := m.get("name"); name != nil {
				d.names[i], _ = name.value.(string)
			}
		}
	}
	d.f.Steps = make([]Step, len(items))
	first := map[string]int{}
	for i, item := range items {
		here := with(path, i)
		d.f.nodes[fmt.Sprint(here...)] = item.at
		d.step(&d.f.Steps[i], item, here)
		name := d.f.Steps[i].Name
		if name == "" {
			continue
		}
		if line, twice := first[name]; twice {
			d.wrong(item.value.(*mapping).get("name"), here, "give each step a name of its own", "the step in line %d has this name too", line)
		} else {
			first[name] = item.value.(*mapping).get("name").at.line
		}
	}
}
