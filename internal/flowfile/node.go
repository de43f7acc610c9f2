package flowfile

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// node is a YAML value with its place: nil, bool, int64, float64, string, []*node or *mapping.
type node struct {
	value any
	at    place
	plain bool // a string without quotes
}

// mapping keeps the order of its keys.
type mapping struct {
	keys   []string
	places []place
	values []*node
}

func (m *mapping) get(key string) *node {
	for i, k := range m.keys {
		if k == key {
			return m.values[i]
		}
	}
	return nil
}

// maxDepth bounds nesting: a flow file needs about eight levels.
const maxDepth = 100

// reader turns YAML into nodes.
type reader struct {
	f       *File
	anchors map[string]*node
	faults  Faults
}

func (r *reader) fault(at place, path, hint, format string, args ...any) {
	r.faults = append(r.faults, &Error{File: r.f.Path, Line: at.line, Col: at.col, Path: path, Message: fmt.Sprintf(format, args...), Hint: hint, Snippet: snippet(r.f.src, at)})
}

// read parses the source. It is nil when there are faults.
func (r *reader) read() (root *node) {
	src := r.f.src
	switch {
	case len(src) > maxSize:
		r.fault(place{}, "", "", "the file is larger than 1 MiB")
	case !utf8.Valid(src):
		line := 1 + bytes.Count(src[:invalidAt(src)], []byte("\n"))
		r.fault(place{line: line, col: 1}, "", "save it as UTF-8", "the file is not UTF-8")
	case len(bytes.TrimSpace(src)) == 0:
		r.fault(place{}, "", "start with:\n  tandem: v1\n  name: …\n  from: {files: \"*.txt\"}\n  steps: […]", "the file is empty")
	default:
		if at, deep := tooDeep(src); deep {
			r.fault(at, "", "", "nested more than %d levels deep", maxDepth)
		} else if at, ok := leadingTab(src); ok {
			r.fault(at, "", "use spaces", "a tab: YAML does not allow tabs for indentation")
		}
	}
	if len(r.faults) > 0 {
		return nil
	}
	defer func() {
		if p := recover(); p != nil { // the YAML library's, on input it does not expect
			r.fault(place{line: 1, col: 1}, "", "", "this is not YAML: %v", p)
			root = nil
		}
	}()
	file, err := parser.ParseBytes(src, 0)
	if err != nil {
		r.syntax(err)
		return nil
	}
	var body ast.Node
	for _, d := range file.Docs {
		if d.Body == nil {
			continue
		}
		if body != nil {
			r.fault(r.at(d.Body.GetToken(), 1), "", "one flow to a file", "a second document")
			return nil
		}
		body = d.Body
	}
	if body == nil {
		r.fault(place{}, "", "", "the file holds only comments")
		return nil
	}
	root = r.convert(body, 0)
	if len(r.faults) > 0 {
		return nil
	}
	return root
}

