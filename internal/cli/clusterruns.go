package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/user"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"tandem"
	"tandem/internal/cluster"
)

// atCluster makes a command that does something at a cluster.
func (a *app) atCluster(c *cobra.Command, do func(ctx context.Context, h *cluster.Hub, args []string) error) *cobra.Command {
	var l link
	l.flags(c.Flags())
	c.RunE = func(c *cobra.Command, args []string) error {
		hub, shut, err := l.open(c.Context(), c.Name(), nil)
		if err != nil {
			return err
		}
		defer shut()
		return do(c.Context(), hub, args)
	}
	return c
}

// me is who gives an order, as others read it.
func me() string {
	who := "somebody"
	if u, err := user.Current(); err == nil {
		who = u.Username
	}
	return who + " at " + hostname()
}

// listClusterRuns is runs ls for a cluster.
func (a *app) listClusterRuns(ctx context.Context, h *cluster.Hub, asJSON bool) error {
	all, err := h.Runs(ctx)
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(x, y cluster.Manifest) int { return y.Created.Compare(x.Created) })
	if asJSON {
		return jsonLines(a, all)
	}
	if len(all) == 0 {
		fmt.Fprintln(a.err, "no runs in the cluster")
		return nil
	}
	fmt.Fprintf(a.out, "%-24s %-9s %-19s %8s %9s  %-16s %s\n", "RUN", "STATE", "SUBMITTED", "PRIORITY", "ITEMS", "FROM", "FLOW")
	for _, m := range all {
		items := "-"
		if m.Items > 0 {
			items = count(m.Items)
		}
		fmt.Fprintf(a.out, "%-24s %-9s %-19s %8d %9s  %-16s %s\n", m.Run, m.State, m.Created.Local().Format(time.DateTime), m.Priority, items, printable(m.From), oneLine(m.Flow, 200))
	}
	return nil
}

func jsonLines[T any](a *app, all []T) error {
	enc := json.NewEncoder(a.out)
	for _, x := range all {
		if err := enc.Encode(x); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) runsShowCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{Use: "show RUN", Short: "Show a submitted run: its steps, their queues, and which nodes run them", Args: takes(1, 1, "run"),
		Example: "  tandem runs show nightly\n  tandem runs show nightly --nats nats://a,nats://b --json"}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	return a.atCluster(c, func(ctx context.Context, h *cluster.Hub, args []string) error {
		s, err := h.Show(ctx, args[0])
		if err != nil {
			return err
		}
		if asJSON {
			return json.NewEncoder(a.out).Encode(s)
		}
		a.showRun(s)
		return nil
	})
}

func (a *app) showRun(s cluster.Status) {
	why := ""
	if s.Why != "" {
		why = ": " + printable(s.Why)
	}
	fmt.Fprintf(a.out, "run %s: %s%s\n  flow %s, submitted %s from %s, priority %d\n", s.Run, s.State, why, oneLine(s.Flow, 200), s.Created.Local().Format(time.DateTime), printable(s.From), s.Priority)
	if d := time.Until(s.NotBefore); d > 0 {
		fmt.Fprintf(a.out, "  nodes begin at %s\n", s.NotBefore.Local().Format(time.DateTime))
	}
	for _, o := range tandem.Outcomes {
		if n := s.Outcomes[string(o)]; n > 0 {
			fmt.Fprintf(a.out, "  %s %s\n", count(n), o)
		}
	}
	for _, step := range s.Status {
		fmt.Fprintf(a.out, "  step %-16s %8s ready %8s with nodes  oldest %s\n", step.Step, count(int64(step.Ready)), count(int64(step.Leased)), step.Oldest.Round(time.Second/10))
		for _, n := range step.Nodes {
			switch n.State {
			case cluster.Serving:
				fmt.Fprintf(a.out, "       %-20s serving, %d here, %s taken\n", n.Node, n.Running, count(n.Done))
			default:
				fmt.Fprintf(a.out, "       %-20s %s: %s\n", n.Node, n.State, oneLine(printable(n.Why), 300))
			}
		}
		if len(step.Nodes) == 0 && s.State == cluster.Active {
			fmt.Fprintf(a.out, "       no node has looked at it\n")
		}
	}
	fmt.Fprintf(a.out, "  %s wait for the submitter\n", plural(int64(s.Results), "result"))
	if s.Dead > 0 {
		fmt.Fprintf(a.out, "  %s ended badly and are kept: tandem dlq ls %s\n", plural(int64(s.Dead), "item"), s.Run)
	}
}

// runsTurnCommand is pause, resume and cancel.
func (a *app) runsTurnCommand(use, short string, to cluster.State, done string) *cobra.Command {
	var why string
	c := &cobra.Command{Use: use + " RUN…", Short: short, Args: takes(1, -1, "run"), Example: "  tandem runs " + use + " nightly"}
	if to != cluster.Active {
		c.Flags().StringVar(&why, "why", "", "for whoever looks at it; who and where unless given")
	}
	return a.atCluster(c, func(ctx context.Context, h *cluster.Hub, args []string) error {
		if why == "" && to != cluster.Active {
			why = "by " + me()
		}
		var failed []error
		for _, run := range args {
			if err := h.Turn(ctx, run, to, why); err != nil {
				failed = append(failed, err)
				continue
			}
			fmt.Fprintln(a.err, done+" "+run)
		}
		return errors.Join(failed...)
	})
}

