package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// mapRows start the smallest program there is, once for every line of input: what it costs to start, to hear of and to bury a process.
func mapRows() []row {
	return []row{
		{name: "peer/xargs", about: "xargs -P2 -n1 true over lines", gives: starts, measure: mapped(1, func(b *bench) ([]string, error) {
			return installed("xargs", "-P2", "-n1", "true")
		})},
		{name: "peer/parallel", about: "GNU parallel -j2 true over a fifth of the lines", gives: starts, measure: mapped(5, func(b *bench) ([]string, error) {
			return installed("parallel", "--will-cite", "-j2", "true")
		})},
		{name: "tandem/map", about: "tandem map -j auto true over lines", gives: starts, measure: mapped(1, func(b *bench) ([]string, error) {
			tandem, err := b.tandem()
			return []string{tandem, "map", "--progress", "none", "true"}, err
		})},
	}
}

var starts = []figure{{"rate", "1/s"}}

// installed is the command line of a tool, or the reason why it is left out.
func installed(name string, args ...string) ([]string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return nil, leftOut(name + " is not installed")
	}
	return append([]string{path}, args...), nil
}

// mapped runs a command line over the lines and counts them a second, its own start included. share: 1 of so many lines, for what is slow.
func mapped(share int, argv func(*bench) ([]string, error)) func(context.Context, *bench) (figures, error) {
	return func(ctx context.Context, b *bench) (figures, error) {
		line, err := argv(b)
		if err != nil {
			return nil, err
		}
		n := max(100, b.lines/share)
		var lines strings.Builder
		for i := range n {
			lines.WriteString(strconv.Itoa(i) + "\n")
		}
		c := command(ctx, line[0], line[1:]...)
		c.Stdin = strings.NewReader(lines.String())
		c.Env = append(os.Environ(), "PARALLEL_HOME="+filepath.Join(b.dir, "parallel")) // it writes there
		start := time.Now()
		if out, err := c.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("run %s: %w: %s", strings.Join(line, " "), err, tail(string(out)))
		}
		return figures{"rate": float64(n) / time.Since(start).Seconds()}, nil
	}
}
