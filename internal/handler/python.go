package handler

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"tandem"
	"tandem/internal/proc"
	"tandem/sdk/python"
)

// PythonConfig says which interpreter runs a Python handler.
type PythonConfig struct {
	Step   string
	Venv   string // directory of a virtual environment, or empty
	Python string // interpreter when there is no venv; empty means python3
	Cache  string // directory for the worker program
}

// Python is the command line of a Python worker. The worker program comes out of this binary; it is written to the cache once.
func Python(c PythonConfig) ([]string, error) {
	interpreter := c.Python
	hint := "install Python 3.9 or newer, or set TANDEM_PYTHON to the path of an interpreter"
	switch {
	case c.Venv != "":
		interpreter = filepath.Join(c.Venv, "bin", "python")
		hint = "make it with: python3 -m venv " + c.Venv
	case interpreter == "":
		interpreter = "python3"
	}
	path, err := proc.Look(interpreter)
	if err != nil {
		return nil, &tandem.Error{Op: "find the Python interpreter of step", On: c.Step, Kind: tandem.KindStart, Message: interpreter + ": no such program", Hint: hint, Err: err}
	}
	dir, err := install(c.Cache)
	if err != nil {
		return nil, &tandem.Error{Op: "install the Python worker for step", On: c.Step, Kind: tandem.KindStart, Message: err.Error(),
			Hint: "set TANDEM_HOME to a directory that can be written", Err: err}
	}
	return []string{path, "-c", "import sys; sys.path.insert(0, " + quote(dir) + "); import tandem_worker; tandem_worker.main()"}, nil
}

// install writes the worker program to a directory named after its content, so that versions never meet and the compiled form is kept.
func install(cache string) (string, error) {
	sum := sha256.Sum256([]byte(python.Worker))
	dir := filepath.Join(cache, "python-"+hex.EncodeToString(sum[:8]))
	file := filepath.Join(dir, "tandem_worker.py")
	if have, err := os.ReadFile(file); err == nil && string(have) == python.Worker {
		return dir, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	tmp, err := os.CreateTemp(dir, "tandem_worker-*.tmp")
	if err != nil {
		return "", err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.WriteString(python.Worker)
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	return dir, err
}

// quote is s as a Python string.
func quote(s string) string {
	b := []byte{'"'}
	for i := range len(s) {
		const hexDigits = "0123456789abcdef"
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c == 0x7f {
			b = append(b, '\\', 'x', hexDigits[c>>4], hexDigits[c&15])
		} else {
			b = append(b, c)
		}
	}
	return string(append(b, '"'))
}

// Memory settings of glibc for a worker that handles large values again and again: freed memory stays with the process, up to 128 MiB, instead of
// going back to the system and being faulted in anew for the next item. A step of 2400×1600 pictures became a fifth faster.
var allocator = []string{"MALLOC_TRIM_THRESHOLD_=134217728", "MALLOC_MMAP_THRESHOLD_=33554432"}

// PythonEnv is the environment of a Python worker; what the user set himself stays.
func PythonEnv(env []string) []string {
	out := slices.Clone(env)
	for _, kv := range allocator {
		name, _, _ := strings.Cut(kv, "=")
		if !slices.ContainsFunc(env, func(s string) bool { return strings.HasPrefix(s, name+"=") }) {
			out = append(out, kv)
		}
	}
	return out
}
