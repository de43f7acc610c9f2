package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"tandem"
	"tandem/engine"
	"tandem/internal/compare"
	"tandem/internal/flowfile"
	"tandem/internal/handler"
	"tandem/internal/source"
)

// mostItems is how many items are read for a comparison; what is measured is the first of them.
const mostItems = 10_000

// compareHandler makes the handler of --python or of a step.
func (a *app) compareHandler(ctx context.Context, f compareFlags, args []string) (*compare.Handler, compare.Plan, error) {
	var plan compare.Plan
	for _, text := range f.try {
		s, err := compare.ParseShape(text)
		if err != nil {
			return nil, plan, err
		}
		plan.Shapes = append(plan.Shapes, s)
	}
	if f.step != "" {
		h, err := a.compareStep(ctx, f, args[0])
		if err == nil {
			p, ok := h.Step.Handler.(engine.Program)
			plan.Python = ok && strings.HasPrefix(filepath.Base(p.Argv[0]), "python")
		}
		return h, plan, err
	}
	plan.Python = true
	if where, name, ok := strings.Cut(f.python, ":"); !ok || where == "" || name == "" {
		return nil, plan, compareWrong("--python "+f.python+" names no function", "want module:function or file.py:function")
	}
	argv, err := handler.Python(handler.PythonConfig{Step: "compare", Python: os.Getenv("TANDEM_PYTHON"), Cache: cacheDir()})
	if err != nil {
		return nil, plan, err
	}
	src, err := itemsOf(f.items)
	if err != nil {
		return nil, plan, err
	}
	inputs, err := first(ctx, src)
	if err == nil && len(inputs) == 0 {
		err = compareWrong("--items "+f.items+" has none", "")
	}
	program := engine.Program{Argv: argv, Handler: f.python, Env: handler.PythonEnv(os.Environ()), Home: ".", Output: "pickle"}
	return &compare.Handler{Step: engine.Step{Name: f.python, Handler: program}, Inputs: inputs}, plan, err
}

// itemsOf is the source that --items means.
func itemsOf(what string) (tandem.Source, error) {
	if n, err := strconv.ParseInt(what, 10, 64); err == nil {
		if n < 1 {
			return nil, compareWrong("--items "+what+" has none", "want a number from 1")
		}
		return source.Range(1, n), nil
	}
	if info, err := os.Stat(what); err == nil && info.Mode().IsRegular() {
		return source.Lines(what, source.File(what, nil)), nil
	}
	if !strings.ContainsAny(what, "*?[{") {
		return nil, compareWrong("--items "+what+": no such file", "a file with one item on each line, a pattern such as 'pages/*.html', or a number")
	}
	return source.Files(".", []string{what})
}

// first reads the first items.
func first(ctx context.Context, src tandem.Source) (inputs []*tandem.Task, err error) {
	err = src.Each(ctx, func(id string, v tandem.Value) bool {
		inputs = append(inputs, &tandem.Task{ID: id, Root: id, Source: v, Value: v})
		return len(inputs) < mostItems
	})
	return inputs, err
}

// compareStep builds the flow without its sinks and runs what stands before the step once, for the items that the step would get.
func (a *app) compareStep(ctx context.Context, f compareFlags, path string) (*compare.Handler, error) {
	file, err := flowfile.Load(path)
	if err != nil {
		return nil, err
	}
	if err := file.SetParams(f.params); err != nil {
		return nil, err
	}
	file.Into, file.Failures.Save = nil, "" // nothing is written by a comparison
	tmp, err := os.MkdirTemp("", "tandem")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	flow, err := flowfile.Build(ctx, file, flowfile.Surroundings{Cache: cacheDir(), Python: os.Getenv("TANDEM_PYTHON"), Env: os.Environ(), Stdin: a.in, Stdout: a.out, Run: "compare", Tmp: tmp})
	if err != nil {
		return nil, err
	}
	at := -1
	var names []string
	for i, s := range flow.Steps {
		if names = append(names, s.Name); s.Name == f.step {
			at = i
		}
	}
	if at < 0 {
		return nil, compareWrong(fmt.Sprintf("%s has no step %q", path, f.step), "its steps: "+strings.Join(names, ", "))
	}
	step := flow.Steps[at]
	if step.Batch.Size > 0 {
		return nil, compareWrong("step "+f.step+" takes batches", "compare measures handlers that take one item")
	}
	h := &compare.Handler{Step: step, Pools: flow.Pools, Redact: flow.Redact}
	// What stands in the step's place keeps what the step would get.
	var mu sync.Mutex
	limited := &limitedSource{Source: flow.Source, most: 1000}
	keep := step
	keep.Handler = engine.Func{Do: func(_ context.Context, t *tandem.Task) tandem.Result {
		mu.Lock()
		defer mu.Unlock()
		h.Inputs = append(h.Inputs, &tandem.Task{ID: t.ID, Root: t.ID, Source: t.Source, Value: t.Value, Earlier: t.Earlier})
		return tandem.Result{Outcome: tandem.Filtered}
	}}
	keep.Mode, keep.Workers, keep.WorkersOf, keep.Threads, keep.Concurrency, keep.Limits, keep.Pool = tandem.Goroutine, 0, nil, 0, 1, engine.Limits{}, ""
	flow.Source, flow.Sink, flow.Steps, flow.Done = limited, nil, append(flow.Steps[:at:at], keep), nil
	report, err := engine.New(engine.Config{}).Run(ctx, flow)
	h.Step.When = nil // only items that it is for are left
	switch {
	case err != nil:
		return nil, err
	case len(h.Inputs) == 0 && report.Items.Bad() > 0:
		return nil, &tandem.Error{Op: "compare", On: path, Kind: tandem.KindFailures, Message: "no item reached step " + f.step, Hint: "run the flow first: its earlier steps fail"}
	case len(h.Inputs) == 0:
		return nil, &tandem.Error{Op: "compare", On: path, Kind: tandem.KindInvalid, Message: "no item reached step " + f.step, Err: errors.New("empty"), Hint: "the source has none, or the step's `when` is for none of them"}
	}
	return h, nil
}

// limitedSource is the first items of a source.
type limitedSource struct {
	tandem.Source
	most int
}

func (l *limitedSource) Total() int64 { return -1 }

func (l *limitedSource) Each(ctx context.Context, yield func(string, tandem.Value) bool) error {
	n := 0
	return l.Source.Each(ctx, func(id string, v tandem.Value) bool {
		n++
		return yield(id, v) && n < l.most
	})
}
