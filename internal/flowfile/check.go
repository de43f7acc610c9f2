package flowfile

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"tandem/internal/expr"
)

// templates are the compiled templates of a step. They are compiled when the file is read, so that a mistake is found then.
type templates struct {
	names *expr.Names // what they may name: the file's, and the steps before

	argv    []*expr.Template
	stdin   *expr.Template
	args    *expr.Any
	url     *expr.Template
	headers map[string]*expr.Template
	body    *expr.Template
	json    *expr.Any
	file    *expr.Template
	path    *expr.Template
	values  []*expr.Template
	keep    *expr.Template
	when    *expr.Template
	key     *expr.Template // of per_key
	script  string
	params  []*expr.Template // of script
	kept    bool             // a later step asks for what this one gives
	tmp     bool             // it makes temporary files
}

// check compiles every template and looks at what only the whole file can tell.
func (d *decoder) check() {
	f := d.f
	var steps []string
	for i := range f.Steps {
		s := &f.Steps[i]
		s.t.names = &expr.Names{Facts: f.names.Facts, Steps: slices.Clone(steps)}
		steps = append(steps, s.Name)
		d.checkStep(s, i)
	}
	f.names.Steps = steps
	if f.Into != nil {
		ended := *f.names
		ended.Ended = true
		for _, c := range f.Into.order {
			f.Into.columns = append(f.Into.columns, d.compile(f.Into.Columns[c], &ended, []any{"into", "columns", c}))
		}
		if f.Into.Name != "" {
			f.Into.name = d.compile(f.Into.Name, f.names, []any{"into", "name"})
		}
		d.uses(f.Into.name)
		d.uses(f.Into.columns...)
	}
	for _, text := range []struct {
		path []any
		src  string
	}{{[]any{"from", "lines"}, f.From.Lines}, {[]any{"from", "jsonl"}, f.From.JSONL}, {[]any{"from", "csv"}, f.From.CSV},
		{[]any{"into", f.Into.kind()}, f.rawSinkPath()}, {[]any{"failures", "save"}, f.Failures.Save}, {[]any{"resume", "file"}, f.Resume.File}, {[]any{"secrets"}, f.Secrets}} {
		d.uses(d.compile(text.src, d.f.fixedNames(), text.path))
	}
	for _, p := range f.From.Files {
		d.uses(d.compile(p, d.f.fixedNames(), []any{"from", "files"}))
	}
	d.findPools()
	if f.Into != nil && f.Into.JSONL+f.Into.CSV == "-" && f.Resume.File != "" {
		d.wrong(&node{at: f.nodes["into"]}, []any{"into"}, "give the sink a file, or leave resume out", "a run into standard output cannot be resumed")
	}
}

// fixedNames is what a text that is read once may name.
func (f *File) fixedNames() *expr.Names {
	n := *f.names
	n.Fixed = true
	return &n
}

func (d *decoder) checkStep(s *Step, i int) {
	at := []any{"steps", i}
	t, n := &s.t, s.t.names
	one := func(src string, path ...any) *expr.Template {
		if src == "" {
			return nil
		}
		return d.compile(src, n, with(at, path...))
	}
	t.when, t.keep = one(s.When, "when"), one(s.Keep, "keep")
	if s.PerKey != nil {
		t.key = one(s.PerKey.Key, "per_key", "key")
	}
	single := n
	if s.Batch != nil {
		b := *n
		b.Batch = true
		n = &b
		t.names = n
	}
	for j, arg := range s.Run {
		a, err := expr.Compile(arg, n)
		d.templateFault(err, with(at, "run"), fmt.Sprintf("argument %d: ", j))
		t.argv = append(t.argv, a)
	}
	t.stdin = one(s.Stdin, "stdin")
	if s.Shell != "" {
		var err error
		t.script, t.params, err = expr.CompileShell(s.Shell, n)
		d.templateFault(err, with(at, "shell"), "")
	}
	var err error
	if s.Args != nil {
		t.args, err = expr.CompileAny(s.Args, n)
		d.templateFault(err, with(at, "args"), "")
	}
	if h := s.HTTP; h != nil {
		t.url, t.body, t.file = one(h.URL, "http", h.Method), one(h.Body, "http", "body"), one(h.File, "http", "file")
		t.headers = map[string]*expr.Template{}
		for name, v := range h.Headers {
			t.headers[name] = one(v, "http", "headers", name)
		}
		if h.HasJSON {
			t.json, err = expr.CompileAny(h.JSON, n)
			d.templateFault(err, with(at, "http", "json"), "")
		}
	}
	if w := s.Write; w != nil {
		t.path, t.body = one(w.Path, "write", "path"), one(w.Body, "write", "body")
	}
	if q := s.SQL; q != nil {
		d.uses(d.compile(q.Open, d.f.fixedNames(), with(at, "sql", "open")))
		for j, v := range q.Values { // of each item, also in a batch
			t.values = append(t.values, d.value(v, single, with(at, "sql", "values", j)))
		}
	}
	for _, spec := range []struct{ key, value, example string }{{"python", s.Python, "for example images.py:thumb"}, {"go", s.Go, "for example ./resize:thumb"}} {
		if spec.value != "" {
			if _, _, ok := cutLast(spec.value); !ok {
				d.wrong(&node{at: d.f.nodes[fmt.Sprint("steps", i, spec.key)]}, with(at, spec.key), spec.example, "%q names no function: want …:function", short(spec.value))
			}
		}
	}
	d.stepUses(t)
}

// value compiles one of sql's values: an expression, a template, or a constant.
func (d *decoder) value(v any, n *expr.Names, path []any) *expr.Template {
	text, ok := v.(string)
	if !ok {
		text = fmt.Sprint(v)
		if v == nil {
			text = "nil"
		}
	}
	if strings.Contains(text, "${{") {
		return d.compile(text, n, path)
	}
	t, err := expr.CompileExpression(text, n)
	d.templateFault(err, path, "")
	return t
}

// stepUses notes which earlier steps a step asks for, and whether it makes temporary files.
func (d *decoder) stepUses(t *templates) {
	all := append([]*expr.Template{t.stdin, t.url, t.body, t.file, t.path, t.keep, t.when, t.key}, t.argv...)
	all = append(append(all, t.values...), t.params...)
	for _, h := range t.headers {
		all = append(all, h)
	}
	for _, a := range []*expr.Any{t.args, t.json} {
		if a != nil {
			a.Templates(func(x *expr.Template) { all = append(all, x) })
		}
	}
	d.uses(all...)
	t.tmp = slices.ContainsFunc(all, func(x *expr.Template) bool { return x != nil && x.Tmp() })
}

func (d *decoder) uses(all ...*expr.Template) {
	for _, x := range all {
		if x != nil {
			for _, i := range x.Steps() {
				d.f.Steps[i].t.kept = true
			}
			d.f.secrets = append(d.f.secrets, x.Secrets()...)
		}
	}
}

func (d *decoder) compile(src string, n *expr.Names, path []any) *expr.Template {
	t, err := expr.Compile(src, n)
	d.templateFault(err, path, "")
	return t
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
