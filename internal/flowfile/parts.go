package flowfile

import (
	"fmt"
	"strings"

	"tandem"
)

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
		"name": d.text(&f.Name), "about": d.text(&f.About), "from": d.from, "steps": d.steps, "into": d.into,
	})
	d.need(n, m, nil, "tandem", "name", "from", "steps")
}

func (d *decoder) from(n *node, path []any) {
	from := &d.f.From
	m := d.fields(n, path, reads{
		"files": d.texts(&from.Files, true), "lines": d.text(&from.Lines), "jsonl": d.text(&from.JSONL),
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
	d.one(n, m, path, "source", []string{"files", "lines", "jsonl", "range"})
}

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

func (d *decoder) into(n *node, path []any) {
	d.f.Into = &Into{}
	m := d.fields(n, path, reads{"jsonl": d.text(&d.f.Into.JSONL)})
	d.need(n, m, path, "jsonl")
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

var verbs = []string{"python", "go", "worker", "run", "http"}

func (d *decoder) step(s *Step, n *node, path []any) {
	m := d.fields(n, path, reads{
		"name": func(n *node, path []any) {
			d.text(&s.Name)(n, path)
			if strings.ContainsFunc(s.Name, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
				d.wrong(n, path, "use letters, digits, - and _", "a step's name has no spaces")
			}
		},
		"python": d.text(&s.Python), "go": d.text(&s.Go), "worker": d.texts(&s.Worker, false), "run": d.texts(&s.Run, false),
		"http":    func(n *node, path []any) { s.HTTP = &HTTP{}; d.http(s.HTTP, n, path) },
		"handler": d.text(&s.Handler), "venv": d.text(&s.Venv), "stdin": d.text(&s.Stdin),
		"args": func(n *node, path []any) {
			args, ok := d.plain(n).(map[string]any)
			if !ok || len(args) == 0 {
				d.wrong(n, path, `for example args: {path: "${{ item.path }}"}`, "want named arguments, got %s", n.what())
			}
			s.Args = args
		},
		"mode": word(d, &s.Mode, tandem.Modes), "workers": d.whole(&s.Workers), "threads": d.whole(&s.Threads), "concurrency": d.whole(&s.Concurrency),
		"timeout": d.duration(&s.Timeout),
		"queue": func(n *node, path []any) {
			d.fields(n, path, reads{"items": d.whole(&s.Queue.Items), "bytes": d.size(&s.Queue.Bytes)})
		},
	})
	d.need(n, m, path, "name")
	if verb := d.one(n, m, path, "verb", verbs); verb != "" {
		d.combinations(s, verb, m, path)
	}
}

// combinations refuses keys that mean nothing beside the step's verb or mode.
func (d *decoder) combinations(s *Step, verb string, m *mapping, path []any) {
	refuse := func(key, hint, format string, args ...any) {
		for i, k := range m.keys {
			if k == key {
				d.fault(m.places[i], pathText(path, d.names), hint, format, args...)
			}
		}
	}
	worker := verb == "python" || verb == "go" || verb == "worker"
	if verb != "worker" {
		refuse("handler", "python: and go: name their handler themselves", "`handler` goes with `worker`, not with `%s`", verb)
	} else if m.get("handler") == nil {
		refuse("worker", "add handler: NAME", "`worker` needs the key `handler`")
	}
	if verb != "python" {
		refuse("venv", "", "`venv` goes with `python`, not with `%s`", verb)
	}
	if verb != "run" {
		refuse("stdin", "", "`stdin` goes with `run`, not with `%s`", verb)
	}
	if !worker {
		refuse("args", "", "`args` goes with python, go and worker, not with `%s`", verb)
		refuse("workers", "use concurrency", "a `%s` step runs in goroutines and has no worker processes", verb)
		refuse("threads", "use concurrency", "a `%s` step runs in goroutines and has no worker processes", verb)
		if s.Mode != "" && s.Mode != tandem.Auto && s.Mode != tandem.Goroutine {
			refuse("mode", "leave mode out", "a `%s` step runs in goroutines, not in mode %s", verb, s.Mode)
		}
		return
	}
	switch s.Mode {
	case tandem.Goroutine:
		refuse("mode", "want process, thread, async or auto", "a `%s` step runs in worker processes, not in goroutines", verb)
	case tandem.Async:
		refuse("threads", "use concurrency", "an event loop has no threads")
	case tandem.Process, tandem.Thread:
		refuse("concurrency", "use workers and threads", "mode %s runs workers × threads tasks at a time", s.Mode)
	}
	if s.Mode == tandem.Async && verb == "go" {
		refuse("mode", "use mode: thread", "a Go worker has no event loop")
	}
}

func (d *decoder) http(h *HTTP, n *node, path []any) {
	methods := []string{"get", "post", "put", "patch", "delete"}
	m := d.fields(n, path, reads{
		"get": d.text(&h.Get), "post": d.text(&h.Post), "put": d.text(&h.Put), "patch": d.text(&h.Patch), "delete": d.text(&h.Delete),
		"headers": func(n *node, path []any) {
			headers, ok := n.value.(*mapping)
			if !ok {
				d.wrong(n, path, "for example {Accept: application/json}", "want header names and values, got %s", n.what())
				return
			}
			h.Headers = map[string]string{}
			for i, k := range headers.keys {
				var v string
				d.f.nodes[fmt.Sprint(with(path, k)...)] = headers.values[i].at
				d.text(&v)(headers.values[i], with(path, k))
				h.Headers[k] = v
			}
		},
		"body":   func(n *node, path []any) { d.text(&h.Body)(n, path); h.HasBody = true },
		"json":   func(n *node, path []any) { h.JSON, h.HasJSON = d.plain(n), true },
		"file":   d.text(&h.File),
		"expect": func(n *node, path []any) { d.expect(h, n, path) },
	})
	h.Method = d.one(n, m, path, "method", methods)
	h.URL = h.Get + h.Post + h.Put + h.Patch + h.Delete
	if m != nil {
		bodies := 0
		for _, k := range []string{"body", "json", "file"} {
			if m.get(k) != nil {
				if bodies++; bodies == 2 {
					d.wrong(m.get(k), path, "keep one of them", "only one of body, json and file")
				}
			}
		}
	}
}

// expect reads 2xx, 201, "2xx,404" or a list of them.
func (d *decoder) expect(h *HTTP, n *node, path []any) {
	items, ok := n.value.([]*node)
	if !ok {
		items = []*node{n}
	}
	for _, item := range items {
		text, _ := item.value.(string)
		if v, ok := item.value.(int64); ok {
			text = fmt.Sprint(v)
		}
		for _, one := range strings.Split(text, ",") {
			r, ok := parseStatus(one)
			if !ok {
				d.wrong(item, path, "for example 2xx, 201 or [200, 404]", "want an HTTP status, got %s", item.what())
				return
			}
			h.Expect = append(h.Expect, r)
		}
	}
}
