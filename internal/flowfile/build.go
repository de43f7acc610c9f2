package flowfile

import (
	"cmp"
	"context"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"tandem"
	"tandem/engine"
	"tandem/internal/expr"
	"tandem/internal/handler"
	"tandem/internal/source"
)

// Surroundings is what a flow needs from the machine and the run it is part of.
type Surroundings struct {
	Cache  string   // directory for built workers
	Python string   // interpreter for steps without a venv; empty means python3
	Env    []string // environment of workers and commands
	Stdin  io.Reader
	Stdout io.Writer

	OnEvent func(tandem.Event) // told of how far commands are kept from the machine; may be nil; must not block

	Core    int64  // bytes of the core files of steps that do not say; zero means none
	CoreDir string // where those of commands are moved

	Run      string                               // the run's id
	Tmp      string                               // its directory for temporary files
	Resume   bool                                 // the sink goes on behind Position instead of starting afresh
	Position int64                                // what an earlier part of the run knows to be in the sink
	Ended    func(id string) bool                 // with Resume: whether an item had ended in the earlier part
	Again    *Again                               // run only the items of the failures' file; nil means the source
	Retried  func(id string) bool                 // items that run again and take the places of their old lines; nil means that the sink starts afresh
	Ends     bool                                 // only the source and the sinks: the steps run elsewhere
	Only     int                                  // only the step of this number, from 1, for items that come from elsewhere; zero means all
	Heard    func(step, item string, line []byte) // told what commands write to standard error, by lines; may be nil
	Items    []string                             // run only the items of these ids, outcomes to Stdout and nowhere else; nil means all
}

// Build turns a file into a flow that can run: it finds interpreters, builds Go workers and opens the sink.
func Build(ctx context.Context, f *File, s Surroundings) (engine.Flow, error) {
	flow := engine.Flow{Name: f.Name, Order: f.Order == "keep", Sync: f.Resume.Sync == "always", Pools: map[string]engine.Limits{}}
	if err := f.complete(s); err != nil {
		return flow, err
	}
	s.Env = slices.DeleteFunc(slices.Clone(s.Env), func(kv string) bool { return strings.HasPrefix(kv, secretPrefix) }) // handlers get what args give them
	if len(f.names.Secrets) > 0 {
		flow.Redact = redactor(f.names.Secrets)
	}
	for name, p := range f.Pools {
		if p.Concurrency == 0 {
			p.Concurrency = auto
		}
		flow.Pools[name] = limits(p.Concurrency, p.Max, p.Rate, p.Breaker)
	}
	var err error
	if s.Only == 0 {
		if flow.Source, err = f.source(s); err != nil {
			return flow, err
		}
	}
	if s.Items != nil {
		flow.Source = source.Only(flow.Source, s.Items)
	}
	for i := range f.Steps {
		if s.Ends || s.Only > 0 && i != s.Only-1 {
			flow.Steps = append(flow.Steps, engine.Step{Name: f.Steps[i].Name, Handler: engine.Func{}})
			continue
		}
		step, err := f.step(ctx, i, s)
		if err != nil {
			return flow, err
		}
		flow.Steps = append(flow.Steps, step)
		if f.Steps[i].t.tmp {
			flow.Done = func(root string) { _ = f.names.RemoveTmp(root) } // what is left goes with the run's directory
		}
	}
	flow.Failures.StopAfter, flow.Failures.StopShare = f.Failures.StopAfter.Items, f.Failures.StopAfter.Share
	if s.Only > 0 {
		return flow, nil
	}
	// Last: a flow that cannot start must not empty the file of the run before.
	return flow, f.sinks(&flow, s)
}

