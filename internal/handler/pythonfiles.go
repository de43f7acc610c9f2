package handler

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"tandem"
	"tandem/internal/proc"
)

const pythonPlaces = `import json, os, sys
print(json.dumps([sys.executable, [os.path.realpath(sys.executable)] + [p for p in (sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix, *sys.path) if p and os.path.exists(p)]]))`

// PythonTrial is a program that prints which of the files and directories in its arguments cannot be read.
const PythonTrial = `import os, sys
for f in sys.argv[1:]:
    try:
        os.listdir(f) if os.path.isdir(f) else open(f, "rb").close()
    except OSError:
        print(f)`

// PythonFiles asks an interpreter for its own name, which differs from program where that is a script that looks for it, and for what it needs to read:
// its library, its venv, and where it looks for modules.
func PythonFiles(ctx context.Context, program string, env []string) (exe string, files []string, err error) {
	x, err := proc.Run(ctx, proc.Command{Argv: []string{program, "-c", pythonPlaces}, Env: env})
	if err != nil {
		return "", nil, err
	}
	var said []json.RawMessage
	if x.Code != 0 || json.Unmarshal(x.Stdout, &said) != nil || len(said) != 2 || json.Unmarshal(said[0], &exe) != nil || json.Unmarshal(said[1], &files) != nil || exe == "" {
		return "", nil, &tandem.Error{Op: "ask where it is", On: program, Kind: tandem.KindStart, Message: "the interpreter does not say which files it needs", Trace: strings.TrimSpace(string(x.Stderr)),
			Hint: "set TANDEM_PYTHON to the path of an interpreter"}
	}
	slices.Sort(files)
	return exe, slices.Compact(files), nil
}
