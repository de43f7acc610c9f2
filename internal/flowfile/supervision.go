package flowfile

import (
	"time"

	"tandem/engine"
)

// Recycle says when a worker is replaced though nothing is wrong with it.
type Recycle struct {
	Items  int           `json:"items,omitempty" jsonschema:"minimum=1,description=After so many items\\, 10 % more or less."`
	Age    time.Duration `json:"age,omitempty" jsonschema:"description=When it is so old\\, 10 % more or less\\, for example 1h."`
	Memory int64         `json:"memory,omitempty" jsonschema:"description=When its process holds so much\\, 10 % more or less\\, for example 500MiB."`
	Idle   time.Duration `json:"idle,omitempty" jsonschema:"description=A worker with nothing to do for so long goes\\, and comes back when there is."`
	Floor  int           `json:"floor,omitempty" jsonschema:"minimum=1,description=Workers that stay however idle; 1 unless told otherwise."`
}

func (r *Recycle) decode(d *decoder, n *node, path []any) {
	m := d.fields(n, path, reads{"items": d.whole(&r.Items), "age": d.duration(&r.Age), "memory": d.size(&r.Memory), "idle": d.duration(&r.Idle), "floor": d.whole(&r.Floor)})
	if m == nil {
		return
	}
	if len(m.keys) == 0 || len(m.keys) == 1 && m.keys[0] == "floor" {
		d.wrong(n, path, "for example {items: 1000, age: 1h, memory: 500MiB, idle: 5m}", "want a limit, got none")
	}
	if m.get("floor") != nil && m.get("idle") == nil {
		d.wrong(m.get("floor"), with(path, "floor"), "add idle: 5m", "`floor` bounds `idle`")
	}
}

// recycle is the engine's.
func (s *Step) recycle() engine.Recycle {
	if s.Recycle == nil {
		return engine.Recycle{}
	}
	return engine.Recycle(*s.Recycle)
}

func (d *decoder) idempotent(dst **bool) func(*node, []any) {
	return func(n *node, path []any) {
		b, ok := n.value.(bool)
		if !ok {
			d.wrong(n, path, "write idempotent: false for effects that must not come twice", "want true or false, got %s", n.what())
			return
		}
		*dst = &b
	}
}

// Once says that an item must not begin twice here.
func (s *Step) Once() bool { return s.Idempotent != nil && !*s.Idempotent }

// onceOnly refuses what contradicts idempotent: false, and keys that mean nothing here.
func (d *decoder) onceOnly(s *Step, verb string, refuse func(key, hint, format string, args ...any)) {
	if verb == "keep" {
		refuse("idempotent", "", "`idempotent` means nothing beside `keep`, which only decides")
	}
	if verb != "python" && verb != "go" && verb != "worker" {
		refuse("recycle", "", "a `%s` step runs in goroutines and has no worker processes", verb)
	}
	if s.Once() {
		refuse("retry", "leave one of them out", "`retry` runs items again, and `idempotent: false` says never to")
	}
}