// complete gives the templates their facts.
func (f *File) complete(s Surroundings) error {
	facts := f.names.Facts
	facts.Env, facts.Flow, facts.Run, facts.Tmp = environment(s.Env), f.Name, s.Run, s.Tmp
	var err error
	if facts.Secrets, err = f.readSecrets(s.Env); err != nil {
		return err
	}
	for _, name := range f.secrets {
		if s.Ends { // they are for the steps, and each machine has its own
			break
		}
		if _, ok := facts.Secrets[name]; !ok {
			return &tandem.Error{Op: "run", On: f.Path, Kind: tandem.KindInvalid, Message: "the secret `" + name + "` is not set",
				Hint: "set TANDEM_SECRET_" + name + ", or write " + name + "=… into a file that only you may read (chmod 600) and name it with secrets: FILE"}
		}
	}
	return nil
}

// fixed is a text that is read once, before the first item.
func (f *File) fixed(src string, path ...any) (string, error) {
	t, err := expr.Compile(src, f.fixedNames())
	if err == nil {
		var text string
		if text, err = t.Text(nil); err == nil {
			return text, nil
		}
	}
	return "", f.Errorf("", path, "%v", err)
}

// fixedPath is fixed as a path, relative to the flow file; "-" stays.
func (f *File) fixedPath(src string, path ...any) (string, error) {
	text, err := f.fixed(src, path...)
	if err != nil || text == "-" {
		return text, err
	}
	return f.resolve(text), nil
}

// resolve makes a path of the flow file absolute; it is relative to the file.
func (f *File) resolve(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(f.Dir, path)
}

func (f *File) source(s Surroundings) (tandem.Source, error) {
	from := f.From
	if s.Again != nil {
		return s.Again, nil
	}
	text := func(src, key string, make func(name string, open source.Opener) tandem.Source) (tandem.Source, error) {
		path, err := f.fixedPath(src, "from", key)
		if err != nil {
			return nil, err
		}
		name, err := f.fixed(src, "from", key)
		if key == "stdin" {
			name = key
		}
		return make(name, source.File(path, s.Stdin)), err
	}
	csv := func(name string, open source.Opener) tandem.Source { return source.CSV(name, open, source.CSVConfig{}) }
	switch from.verb() {
	case "files":
		var patterns []string
		for _, p := range from.Files {
			p, err := f.fixed(p, "from", "files")
			if err != nil {
				return nil, err
			}
			patterns = append(patterns, p)
		}
		return source.Files(f.Dir, patterns)
	case "lines":
		return text(from.Lines, "lines", source.Lines)
	case "jsonl":
		return text(from.JSONL, "jsonl", source.JSONL)
	case "csv":
		return text(from.CSV, "csv", csv)
	case "stdin":
		return text("-", "stdin", map[string]func(string, source.Opener) tandem.Source{"lines": source.Lines, "jsonl": source.JSONL, "csv": csv}[from.Stdin])
	}
	return source.Range(from.First, from.Last), nil
}

func (f *File) step(ctx context.Context, i int, s Surroundings) (engine.Step, error) {
	d := &f.Steps[i]
	step := engine.Step{Name: d.Name, Mode: d.Mode, Workers: d.Workers.N, Spares: int(d.Spares), Threads: d.Threads, Timeout: d.Timeout.Hard,
		Queue: engine.Bounds{Items: d.Queue.Items, Bytes: d.Queue.Bytes}, Pool: d.Pool, Keep: d.t.kept}
	if d.Workers.Share > 0 {
		step.WorkersOf = d.Workers.count
	}
	if d.Concurrency > 0 {
		step.Concurrency = int(d.Concurrency)
	}
	if d.Concurrency == auto || d.Rate > 0 || d.Breaker.Failures > 0 {
		step.Limits = limits(min(d.Concurrency, 0), d.Max, d.Rate, d.Breaker)
	}
	if d.Batch != nil {
		step.Batch = engine.Batch{Size: d.Batch.Size, Every: d.Batch.Every}
	}
	if r := d.Retry; r != nil {
		step.Retry = engine.Retry{Attempts: r.Attempts, Base: r.Backoff.First, Max: r.Backoff.Longest, When: r.matches}
	}
	if d.t.key != nil {
		step.PerKey = engine.PerKey{Key: d.t.key.Text, Concurrency: d.PerKey.Concurrency}
	}
	step.Once, step.Recycle = d.Once(), d.recycle()
	if d.t.when != nil {
		step.When = d.t.when.Bool
	}
	var err error
	switch d.Verb() {
	case "http":
		step.Handler, err = f.http(d)
	case "run", "shell":
		step.Handler, err = f.command(ctx, i, s)
	case "sql":
		step.Handler, err = f.sql(i)
	case "write":
		step.Handler = f.write(d)
	case "keep":
		step.Handler = engine.Func{Do: keep(d.t.keep), Default: 1}
	default:
		step.Caps = d.caps()
		step.Caps.Core = cmp.Or(step.Caps.Core, s.Core)
		step.Handler, step.Isolation, err = f.program(ctx, i, s)
	}
	return step, err
}

