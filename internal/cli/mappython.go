package cli

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"tandem"
	"tandem/engine"
	"tandem/internal/handler"
	"tandem/internal/mapper"
)

// python is a map with a function in worker processes in place of a command. What the function prints goes to standard error, whole lines.
func (a *app) python(j *mapJob, bar *mapBar) (runner, error) {
	spec := j.flags.python
	if where, name, ok := strings.Cut(spec, ":"); !ok || where == "" || name == "" {
		return nil, mapWrong("--python "+spec+" names no function", "want module:function or file.py:function")
	}
	argv, err := handler.Python(handler.PythonConfig{Step: "map", Python: os.Getenv("TANDEM_PYTHON"), Cache: cacheDir()})
	if err != nil {
		return nil, err
	}
	box := j.cfg.Isolation
	if len(box.Read) > 0 || box.Sandbox {
		var read []string
		if argv, read, err = sandboxedPython(argv, spec); err != nil {
			return nil, err
		}
		box.Read = append(box.Read, read...)
	}
	program := engine.Program{Argv: argv, Handler: spec, Env: handler.PythonEnv(os.Environ()), Home: "."}
	w := a.newWatch("")
	w.print, w.running = bar.raw, func() bool { return true }
	bar.atEnd = w.flush
	return mapper.NewWorkers(j.cfg, engine.Step{Handler: program, Mode: tandem.Auto, Isolation: box, Caps: tandem.Caps{Memory: j.cfg.Limits.Memory}}, engine.Config{Cores: j.cfg.Cores, OnOutput: w.output, OnEvent: w.event}), nil
}

// sandboxedPython is what a function in a sandbox must be able to read: the interpreter's files, ours, the working directory and that of the function's file.
func sandboxedPython(argv []string, spec string) ([]string, []string, error) {
	exe, read, err := handler.PythonFiles(context.Background(), argv[0], os.Environ())
	if err != nil {
		return nil, nil, err
	}
	dir, err := os.Getwd()
	if err != nil {
		return nil, nil, err
	}
	read = append(read, cacheDir(), dir)
	if file, _, ok := strings.Cut(spec, ".py:"); ok {
		if file, err = filepath.Abs(file); err == nil {
			read = append(read, filepath.Dir(file))
		}
	}
	return append([]string{exe}, argv[1:]...), read, nil
}
