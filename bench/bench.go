package main

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"
)

// Compiled into the binary, so that the rows do not depend on the directory in which it runs.
//
//go:embed c/*.c py/*.py
var sources embed.FS

// bench is what the rows share: the settings and the tools, each looked up or built once.
type bench struct {
	seconds  float64       // of one measurement, where the row can choose
	limit    time.Duration // for one measurement, whatever it does
	dir      string        // temporary; the sources lie in dir/c and dir/py
	cores    int
	workers  int // of the process pools in the dispatch rows
	inFlight int // callers, window and so on in the throughput rows
	sizes    []int
	hybrid   hybrid
	flow     flowSizes
	lines    int // of the map rows
	adopting bool

	pythonName string // -python
	tandemPath string // -tandem; empty: built from ../cmd/tandem
	python     func() (string, error)
	cc         func(source string) (string, error)
	tandem     func() (string, error)
	spin       func() (string, error) // the hybrid job's directory, calibrated
}

// flowSizes are the sizes of the rows that run whole flows.
type flowSizes struct {
	million  int // items of the rows that are named so
	requests int // rss-requests
}

// open unpacks the sources and prepares the tools. The caller removes b.dir.
func (b *bench) open(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "tandem-bench-")
	if err != nil {
		return fmt.Errorf("make a directory for the benchmark: %w", err)
	}
	b.dir, b.cores = dir, runtime.GOMAXPROCS(0)
	b.python = sync.OnceValues(func() (string, error) { return findPython(ctx, b.pythonName) })
	b.tandem = sync.OnceValues(func() (string, error) { return b.buildTandem(ctx) })
	b.spin = sync.OnceValues(func() (string, error) { return b.calibrate(ctx) })
	b.cc = compiler(ctx, dir)
	return fs.WalkDir(sources, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := sources.ReadFile(path)
		if err != nil {
			return err
		}
		return writeFile(filepath.Join(dir, path), data)
	})
}

// writeFile writes a file and the directories above it.
func writeFile(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}

// findPython gives the interpreter itself: "python3" in PATH may be a script of a version manager that costs 50 ms a start.
func findPython(ctx context.Context, name string) (string, error) {
	out, err := command(ctx, name, "-c", "import sys; print(sys.executable)").Output()
	if err != nil {
		return "", leftOut(fmt.Sprintf("no Python: %s: %v", name, err))
	}
	return strings.TrimSpace(string(out)), nil
}

// compiler gives a func that compiles a C file once and returns the program.
func compiler(ctx context.Context, dir string) func(string) (string, error) {
	type built struct {
		path string
		err  error
	}
	done := make(map[string]built) // rows run one at a time
	return func(source string) (string, error) {
		b, ok := done[source]
		if !ok {
			b.path = filepath.Join(dir, strings.TrimSuffix(source, ".c"))
			out, err := command(ctx, compilerName(), "-O2", "-o", b.path, filepath.Join(dir, source)).CombinedOutput()
			if err != nil {
				b.err = leftOut(fmt.Sprintf("cannot compile C: %s: %v: %s", compilerName(), err, tail(string(out))))
			}
			done[source] = b
		}
		return b.path, b.err
	}
}

func compilerName() string {
	if name := os.Getenv("CC"); name != "" {
		return name
	}
	return "cc"
}

// buildTandem gives the program under test.
func (b *bench) buildTandem(ctx context.Context) (string, error) {
	if b.tandemPath != "" {
		return filepath.Abs(b.tandemPath)
	}
	path := filepath.Join(b.dir, "tandem")
	c := exec.CommandContext(ctx, "go", "build", "-C", "..", "-o", path, "./cmd/tandem")
	if out, err := c.CombinedOutput(); err != nil {
		return "", leftOut(fmt.Sprintf("cannot build ../cmd/tandem: %v: %s", err, tail(string(out))))
	}
	return path, nil
}
