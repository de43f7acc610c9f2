package flowfile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"tandem/internal/expr"
	"tandem/internal/proc"
)

// Isolation is how far a step's processes are kept from the machine: one dial, and what stands beside it.
type Isolation struct {
	Level   string   `json:"level,omitempty" jsonschema:"enum=none,enum=process,enum=sandbox,description=none: they see the machine as you do\\, for programs that change their user or look at other processes. process\\, the default: a process tree of their own. sandbox: files\\, network and rights are taken away but for what is named."`
	Memory  int64    `json:"memory,omitempty" jsonschema:"description=The same as the step's memory."`
	CPU     float64  `json:"cpu,omitempty" jsonschema:"description=Processors that each worker or command may use\\, for example 0.5 or 2."`
	PIDs    int      `json:"pids,omitempty" jsonschema:"minimum=1,description=Processes and threads that each may have at a time."`
	Files   Files    `json:"files,omitempty" jsonschema:"description=What they may read and write\\, beside the system's programs and libraries\\, the flow's directory\\, interpreter and venv."`
	Network string   `json:"network,omitempty" jsonschema:"enum=none,enum=loopback,enum=host,description=none is the default in a sandbox; loopback is one of their own; host is the machine's."`
	User    string   `json:"user,omitempty" jsonschema:"description=Run as this user\\, name or number; root may do so."`
	Fork    *bool    `json:"fork,omitempty" jsonschema:"description=false: they may start threads\\, but no processes; then they are contained without namespaces\\, too."`
	Require []string `json:"require,omitempty" jsonschema:"description=Properties without which the run does not start: all\\, or some of memory\\, cpu\\, pids\\, files\\, network\\, user\\, rights\\, fork\\, containment. What is not required is preferred: when it cannot be had\\, the run says so and goes on."`
}

// Files are directories and files.
type Files struct {
	Read  []string `json:"read,omitempty" jsonschema:"description=Paths; relative ones start at the flow file."`
	Write []string `json:"write,omitempty" jsonschema:"description=Paths that may be written\\, and read."`
}

var isolationLevels = []string{"none", "process", "sandbox"}

// isolation reads sandbox, or {level: sandbox, network: none, …}.
func (d *decoder) isolation(dst *Isolation) func(*node, []any) {
	return func(n *node, path []any) {
		if _, ok := n.value.(*mapping); !ok {
			word(d, &dst.Level, isolationLevels)(n, path)
			return
		}
		m := d.fields(n, path, reads{
			"level": word(d, &dst.Level, isolationLevels), "memory": d.unit(&dst.Memory), "pids": d.whole(&dst.PIDs), "network": word(d, &dst.Network, proc.Networks),
			"cpu": func(n *node, path []any) {
				switch v := n.value.(type) {
				case int64:
					dst.CPU = float64(v)
				case float64:
					dst.CPU = v
				}
				if !(dst.CPU >= 0.01 && dst.CPU <= 4096) {
					d.wrong(n, path, "for example 0.5 or 2", "want a number of processors, got %s", n.what())
				}
			},
			"files": func(n *node, path []any) {
				d.fields(n, path, reads{"read": d.texts(&dst.Files.Read, true), "write": d.texts(&dst.Files.Write, true)})
			},
			"user": func(n *node, path []any) {
				if v, ok := n.value.(int64); ok && v >= 0 {
					dst.User = fmt.Sprint(v)
				} else {
					d.text(&dst.User)(n, path)
				}
			},
			"fork": func(n *node, path []any) {
				v, ok := n.value.(bool)
				if !ok {
					d.wrong(n, path, "fork: false forbids it", "want true or false, got %s", n.what())
				}
				dst.Fork = &v
			},
			"require": func(n *node, path []any) {
				known := append([]string{"all"}, proc.Properties...)
				d.texts(&dst.Require, true)(n, path)
				for _, w := range dst.Require {
					if !slices.Contains(known, w) {
						d.wrong(n, path, "want one of: "+list(known), "unknown property %q%s", short(w), suggest(w, known))
					}
				}
			},
		})
		if m == nil {
			return
		}
		if dst.Level == "none" {
			for i, k := range m.keys {
				if slices.Contains([]string{"files", "fork"}, k) {
					d.fault(m.places[i], pathText(path, d.names), "leave it out, or choose level process or sandbox", "level none opens what `%s` closes", k)
				}
			}
		}
		if dst.Memory > 0 && dst.Memory < 1<<20 {
			d.wrong(m.get("memory"), with(path, "memory"), "did you mean "+fmt.Sprint(dst.Memory)+"MiB?", "no program runs in less than 1MiB")
		}
	}
}

