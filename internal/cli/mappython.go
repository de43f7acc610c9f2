package cli

import (
	"os"
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
	program := engine.Program{Argv: argv, Handler: spec, Env: handler.PythonEnv(os.Environ()), Home: "."}
	w := a.newWatch("")
	w.print, w.running = bar.raw, func() bool { return true }
	bar.atEnd = w.flush
	return mapper.NewWorkers(j.cfg, engine.Step{Handler: program, Mode: tandem.Auto}, engine.Config{Cores: j.cfg.Cores, OnOutput: w.output, OnEvent: w.event}), nil
}
