package flowfile

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"tandem"
	"tandem/engine"
	"tandem/internal/expr"
	"tandem/internal/handler"
	"tandem/internal/proc"
	"tandem/internal/sqlite"
)

// command is the handler of a run or a shell step.
func (f *File) command(ctx context.Context, i int, s Surroundings) (engine.Handler, error) {
	d := &f.Steps[i]
	c := handler.CommandConfig{Step: d.Name, Dir: f.Dir, Env: append(slices.Clone(s.Env), proc.Budget(s.Env, d.budget())...), Extra: func(t *tandem.Task) []string {
		return []string{"TANDEM_RUN_ID=" + s.Run, "TANDEM_STEP=" + d.Name, "TANDEM_ITEM_ID=" + printableID(t.ID), fmt.Sprint("TANDEM_ATTEMPT=", t.Attempts)}
	}}
	c.Caps, c.Cores = d.caps(), s.CoreDir
	c.Caps.Core = cmp.Or(c.Caps.Core, s.Core)
	argv := []string{"sh"}
	if len(d.Run) > 0 {
		argv = d.Run
	}
	if strings.Contains(argv[0], "${{") {
		argv = nil
	}
	_, box, err := f.boxed(ctx, i, s, argv, f.namedFiles(d.Run))
	if err != nil {
		return nil, err
	}
	if argv != nil {
		if who, small := handler.TooSmall(ctx, argv, c.Env, f.Dir, proc.Limits{Memory: d.Memory.Limit}.WithData(argv[0]), box); small {
			return nil, f.Errorf("raise it", []any{"steps", i, "memory"}, "memory: %s is less than %s needs to begin with", proc.Bytes(d.Memory.Limit), who)
		}
	}
	tells := &teller{step: d.Name, hear: s.OnEvent}
	c.Isolation, c.Isolated = box, tells.isolated
	if s.Heard != nil {
		c.Heard = func(t *tandem.Task, line []byte) { s.Heard(d.Name, t.ID, line) }
	}
	if d.t.stdin != nil {
		c.Stdin = d.t.stdin.Value
	}
	if d.Shell != "" {
		return engine.Func{Computes: true, Isolation: tells.isolation, Do: handler.Shell(handler.ShellConfig{Step: c.Step, Script: d.t.script, Params: texts(d.t.params),
			Stdin: c.Stdin, Dir: c.Dir, Env: c.Env, Extra: c.Extra, Caps: c.Caps, Cores: c.Cores, Isolation: c.Isolation, Isolated: c.Isolated, Heard: c.Heard})}, nil
	}
	c.Argv = texts(d.t.argv)
	return engine.Func{Do: handler.Command(c), Computes: true, Isolation: tells.isolation}, nil
}

// printableID is an id as an environment variable can hold it: without zero bytes.
func printableID(id string) string { return strings.ReplaceAll(id, "\x00", "") }

func texts(all []*expr.Template) (funcs []func(*tandem.Task) (string, error)) {
	for _, t := range all {
		funcs = append(funcs, t.Text)
	}
	return funcs
}

func (f *File) http(d *Step) (engine.Handler, error) {
	c := handler.HTTPConfig{Step: d.Name, Method: strings.ToUpper(d.HTTP.Method), Once: d.Once(), Concurrency: f.inFlight(d), URL: d.t.url.Text,
		Headers: map[string]func(*tandem.Task) (string, error){}}
	what := d.HTTP.described()
	c.Key = func(t *tandem.Task) string { return f.names.RequestKey(d.Name, what, t) }
	for _, r := range d.HTTP.Expect {
		c.Expect = append(c.Expect, handler.StatusRange{From: r.From, To: r.To})
	}
	for name, t := range d.t.headers {
		c.Headers[name] = t.Text
	}
	switch {
	case d.t.body != nil:
		c.Body = d.t.body.Value
	case d.t.json != nil:
		c.Body = d.t.json.Value
	case d.t.file != nil:
		c.File = func(task *tandem.Task) (string, error) {
			path, err := d.t.file.Text(task)
			return f.resolve(path), err
		}
	}
	do, closer := handler.HTTP(c)
	return engine.Func{Do: do, Close: closer, Auto: true}, nil
}

// described is what a request is made of, in the words of the file.
func (h *HTTP) described() string {
	b, err := json.Marshal([]any{h.Method, h.URL, h.Body, h.JSON, h.File})
	if err != nil { // a flow file holds nothing that is not JSON
		b = fmt.Append(nil, h.Method, h.URL, h.Body, h.JSON, h.File)
	}
	return string(b)
}

// inFlight is how many requests of a step may be in flight at most: so many connections are worth keeping.
func (f *File) inFlight(d *Step) int {
	c, most := d.Concurrency, d.Max
	if d.Pool != "" {
		c, most = f.Pools[d.Pool].Concurrency, f.Pools[d.Pool].Max
	}
	if c > 0 {
		return int(c)
	}
	return engine.Limits{Auto: true, Max: most}.Most()
}

// keep is the handler of a keep step: it lets an item through with the value it has, or filters it out.
func keep(condition *expr.Template) func(context.Context, *tandem.Task) tandem.Result {
	return func(_ context.Context, t *tandem.Task) tandem.Result {
		yes, err := condition.Bool(t)
		switch {
		case err != nil:
			return tandem.Result{Outcome: tandem.Failed, Err: &tandem.Error{Op: "run", Kind: tandem.KindExpression, Message: err.Error(), Err: err, Again: tandem.AgainNever}}
		case !yes:
			return tandem.Result{Outcome: tandem.Filtered}
		}
		return tandem.Give(t.Value)
	}
}

func (f *File) write(d *Step) engine.Handler {
	return engine.Func{Default: 16, Do: handler.Write(handler.WriteConfig{Step: d.Name, Path: d.t.path.Text, Body: d.t.body.Value, Dir: f.Dir, Within: f.within(d.Write.Path)})}
}

// within is the directory that the flow names in front of what an item puts into a path: no item leaves it. Empty when the whole path is the item's.
func (f *File) within(path string) string {
	lead, _, templates := strings.Cut(path, "${{")
	if !templates || lead == "" {
		return ""
	}
	return f.resolve(lead[:strings.LastIndexByte(lead, '/')+1])
}

func (f *File) sql(i int) (engine.Handler, error) {
	d := &f.Steps[i]
	open, err := f.fixed(d.SQL.Open, "steps", i, "sql", "open")
	if err != nil {
		return nil, err
	}
	c := sqlite.SQLConfig{Step: d.Name, Open: open, Dir: f.Dir, Setup: d.SQL.Setup, Exec: d.SQL.Exec, Query: d.SQL.Query, Concurrency: int(max(d.Concurrency, 0)),
		Tasks: func(t *tandem.Task) ([]*tandem.Task, error) { return t.Batch, nil }}
	for _, v := range d.t.values {
		c.Values = append(c.Values, v.Eval)
	}
	do, stop, err := sqlite.SQL(c)
	if err != nil {
		return nil, err
	}
	most := 1 // SQLite has one writer at a time
	if c.Query != "" {
		most = 4
	}
	return engine.Func{Do: do, Close: stop, Default: most}, nil
}
