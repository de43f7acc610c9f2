package expr

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/vm"

	"tandem"
)

// Option of Compile.
type Option func(*options)

type options struct{ env map[string]string }

// WithEnv gives templates the environment as env.NAME.
func WithEnv(env map[string]string) Option { return func(o *options) { o.env = env } }

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
	env   map[string]string
}

// part is literal text or an expression.
type part struct {
	text   string
	source string
	prog   *vm.Program
	name   string // "prev" or "item" when that is the whole expression
}

// item is what an expression sees of the item.
type item struct {
	ID    string `expr:"id"`
	Value any    `expr:"value"`
	Path  string `expr:"path"`
	Name  string `expr:"name"`
	Stem  string `expr:"stem"`
	Ext   string `expr:"ext"`
	Dir   string `expr:"dir"`
}

// scope is what an expression sees.
type scope struct {
	Item item              `expr:"item"`
	Prev any               `expr:"prev"`
	Env  map[string]string `expr:"env"`
}

// later are names of the flow language that this version does not have.
var later = []string{"steps", "params", "secrets", "run", "tmp"}

// Compile reads a template. The error is an *Error.
func Compile(src string, opts ...Option) (*Template, error) {
	var o options
	for _, f := range opts {
		f(&o)
	}
	t := &Template{env: o.env}
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
		p, err := compilePart(src[open+3:end], open+3)
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

func compilePart(code string, offset int) (part, error) {
	source := strings.TrimSpace(code)
	lead := strings.Index(code, source)
	if source == "" {
		return part{}, &Error{Offset: offset - 3, Message: "`${{ }}` is empty", Hint: "for example ${{ item.path }} or ${{ prev }}"}
	}
	prog, err := expr.Compile(source, expr.Env(scope{}), expr.MaxNodes(2000))
	if err != nil {
		e := &Error{Offset: offset + lead, Message: "`" + source + "`: " + strings.SplitN(err.Error(), "\n", 2)[0], Hint: "names here: item (id, value, path, name, stem, ext, dir), prev, env.NAME"}
		if fe, ok := errors.AsType[*file.Error](err); ok {
			e.Message = "`" + source + "`: " + strings.ReplaceAll(strings.ReplaceAll(fe.Message, "type expr.item", "item"), "type expr.scope", "this")
			e.Offset = offset + lead + fe.Column
			for _, n := range later {
				if strings.Contains(fe.Message, "unknown name "+n) {
					e.Message = "`" + n + "` is not available in this version"
					e.Hint = "use prev, the value of the step before, or item"
				}
			}
		}
		return part{}, e
	}
	p := part{source: source, prog: prog}
	if source == "prev" || source == "item" || source == "item.value" {
		p.name = strings.TrimSuffix(source, ".value")
	}
	return p, nil
}

// raw is a part that is the whole value of the item or of the step before.
func (p part) raw(t *tandem.Task) (tandem.Value, bool) {
	switch p.name {
	case "prev":
		return t.Value, true
	case "item":
		return t.Source, true
	}
	return tandem.Value{}, false
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
	s := scope{Env: t.env}
	s.Item.ID = task.ID
	if strings.Contains(p.source, "item") {
		if s.Item.Value, err = FromValue(task.Source); err != nil {
			return nil, err
		}
		if path, ok := s.Item.Value.(string); ok {
			s.Item.Path, s.Item.Name, s.Item.Dir, s.Item.Ext = path, filepath.Base(path), filepath.Dir(path), filepath.Ext(path)
			s.Item.Stem = strings.TrimSuffix(s.Item.Name, s.Item.Ext)
		}
	}
	if strings.Contains(p.source, "prev") {
		if s.Prev, err = FromValue(task.Value); err != nil {
			return nil, err
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