// isolated refuses isolation beside verbs that have no processes, and two limits of memory; what the file says for all steps goes into the step.
func (d *decoder) isolated(s *Step, verb string, m *mapping, path []any) {
	n := m.get("isolation")
	if !slices.Contains([]string{"python", "go", "worker", "run", "shell"}, verb) {
		if n != nil {
			d.wrong(n, with(path, "isolation"), "", "`isolation` is of processes: it goes with python, go, worker, run and shell, not with `%s`", verb)
		}
		return
	}
	if s.Isolation.Memory > 0 && s.Memory.Limit > 0 {
		d.wrong(n, with(path, "isolation"), "keep one of them", "a second `memory`: they are the same limit")
	}
}

// inherit gives steps what the file says for all. A step at another level begins afresh.
func (f *File) inherit() {
	for i := range f.Steps {
		s := &f.Steps[i]
		s.box = s.Isolation
		if v := s.Verb(); !slices.Contains([]string{"python", "go", "worker", "run", "shell"}, v) {
			continue
		}
		if of := f.Isolation; s.box.Level == "" || s.box.Level == of.Level {
			b := &s.box
			b.Level, b.Network, b.User = cmp.Or(b.Level, of.Level), cmp.Or(b.Network, of.Network), cmp.Or(b.User, of.User)
			b.CPU, b.PIDs, b.Fork = cmp.Or(b.CPU, of.CPU), cmp.Or(b.PIDs, of.PIDs), cmp.Or(b.Fork, of.Fork)
			if s.Memory.Limit == 0 {
				b.Memory = cmp.Or(b.Memory, of.Memory)
			}
			if b.Files.Read == nil {
				b.Files.Read = of.Files.Read
			}
			if b.Files.Write == nil {
				b.Files.Write = of.Files.Write
			}
			if b.Require == nil {
				b.Require = of.Require
			}
		}
		s.Memory.Limit = cmp.Or(s.Memory.Limit, s.box.Memory)
	}
}

// ask is the isolation as proc takes it.
func (f *File) ask(i int) (proc.Isolation, error) {
	return f.asked(f.Steps[i].box, f.isolationPath(i))
}

// ReadIsolation reads what stands behind isolation: in a flow file, from text that stands elsewhere; name is for messages. Paths are relative to the working directory.
func ReadIsolation(name, text string) (memory int64, ask proc.Isolation, err error) {
	f := &File{Path: name, Dir: ".", src: []byte(text), nodes: map[string]place{}, names: &expr.Names{Facts: &expr.Facts{}}}
	d := &decoder{reader: reader{f: f}, names: map[int]string{}}
	if root := d.read(); root != nil {
		d.isolation(&f.Isolation)(root, nil)
	}
	if len(d.faults) > 0 {
		return 0, ask, d.faults
	}
	ask, err = f.asked(f.Isolation, nil)
	return f.Isolation.Memory, ask, err
}

// asked is b as proc takes it; at is where it stands.
func (f *File) asked(b Isolation, at []any) (proc.Isolation, error) {
	ask := proc.Isolation{Sandbox: b.Level == "sandbox", Open: b.Level == "none", CPU: b.CPU, PIDs: b.PIDs, Network: b.Network, User: b.User, Require: b.Require}
	ask.NoFork = b.Fork != nil && !*b.Fork
	if err := (proc.Isolation{User: b.User}).Check(); err != nil {
		return ask, f.Errorf("name one of /etc/passwd, or give a number", with(at, "user"), "there is no user %q here", short(b.User))
	}
	for _, l := range []struct {
		from []string
		to   *[]string
		key  string
	}{{b.Files.Read, &ask.Read, "read"}, {b.Files.Write, &ask.Write, "write"}} {
		for _, p := range l.from {
			where := with(at, "files", l.key)
			path, err := f.fixedPath(p, where...)
			if err != nil {
				return ask, err
			}
			*l.to = append(*l.to, path)
			if err := (proc.Isolation{Read: []string{path}}).Check(); err != nil {
				hint := "name what is there"
				if l.key == "write" {
					hint = "make it before the run, or name the directory above it"
				}
				return ask, f.Errorf(hint, where, "%s", strings.TrimPrefix(err.Error(), "isolate read: "))
			}
		}
	}
	return ask, nil
}

// isolationPath is where a step's isolation stands in the file.
func (f *File) isolationPath(i int) []any {
	for _, at := range [][]any{{"steps", i, "isolation"}, {"isolation"}} {
		if f.nodes[fmt.Sprint(at...)].line > 0 {
			return at
		}
	}
	return []any{"steps", i}
}
