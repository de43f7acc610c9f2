package cluster

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/vm"

	"tandem"
	"tandem/internal/queue/jetstream"
)

// Bounds of the dead letters of a run: beyond them the oldest go.
const (
	MaxDeadItems = 100_000
	MaxDeadBytes = 1 << 30
)

// Dead is the items of a run that ended badly, each as it was when the step got it. An item is there once, with how it ended the last time.
type Dead struct {
	shelf *jetstream.Shelf
	store *jetstream.Objects
	name  string // of its objects
}

// DeadItem is one of them.
type DeadItem struct {
	ID       string         `json:"id"`
	Step     string         `json:"step"`
	Outcome  tandem.Outcome `json:"outcome"`
	Kind     string         `json:"kind,omitempty"`
	Reason   string         `json:"reason,omitempty"`
	Message  string         `json:"message,omitempty"`
	Attempts int            `json:"attempts"`
	Node     string         `json:"node,omitempty"`
	Time     time.Time      `json:"time"`
	Value    tandem.Value   `json:"-"`

	letter *letter
}

// Fault is why it ended badly, for a person.
func (d *DeadItem) Fault() *tandem.Error { return d.letter.Error.err() }

func deadName(m Manifest) string {
	if m.DeadOf != "" {
		return m.DeadOf + "-dlq"
	}
	return m.Run + "-dlq"
}

// Dead opens the dead letters of a run, and makes a place for them when make is true; nil when there is none.
func (h *Hub) Dead(ctx context.Context, m Manifest, make bool) (*Dead, error) {
	s, err := h.e.Shelf(ctx, deadName(m), MaxDeadItems, MaxDeadBytes, make)
	if err != nil || s == nil {
		return nil, err
	}
	of := m.Run
	if m.DeadOf != "" {
		of = m.DeadOf
	}
	return &Dead{s, h.objects, of + "/dead"}, nil
}

// bad tells whether an item that ended so is kept.
func bad(o tandem.Outcome) bool {
	return !slices.Contains([]tandem.Outcome{tandem.OK, tandem.Filtered, tandem.Canceled}, o)
}

// died is a parcel's letter as a dead one, with how it ended.
func (p *parcel) died(ended *letter, step string) *letter {
	d := *p.letter
	d.Object, d.Step, d.Splits = "", step, nil
	d.Outcome, d.Error, d.Service, d.Node, d.Attempts, d.Elapsed = ended.Outcome, ended.Error, ended.Service, ended.Node, ended.Attempts, ended.Elapsed
	return &d
}

// put stores the dead letters of parcels.
func (d *Dead) put(ctx context.Context, lot []*parcel) error {
	var all []tandem.Message
	for _, p := range lot {
		for _, l := range p.dead {
			m, err := l.seal(ctx, d.store, d.name)
			if err != nil {
				return err
			}
			all = append(all, m)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return d.shelf.Put(ctx, all...)
}

// Each calls f with every item that match is true for, the oldest first, until it returns false. A nil match is true for all.
func (d *Dead) Each(ctx context.Context, match func(*DeadItem) (bool, error), f func(*DeadItem) bool) error {
	var bad error
	err := d.shelf.Each(ctx, func(m tandem.DeadMessage) bool {
		l, err := open(ctx, d.store, &m.Message)
		if err != nil {
			bad = err
			return false
		}
		i := &DeadItem{ID: l.ID, Step: l.Step, Outcome: l.Outcome, Attempts: l.Attempts, Node: l.Node, Time: m.Time, Value: l.value, letter: l}
		if e := l.Error; e != nil {
			i.Kind, i.Reason, i.Message = e.Kind, e.Reason, e.Message
		}
		ok := true
		if match != nil {
			if ok, bad = match(i); bad != nil {
				return false
			}
		}
		return !ok || f(i)
	})
	if bad != nil {
		return bad
	}
	return err
}

// Drop removes an item.
func (d *Dead) Drop(ctx context.Context, i *DeadItem) error {
	if err := d.shelf.Delete(ctx, i.ID); err != nil {
		return err
	}
	i.letter.forget(ctx, d.store)
	return nil
}

// seen is what an expression sees of a dead item.
type seen struct {
	ID       string `expr:"id"`
	Step     string `expr:"step"`
	Outcome  string `expr:"outcome"`
	Kind     string `expr:"kind"`
	Reason   string `expr:"reason"`
	Message  string `expr:"message"`
	Attempts int    `expr:"attempts"`
	Node     string `expr:"node"`
	Value    any    `expr:"value"`
}

// Where makes a match of an expression: step == "parse" && attempts > 1. What reads a value for it is given, since values have kinds.
func Where(source string, read func(tandem.Value) (any, error)) (func(*DeadItem) (bool, error), error) {
	wrong := func(err error) error {
		return &tandem.Error{Op: "read", On: "--where " + source, Kind: tandem.KindExpression, Message: err.Error(), Err: err,
			Hint: `it is true or false, of id, step, outcome, kind, reason, message, attempts, node and value: step == "parse" && attempts > 1`}
	}
	p, err := expr.Compile(source, expr.Env(seen{}), expr.AsBool())
	if err != nil {
		return nil, wrong(err)
	}
	var machine vm.VM
	return func(i *DeadItem) (bool, error) {
		v, err := read(i.Value)
		if err != nil {
			v = string(i.Value.Data)
		}
		out, err := machine.Run(p, seen{i.ID, i.Step, string(i.Outcome), i.Kind, i.Reason, i.Message, i.Attempts, i.Node, v})
		if err != nil {
			return false, wrong(fmt.Errorf("for item %s: %w", i.ID, err))
		}
		return out.(bool), nil
	}, nil
}
