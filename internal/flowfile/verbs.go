package flowfile

import (
	"fmt"
	"strings"
)

func (d *decoder) http(h *HTTP, n *node, path []any) {
	methods := []string{"get", "post", "put", "patch", "delete"}
	m := d.fields(n, path, reads{
		"get": d.text(&h.Get), "post": d.text(&h.Post), "put": d.text(&h.Put), "patch": d.text(&h.Patch), "delete": d.text(&h.Delete),
		"headers": func(n *node, path []any) { h.Headers, _ = d.textMap(n, path, "for example {Accept: application/json}") },
		"body":    func(n *node, path []any) { d.text(&h.Body)(n, path); h.HasBody = true },
		"json":    func(n *node, path []any) { h.JSON, h.HasJSON = d.plain(n), true },
		"file":    d.text(&h.File),
		"expect":  func(n *node, path []any) { d.expect(h, n, path) },
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

func (d *decoder) sql(s *SQL, n *node, path []any) {
	m := d.fields(n, path, reads{
		"open": d.text(&s.Open), "setup": d.text(&s.Setup), "exec": d.text(&s.Exec), "query": d.text(&s.Query),
		"values": func(n *node, path []any) {
			items, ok := n.value.([]*node)
			if !ok || len(items) == 0 {
				d.wrong(n, path, "for example [item.id, prev.json.total]", "want a list of expressions, got %s", n.what())
			}
			for i, item := range items {
				d.f.nodes[fmt.Sprint(with(path, i)...)] = item.at
				s.Values = append(s.Values, d.plain(item))
			}
		},
	})
	d.need(n, m, path, "open")
	d.one(n, m, path, "statement", []string{"exec", "query"})
}

func (d *decoder) write(w *Write, n *node, path []any) {
	m := d.fields(n, path, reads{"path": d.text(&w.Path), "body": d.text(&w.Body)})
	d.need(n, m, path, "path")
	if w.Body == "" {
		w.Body = "${{ prev }}"
	}
}
