package cli

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"tandem"
	"tandem/internal/live"
)

func (a *app) dumpCommand() *cobra.Command {
	var asJSON, end bool
	c := &cobra.Command{Use: "dump [RUN] WORKER", Short: "Show where a worker is, without ending it",
		Long: `Ask a worker where it is: a Python worker writes the stacks of its threads, a Go worker with threads those of its goroutines, a Java worker its thread dump; they
go on as before. WORKER is thumb/1, as tandem ps shows it, or the number of a process. Of a worker that cannot be asked, and of a command, there is what the kernel
shows of its threads; the first line says which it is.
A Go worker that runs one item at a time can only write its stacks as it ends: --end asks it so. Its item is not to blame and runs elsewhere.`,
		Example: "  tandem dump thumb/1\n  tandem dump 20260301-101500-ab3de thumb/1\n  tandem dump 4711", Args: takes(1, 2, "worker"), ValidArgsFunction: a.completeWorkers,
		RunE: func(_ *cobra.Command, args []string) error {
			run, worker := "", args[len(args)-1]
			if len(args) == 2 {
				run = args[0]
			}
			t, err := findWorker("dump worker", run, worker)
			if err != nil {
				return err
			}
			d := tandem.Dump{PID: t.pid, How: "the kernel alone", Why: "it is a command or what one has started: nobody told how to ask it"}
			if t.worker != "" {
				ans, err := live.Ask(t.run.Path, live.Request{Ask: "dump", Worker: t.worker, End: end}, answerWithin)
				if err != nil {
					return err
				}
				d = *ans.Dump
			}
			threads := live.Threads(d.PID, shownThreads)
			if len(threads) == 0 && len(d.Threads) == 0 {
				return &tandem.Error{Op: "dump worker", On: worker, Kind: tandem.KindInvalid, Message: "it is gone", Hint: "tandem ps shows who is there"}
			}
			if asJSON {
				return json.NewEncoder(a.out).Encode(d)
			}
			a.dumpText(d, threads)
			return nil
		}}
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON document")
	c.Flags().BoolVar(&end, "end", false, "ask also a worker that ends by it")
	return c
}

func (a *app) dumpText(d tandem.Dump, threads []live.Thread) {
	who := fmt.Sprintf("process %d", d.PID)
	if d.Worker != "" {
		who = fmt.Sprintf("%s, pid %d", d.Worker, d.PID)
	}
	fmt.Fprintf(a.out, "%s: %s\n", who, d.How)
	if d.Why != "" {
		fmt.Fprintln(a.out, "  "+printable(d.Why))
	}
	if d.Ended {
		fmt.Fprintln(a.out, "  it has ended by it; its item runs elsewhere")
	}
	if s := d.Stack; s != nil && s.Function != "" {
		fmt.Fprintf(a.out, "  in %s (%s:%d)\n", printable(s.Function), printable(s.File), s.Line)
	}
	if d.Text != "" {
		fmt.Fprintln(a.out, indent(printable(strings.TrimRight(d.Text, "\n"))))
	}
	for _, t := range threads {
		fmt.Fprintf(a.out, "  kernel   thread %d (%s) %s %s %s\n", t.ID, printable(t.Name), t.State, strings.TrimSpace(t.Syscall+" "+t.Wait), a.dim("observed "+string(t.Life)))
	}
}