func invalidAt(b []byte) int {
	for i := 0; i < len(b); {
		c, n := utf8.DecodeRune(b[i:])
		if c == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(b)
}

// tooDeep looks for nesting that no flow needs, before the parser recurses into it.
func tooDeep(src []byte) (place, bool) {
	for n, line := range bytes.Split(src, []byte("\n")) {
		depth, indent := 0, 0
		for i, c := range line {
			switch c {
			case '[', '{', '-', '?', '&', '!', ':':
				depth++
			case ' ':
				if indent == i {
					indent++
				}
			case ']', '}':
				depth--
			default:
				if depth > 0 && c != ' ' {
					depth = min(depth, strings.Count(string(line[:i]), "[")+strings.Count(string(line[:i]), "{"))
				}
			}
			if depth > maxDepth {
				return place{line: n + 1, col: i + 1}, true
			}
		}
		if indent > 8*maxDepth {
			return place{line: n + 1, col: 1}, true
		}
	}
	if open := bytes.Count(src, []byte("[")) + bytes.Count(src, []byte("{")); open > 20*maxDepth {
		return place{line: 1, col: 1}, true
	}
	return place{}, false
}

// leadingTab finds a tab in an indentation. Block texts may hold tabs after their own indentation, and that starts with spaces.
func leadingTab(src []byte) (place, bool) {
	for n, line := range bytes.Split(src, []byte("\n")) {
		for i, c := range line {
			if c == '\t' && len(bytes.TrimSpace(line)) > 0 && i == 0 {
				return place{line: n + 1, col: i + 1, width: 1}, true
			}
			if c != ' ' {
				break
			}
		}
	}
	return place{}, false
}

// syntax words an error of the YAML library.
func (r *reader) syntax(err error) {
	at := place{line: 1, col: 1}
	msg := strings.SplitN(err.Error(), "\n", 2)[0]
	if ye, ok := errors.AsType[yaml.Error](err); ok {
		msg = ye.GetMessage()
		if t := ye.GetToken(); t != nil && t.Position != nil {
			at = r.at(t, len(strings.TrimSpace(t.Value)))
		}
	}
	hint := ""
	line := ""
	if lines := strings.Split(string(r.f.src), "\n"); at.line >= 1 && at.line <= len(lines) {
		line = lines[at.line-1]
	}
	switch {
	case strings.Contains(msg, "already defined"):
		hint = "keep one of the two"
	case strings.Contains(line, "${{") && strings.ContainsAny(line[:strings.Index(line, "${{")], "[{"):
		msg, hint = "`${{` inside [ ] or { } must be quoted", `write "${{ … }}"`
	case strings.Contains(line, "\t"):
		hint = "there is a tab in this line: YAML wants spaces"
	}
	r.fault(at, "", hint, "%s", clean(msg))
}

func (r *reader) at(t *token.Token, width int) place {
	if t == nil || t.Position == nil {
		return place{line: 1, col: 1}
	}
	// The library counts columns in characters, and past the end in some cases: keep it inside the file.
	lines := bytes.Count(r.f.src, []byte("\n")) + 1
	return place{line: min(max(1, t.Position.Line), lines), col: max(1, t.Position.Column), width: width}
}

// convert turns an AST node into ours.
func (r *reader) convert(n ast.Node, depth int) *node {
	if n == nil {
		return &node{}
	}
	out := &node{at: r.at(n.GetToken(), len([]rune(firstLine(n.GetToken()))))}
	if depth > maxDepth {
		r.fault(out.at, "", "", "nested more than %d levels deep", maxDepth)
		return out
	}
	switch n := n.(type) {
	case *ast.NullNode:
	case *ast.BoolNode:
		out.value = n.Value
	case *ast.IntegerNode:
		switch v := n.Value.(type) {
		case int64:
			out.value = v
		case uint64:
			if v>>63 != 0 {
				out.value = float64(v)
			} else {
				out.value = int64(v)
			}
		}
	case *ast.FloatNode:
		out.value = n.Value
	case *ast.InfinityNode:
		out.value = n.Value
	case *ast.NanNode:
		r.fault(out.at, "", "", ".nan is no value here")
	case *ast.StringNode:
		out.value = n.Value
		t := n.GetToken().Type
		out.plain = t != token.DoubleQuoteType && t != token.SingleQuoteType
	case *ast.LiteralNode:
		out.value = n.Value.Value
	case *ast.SequenceNode:
		items := make([]*node, 0, len(n.Values))
		for _, v := range n.Values {
			items = append(items, r.convert(v, depth+1))
		}
		out.value = items
	case *ast.MappingNode:
		m := &mapping{}
		for _, v := range n.Values {
			r.pair(m, v, depth)
		}
		if len(m.places) > 0 && n.Start.Value != "{" {
			out.at = m.places[0] // the library's own place of a mapping is its first colon
		}
		out.value = m
	case *ast.MappingValueNode:
		m := &mapping{}
		r.pair(m, n, depth)
		if len(m.places) > 0 {
			out.at = m.places[0]
		}
		out.value = m
	case *ast.AnchorNode:
		inner := r.convert(n.Value, depth+1)
		if r.anchors == nil {
			r.anchors = map[string]*node{}
		}
		r.anchors[n.Name.GetToken().Value] = inner
		return inner
	case *ast.AliasNode:
		name := n.Value.GetToken().Value
		if inner, ok := r.anchors[name]; ok {
			return inner
		}
		r.fault(out.at, "", "an anchor &"+clean(name)+" must stand before it", "unknown alias *%s", clean(name))
	case *ast.TagNode:
		r.fault(out.at, "", "leave the tag out", "YAML tags are not used here")
	default:
		r.fault(out.at, "", "", "this kind of YAML is not used here (%s)", n.Type())
	}
	return out
}

func firstLine(t *token.Token) string {
	if t == nil {
		return ""
	}
	return strings.SplitN(strings.TrimSpace(t.Value), "\n", 2)[0]
}

func (r *reader) pair(m *mapping, v *ast.MappingValueNode, depth int) {
	at := r.at(v.Key.GetToken(), len([]rune(firstLine(v.Key.GetToken()))))
	if _, merge := v.Key.(*ast.MergeKeyNode); merge {
		r.fault(at, "", "write the keys out, or use an alias for a whole value", "the merge key << is not used here")
		return
	}
	key := v.Key.GetToken().Value
	if s, ok := v.Key.(*ast.StringNode); ok {
		key = s.Value
	}
	for i, k := range m.keys {
		if k == key {
			r.fault(at, "", "keep one of the two", "key `%s` stands here a second time; the first is in line %d", short(key), m.places[i].line)
			return
		}
	}
	m.keys, m.places = append(m.keys, key), append(m.places, at)
	m.values = append(m.values, r.convert(v.Value, depth+1))
}

// what names a value for a message.
func (n *node) what() string {
	switch v := n.value.(type) {
	case nil:
		return "nothing"
	case bool:
		return strconv.FormatBool(v)
	case int64:
		return "the number " + strconv.FormatInt(v, 10)
	case float64:
		return "the number " + strconv.FormatFloat(v, 'g', -1, 64)
	case string:
		return fmt.Sprintf("text %q", short(v))
	case []*node:
		if len(v) == 0 {
			return "an empty list"
		}
		return "a list"
	}
	return "a mapping"
}
