package expr

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"

	"tandem"
)

// Error is a template that cannot be compiled. Offset is where in the string, in bytes.
type Error struct {
	Offset  int
	Message string
	Hint    string
}

func (e *Error) Error() string { return e.Message }

// Template is a compiled string.
type Template struct {
	parts []part
	n     *Names
}

// part is literal text or an expression.
type part struct {
	text   string
	source string
	prog   *vm.Program
	uses   *uses
	name   string // "prev", "item" or "steps" when that is the whole expression
}

// Compile reads a template. The error is an *Error.
func Compile(src string, n *Names) (*Template, error) {
	if n.Facts == nil {
		n.Facts = &Facts{}
	}
	t := &Template{n: n}
	var text strings.Builder
	for at := 0; at < len(src); {
		i := strings.Index(src[at:], "${{")
		if i < 0 {
			text.WriteString(src[at:])
			break
		}
		if i > 0 && src[at+i-1] == '$' {
			text.WriteString(src[at:at+i-1] + "${{")
			at += i + 3
			continue
		}
		text.WriteString(src[at : at+i])
		open := at + i
		end, err := closing(src, open+3)
		if err != nil {
			return nil, err
		}
		p, err := compilePart(src[open+3:end], open+3, n)
		if err != nil {
			return nil, err
		}
		if text.Len() > 0 {
			t.parts = append(t.parts, part{text: text.String()})
			text.Reset()
		}
		t.parts = append(t.parts, p)
		at = end + 2
	}
	if text.Len() > 0 {
		t.parts = append(t.parts, part{text: text.String()})
	}
	return t, nil
}

// closing finds the }} of an expression; quotes may hold one, and braces of map literals count.
func closing(src string, from int) (int, error) {
	depth := 0
	for i := from; i < len(src); i++ {
		switch c := src[i]; c {
		case '"', '\'', '`':
			for i++; i < len(src) && src[i] != c; i++ {
				if src[i] == '\\' && c != '`' {
					i++
				}
			}
		case '{':
			depth++
		case '}':
			if depth == 0 && strings.HasPrefix(src[i:], "}}") {
				return i, nil
			}
			depth--
		}
	}
	return 0, &Error{Offset: from - 3, Message: "`${{` has no `}}`", Hint: "write $${{ for the signs themselves"}
}

func compilePart(code string, offset int, n *Names) (part, error) {
	source := strings.TrimSpace(code)
	lead := strings.Index(code, source)
	if source == "" {
		return part{}, &Error{Offset: offset - 3, Message: "`${{ }}` is empty", Hint: "for example ${{ item.path }} or ${{ prev }}"}
	}
	return compile(source, offset+lead, n)
}

// CompileExpression reads an expression that stands without ${{ }}.
func CompileExpression(source string, n *Names) (*Template, error) {
	p, err := compile(source, 0, n)
	return &Template{n: n, parts: []part{p}}, err
}

func compile(source string, offset int, n *Names) (part, error) {
	p := part{source: source, uses: &uses{n: n}}
	prog, err := expr.Compile(source, expr.Env(scope{}), expr.MaxNodes(2000))
	if err != nil {
		e := &Error{Offset: offset, Message: "`" + source + "`: " + strings.SplitN(err.Error(), "\n", 2)[0],
			Hint: "names here: item (id, key, value, path, name, stem, ext, dir), prev, steps.NAME, params.NAME, env.NAME, secrets.NAME, run (id, flow), tmp.file(NAME)"}
		if fe, ok := errors.AsType[*file.Error](err); ok {
			e.Message = "`" + source + "`: " + strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(fe.Message, "type expr.item", "item"), "type expr.scope", "this"), "type expr.", "")
			e.Offset = offset + fe.Column
		}
		return part{}, e
	}
	p.prog = prog
	if tree, err := parser.Parse(source); err == nil { // what was compiled has been rewritten; names are looked for in what was written
		ast.Walk(&tree.Node, p.uses)
	}
	if f := p.uses.fault; f != nil {
		f.Offset += offset
		return part{}, f
	}
	switch {
	case source == "prev" || source == "item" || source == "item.value":
		p.name = strings.TrimSuffix(source, ".value")
	case len(p.uses.steps) == 1 && strings.TrimPrefix(source, "steps.") == n.Steps[p.uses.steps[0]]:
		p.name = "steps"
	}
	return p, nil
}

// wrong notes the first thing that is wrong with an expression.
func (u *uses) wrong(x ast.Node, hint, format string, args ...any) {
	if u.fault == nil {
		u.fault = &Error{Offset: x.Location().From, Message: fmt.Sprintf(format, args...), Hint: hint}
	}
}

// raw is a part that is the whole value of the item or of a step before.
func (p part) raw(t *tandem.Task) (tandem.Value, bool) {
	switch p.name {
	case "prev":
		if t.Value.Kind == tandem.List {
			return tandem.Value{}, false
		}
		return t.Value, true
	case "item":
		return t.Source, true
	case "steps":
		return earlier(t, p.uses.steps[0]), true
	}
	return tandem.Value{}, false
}

