package flowfile

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"tandem/engine"
	"tandem/internal/limit"
)

// pools reads limits that steps share.
func (d *decoder) pools(n *node, path []any) {
	m, ok := n.value.(*mapping)
	if !ok {
		d.wrong(n, path, "for example pools: {llm: {concurrency: auto, rate: 600/min}}", "want names and limits, got %s", n.what())
		return
	}
	d.f.Pools = map[string]Pool{}
	for i, name := range m.keys {
		var p Pool
		here := with(path, name)
		d.f.nodes[fmt.Sprint(here...)] = m.values[i].at
		d.fields(m.values[i], here, reads{"concurrency": d.count(&p.Concurrency), "max": d.whole(&p.Max), "rate": d.rate(&p.Rate), "breaker": d.breaker(&p.Breaker)})
		if p == (Pool{}) {
			d.wrong(m.values[i], here, "for example {concurrency: auto, max: 64, rate: 600/min}", "a pool without limits")
		}
		if p.Max > 0 && p.Concurrency != auto {
			d.wrong(m.values[i], here, "write concurrency: auto, or leave max out", "`max` bounds concurrency: auto")
		}
		d.f.Pools[name] = p
	}
}

// auto is the Count that the run finds out.
const auto Count = -1

func (d *decoder) count(dst *Count) func(*node, []any) {
	return func(n *node, path []any) {
		if s, _ := n.value.(string); s == "auto" {
			*dst = auto
			return
		}
		v, ok := n.value.(int64)
		if !ok || v < 1 || v > 1<<20 {
			d.wrong(n, path, "for example 64, or auto", "want a whole number of 1 or more, or auto, got %s", n.what())
			return
		}
		*dst = Count(v)
	}
}

func (d *decoder) rate(dst *float64) func(*node, []any) {
	return func(n *node, path []any) {
		s, _ := n.value.(string)
		v, ok := parseRate(s)
		if !ok {
			d.wrong(n, path, "for example 200/s, 600/min, 1000/hour", "want a rate, got %s", n.what())
			return
		}
		*dst = v
	}
}

func (d *decoder) breaker(dst *BreakerConfig) func(*node, []any) {
	return func(n *node, path []any) {
		m := d.fields(n, path, reads{"failures": d.whole(&dst.Failures), "pause": d.duration(&dst.Pause)})
		d.need(n, m, path, "failures")
		if dst.Pause == 0 {
			dst.Pause = 10 * time.Second
		}
	}
}

// perKey reads the bound for each key. A key that is the same for all would bound the whole step, which is not what it is for.
func (d *decoder) perKey(k *PerKey, n *node, path []any) {
	key := func(n *node, path []any) {
		if d.text(&k.Key)(n, path); k.Key != "" && !strings.Contains(k.Key, "${{") {
			d.wrong(n, path, "for example ${{ item.value.user }}; `concurrency` bounds the step as a whole", "the key %q is the same for all items", short(k.Key))
		}
	}
	if _, text := n.value.(string); text {
		key(n, path)
		d.f.nodes[fmt.Sprint(with(path, "key")...)] = n.at
		return
	}
	m := d.fields(n, path, reads{"concurrency": d.whole(&k.Concurrency), "key": key})
	d.need(n, m, path, "key")
}

func (d *decoder) failures(n *node, path []any) {
	f := &d.f.Failures
	d.fields(n, path, reads{
		"save": d.text(&f.Save),
		"stop_after": func(n *node, path []any) {
			s, _ := n.value.(string)
			v, whole := n.value.(int64)
			share, percent := parsePercent(s)
			switch {
			case whole && v > 0:
				f.StopAfter.Items = int(v)
			case percent:
				f.StopAfter.Share = share
			default:
				d.wrong(n, path, "for example 50, or 5%", "want a number of items or a percentage, got %s", n.what())
			}
		},
	})
}

func (d *decoder) resume(n *node, path []any) {
	if s, ok := n.value.(string); ok && s != "" {
		d.f.Resume.File = s
		d.f.nodes[fmt.Sprint(with(path, "file")...)] = n.at
		return
	}
	d.fields(n, path, reads{"file": d.text(&d.f.Resume.File), "sync": word(d, &d.f.Resume.Sync, []string{"kill", "always"})})
}

func (d *decoder) workers(dst *Workers) func(*node, []any) {
	return func(n *node, path []any) {
		var ok bool
		switch v := n.value.(type) {
		case int64:
			dst.N, ok = int(v), v > 0 && v <= 1<<16
		case string:
			*dst, ok = parseWorkers(v)
		}
		if !ok {
			d.wrong(n, path, "for example 4, cores, cores-1, 50%", "want a number of worker processes, got %s", n.what())
		}
	}
}

func (d *decoder) budget(dst *Budget) func(*node, []any) {
	return func(n *node, path []any) {
		if s, _ := n.value.(string); s == "keep" {
			*dst = -1
			return
		}
		var v int
		d.whole(&v)(n, path)
		*dst = Budget(v)
	}
}

// limits are those of the engine.
func limits(c Count, most int, rate float64, b BreakerConfig) engine.Limits {
	l := engine.Limits{Auto: c == auto, Max: most, Rate: rate, Breaker: limit.Breaker{Failures: b.Failures, Pause: b.Pause}}
	if c > 0 {
		l.Concurrency = int(c)
	}
	return l
}

// inPool checks that a step and its pool do not both set a limit.
func (d *decoder) inPool(s *Step, m *mapping, path []any) {
	if s.Pool == "" {
		if s.Max > 0 && s.Concurrency != auto {
			d.wrong(m.get("max"), with(path, "max"), "write concurrency: auto, or leave max out", "`max` bounds concurrency: auto")
		}
		return
	}
	d.pooled = append(d.pooled, pooled{s.Pool, m.get("pool"), with(path, "pool")})
	for _, key := range []string{"rate", "max", "breaker"} {
		if n := m.get(key); n != nil {
			d.wrong(n, with(path, key), "set it in pools: {"+s.Pool+": …}", "the step's pool sets `%s`", key)
		}
	}
	if n := m.get("concurrency"); n != nil {
		d.wrong(n, with(path, "concurrency"), "set it in pools: {"+s.Pool+": …}", "the step's pool sets `concurrency`")
	}
}

// pooled is a step's word for its pool, looked up when the whole file has been read.
type pooled struct {
	name string
	n    *node
	path []any
}

func (d *decoder) findPools() {
	var names []string
	for name := range d.f.Pools {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, p := range d.pooled {
		if !slices.Contains(names, p.name) {
			hint := "declare it: pools: {" + p.name + ": {concurrency: auto}}"
			if len(names) > 0 {
				hint = "pools of this flow: " + list(names)
			}
			d.wrong(p.n, p.path, hint, "no pool `%s`%s", short(p.name), suggest(p.name, names))
		}
	}
}
