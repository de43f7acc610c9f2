// Package arch holds the house in order: which package may import which, and why not. It has no code but this test.
package arch

import (
	"bufio"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// layer of each package: a package imports only packages of lower layers. Packages of one layer are strangers.
var layer = map[string]int{
	"tandem": 0, "tandem/internal/supervise": 0, "tandem/internal/page": 0, "tandem/internal/perfetto": 0, "tandem/sdk/python": 0, "tandem/internal/arena": 0,
	"tandem/internal/wire": 1, "tandem/internal/handover": 1, "tandem/internal/queue": 1, "tandem/internal/proc": 1, "tandem/internal/expr": 1, "tandem/internal/limit": 1, "tandem/internal/evidence": 1, "tandem/internal/advise": 1,
	"tandem/internal/source": 2, "tandem/internal/sink": 2, "tandem/internal/gopool": 2, "tandem/internal/procpool": 2,
	"tandem/internal/measure": 2, "tandem/internal/inside": 2, "tandem/internal/profile": 2, "tandem/internal/handler": 2, "tandem/internal/queue/jetstream": 2, "tandem/queue/redis": 2, "tandem/internal/sqlite": 2, "tandem/internal/journal": 2, "tandem/internal/lanes": 2, "tandem/internal/live": 2, "tandem/worker": 2, "tandem/tandemtest": 2,
	"tandem/engine": 3, "tandem/internal/runs": 3, "tandem/internal/top": 3,
	"tandem/internal/flowfile": 4, "tandem/internal/cluster": 4, "tandem/internal/report": 4, "tandem/internal/demo": 4, "tandem/internal/mapper": 4, "tandem/internal/compare": 4, "tandem/internal/lab": 4,
	"tandem/internal/cli": 5,
	"tandem/cmd/tandem":   6,
	"tandem/web/build":    6,
}

// never lists arrows that are forbidden whatever the layers say, with the reason.
var never = []struct {
	from   func(pkg string) bool
	to     func(imp string) bool
	reason string
}{
	{is("tandem"), func(i string) bool { return !std(i) }, "everyone imports the root: it holds words and contracts, standard library only"},
	{is("tandem/internal/gopool"), is("tandem/internal/procpool"), "modes are interchangeable because they are strangers"},
	{is("tandem/internal/procpool"), is("tandem/internal/gopool"), "modes are interchangeable because they are strangers"},
	{either("tandem/internal/wire", "tandem/worker"), either("os/exec", "tandem/internal/proc"), "the protocol runs over a pipe, a socket or a test buffer and starts no process"},
	{not("tandem/internal/proc"), is("os/exec"), "one place starts processes, so one place isolates and reaps them"},
	{not("tandem/internal/proc", "tandem/internal/arena"), func(i string) bool { return i == "syscall" || strings.HasPrefix(i, "golang.org/x/sys") }, "system calls live in proc (processes, sockets) and arena (shared memory)"},
	{is("tandem/internal/arena"), either("tandem/internal/proc", "os/exec"), "the worker maps memory and must not be able to start a process by accident"},
	{is("tandem/internal/supervise"), func(i string) bool { return ours(i) || i == "os" }, "the restart policy knows no tasks and no system: it is a table test"},
	{not("tandem/internal/cli"), func(i string) bool {
		return i == "flag" || strings.HasPrefix(i, "github.com/spf13")
	}, "flags are read in one place"},
	{not("tandem/internal/cli", "tandem/worker"), is("os/signal"), "signals are heard in one place; a worker is a program of its own, and hears when it is asked where it is"},
	{not("tandem/internal/flowfile", "tandem/internal/cli"), func(i string) bool { return strings.Contains(i, "yaml") || strings.Contains(i, "jsonschema") }, "the file format stays behind flowfile: the engine runs flows made in Go too"},
	{not("tandem/internal/sqlite"), func(i string) bool { return strings.HasPrefix(i, "modernc.org/") || i == "database/sql" }, "the driver adds 4 MB: a program that embeds the engine must not carry it"},
	{not("tandem/internal/flowfile"), is("tandem/internal/sqlite"), "only a flow file asks for a database, so that the engine, the library and the demo stay without its driver"},
	{not("tandem/internal/top", "tandem/internal/cli"), func(i string) bool {
		return strings.HasPrefix(i, "charm.land/") || strings.HasPrefix(i, "github.com/charmbracelet/")
	}, "a terminal's picture is for the command: a program that embeds the engine must not carry it"},
	{func(p string) bool { return !strings.HasPrefix(p, "tandem/internal/queue/") }, func(i string) bool { return strings.Contains(i, "nats-io") }, "the cluster's client and server stay behind the contract of queues: 11 MB that the library must not carry"},
	{not("tandem/queue/redis"), func(i string) bool { return strings.HasPrefix(i, "github.com/redis/") }, "the driver is for programs that import it: the command and the library do not carry its 5 MB"},
	{is("tandem/engine"), either("tandem/internal/flowfile", "tandem/internal/cli", "tandem/internal/demo"), "the engine is embeddable without the command"},
	{either("tandem", "tandem/internal/proc", "tandem/internal/procpool", "tandem/worker", "tandem/internal/wire", "tandem/internal/arena"), either("net", "os/user"), "both link the C library, and with it the runtime of a Go worker no longer finds a deadlock: the worker may be this very program"},
	{func(p string) bool { return p != "tandem/tandemtest" }, either("testing", "tandem/tandemtest"), "test code stays out of the product"},
}

func is(name string) func(string) bool { return func(s string) bool { return s == name } }
func either(names ...string) func(string) bool {
	return func(s string) bool { return slices.Contains(names, s) }
}
func not(names ...string) func(string) bool {
	return func(s string) bool { return !slices.Contains(names, s) }
}
func std(imp string) bool {
	return !strings.Contains(strings.SplitN(imp, "/", 2)[0], ".") && !ours(imp)
}
func ours(imp string) bool { return imp == "tandem" || strings.HasPrefix(imp, "tandem/") }

type pkg struct {
	ImportPath, Dir, Doc, Name string
	Imports, GoFiles           []string
}

func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Doc,Name,Imports,GoFiles", "tandem/...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); d.More(); {
		var p pkg
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		if len(p.GoFiles) > 0 && !strings.HasPrefix(p.ImportPath, "tandem/examples/") {
			all = append(all, p)
		}
	}
	return all
}