func earlier(t *tandem.Task, step int) tandem.Value {
	if step < len(t.Earlier) {
		return t.Earlier[step]
	}
	return tandem.Value{} // the step was not for this item
}

// Steps are the indexes of the steps whose values the template asks for.
func (t *Template) Steps() (steps []int) {
	for _, p := range t.parts {
		if p.uses != nil {
			steps = append(steps, p.uses.steps...)
		}
	}
	return steps
}

// Secrets are the names of the secrets that the template asks for.
func (t *Template) Secrets() (names []string) {
	for _, p := range t.parts {
		if p.uses != nil {
			names = append(names, p.uses.secrets...)
		}
	}
	return names
}

// Tmp tells whether the template makes temporary files.
func (t *Template) Tmp() bool {
	return slices.ContainsFunc(t.parts, func(p part) bool { return p.uses != nil && p.uses.tmp })
}

// Constant is the text of a template without expressions.
func (t *Template) Constant() (string, bool) {
	switch {
	case len(t.parts) == 0:
		return "", true
	case len(t.parts) == 1 && t.parts[0].prog == nil:
		return t.parts[0].text, true
	}
	return "", false
}

// Value evaluates to a value; a whole ${{ prev }} or ${{ item }} passes through untouched.
func (t *Template) Value(task *tandem.Task) (tandem.Value, error) {
	if len(t.parts) == 1 {
		if v, ok := t.parts[0].raw(task); ok {
			return v, nil
		}
		if t.parts[0].prog != nil {
			x, err := t.eval(t.parts[0], task)
			if err != nil {
				return tandem.Value{}, err
			}
			return ToValue(x)
		}
	}
	b, err := t.text(task)
	return tandem.Value{Kind: tandem.Text, Data: b}, err
}

// Eval evaluates to a Go value.
func (t *Template) Eval(task *tandem.Task) (any, error) {
	if len(t.parts) == 1 && t.parts[0].prog != nil {
		return t.eval(t.parts[0], task)
	}
	b, err := t.text(task)
	return string(b), err
}

// Text evaluates to text.
func (t *Template) Text(task *tandem.Task) (string, error) {
	if s, ok := t.Constant(); ok {
		return s, nil
	}
	b, err := t.text(task)
	return string(b), err
}

func (t *Template) text(task *tandem.Task) ([]byte, error) {
	var b []byte
	for _, p := range t.parts {
		if p.prog == nil {
			b = append(b, p.text...)
			continue
		}
		if v, ok := p.raw(task); ok && (v.Kind == tandem.Text || v.Kind == tandem.Bytes || v.Kind == tandem.JSON && len(v.Data) > 0 && v.Data[0] != '"') {
			b = append(b, v.Data...)
			continue
		}
		x, err := t.eval(p, task)
		if err == nil {
			b, err = appendText(b, x)
		}
		if err != nil {
			return nil, err
		}
	}
	return b, nil
}

func (t *Template) eval(p part, task *tandem.Task) (x any, err error) {
	if v, ok := p.raw(task); ok {
		return FromValue(v)
	}
	n := t.n
	s := scope{Env: n.Env, Params: n.Params, Secrets: n.Secrets, Run: run{n.Run, n.Flow}}
	if p.uses.item {
		if s.Item, err = n.itemOf(task, p.uses.key); err != nil {
			return nil, err
		}
	}
	if p.uses.items {
		for _, one := range task.Batch {
			it, err := n.itemOf(one, true)
			if err != nil {
				return nil, err
			}
			s.Items = append(s.Items, it)
		}
	}
	if p.uses.prev {
		if s.Prev, err = FromValue(task.Value); err != nil {
			return nil, err
		}
	}
	if len(p.uses.steps) > 0 {
		s.Steps = map[string]any{}
		for _, i := range p.uses.steps {
			if s.Steps[n.Steps[i]], err = FromValue(earlier(task, i)); err != nil {
				return nil, err
			}
		}
	}
	if p.uses.tmp {
		s.Tmp = n.tmpOf(task)
	}
	if n.Ended {
		s.Outcome = string(task.Result.Outcome)
		if e := task.Result.Err; e != nil {
			s.Error = failure{e.Kind, e.Reason, e.On, e.Message}
		}
	}
	x, err = expr.Run(p.prog, s)
	if err != nil {
		return nil, fmt.Errorf("${{ %s }}: %s", p.source, strings.SplitN(err.Error(), "\n", 2)[0])
	}
	if it, ok := x.(item); ok { // ${{ [item][0] }} and the like
		x = it.Value
	}
	return x, nil
}

// Bool evaluates to true or false.
func (t *Template) Bool(task *tandem.Task) (bool, error) {
	x, err := t.Eval(task)
	if err != nil {
		return false, err
	}
	yes, ok := x.(bool)
	if !ok {
		return false, fmt.Errorf("${{ %s }} gave a value of type %T, want true or false", t.parts[0].source, x)
	}
	return yes, nil
}
