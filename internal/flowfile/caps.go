package flowfile

import (
	"fmt"
	"time"

	"tandem"
)

// timeout reads 20s, or {soft: 20s, hard: 30s}.
func (d *decoder) timeout(dst *Timeout, n *node, path []any) {
	if _, ok := n.value.(*mapping); !ok {
		s, _ := n.value.(string)
		v, ok := parseDuration(s)
		if !ok {
			d.wrong(n, path, "for example 500ms, 20s, 1m30s, or {soft: 20s, hard: 30s}", "want a duration, got %s", n.what())
		}
		dst.Hard = v
		return
	}
	m := d.fields(n, path, reads{"soft": d.duration(&dst.Soft), "hard": d.duration(&dst.Hard)})
	d.need(n, m, path, "hard")
	if dst.Soft > 0 && dst.Hard > 0 && dst.Soft >= dst.Hard {
		d.wrong(m.get("soft"), with(path, "soft"), "make soft the shorter one", "`soft` (%v) does not come before `hard` (%v)", dst.Soft, dst.Hard)
	}
}

// memory reads 512MiB, or {limit: 1GiB, jvm: 768MiB}.
func (d *decoder) memory(dst *Memory, n *node, path []any) {
	if _, ok := n.value.(*mapping); !ok {
		d.unit(&dst.Limit)(n, path)
		return
	}
	m := d.fields(n, path, reads{"limit": d.unit(&dst.Limit), "jvm": d.unit(&dst.JVM)})
	d.need(n, m, path, "limit")
	if dst.JVM > 0 && dst.JVM >= dst.Limit && dst.Limit > 0 {
		d.wrong(m.get("jvm"), with(path, "jvm"), "leave a quarter of the limit to what is no heap", "a heap of %s does not fit into %s", sizeText(dst.JVM), sizeText(dst.Limit))
	}
}

// unit reads a size that says its unit: a bare number is as easily meant in MiB as in bytes.
func (d *decoder) unit(dst *int64) func(*node, []any) {
	return func(n *node, path []any) {
		switch v := n.value.(type) {
		case int64, float64:
			d.wrong(n, path, fmt.Sprintf("write for example %vMiB", v), "a size needs a unit, got %s", n.what())
			return
		case string:
			if size, ok := parseSize(v); ok {
				if v[len(v)-1] != 'B' {
					d.wrong(n, path, "write for example "+v+"MiB", "a size needs a unit, got %s", n.what())
				}
				*dst = size
				return
			}
		}
		d.wrong(n, path, "for example 512MiB, 1.5GiB, 10MB", "want a size with its unit, got %s", n.what())
	}
}

func sizeText(n int64) string {
	if n%(1<<20) == 0 {
		return fmt.Sprint(n>>20, "MiB")
	}
	return fmt.Sprint(n, "B")
}

// capped refuses limits that mean nothing beside the step's verb or mode.
func (d *decoder) capped(s *Step, verb string, m *mapping, path []any) {
	refuse := func(key, hint, format string, args ...any) {
		if n := m.get(key); n != nil {
			d.wrong(n, with(path, key), hint, format, args...)
		}
	}
	switch verb {
	case "python", "go", "worker":
		if s.CPUTime > 0 && (s.Mode == tandem.Thread || s.Mode == tandem.Async) {
			refuse("cpu_time", "use mode: process", "in mode %s the processor time of one item cannot be told from that of its neighbours", s.Mode)
		}
	case "run", "shell":
	default:
		for _, key := range []string{"memory", "cpu_time", "hang", "core"} {
			refuse(key, "", "`%s` is of processes: it goes with python, go, worker, run and shell, not with `%s`", key, verb)
		}
		refuse("output", "", "`output` goes with python, go, worker, run and shell, not with `%s`", verb)
		if s.Timeout.Soft > 0 {
			refuse("timeout", "write timeout: "+s.Timeout.Hard.String(), "a `%s` step is not asked before it is ended: `soft` goes with python, go, worker, run and shell", verb)
		}
	}
	const least = 1 << 20
	if s.Memory.Limit > 0 && s.Memory.Limit < least {
		refuse("memory", "did you mean "+fmt.Sprint(s.Memory.Limit)+"MiB?", "no program runs in less than 1MiB")
	}
	if s.Hang > 0 && s.Hang < time.Second {
		refuse("hang", "for example 30s", "below a second a short wait is taken for a hang")
	}
	if s.Hang > 0 && s.Timeout.Hard > 0 && s.Hang >= s.Timeout.Hard {
		refuse("hang", "make it shorter than the timeout, or leave it out", "`hang` (%v) never comes before `timeout` (%v)", s.Hang, s.Timeout.Hard)
	}
}
