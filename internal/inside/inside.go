// Package inside asks the runtimes of a program where in their own code its threads are: what nobody can see from outside. Only on request, because the program
// runs with a little of ours in it.
//
//   - Python: a thread of the program itself looks at the others twenty times a second. It is loaded by way of PYTHONPATH, so python -I, -E and -S know nothing of it.
//   - Node: its own profiler, switched on by way of NODE_OPTIONS; what it found is there when the program ends by itself.
//   - JVM: jcmd Thread.print, up to five times. Each stops the program for a moment, a quarter of a second to one.
//   - Go has no such door: a program that is not prepared cannot be asked without ending it.
//
// Watch blocks until it is told to stop; Functions is called after it.
package inside

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"tandem/internal/advise"
)

//go:embed sitecustomize.py
var python []byte

//go:embed watch.cjs
var node []byte

// Inside is one program that is asked.
type Inside struct {
	dir   string
	dumps []string
}

// New prepares a directory, which belongs to the caller.
func New(dir string) (*Inside, error) {
	for _, sub := range []string{"python", "out"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	err := errors.Join(os.WriteFile(filepath.Join(dir, "python", "sitecustomize.py"), python, 0o644), os.WriteFile(filepath.Join(dir, "watch.cjs"), node, 0o644))
	return &Inside{dir: dir}, err
}

func (i *Inside) out() string { return filepath.Join(i.dir, "out") }

// Env is what the program's environment has more, given what it has.
func (i *Inside) Env(env []string) []string {
	has := func(name string) string {
		for _, kv := range slices.Backward(env) {
			if v, ok := strings.CutPrefix(kv, name+"="); ok {
				return v
			}
		}
		return ""
	}
	path := filepath.Join(i.dir, "python")
	if p := has("PYTHONPATH"); p != "" {
		path += string(os.PathListSeparator) + p
	}
	options := strings.TrimSpace(has("NODE_OPTIONS") + " --require=" + filepath.Join(i.dir, "watch.cjs"))
	return []string{"PYTHONPATH=" + path, "TANDEM_INSIDE=" + i.out(), "NODE_OPTIONS=" + options}
}

// Watch asks the JVMs among a process and its descendants now and then, until ctx ends.
func (i *Inside) Watch(ctx context.Context, root int) { i.watchJVMs(ctx, root) }

// Functions are what the runtimes said, those with most looks first, and notes of what they did not say. seen are the runtimes of the program.
func (i *Inside) Functions(seen []string) (all []advise.Function, notes []string) {
	for _, r := range []struct {
		name string
		read func() tally
		why  string
	}{
		{"python", i.pythons, "Python said nothing of its own code: it runs with -I, -E or -S, or ended too soon"},
		{"node", i.nodes, "Node said nothing of its own code: it was ended by a signal, or refuses NODE_OPTIONS"},
		{"jvm", i.threadDumps, "the JVM said nothing of its own code: jcmd is not beside it or was refused, or it ended within a second"},
		{"go", func() tally { return nil }, "a Go program cannot be asked from outside: import net/http/pprof, or send it SIGQUIT at its end"},
	} {
		t := r.read()
		if len(t) == 0 {
			if slices.Contains(seen, r.name) {
				notes = append(notes, r.why)
			}
			continue
		}
		all = append(all, t.functions(r.name)...)
	}
	return all, notes
}

// place is a point in a program's own code and what a thread does there.
type place struct{ name, at, state string }

type tally map[place]int

// most functions of a runtime are told.
const most = 10

func (t tally) functions(runtime string) (all []advise.Function) {
	total := 0
	for _, n := range t {
		total += n
	}
	for p, n := range t {
		all = append(all, advise.Function{Runtime: runtime, Name: p.name, At: p.at, State: p.state, Share: float64(n) / float64(total), Looks: n})
	}
	slices.SortFunc(all, func(a, b advise.Function) int {
		return cmp.Or(cmp.Compare(b.Looks, a.Looks), cmp.Compare(a.At, b.At), cmp.Compare(a.Name, b.Name), cmp.Compare(a.State, b.State))
	})
	return all[:min(most, len(all))]
}