// removeClusterRuns is runs rm for a cluster.
func (a *app) removeClusterRuns(ctx context.Context, h *cluster.Hub, names []string, ended bool) error {
	if ended {
		all, err := h.Runs(ctx)
		if err != nil {
			return err
		}
		for _, m := range all {
			if m.State == cluster.Ended || m.State == cluster.Canceled {
				names = append(names, m.Run)
			}
		}
	}
	var failed []error
	for _, run := range names {
		if err := h.Erase(ctx, run); err != nil {
			failed = append(failed, err)
			continue
		}
		fmt.Fprintln(a.err, "removed "+run+" from the cluster")
	}
	return errors.Join(failed...)
}

func (a *app) nodesCommand() *cobra.Command {
	c := &cobra.Command{Use: "nodes", Short: "List the nodes of a cluster, and have one stop or rest when it has ended what it has"}
	c.AddCommand(a.nodesListCommand(), a.nodesDrainCommand(), a.nodesResumeCommand())
	return c
}

func (a *app) nodesListCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{Use: "ls", Aliases: []string{"list"}, Short: "List the nodes that live", Args: takes(0, 0, "argument"), Example: "  tandem nodes ls\n  tandem nodes ls --json"}
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON document per line")
	return a.atCluster(c, func(ctx context.Context, h *cluster.Hub, _ []string) error {
		all, err := h.Nodes(ctx)
		if err != nil {
			return err
		}
		if asJSON {
			return jsonLines(a, all)
		}
		if len(all) == 0 {
			fmt.Fprintln(a.err, "no node is there; start one: tandem node")
			return nil
		}
		fmt.Fprintf(a.out, "%-24s %-9s %5s %6s %8s %-12s  %s\n", "NODE", "STATE", "CORES", "STEPS", "RUNNING", "UP", "LABELS")
		for _, n := range all {
			steps, running := 0, 0
			for _, s := range n.Steps {
				if s.State == cluster.Serving {
					steps++
					running += s.Running
				}
			}
			state := "serving"
			switch {
			case n.Stays && len(n.Steps) == 0:
				state = "drained"
			case n.Drains:
				state = "draining"
			}
			fmt.Fprintf(a.out, "%-24s %-9s %5d %6d %8d %-12s  %s\n", printable(n.Name), state, n.Cores, steps, running, time.Since(n.Started).Round(time.Second), printable(fmt.Sprint(n.Labels)))
		}
		return nil
	})
}

func (a *app) nodesDrainCommand() *cobra.Command {
	var within, wait time.Duration
	var stay bool
	c := &cobra.Command{Use: "drain NODE…", Short: "Have a node take nothing new, end what it has, and stop", Args: takes(1, -1, "node"),
		Long: `Have a node take nothing new, end what it has, and stop with exit code 0: the next version can be started in its place, and nothing is lost.
What has not ended --within so long is given back to the other nodes. The command waits until the node is gone.

With --stay the node does not stop: it has nothing and takes nothing, until tandem nodes resume or until it is started again.`,
		Example: "  tandem nodes drain worker-3\n  tandem nodes drain worker-3 --within 1h\n  tandem nodes drain worker-3 --stay"}
	c.Flags().BoolVar(&stay, "stay", false, "the node does not stop, and takes nothing until tandem nodes resume")
	c.Flags().DurationVar(&within, "within", 10*time.Minute, "how long what runs may go on")
	c.Flags().DurationVar(&wait, "wait", 0, "how long to wait for it to be gone; --within and half a minute unless given")
	return a.atCluster(c, func(ctx context.Context, h *cluster.Hub, args []string) error {
		if wait == 0 {
			wait = within + 30*time.Second
		}
		for _, node := range args {
			drain := h.Drain
			if stay {
				drain = h.Rest
			}
			if err := drain(ctx, node, me(), within); err != nil {
				return err
			}
			fmt.Fprintln(a.err, "draining "+printable(node))
		}
		for end := time.Now().Add(wait); ; time.Sleep(200 * time.Millisecond) {
			all, err := h.Nodes(ctx)
			if err != nil && !stay && c.Flag("nats").Value.String() == "" { // it had the queue
				fmt.Fprintln(a.err, "gone, and the queue that it held with it")
				return nil
			}
			if err != nil {
				return err
			}
			left := slices.DeleteFunc(slices.Clone(args), func(name string) bool {
				return !slices.ContainsFunc(all, func(i cluster.Info) bool { return i.Name == name && !(stay && i.Stays && len(i.Steps) == 0) })
			})
			if len(left) == 0 {
				fmt.Fprintln(a.err, map[bool]string{false: "gone", true: "drained; tandem nodes resume has it take work again"}[stay])
				return nil
			}
			if time.Now().After(end) {
				return &tandem.Error{Op: "drain", On: fmt.Sprint(left), Kind: tandem.KindTimeout, Message: "still there after " + wait.String(), Hint: "look at what it runs: tandem nodes ls"}
			}
		}
	})
}

func (a *app) nodesResumeCommand() *cobra.Command {
	c := &cobra.Command{Use: "resume NODE…", Short: "Have a node that was drained with --stay take work again", Args: takes(1, -1, "node"), Example: "  tandem nodes resume worker-3"}
	return a.atCluster(c, func(ctx context.Context, h *cluster.Hub, args []string) error {
		for _, node := range args {
			if err := h.Wake(ctx, node, me()); err != nil {
				return err
			}
			fmt.Fprintln(a.err, printable(node)+" takes work again")
		}
		return nil
	})
}
