package cli

import (
	"time"

	"github.com/spf13/cobra"

	"tandem/internal/live"
	"tandem/internal/runs"
)

// completeRuns proposes the ids of runs, with their flows; only those that are going on when live says so.
func (a *app) completeRuns(onlyGoing bool) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return runNames(onlyGoing), cobra.ShellCompDirectiveNoFileComp
	}
}

func runNames(onlyGoing bool) (names []cobra.Completion) {
	all, _ := known()
	for _, e := range all {
		if !onlyGoing || e.State == runs.Running {
			names = append(names, cobra.CompletionWithDesc(e.ID, string(e.State)+" "+oneLine(e.Flow, 60)))
		}
	}
	return names
}

// completeWorkers proposes the workers of the run that is named, or of all, and before one is named the runs.
func (a *app) completeWorkers(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	entries, _ := going()
	var names []cobra.Completion
	if len(args) == 0 && len(entries) > 1 {
		names = runNames(true)
	}
	for _, e := range entries {
		if len(args) > 0 && e.ID != args[0] {
			continue
		}
		ans, err := live.Ask(e.Path, live.Request{Ask: "state", Items: 1}, time.Second)
		if err != nil {
			continue
		}
		for _, s := range ans.State.Steps {
			for _, w := range s.Workers {
				names = append(names, cobra.CompletionWithDesc(w.Worker, w.State+" "+runningText(w.Running, 1)))
			}
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) completeKill(c *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	names, directive := a.completeWorkers(c, args, typed)
	entries, _ := going()
	if len(args) == 0 && len(entries) < 2 {
		names = append(runNames(true), names...)
	}
	return names, directive
}
