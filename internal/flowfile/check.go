package flowfile

import (
	"errors"
	"fmt"

	"tandem/internal/expr"
)

// check compiles every template, so that a mistake is found when the file is loaded.
func (d *decoder) check() {
	for i := range d.f.Steps {
		s := &d.f.Steps[i]
		at := []any{"steps", i}
		for j, arg := range s.Run {
			d.template(arg, with(at, "run"), fmt.Sprintf("argument %d: ", j))
		}
		d.template(s.Stdin, with(at, "stdin"), "")
		if s.Args != nil {
			_, err := expr.CompileAny(s.Args)
			d.templateFault(err, with(at, "args"), "")
		}
		if h := s.HTTP; h != nil {
			d.template(h.URL, with(at, "http", h.Method), "")
			d.template(h.Body, with(at, "http", "body"), "")
			d.template(h.File, with(at, "http", "file"), "")
			for name, v := range h.Headers {
				d.template(v, with(at, "http", "headers", name), "")
			}
			if h.HasJSON {
				_, err := expr.CompileAny(h.JSON)
				d.templateFault(err, with(at, "http", "json"), "")
			}
		}
		for _, spec := range []struct{ key, value string }{{"python", s.Python}, {"go", s.Go}} {
			if spec.value != "" {
				if _, _, ok := cutLast(spec.value); !ok {
					d.wrong(&node{at: d.f.nodes[fmt.Sprint("steps", i, spec.key)]}, with(at, spec.key), map[string]string{"python": "for example images.py:thumb", "go": "for example ./resize:thumb"}[spec.key], "%q names no function: want …:function", short(spec.value))
				}
			}
		}
	}
}

func (d *decoder) template(src string, path []any, lead string) {
	if src == "" {
		return
	}
	_, err := expr.Compile(src)
	d.templateFault(err, path, lead)
}

func (d *decoder) templateFault(err error, path []any, lead string) {
	if err == nil {
		return
	}
	at, hint := d.f.nodes[fmt.Sprint(path...)], ""
	if e, ok := errors.AsType[*expr.Error](err); ok {
		hint = e.Hint
	}
	d.wrong(&node{at: at}, path, hint, "%s%s", lead, clean(err.Error()))
}
