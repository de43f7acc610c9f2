package flowfile

import (
	"strings"

	"tandem"
)

var verbs = []string{"python", "go", "worker", "run", "shell", "http", "sql", "write", "keep"}

func (d *decoder) step(s *Step, n *node, path []any) {
	m := d.fields(n, path, reads{
		"name": func(n *node, path []any) {
			d.text(&s.Name)(n, path)
			if strings.ContainsFunc(s.Name, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
				d.wrong(n, path, "use letters, digits, - and _", "a step's name has no spaces")
			}
		},
		"python": d.text(&s.Python), "go": d.text(&s.Go), "worker": d.texts(&s.Worker, false), "run": d.texts(&s.Run, false), "shell": d.text(&s.Shell),
		"http":    func(n *node, path []any) { s.HTTP = &HTTP{}; d.http(s.HTTP, n, path) },
		"sql":     func(n *node, path []any) { s.SQL = &SQL{}; d.sql(s.SQL, n, path) },
		"write":   func(n *node, path []any) { s.Write = &Write{}; d.write(s.Write, n, path) },
		"keep":    d.condition(&s.Keep),
		"when":    d.condition(&s.When),
		"handler": d.text(&s.Handler), "venv": d.text(&s.Venv), "stdin": d.text(&s.Stdin),
		"args": func(n *node, path []any) {
			args, ok := d.plain(n).(map[string]any)
			if !ok || len(args) == 0 {
				d.wrong(n, path, `for example args: {path: "${{ item.path }}"}`, "want named arguments, got %s", n.what())
			}
			s.Args = args
		},
		"batch": func(n *node, path []any) {
			s.Batch = &Batch{}
			m := d.fields(n, path, reads{"size": d.whole(&s.Batch.Size), "every": d.duration(&s.Batch.Every)})
			d.need(n, m, path, "size")
		},
		"retry":   func(n *node, path []any) { s.Retry = &Retry{}; s.Retry.decode(d, n, path) },
		"per_key": func(n *node, path []any) { s.PerKey = &PerKey{}; d.perKey(s.PerKey, n, path) },
		"pool":    d.text(&s.Pool), "labels": d.texts(&s.Labels, true),
		"mode": word(d, &s.Mode, tandem.Modes), "workers": d.workers(&s.Workers), "threads": d.whole(&s.Threads), "concurrency": d.count(&s.Concurrency),
		"start": word(d, &s.Start, []Start{StartAuto, StartFork, StartSpawn}), "spares": d.spares(&s.Spares),
		"max": d.whole(&s.Max), "rate": d.rate(&s.Rate), "breaker": d.breaker(&s.Breaker), "budget": d.budget(&s.Budget),
		"timeout":   func(n *node, path []any) { d.timeout(&s.Timeout, n, path) },
		"isolation": d.isolation(&s.Isolation),
		"memory":    func(n *node, path []any) { d.memory(&s.Memory, n, path) },
		"hang":      d.duration(&s.Hang), "cpu_time": d.duration(&s.CPUTime), "output": d.unit(&s.Output), "core": d.unit(&s.Core),
		"recycle": func(n *node, path []any) { s.Recycle = &Recycle{}; s.Recycle.decode(d, n, path) }, "idempotent": d.idempotent(&s.Idempotent),
		"queue": func(n *node, path []any) {
			d.fields(n, path, reads{"items": d.whole(&s.Queue.Items), "bytes": d.size(&s.Queue.Bytes)})
		},
	})
	d.need(n, m, path, "name")
	if verb := d.one(n, m, path, "verb", verbs); verb != "" {
		d.combinations(s, verb, m, path)
		d.capped(s, verb, m, path)
		d.isolated(s, verb, m, path)
		d.inPool(s, m, path)
	}
}

// maxSpares is more than anybody has memory for.
const maxSpares = 64

