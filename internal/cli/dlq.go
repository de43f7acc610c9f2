package cli

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"tandem"
	"tandem/internal/cluster"
	"tandem/internal/expr"
)

// deadFilter says which dead items.
type deadFilter struct {
	where, reason string
	ids           []string
	asJSON        bool
}

func (f *deadFilter) flags(c *cobra.Command) {
	c.Flags().StringVar(&f.where, "where", "", `only those for which it is true, of id, step, outcome, kind, reason, message, attempts, node, value: 'step == "parse"'`)
	c.Flags().StringVar(&f.reason, "reason", "", "only those with this reason or kind of error")
	c.Flags().StringArrayVar(&f.ids, "item", nil, "only the item with this id; may be repeated")
}

func (f *deadFilter) any() bool { return f.where != "" || f.reason != "" || len(f.ids) > 0 }

func (f *deadFilter) match() (func(*cluster.DeadItem) (bool, error), error) {
	where := func(*cluster.DeadItem) (bool, error) { return true, nil }
	if f.where != "" {
		var err error
		if where, err = cluster.Where(f.where, expr.FromValue); err != nil {
			return nil, err
		}
	}
	return func(i *cluster.DeadItem) (bool, error) {
		if f.reason != "" && i.Reason != f.reason && i.Kind != f.reason || len(f.ids) > 0 && !slices.Contains(f.ids, i.ID) {
			return false, nil
		}
		return where(i)
	}, nil
}

func (a *app) dlqCommand() *cobra.Command {
	c := &cobra.Command{Use: "dlq", Short: "Look at the items of a submitted run that ended badly, drop them or try them again",
		Long: fmt.Sprintf(`Items of a submitted run that ended badly are kept in the cluster: each as it was when the step got it, with why it ended. They go with the run, and beyond
the newest %d, or %d GiB, the oldest go.`, cluster.MaxDeadItems, cluster.MaxDeadBytes>>30)}
	c.AddCommand(a.dlqListCommand(), a.dlqShowCommand(), a.dlqRetryCommand(), a.dlqDropCommand())
	return c
}

// withDead makes a command about the dead items of a run.
func (a *app) withDead(c *cobra.Command, f *deadFilter, do func(ctx context.Context, d *cluster.Dead, match func(*cluster.DeadItem) (bool, error)) error) *cobra.Command {
	f.flags(c)
	c.Args = takes(1, 1, "run")
	return a.atCluster(c, func(ctx context.Context, h *cluster.Hub, args []string) error {
		match, err := f.match()
		if err != nil {
			return err
		}
		m, err := h.Get(ctx, args[0])
		if err != nil {
			return err
		}
		d, err := h.Dead(ctx, m, false)
		if err != nil {
			return err
		}
		if d == nil {
			fmt.Fprintln(a.err, "no item of it ended badly")
			return nil
		}
		return do(ctx, d, match)
	})
}

func (a *app) dlqListCommand() *cobra.Command {
	var f deadFilter
	c := &cobra.Command{Use: "ls RUN", Aliases: []string{"list"}, Short: "List them, the oldest first", Example: "  tandem dlq ls nightly\n  tandem dlq ls nightly --where 'step == \"parse\" && attempts > 1'"}
	c.Flags().BoolVar(&f.asJSON, "json", false, "one JSON document per line")
	return a.withDead(c, &f, func(ctx context.Context, d *cluster.Dead, match func(*cluster.DeadItem) (bool, error)) error {
		enc, n := json.NewEncoder(a.out), int64(0)
		var bad error
		err := d.Each(ctx, match, func(i *cluster.DeadItem) bool {
			n++
			if f.asJSON {
				bad = enc.Encode(i)
				return bad == nil
			}
			if n == 1 {
				fmt.Fprintf(a.out, "%-32s %-16s %-12s %8s  %-19s %s\n", "ITEM", "STEP", "OUTCOME", "ATTEMPTS", "ENDED", "WHY")
			}
			fmt.Fprintf(a.out, "%-32s %-16s %-12s %8d  %-19s %s\n", printable(i.ID), i.Step, i.Outcome, i.Attempts, i.Time.Local().Format(time.DateTime), oneLine(i.Message, 120))
			return true
		})
		if err == nil {
			err = bad
		}
		if err == nil && !f.asJSON {
			fmt.Fprintln(a.err, plural(n, "item"))
		}
		return err
	})
}

