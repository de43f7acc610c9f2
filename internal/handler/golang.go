package handler

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"

	"tandem"
	"tandem/internal/proc"
)

// GoConfig names a Go worker: a main package that calls worker.Main.
type GoConfig struct {
	Step    string
	Package string // ./resize
	Dir     string // where Package is looked up
	Cache   string // directory for the built program
}

// Go builds the worker program and gives its command line. The compiler's words are in the error's trace.
func Go(ctx context.Context, c GoConfig) ([]string, error) {
	fail := func(msg, hint, trace string, err error) ([]string, error) {
		return nil, &tandem.Error{Op: "build the Go worker of step", On: c.Step, Kind: tandem.KindImport, Message: msg, Hint: hint, Trace: trace, Err: err}
	}
	if _, err := proc.Look("go"); err != nil {
		return fail("the go command is not here", "install Go, or build the worker elsewhere and use worker: [program]", "", err)
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return fail(err.Error(), "", "", err)
	}
	sum := sha256.Sum256([]byte(dir + "\x00" + c.Package))
	if err := os.MkdirAll(c.Cache, 0o755); err != nil {
		return fail(err.Error(), "set TANDEM_HOME to a directory that can be written", "", err)
	}
	bin := filepath.Join(c.Cache, "go-"+hex.EncodeToString(sum[:8]))
	list, err := proc.Run(ctx, proc.Command{Argv: []string{"go", "list", "-f", "{{.Name}}", c.Package}, Dir: dir})
	if err == nil && list.Code == 0 && strings.TrimSpace(string(list.Stdout)) != "main" {
		return fail(c.Package+" is package "+strings.TrimSpace(string(list.Stdout))+", want package main",
			"write a main package that registers the handler with worker.Handle and calls worker.Main", "", nil)
	}
	out, err := proc.Run(ctx, proc.Command{Argv: []string{"go", "build", "-buildvcs=false", "-o", bin, c.Package}, Dir: dir})
	if err != nil {
		return fail(err.Error(), "", "", err)
	}
	if out.Code != 0 {
		return fail("go build "+c.Package+" failed", "the compiler's words stand above", string(out.Stderr)+string(out.Stdout), nil)
	}
	return []string{bin}, nil
}