func (d *decoder) spares(dst *Spares) func(*node, []any) {
	return func(n *node, path []any) {
		v, ok := n.value.(int64)
		if !ok || v < 0 || v > maxSpares {
			d.wrong(n, path, "for example spares: 1; each takes the memory of a worker", "want a whole number from 0 to %d, got %s", maxSpares, n.what())
			return
		}
		*dst = Spares(v)
		if v == 0 {
			*dst = -1
		}
	}
}

// condition reads ${{ … }} or true and false.
func (d *decoder) condition(dst *string) func(*node, []any) {
	return func(n *node, path []any) {
		s, _ := n.value.(string)
		if !strings.HasPrefix(s, "${{") {
			d.wrong(n, path, "for example ${{ len(prev) > 40 }}", "want a condition, got %s", n.what())
			return
		}
		*dst = s
	}
}

// combinations refuses keys that mean nothing beside the step's verb or mode.
func (d *decoder) combinations(s *Step, verb string, m *mapping, path []any) {
	refuse := func(key, hint, format string, args ...any) {
		for i, k := range m.keys {
			if k == key {
				d.fault(m.places[i], pathText(path, d.names), hint, format, args...)
			}
		}
	}
	d.onceOnly(s, verb, refuse)
	worker := verb == "python" || verb == "go" || verb == "worker"
	if verb != "worker" {
		refuse("handler", "python: and go: name their handler themselves", "`handler` goes with `worker`, not with `%s`", verb)
	} else if m.get("handler") == nil {
		refuse("worker", "add handler: NAME", "`worker` needs the key `handler`")
	}
	if verb != "python" {
		refuse("venv", "", "`venv` goes with `python`, not with `%s`", verb)
	}
	if verb != "run" && verb != "shell" {
		refuse("stdin", "", "`stdin` goes with `run` and `shell`, not with `%s`", verb)
	}
	if s.Batch != nil {
		refuse("per_key", "leave batch out, or per_key", "a batch has items of many keys: `per_key` and `batch` do not go together")
	}
	if verb == "keep" {
		for _, key := range []string{"batch", "per_key", "retry", "timeout", "pool", "rate", "breaker"} {
			refuse(key, "", "`%s` means nothing beside `keep`, which only decides", key)
		}
	}
	if verb != "python" {
		refuse("start", "spares: 1 keeps a ready one", "`start` goes with `python`: workers of `%s` always start by themselves", verb)
	}
	if !worker {
		refuse("spares", "", "a `%s` step has no worker processes", verb)
		refuse("args", "", "`args` goes with python, go and worker, not with `%s`", verb)
		refuse("workers", "use concurrency", "a `%s` step runs in goroutines and has no worker processes", verb)
		refuse("threads", "use concurrency", "a `%s` step runs in goroutines and has no worker processes", verb)
		if verb != "run" && verb != "shell" {
			refuse("budget", "", "`budget` goes with worker processes and commands, not with `%s`", verb)
		}
		if s.Mode != "" && s.Mode != tandem.Auto && s.Mode != tandem.Goroutine {
			refuse("mode", "leave mode out", "a `%s` step runs in goroutines, not in mode %s", verb, s.Mode)
		}
		return
	}
	if s.Concurrency == auto {
		refuse("concurrency", "name a number, or a pool with concurrency: auto", "`concurrency: auto` goes with run, shell, http, sql and write, not with `%s`", verb)
	}
	switch s.Mode {
	case tandem.Goroutine:
		refuse("mode", "want process, thread, async or auto", "a `%s` step runs in worker processes, not in goroutines", verb)
	case tandem.Async:
		refuse("threads", "use concurrency", "an event loop has no threads")
	case tandem.Process, tandem.Thread:
		refuse("concurrency", "use workers and threads", "mode %s runs workers × threads tasks at a time", s.Mode)
	}
	if s.Mode == tandem.Async && verb == "go" {
		refuse("mode", "use mode: thread", "a Go worker has no event loop")
	}
}