func (a *app) dlqShowCommand() *cobra.Command {
	var f deadFilter
	c := &cobra.Command{Use: "show RUN", Short: "Print them whole, with the value that the step got: one JSON document per line", Example: "  tandem dlq show nightly --item photos/a.jpg"}
	return a.withDead(c, &f, func(ctx context.Context, d *cluster.Dead, match func(*cluster.DeadItem) (bool, error)) error {
		enc := json.NewEncoder(a.out)
		var bad error
		err := d.Each(ctx, match, func(i *cluster.DeadItem) bool {
			v, verr := expr.FromValue(i.Value)
			if verr != nil || i.Value.Kind == tandem.Bytes {
				v = map[string]string{"base64": base64.StdEncoding.EncodeToString(i.Value.Data)}
			}
			doc := struct {
				*cluster.DeadItem
				Value any    `json:"value"`
				Hint  string `json:"hint,omitempty"`
				Trace string `json:"trace,omitempty"`
			}{DeadItem: i, Value: v}
			if e := i.Fault(); e != nil {
				doc.Hint, doc.Trace = e.Hint, e.Trace
			}
			bad = enc.Encode(doc)
			return bad == nil
		})
		if err == nil {
			err = bad
		}
		return err
	})
}

func (a *app) dlqDropCommand() *cobra.Command {
	var f deadFilter
	var all bool
	c := &cobra.Command{Use: "drop RUN", Short: "Remove them", Example: "  tandem dlq drop nightly --where 'step == \"parse\"'\n  tandem dlq drop nightly --all"}
	c.Flags().BoolVar(&all, "all", false, "every one")
	return a.withDead(c, &f, func(ctx context.Context, d *cluster.Dead, match func(*cluster.DeadItem) (bool, error)) error {
		if !all && !f.any() {
			return &tandem.Error{Op: "drop dead items", Kind: tandem.KindInvalid, Message: "none named", Hint: "say which: --where, --reason, --item; or --all"}
		}
		n := int64(0)
		var bad error
		err := d.Each(ctx, match, func(i *cluster.DeadItem) bool {
			if bad = d.Drop(ctx, i); bad == nil {
				n++
			}
			return bad == nil
		})
		if err == nil {
			err = bad
		}
		fmt.Fprintln(a.err, "dropped "+plural(n, "item"))
		return err
	})
}

func (a *app) dlqRetryCommand() *cobra.Command {
	var f deadFilter
	var o runOptions
	var l link
	var to elsewhere
	c := &cobra.Command{Use: "retry RUN", Short: "Run them again, each from the step where it ended", Args: takes(1, 1, "run"),
		Long: `Run items that ended badly again on the nodes, each from the step where it ended, with the value that it had there. The flow is read anew: mend it first.

It runs where the run was submitted, since the sink is there, and after the run has ended. The new lines take the places of the old ones, in the sink and in the
file of failures: {save: …}. What ends badly once more is kept, with how it ended now; killing the command loses nothing: say it again.

With --into it runs on any machine: the new lines go into that file, in the places of those that it has of the same items, and the run's own sink stays as it is. The
flow is then the one that was submitted, or --flow.`,
		Example: "  tandem dlq retry nightly\n  tandem dlq retry nightly --where 'step == \"upload\"'\n  tandem dlq retry nightly --into again.jsonl --flow mended.yaml",
		RunE: func(c *cobra.Command, args []string) error {
			if err := errors.Join(o.check(), to.check()); err != nil {
				return err
			}
			again, err := a.deadItems(c.Context(), l, args[0], &f)
			if err != nil || len(again) == 0 {
				if err == nil {
					fmt.Fprintln(a.err, "nothing to retry")
				}
				return err
			}
			if to.into != "" {
				return a.retryElsewhere(c.Context(), l, args[0], again, o, to)
			}
			return a.retryDead(l, args[0], again, o)
		}}
	to.flags(c.Flags())
	f.flags(c)
	l.flags(c.Flags())
	remoteFlags(c, &o)
	return c
}

// deadItems reads those that a filter names.
func (a *app) deadItems(ctx context.Context, l link, run string, f *deadFilter) (again []cluster.DeadItem, err error) {
	match, err := f.match()
	if err != nil {
		return nil, err
	}
	hub, shut, err := l.open(ctx, "dlq retry", nil)
	if err != nil {
		return nil, err
	}
	defer shut()
	m, err := hub.Get(ctx, run)
	if err != nil {
		return nil, err
	}
	d, err := hub.Dead(ctx, m, false)
	if err != nil || d == nil {
		return nil, err
	}
	return again, d.Each(ctx, match, func(i *cluster.DeadItem) bool {
		again = append(again, *i)
		return true
	})
}
