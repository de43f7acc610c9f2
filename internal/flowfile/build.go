package flowfile

import (
	"context"
	"io"
	"path/filepath"
	"runtime"
	"strings"

	"tandem"
	"tandem/engine"
	"tandem/internal/expr"
	"tandem/internal/handler"
	"tandem/internal/sink"
	"tandem/internal/source"
)

// Surroundings is what a flow needs from the machine it runs on.
type Surroundings struct {
	Cache  string   // directory for built workers
	Python string   // interpreter for steps without a venv; empty means python3
	Env    []string // environment of workers and commands
	Cores  int      // for commands; zero means all
	Stdin  io.Reader
	Stdout io.Writer
}

// Build turns a file into a flow that can run: it finds interpreters, builds Go workers and opens the sink.
func Build(ctx context.Context, f *File, s Surroundings) (engine.Flow, error) {
	flow := engine.Flow{Name: f.Name}
	var err error
	if flow.Source, err = f.source(s); err != nil {
		return flow, err
	}
	for i := range f.Steps {
		step, err := f.step(ctx, i, s)
		if err != nil {
			return flow, err
		}
		flow.Steps = append(flow.Steps, step)
	}
	if f.Into != nil {
		// Last: a flow that cannot start must not empty the file of the run before.
		path := f.Into.JSONL
		if path != "-" {
			path = f.resolve(path)
		}
		if flow.Sink, err = sink.Open(path, s.Stdout); err != nil {
			return flow, err
		}
	}
	return flow, nil
}

// resolve makes a path of the flow file absolute; it is relative to the file.
func (f *File) resolve(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(f.Dir, path)
}

func (f *File) source(s Surroundings) (tandem.Source, error) {
	text := func(path string) source.Opener {
		if path != "-" {
			path = f.resolve(path)
		}
		return source.File(path, s.Stdin)
	}
	switch from := f.From; {
	case len(from.Files) > 0:
		return source.Files(f.Dir, from.Files)
	case from.Lines != "":
		return source.Lines(from.Lines, text(from.Lines)), nil
	case from.JSONL != "":
		return source.JSONL(from.JSONL, text(from.JSONL)), nil
	default:
		return source.Range(from.First, from.Last), nil
	}
}

func (f *File) step(ctx context.Context, i int, s Surroundings) (engine.Step, error) {
	d := &f.Steps[i]
	step := engine.Step{Name: d.Name, Mode: d.Mode, Workers: d.Workers, Threads: d.Threads, Concurrency: d.Concurrency, Timeout: d.Timeout,
		Queue: engine.Bounds{Items: d.Queue.Items, Bytes: d.Queue.Bytes}}
	var err error
	switch {
	case d.HTTP != nil:
		step.Handler, err = f.http(d, s)
	case len(d.Run) > 0:
		step.Handler, err = f.command(d, s)
	default:
		step.Handler, err = f.program(ctx, i, s)
	}
	return step, err
}

// program is the worker process of a python, go or worker step.
func (f *File) program(ctx context.Context, i int, s Surroundings) (engine.Handler, error) {
	d := &f.Steps[i]
	p := engine.Program{Dir: f.Dir, Home: f.Dir, Env: s.Env}
	var err error
	switch {
	case d.Python != "":
		venv := d.Venv
		if venv != "" {
			venv = f.resolve(venv)
		}
		p.Argv, err = handler.Python(handler.PythonConfig{Step: d.Name, Venv: venv, Python: s.Python, Cache: s.Cache})
		p.Handler, p.Env = d.Python, handler.PythonEnv(s.Env)
		if next := i + 1; next < len(f.Steps) && f.Steps[next].Python != "" && len(f.Steps[next].Args) == 0 {
			p.Output = "pickle" // from Python to Python any object may travel
		}
	case d.Go != "":
		pkg, name, ok := cutLast(d.Go)
		if !ok {
			return nil, f.Errorf("for example ./resize:thumb", []any{"steps", i, "go"}, "want package:handler, got %q", d.Go)
		}
		p.Argv, err = handler.Go(ctx, handler.GoConfig{Step: d.Name, Package: pkg, Dir: f.Dir, Cache: s.Cache})
		p.Handler = name
	default:
		p.Argv = append([]string(nil), d.Worker...)
		if strings.ContainsRune(p.Argv[0], filepath.Separator) {
			p.Argv[0] = f.resolve(p.Argv[0])
		}
		p.Handler = d.Handler
	}
	if err != nil {
		return nil, err
	}
	if len(d.Args) > 0 {
		args, err := expr.CompileAny(d.Args, withEnv(s))
		if err != nil {
			return nil, f.Errorf("", []any{"steps", i, "args"}, "%v", err)
		}
		p.Input, p.Kwargs = args.Value, true
	}
	return p, nil
}

// cutLast cuts at the last colon: a package path may hold none, a handler's name neither, but a Windows-like path would.
func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i <= 0 || i == len(s)-1 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

func (f *File) command(d *Step, s Surroundings) (engine.Handler, error) {
	c := handler.CommandConfig{Step: d.Name, Dir: f.Dir, Env: s.Env}
	for _, arg := range d.Run {
		t, err := expr.Compile(arg, withEnv(s))
		if err != nil {
			return nil, err
		}
		c.Argv = append(c.Argv, t.Text)
	}
	if d.Stdin != "" {
		t, err := expr.Compile(d.Stdin, withEnv(s))
		if err != nil {
			return nil, err
		}
		c.Stdin = t.Value
	}
	cores := s.Cores
	if cores == 0 {
		cores = runtime.NumCPU()
	}
	return engine.Func{Do: handler.Command(c), Default: cores}, nil
}

func (f *File) http(d *Step, s Surroundings) (engine.Handler, error) {
	h := d.HTTP
	c := handler.HTTPConfig{Step: d.Name, Method: strings.ToUpper(h.Method), Concurrency: d.Concurrency}
	if c.Concurrency == 0 {
		c.Concurrency = 64
	}
	for _, r := range h.Expect {
		c.Expect = append(c.Expect, handler.StatusRange{From: r.From, To: r.To})
	}
	url, err := expr.Compile(h.URL, withEnv(s))
	if err != nil {
		return nil, err
	}
	c.URL = url.Text
	c.Headers = map[string]func(*tandem.Task) (string, error){}
	for name, value := range h.Headers {
		t, err := expr.Compile(value, withEnv(s))
		if err != nil {
			return nil, err
		}
		c.Headers[name] = t.Text
	}
	switch {
	case h.HasBody:
		t, err := expr.Compile(h.Body, withEnv(s))
		if err != nil {
			return nil, err
		}
		c.Body = t.Value
	case h.HasJSON:
		a, err := expr.CompileAny(h.JSON, withEnv(s))
		if err != nil {
			return nil, err
		}
		c.Body = a.Value
	case h.File != "":
		t, err := expr.Compile(h.File, withEnv(s))
		if err != nil {
			return nil, err
		}
		c.File = func(task *tandem.Task) (string, error) {
			path, err := t.Text(task)
			return f.resolve(path), err
		}
	}
	do, closer := handler.HTTP(c)
	return engine.Func{Do: do, Close: closer}, nil
}

// withEnv gives templates the environment as env.NAME.
func withEnv(s Surroundings) expr.Option {
	env := map[string]string{}
	for _, kv := range s.Env {
		if name, value, ok := strings.Cut(kv, "="); ok {
			env[name] = value
		}
	}
	return expr.WithEnv(env)
}
