package expr

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"

	"tandem"
)

// Facts are what is the same in every template of a flow. They may be completed until the first evaluation.
type Facts struct {
	Env     map[string]string // env.NAME
	Params  map[string]any    // params.NAME
	Secrets map[string]string // secrets.NAME
	Flow    string            // run.flow
	Run     string            // run.id
	Tmp     string            // directory for tmp.file
}

// Names is what one template may name.
type Names struct {
	*Facts
	Steps []string // steps.NAME: the steps before, by index
	Batch bool     // the step takes batches: prev is the list of their values, items stands in place of item
	Fixed bool     // there is no item yet: only params, env, secrets and run
	Ended bool     // the item has ended: outcome and error are there, and prev is the value of the last step
}

// item is what an expression sees of the item.
type item struct {
	ID    string `expr:"id"`
	Key   string `expr:"key"`
	Value any    `expr:"value"`
	Path  string `expr:"path"`
	Name  string `expr:"name"`
	Stem  string `expr:"stem"`
	Ext   string `expr:"ext"`
	Dir   string `expr:"dir"`
}

type run struct {
	ID   string `expr:"id"`
	Flow string `expr:"flow"`
}

type tmp struct {
	Dir  string                       `expr:"dir"`
	File func(string) (string, error) `expr:"file"`
}

// failure is what an expression sees of why an item ended badly.
type failure struct {
	Kind    string `expr:"kind"`
	Reason  string `expr:"reason"`
	Step    string `expr:"step"`
	Message string `expr:"message"`
}

// scope is what an expression sees.
type scope struct {
	Item    item              `expr:"item"`
	Items   []item            `expr:"items"`
	Prev    any               `expr:"prev"`
	Steps   map[string]any    `expr:"steps"`
	Params  map[string]any    `expr:"params"`
	Env     map[string]string `expr:"env"`
	Secrets map[string]string `expr:"secrets"`
	Run     run               `expr:"run"`
	Tmp     tmp               `expr:"tmp"`
	Outcome string            `expr:"outcome"`
	Error   failure           `expr:"error"`
}

// uses is what an expression asks for, so that nothing else is made for it.
type uses struct {
	n       *Names
	item    bool
	key     bool
	items   bool
	prev    bool
	tmp     bool
	steps   []int
	secrets []string
	fault   *Error
}

// Visit is ast.Visitor's: it notes names and finds those that are not there.
func (u *uses) Visit(node *ast.Node) {
	switch x := (*node).(type) {
	case *ast.IdentifierNode:
		u.name(x)
	case *ast.MemberNode:
		of, ok := x.Node.(*ast.IdentifierNode)
		if !ok {
			return
		}
		field, ok := x.Property.(*ast.StringNode)
		if !ok {
			if of.Value == "steps" || of.Value == "secrets" {
				u.wrong(x, "name them one by one: "+of.Value+".NAME", "which of `%s` is meant must be known before the run", of.Value)
			}
			return
		}
		u.member(x, of.Value, field.Value)
	}
}

func (u *uses) name(x *ast.IdentifierNode) {
	switch x.Value {
	case "item":
		u.item = true
		if u.n.Batch {
			u.wrong(x, "items is the list of the batch's items: items[0].id, map(items, .id)", "a batch has no single `item`")
		}
	case "items":
		u.items = true
		if !u.n.Batch {
			u.wrong(x, "use item, or give the step a batch", "`items` is there in a step with batch only")
		}
	case "prev":
		u.prev = true
	case "tmp":
		u.tmp = true
	case "outcome", "error":
		if !u.n.Ended {
			u.wrong(x, "the columns of into: {csv: …} have it", "`%s` is there only when the item has ended", x.Value)
		}
	}
	if u.n.Fixed && slices.Contains([]string{"item", "items", "prev", "steps", "tmp"}, x.Value) {
		u.wrong(x, "names here: params, env, secrets, run", "`%s` is not there yet: this is read once, before the first item", x.Value)
	}
}

func (u *uses) member(x ast.Node, of, field string) {
	switch of {
	case "item":
		u.key = u.key || field == "key"
	case "steps":
		i := slices.Index(u.n.Steps, field)
		if i < 0 {
			hint := "no step stands before this one"
			if len(u.n.Steps) > 0 {
				hint = "steps before this one: " + strings.Join(u.n.Steps, ", ")
			}
			u.wrong(x, hint+`; a name with a dash is written steps["a-b"]`, "`steps.%s`: no such step before this one", field)
			return
		}
		u.steps = append(u.steps, i)
	case "params":
		if _, ok := u.n.Params[field]; !ok {
			u.wrong(x, "declare it: params: {"+field+": …}", "`params.%s`: the flow has no such parameter", field)
		}
	case "secrets":
		u.secrets = append(u.secrets, field) // whether it is set matters when the flow runs
	}
}

// tmpDir is where one item's temporary files live: a directory for each item of the source, and in it one for each item that was made of it.
func tmpDir(base, root, id string) string {
	dir := filepath.Join(base, hash(root))
	if id != root {
		dir = filepath.Join(dir, hash(id))
	}
	return dir
}

// RemoveTmp removes the temporary files of all that came of an item of the source.
func (f *Facts) RemoveTmp(root string) error { return os.RemoveAll(tmpDir(f.Tmp, root, root)) }

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:12])
}

// Key is an item's key for whoever wants to know a repetition: the same in every attempt and every run of the flow, as long as the source gives the same for it.
func (f *Facts) Key(t *tandem.Task) string { return f.key(t.Source, t.ID) }

// RequestKey is the key of a request that a step makes for an item: the same in every attempt and every run of the flow, as long as the request is described by the
// same words and parameters, and the source and the steps before gave the same. It is not made of the request itself, in which there may be a time.
func (f *Facts) RequestKey(step, what string, t *tandem.Task) string {
	params, err := json.Marshal(f.Params)
	if err != nil { // a flow's parameters are texts, numbers and truths
		params = nil
	}
	texts := []string{t.ID, step, what, string(params)}
	for _, v := range append([]tandem.Value{t.Value}, t.Earlier...) {
		texts = append(texts, v.Kind.String(), string(v.Data))
	}
	return f.key(t.Source, texts...)
}

func (f *Facts) key(source tandem.Value, texts ...string) string {
	sum := sha256.New()
	for _, s := range append([]string{f.Flow, source.Kind.String(), string(source.Data)}, texts...) {
		fmt.Fprintf(sum, "%d:", len(s))
		_, _ = io.WriteString(sum, s)
	}
	return hex.EncodeToString(sum.Sum(nil)[:16])
}

// tmpOf is tmp for one task.
func (n *Names) tmpOf(t *tandem.Task) tmp {
	dir := tmpDir(n.Tmp, t.Root, t.ID)
	return tmp{Dir: dir, File: func(name string) (string, error) {
		if name = filepath.Base(name); strings.HasPrefix(name, ".") {
			name = "file" + name
		}
		err := os.MkdirAll(dir, 0o700)
		return filepath.Join(dir, name), err
	}}
}

// itemOf is item for one task.
func (n *Names) itemOf(t *tandem.Task, key bool) (item, error) {
	it := item{ID: t.ID}
	if key {
		it.Key = n.Key(t)
	}
	var err error
	if it.Value, err = FromValue(t.Source); err != nil {
		return it, err
	}
	if path, ok := it.Value.(string); ok {
		it.Path, it.Name, it.Dir, it.Ext = path, filepath.Base(path), filepath.Dir(path), filepath.Ext(path)
		it.Stem = strings.TrimSuffix(it.Name, it.Ext)
	}
	return it, nil
}