func TestImportsRunOneWay(t *testing.T) {
	for _, p := range list(t) {
		mine, known := layer[p.ImportPath]
		if !known {
			t.Errorf("%s has no layer: give it one in internal/arch and in docs/ARCHITECTURE.md", p.ImportPath)
			continue
		}
		for _, imp := range p.Imports {
			if theirs, ok := layer[imp]; ok && theirs >= mine {
				t.Errorf("%s (layer %d) imports %s (layer %d): imports go down only, siblings never meet", p.ImportPath, mine, imp, theirs)
			}
			for _, n := range never {
				if n.from(p.ImportPath) && n.to(imp) {
					t.Errorf("%s must not import %s: %s", p.ImportPath, imp, n.reason)
				}
			}
		}
	}
}

func TestEveryPackageOpensWithItsPromises(t *testing.T) {
	for _, p := range list(t) {
		if p.Doc == "" {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
		for _, bad := range []string{"util", "utils", "common", "base", "types", "helper", "helpers", "manager", "misc"} {
			if p.Name == bad {
				t.Errorf("%s: a package is named by what it provides, not %q", p.ImportPath, bad)
			}
		}
	}
}

// Environment and exit codes belong to the command; a worker is the one other program of ours.
func TestExitAndEnvironmentStayAtTheEdge(t *testing.T) {
	allowed := map[string][]string{
		"tandem/internal/cli": {"os.Exit(", "os.Getenv(", "os.LookupEnv(", "os.Environ("},
		"tandem/cmd/tandem":   {"os.Exit("},
		"tandem/worker":       {"os.Exit(", "os.Getenv("},
		// What a child inherits when its starter names no environment.
		"tandem/internal/procpool": {"os.Environ("},
		"tandem/internal/handler":  {"os.Environ("},
		// The demo's worker ends itself to show what a crash costs.
		"tandem/internal/demo": {"os.Exit(", "os.Environ("},
	}
	for _, p := range list(t) {
		for _, name := range p.GoFiles {
			src, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			for _, call := range []string{"os.Exit(", "os.Getenv(", "os.LookupEnv(", "os.Environ("} {
				if strings.Contains(string(src), call) && !slices.Contains(allowed[p.ImportPath], call) {
					t.Errorf("%s/%s calls %s…): only the command reads the environment and ends the process", p.ImportPath, name, call)
				}
			}
		}
	}
}

// The engine passes on what a step wants of isolation. How that is had, and what it is to hold a process at all, is between pools and internal/proc.
func TestTheEngineKnowsNotHowProcessesAreHeld(t *testing.T) {
	for _, p := range list(t) {
		if p.ImportPath != "tandem/engine" && p.ImportPath != "tandem/internal/gopool" && p.ImportPath != "tandem/internal/supervise" {
			continue
		}
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok {
					if x, ok := s.X.(*ast.Ident); ok && x.Name == "proc" && x.Obj == nil && s.Sel.Name != "Isolation" {
						t.Errorf("%s/%s uses proc.%s: pools start and hold processes, the engine only passes on what a step wants", p.ImportPath, name, s.Sel.Name)
					}
				}
				return true
			})
		}
	}
}

func TestFilesStaySmall(t *testing.T) {
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != root || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if ext := filepath.Ext(path); d.IsDir() || ext != ".go" && ext != ".py" {
			return nil
		}
		if n := codeLines(t, path); n > 500 {
			t.Errorf("%s has %d lines of code, the limit is 500: what room is missing?", path, n)
		}
		if filepath.Ext(path) == ".go" {
			if _, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly); err != nil {
				t.Error(err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func codeLines(t *testing.T, path string) (n int) {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		if line := strings.TrimSpace(s.Text()); line != "" && !strings.HasPrefix(line, "//") && !strings.HasPrefix(line, "#") {
			n++
		}
	}
	return n
}
