package compare

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"tandem"
	"tandem/internal/measure"
)

// Plan says which shapes a handler is compared under.
type Plan struct {
	Shapes []Shape // zero means those of Shapes
	Python bool
}

// least items of a round, so that the largest shapes have something to do.
const leastItems = 8

// Compare measures one task at a time first, decides by that how many items a round has and which shape Tandem would pick, and compares them all.
func (h *Handler) Compare(ctx context.Context, cfg Config, p Plan) (*Comparison, error) {
	cores := measure.FindCores().Effective()
	shapes := p.Shapes
	if shapes == nil {
		shapes = Shapes(h.Step.Handler, cores)
	}
	cfg.For = cmp.Or(cfg.For, 30*time.Second)
	one := Shape{tandem.Process, 1, 1}
	if _, inside := handlerFunc(h); inside {
		one = Shape{tandem.Goroutine, 0, 1}
	}
	given := len(h.Inputs)
	if cfg.Tell == nil {
		cfg.Tell = func(int, string) {}
	}
	cfg.Tell(-1, one.String())
	sample, verdict, err := h.Probe(ctx, one, cfg.For/15)
	if err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, err
	}
	if sample.Items == 0 {
		return nil, &tandem.Error{Op: "compare", On: h.Step.Name, Kind: tandem.KindInvalid, Message: "no item ended within " + (cfg.For / 15).String(), Hint: "give it longer with --for"}
	}
	if sample.Bad == sample.Items {
		return nil, &tandem.Error{Op: "compare", On: h.Step.Name, Kind: tandem.KindFailures, Message: "every item fails: " + sample.Why, Hint: "compare needs a handler that works; `tandem run` shows more of the failure"}
	}
	each := sample.Seconds / float64(sample.Items)
	part := 25.0 // rounds of one at a time that the whole time would hold
	if verdict != nil && verdict.Split.CPU < .5 {
		part = 10 // the others are faster
	}
	h.Inputs = h.Inputs[:min(given, max(leastItems, int(cfg.For.Seconds()/part/max(each, 1e-6))))]
	var notes []string
	if n := len(h.Inputs); n < given {
		notes = append(notes, fmt.Sprintf("the first %d of %d items", n, given))
	}
	all := []*Candidate{h.Candidate(one)}
	all[0].Verdict = verdict
	add := func(s Shape) {
		if slices.ContainsFunc(all, func(k *Candidate) bool { return k.Shape == s }) {
			return
		}
		k := h.Candidate(s)
		if 2*s.Size() > max(len(h.Inputs), 4) {
			k.Left = fmt.Sprintf("%d items are too few for it", len(h.Inputs))
		}
		all = append(all, k)
	}
	for _, s := range shapes {
		add(s)
	}
	if verdict != nil {
		if s, ok := Pick(verdict.Advice, h); ok {
			if most := len(h.Inputs) / 2; s.Size() > most && s.Mode != tandem.Process {
				s.Each = max(1, most)
			}
			add(s)
		}
	}
	// Each shape once that does not count: what cannot be is found out, and caches are warm for all alike.
	for _, k := range all {
		if k.Left != "" {
			continue
		}
		cfg.Tell(-1, k.Name)
		first, err := k.Do(ctx)
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		if err != nil {
			return nil, err
		}
		if k.Left == "" && first.Bad > 0 {
			notes = append(notes, fmt.Sprintf("%s: %d of %d items do not end well: %s", k.Name, first.Bad, first.Items, first.Why))
		}
	}
	c, err := run(ctx, cfg, all, true)
	if c != nil {
		c.foretell(verdict, p.Python)
		c.Notes = append(notes, c.Notes...)
		c.Notes = append(c.Notes, c.outputs()...)
	}
	return c, err
}

// outputs says whether every shape gave the same for the same item.
func (c *Comparison) outputs() (notes []string) {
	a := c.active()
	if len(a) == 0 || len(a[0].samples) == 0 {
		return nil
	}
	truth := a[0].samples[0].Outputs
	for _, s := range a[0].samples[1:] {
		if n, _ := differ(truth, s.Outputs); n > 0 {
			return []string{fmt.Sprintf("the handler gives something else each time (%d of %d items): whether the modes agree cannot be told", n, len(truth))}
		}
	}
	for _, k := range a[1:] {
		for _, s := range k.samples {
			if n, id := differ(truth, s.Outputs); n > 0 {
				notes = append(notes, fmt.Sprintf("WARNING: %s gives something else than %s for %d of %d items, item %s for one: the handler does not bear this mode", k.Name, a[0].Name, n, len(truth), id))
				break
			}
		}
	}
	return notes
}

func differ(a, b map[string]uint64) (n int, id string) {
	for k, v := range a {
		if w, ok := b[k]; !ok || w != v {
			if n++; id == "" || len(k) < len(id) || len(k) == len(id) && k < id {
				id = k
			}
		}
	}
	return n, id
}
