package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"tandem"
	"tandem/internal/cluster"
	"tandem/internal/runs"
)

func (a *app) runsCommand() *cobra.Command {
	c := &cobra.Command{Use: "runs", Short: "List, show, pause, resume, cancel and remove runs",
		Long: fmt.Sprintf(`Each run of a flow has a directory with its journal, so that a run that was stopped or killed can go on: tandem run FLOW --resume.
Ended runs beyond the newest %d that are older than %d days are removed when a new one starts; stopped ones are kept ten times as long.

ls and rm are about the runs of this machine, with --cluster (or --nats) about those submitted to a cluster; the others always are about those.
A cluster keeps what it knows of runs that have ended for %d days, and of the newest %d.`, keepRuns, int(keepAge.Hours()/24), int(cluster.KeepAge.Hours()/24), cluster.KeepRuns)}
	c.AddCommand(a.runsListCommand(), a.runsShowCommand(), a.runsRemoveCommand(),
		a.runsTurnCommand("pause", "Have nodes take nothing new of a submitted run", cluster.Paused, "paused"),
		a.runsTurnCommand("resume", "Have nodes go on with a run that is paused", cluster.Active, "resumed"),
		a.runsTurnCommand("cancel", "End a submitted run: what waits for nodes is dropped, and its submitter ends", cluster.Canceled, "canceled"))
	return c
}

func (a *app) runsListCommand() *cobra.Command {
	var asJSON, atCluster bool
	var l link
	c := &cobra.Command{Use: "ls", Aliases: []string{"list"}, Short: "List the runs, the newest first", Example: "  tandem runs ls\n  tandem runs ls --cluster", Args: takes(0, 0, "argument"),
		RunE: func(c *cobra.Command, _ []string) error {
			if atCluster || c.Flags().Changed("nats") {
				hub, shut, err := l.open(c.Context(), "runs ls", nil)
				if err != nil {
					return err
				}
				defer shut()
				return a.listClusterRuns(c.Context(), hub, asJSON)
			}
			root, err := runsDir()
			if err != nil {
				return err
			}
			all, strange, err := runs.List(root)
			if err != nil {
				return err
			}
			for _, s := range strange {
				fmt.Fprintln(a.err, a.yellow("not a run: ")+printable(s.Path)+": "+s.Why)
			}
			if asJSON {
				enc := json.NewEncoder(a.out)
				for _, e := range all {
					if err := enc.Encode(e.Run); err != nil {
						return err
					}
				}
				return nil
			}
			if len(all) == 0 {
				fmt.Fprintln(a.err, "no runs in "+root)
				return nil
			}
			fmt.Fprintf(a.out, "%-24s %-8s %-12s %-19s %9s  %s\n", "RUN", "STATE", "OUTCOME", "STARTED", "SIZE", "FLOW")
			for _, e := range all {
				fmt.Fprintf(a.out, "%-24s %-8s %-12s %-19s %9s  %s\n", e.ID, e.State, dash(e.Outcome), e.Started.Local().Format(time.DateTime), sizeText(e.Size), oneLine(e.Flow, 200))
			}
			return nil
		}}
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON document per line")
	c.Flags().BoolVar(&atCluster, "cluster", false, "the runs submitted to the cluster, or to the node on this machine")
	l.flags(c.Flags())
	return c
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func sizeText(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d KiB", (n+1023)>>10)
}

func (a *app) runsRemoveCommand() *cobra.Command {
	var ended, stopped, atCluster bool
	var l link
	c := &cobra.Command{Use: "rm [RUN…]", Short: "Remove runs; one that is going on stays", Example: "  tandem runs rm 20260301-101500-ab3de\n  tandem runs rm --ended\n  tandem runs rm --stopped",
		RunE: func(c *cobra.Command, ids []string) error {
			root, err := runsDir()
			if err != nil {
				return err
			}
			if (atCluster || c.Flags().Changed("nats")) && (len(ids) > 0 || ended) {
				hub, shut, err := l.open(c.Context(), "runs rm", nil)
				if err != nil {
					return err
				}
				defer shut()
				return a.removeClusterRuns(c.Context(), hub, ids, ended)
			}
			if len(ids) == 0 && !ended && !stopped {
				return &tandem.Error{Op: "remove runs", Kind: tandem.KindInvalid, Message: "none named", Hint: "name runs as tandem runs ls shows them, or use --ended or --stopped"}
			}
			if ended || stopped {
				all, _, err := runs.List(root)
				if err != nil {
					return err
				}
				for _, e := range all {
					if ended && e.State == runs.Ended || stopped && e.State == runs.Stopped {
						ids = append(ids, e.ID)
					}
				}
			}
			var failed []error
			for _, id := range ids {
				if err := runs.Remove(root, id); err != nil {
					failed = append(failed, err)
				} else {
					fmt.Fprintln(a.err, "removed "+id)
				}
			}
			return errors.Join(failed...)
		}}
	c.Flags().BoolVar(&ended, "ended", false, "all that have ended")
	c.Flags().BoolVar(&stopped, "stopped", false, "all that were stopped, which can then not be resumed")
	c.Flags().BoolVar(&atCluster, "cluster", false, "runs of the cluster, with their queues, objects and dead letters")
	l.flags(c.Flags())
	return c
}
