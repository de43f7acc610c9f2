package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"tandem/engine"
)

// This file measures what parts of a run cost that can be switched off.

// option is a pair of runs that differ in one thing.
type option struct {
	name, about string // with
	without     string // name of the other
	gives       []figure
	flow        func(b *bench, with bool) (flow string, items int, err error)
	flags       func(with bool) []string
}

var options = []option{
	{name: "lanes", without: "no-lanes", about: "tandem run: two million items through a condition, with lanes", gives: []figure{{"rate", "k/s"}, {"cpu", "µs/item"}},
		flow: func(b *bench, _ bool) (string, int, error) {
			items := 2 * b.flow.million
			return fmt.Sprintf("tandem: v1\nname: lanes\nfrom: {range: 1..%d}\nsteps: [{name: all, keep: \"${{ item.value > 0 }}\"}]\n", items), items, nil
		},
		flags: func(with bool) []string {
			if with {
				return nil
			}
			return []string{"--lanes", "off"}
		}},
	{name: "sandboxed", without: "unsandboxed", gives: rate, about: "tandem run: 1 ms of processor time an item, 2 Python workers, in a sandbox",
		flow: func(b *bench, with bool) (string, int, error) {
			turns, err := b.turns(time.Millisecond)
			level := "process"
			if with {
				level = "sandbox"
			}
			items := int(40 * b.duration() / time.Millisecond)
			return fmt.Sprintf("tandem: v1\nname: boxed\nfrom: {range: 1..%d}\nsteps: [{name: work, python: work.py:turn, args: {n: %d}, mode: process, workers: 2, isolation: %s}]\n", items, turns, level), items, err
		}},
}

func optionRows() (all []row) {
	for _, o := range options {
		all = append(all, row{name: "tandem/" + o.name, about: o.about, gives: o.gives, measure: o.run(true)},
			row{name: "tandem/" + o.without, about: "the same without", gives: o.gives, measure: o.run(false)})
	}
	return all
}

func (o option) run(with bool) func(context.Context, *bench) (figures, error) {
	return func(ctx context.Context, b *bench) (figures, error) {
		flow, items, err := o.flow(b, with)
		if err != nil {
			return nil, err
		}
		p, err := b.prepare(flow)
		if err != nil {
			return nil, err
		}
		defer p.remove()
		var flags []string
		if o.flags != nil {
			flags = o.flags(with)
		}
		r, err := p.start(ctx, flags...)
		if err != nil {
			return nil, err
		}
		if err := r.wait(); err != nil {
			return nil, err
		}
		var report engine.Report
		if err := json.Unmarshal(r.out.Bytes(), &report); err != nil {
			return nil, fmt.Errorf("read the report of tandem run: %w", err)
		}
		if report.Items.OK != int64(items) {
			return nil, fmt.Errorf("%d of %d items are ok", report.Items.OK, items)
		}
		used := r.cmd.ProcessState.UserTime() + r.cmd.ProcessState.SystemTime() // of this program; that of workers is their own
		return figures{"rate": float64(items) / report.Seconds / 1e3, "cpu": float64(used.Microseconds()) / float64(items)}, nil
	}
}