// program is the worker process of a python, go or worker step.
func (f *File) program(ctx context.Context, i int, s Surroundings) (engine.Handler, engine.Isolation, error) {
	d := &f.Steps[i]
	var own []string // files that it needs
	p := engine.Program{Dir: f.Dir, Home: f.Dir, Env: s.Env}
	var err error
	switch {
	case d.Python != "":
		venv := d.Venv
		if venv != "" {
			venv = f.resolve(venv)
		}
		own = f.pythonFiles(d.Python, venv)
		p.Argv, err = handler.Python(handler.PythonConfig{Step: d.Name, Venv: venv, Python: s.Python, Cache: s.Cache})
		p.Handler, p.Env = d.Python, handler.PythonEnv(s.Env)
		if err == nil && d.Start != StartSpawn {
			p.Template, p.MustFork = handler.Template(p.Argv), d.Start == StartFork
		}
		if f.pythonOnly(i) {
			p.Output = "pickle" // from Python to Python any object may travel
		}
	case d.Go != "":
		pkg, name, ok := cutLast(d.Go)
		if !ok {
			return nil, engine.Isolation{}, f.Errorf("for example ./resize:thumb", []any{"steps", i, "go"}, "want package:handler, got %q", d.Go)
		}
		p.Argv, err = handler.Go(ctx, handler.GoConfig{Step: d.Name, Package: pkg, Dir: f.Dir, Cache: s.Cache})
		p.Handler = name
	default:
		p.Argv = append([]string(nil), d.Worker...)
		if strings.ContainsRune(p.Argv[0], filepath.Separator) {
			p.Argv[0] = f.resolve(p.Argv[0])
		}
		p.Handler = d.Handler
		own = f.namedFiles(p.Argv[1:])
	}
	var box engine.Isolation
	if err == nil {
		p.Argv, box, err = f.boxed(ctx, i, s, p.Argv, own)
	}
	if err != nil {
		return nil, box, err
	}
	if d.t.args != nil {
		p.Input, p.Kwargs = d.t.args.Value, true
	}
	p.Batch, p.Budget = d.Batch != nil, d.budget()
	return p, box, nil
}

// pythonOnly says whether nobody but the Python handler of the next step reads what step i gives: no template, and no item passes that step by.
func (f *File) pythonOnly(i int) bool {
	if i+1 == len(f.Steps) || f.Steps[i].t.kept {
		return false
	}
	next := &f.Steps[i+1]
	return next.Python != "" && len(next.Args) == 0 && next.When == ""
}

// budget is how many threads one worker or command may compute with; zero leaves the environment alone.
func (s *Step) budget() int {
	switch {
	case s.Budget < 0:
		return 0
	case s.Budget == 0:
		return 1
	}
	return int(s.Budget)
}

// cutLast cuts at the last colon: a package path may hold none, a handler's name neither, but a Windows-like path would.
func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i <= 0 || i == len(s)-1 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}
