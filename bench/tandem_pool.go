package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"tandem"
	"tandem/internal/handler"
	"tandem/internal/procpool"
	"tandem/worker"
)

// This file connects the dispatch and payload rows to the pool of worker processes. A Go worker is this binary again: worker.Main takes
// over before main when the pool started it. A Python worker runs py/work.py through the SDK's own worker.

func init() {
	worker.Register("same", func(_ context.Context, in tandem.Value, give func(tandem.Value)) error {
		give(in)
		return nil
	})
	worker.Main()
}

// programOf is the command line and the surroundings of a worker.
func programOf(b *bench, language, work string) (procpool.Config, error) {
	c := procpool.Config{Step: language, Mode: tandem.Process, Handler: work}
	switch language {
	case "go":
		self, err := os.Executable()
		if err != nil {
			return c, fmt.Errorf("start Go workers: find this binary: %w", err)
		}
		c.Argv = []string{self}
	case "python":
		python, err := b.python()
		if err != nil {
			return c, err
		}
		if c.Argv, err = handler.Python(handler.PythonConfig{Step: language, Python: python, Cache: b.dir}); err != nil {
			return c, err
		}
		c.Env = handler.PythonEnv(os.Environ())
		c.Home, c.Handler = filepath.Join(b.dir, "py"), "work.py:"+work
	}
	return c, nil
}

// openPool starts a pool of worker processes whose handler is "same" (gives back its argument) or "touch" (reads a byte of every page
// and gives the length), in "go" or "python". stop ends it and waits until no worker is left.
func openPool(ctx context.Context, b *bench, language, work string, workers int) (caller, func() error, error) {
	c, err := programOf(b, language, work)
	if err != nil {
		return nil, nil, err
	}
	c.Workers = workers
	pool := procpool.New(c)
	ended := make(chan error, 1)
	go func() { ended <- pool.Run(ctx) }()
	stop := func() error {
		pool.Close()
		return <-ended
	}
	select {
	case <-pool.Ready():
	case <-ctx.Done():
		return nil, nil, errors.Join(context.Cause(ctx), stop())
	}
	// Ready is closed too when the pool has failed; the first task tells.
	t := newTask()
	if err := callOnce(ctx, pool, t); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("start %s workers: %w", language, err), stop())
	}
	return pool, stop, nil
}
