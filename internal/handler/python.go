package handler

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
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
	return []string{path, "-c", fmt.Sprintf(python.Start, quote(dir))}, nil
}

// Template is the command line of a process that loads a Python handler once and forks workers of itself; argv is what Python gave.
func Template(argv []string) []string {
	t := slices.Clone(argv)
	t[len(t)-1] = strings.Replace(t[len(t)-1], "tandem_worker.start", "tandem_worker.fork", 1)
	return t
}

// install writes the worker program to a directory named after its content, so that versions never meet and the compiled form is kept.
func install(cache string) (string, error) {
	files := map[string][]byte{}
	sum := sha256.New()
	err := fs.WalkDir(python.Worker, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := python.Worker.ReadFile(name)
		files[name] = text
		fmt.Fprintf(sum, "%s %d\n%s", name, len(text), text)
		return err
	})
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "python-"+hex.EncodeToString(sum.Sum(nil)[:8]))
	for name, text := range files {
		if err := place(filepath.Join(dir, filepath.FromSlash(name)), text); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// place gives file this content in one step: another run may read it at the same time. A file that has it already is left alone.
func place(file string, text []byte) error {
	if have, err := os.ReadFile(file); err == nil && bytes.Equal(have, text) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), "*.tmp")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(text)
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	return err
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
