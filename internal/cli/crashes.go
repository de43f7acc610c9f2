package cli

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tandem"
	"tandem/internal/evidence"
	"tandem/internal/runs"
)

func (a *app) crashesCommand() *cobra.Command {
	c := &cobra.Command{Use: "crashes", Short: "Show why workers and commands of a run died",
		Long: `Each worker or command that dies while it runs, or that Tandem has to kill, leaves a report in the run's directory: what is known, who says so, and how sure
that is. At most 1000 of a run are kept.`}
	c.AddCommand(a.crashesListCommand(), a.crashesShowCommand())
	return c
}

// runOf is the named run, or the latest.
func (a *app) runOf(id string) (runs.Entry, bool, error) {
	root, err := runsDir()
	if err != nil {
		return runs.Entry{}, false, err
	}
	all, _, err := runs.List(root)
	if err != nil {
		return runs.Entry{}, false, err
	}
	if id == "" && len(all) > 0 {
		return all[0], true, nil
	}
	for _, e := range all {
		if e.ID == id {
			return e, true, nil
		}
	}
	return runs.Entry{}, false, nil
}

func noRun(id string) error {
	e := &tandem.Error{Op: "find run", On: id, Kind: tandem.KindInvalid, Message: "there is no such run", Hint: "tandem runs ls lists them"}
	if id == "" {
		e.On, e.Message, e.Hint = "", "no run is kept on this machine", "tandem run FLOW makes one"
	}
	return e
}

func (a *app) crashesListCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{Use: "ls [RUN]", Aliases: []string{"list"}, Short: "List the crash reports of a run, by default the latest", Args: cobra.MaximumNArgs(1),
		Example: "  tandem crashes ls\n  tandem crashes ls 20260301-101500-ab3de --json",
		RunE: func(_ *cobra.Command, args []string) error {
			run, deaths, err := a.deaths(append(args, "")[0])
			if err != nil {
				return err
			}
			if asJSON {
				return a.documents(deaths.Crashes)
			}
			if len(deaths.Crashes) == 0 {
				fmt.Fprintln(a.err, "no crash reports in run "+run.ID)
				return nil
			}
			fmt.Fprintf(a.out, "%-4s  %-8s  %-13s  %-17s  %-8s  %s\n", "NO", "TIME", "OUTCOME", "REASON", "SURE", "WHAT")
			for _, c := range deaths.Crashes {
				what := c.Step
				if c.Item != "" {
					what += " " + oneLine(c.Item, 60)
				}
				fmt.Fprintf(a.out, "%-4s  %-8s  %-13s  %-17s  %-8s  %s: %s\n", c.ID, c.Time.Local().Format(time.TimeOnly), dash(string(c.Outcome)), c.Reason, c.Confidence, what, oneLine(died(c), 120))
			}
			if deaths.NotKept > 0 {
				fmt.Fprintf(a.err, "%s after these not kept\n", plural(int64(deaths.NotKept), "report"))
			}
			fmt.Fprintln(a.err, a.dim("tandem crashes show "+run.ID+" NO  shows one"))
			return nil
		}}
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON document per line")
	return c
}

func (a *app) crashesShowCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{Use: "show [RUN] [ITEM]", Short: "Show crash reports: all of a run, or those of one item or number", Args: cobra.MaximumNArgs(2),
		Example: "  tandem crashes show                                     the latest run\n  tandem crashes show 20260301-101500-ab3de photos/a.jpg\n  tandem crashes show 0003                                the third of the latest run",
		RunE: func(_ *cobra.Command, args []string) error {
			id, item := "", ""
			switch len(args) {
			case 1:
				if _, known, err := a.runOf(args[0]); err != nil {
					return err
				} else if known {
					id = args[0]
				} else {
					item = args[0]
				}
			case 2:
				id, item = args[0], args[1]
			}
			run, deaths, err := a.deaths(id)
			if err != nil {
				return err
			}
			found := deaths.Crashes[:0:0]
			for _, c := range deaths.Crashes {
				if item == "" || about(c, item) {
					found = append(found, c)
				}
			}
			if len(found) == 0 {
				e := &tandem.Error{Op: "show the crash reports of", On: run.ID, Kind: tandem.KindInvalid, Message: "it has none"}
				if item != "" {
					e.Message, e.Hint = "it has none of "+item, "tandem crashes ls "+run.ID+" lists them; tandem runs ls lists the runs"
				}
				return e
			}
			if asJSON {
				return a.documents(found)
			}
			for i, c := range found {
				if i > 0 {
					fmt.Fprintln(a.out)
				}
				fmt.Fprint(a.out, a.death(c))
			}
			return nil
		}}
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON document per line")
	return c
}

// about says whether a report is of an item, or has this number.
func about(c tandem.Crash, item string) bool {
	if n, err := strconv.Atoi(item); err == nil && fmt.Sprintf("%04d", n) == c.ID {
		return true
	}
	if c.Item == item || c.Root == item {
		return true
	}
	for _, o := range c.Others {
		if o == item {
			return true
		}
	}
	return false
}

func (a *app) deaths(id string) (runs.Entry, runs.Deaths, error) {
	run, ok, err := a.runOf(id)
	if err == nil && !ok {
		err = noRun(id)
	}
	if err != nil {
		return run, runs.Deaths{}, err
	}
	d, err := run.Deaths()
	for _, s := range d.Strange {
		fmt.Fprintln(a.err, a.yellow("not a crash report: ")+printable(s.Path)+": "+printable(s.Why))
	}
	return run, d, err
}

func (a *app) documents(all []tandem.Crash) error {
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	for _, c := range all {
		if err := enc.Encode(c); err != nil {
			return err
		}
	}
	return nil
}

// died says in one line what happened.
func died(c tandem.Crash) string {
	what := c.What
	if c.Reason == tandem.ExitTimeout || c.Reason == tandem.ExitHung || c.Reason == tandem.ExitKilledByUs || c.Reason == tandem.ExitCPULimit && c.Why != "" || c.Reason == tandem.ExitProtocol {
		what = "killed by tandem"
		if c.Why != "" {
			what += ": " + c.Why
		}
	} else if c.Reason == tandem.ExitUnkillable {
		what = "not yet: killed by tandem: " + c.Why + "; and still there"
	}
	if c.Stack != nil {
		if c.Stack.Kind == "hung" && evidence.Where(c.Stack) != "" {
			what += ", it was"
		}
		what += evidence.Phrase(c.Stack)
	}
	return what
}

// death is a report for a person.
func (a *app) death(c tandem.Crash) string {
	var b strings.Builder
	row := func(name, format string, args ...any) {
		if text := printable(fmt.Sprintf(format, args...)); text != "" {
			fmt.Fprintf(&b, "  %s %s\n", a.dim(fmt.Sprintf("%-9s", name)), strings.ReplaceAll(text, "\n", "\n            "))
		}
	}
	head := string(c.Outcome)
	switch {
	case c.Reason == tandem.ExitBoot:
		head = "died before it was ready"
	case c.Item == "":
		head = "died while it had nothing to do"
	}
	who := c.Worker
	if who == "" {
		who = "a command of step " + c.Step
	}
	fmt.Fprintln(&b, strings.Join(strings.Fields(fmt.Sprintf("%s %s %s", c.ID, a.red(head), oneLine(c.Item, 200))), " "))
	row("died", "%s", died(c))
	row("reason", "%s, %s", c.Reason, sure(c.Confidence))
	row("who", "%s, pid %d, %s", who, c.PID, c.Time.Local().Format(time.DateTime))
	if c.Item != "" {
		row("item", "attempt %d, %s after it began", c.Attempt, brief(seconds(c.Seconds)))
	}
	if len(c.Others) > 0 {
		row("also hit", "%s, which ran in the same process", oneLine(strings.Join(c.Others, ", "), 400))
	}
	done := ""
	if c.Worker != "" {
		done = plural(c.Done, "item") + " done before, "
	}
	if c.Memory != "" {
		row("limit", "of memory, held by: %s", c.Memory)
	}
	if i := c.Isolation; i != nil {
		row("kept", "%s", i.String())
	}
	if c.Core != "" {
		row("core", "%s", oneLine(c.Core, 400))
	} else if c.NoCore != "" {
		row("core", "%s", oneLine(c.NoCore, 400))
	}
	row("process", "%s old, %s%s of processor time, at most %s of memory", brief(seconds(c.Age)), done, brief(seconds(c.CPU)), sizeText(c.PeakRSS))
	row("input", "%s", oneLine(c.Input, 400))
	for i, e := range c.Evidence {
		name := ""
		if i == 0 {
			name = "known"
		}
		row(name, "%s: %s", e.From, oneLine(e.Says, 400))
	}
	for i, t := range c.Threads {
		name := ""
		if i == 0 {
			name = "kernel"
		}
		row(name, "%s", threadText(t))
	}
	stderr := c.Stderr
	if c.Stack != nil {
		row("stack", "%s", lastLines(c.Stack.Text, 60))
		stderr = beside(stderr, c.Stack.Text)
	}
	if stderr != "" {
		row("stderr", "%s", lastLines(strings.TrimRight(stderr, "\n"), 20))
	}
	row("alone", "%s", c.Reproduce)
	return b.String()
}

// beside is what stands in stderr and not in the stack that was found there.
func beside(stderr, stack string) string {
	in := map[string]bool{`  File "<string>", line 1 in <module>`: true}
	for _, l := range strings.Split(stack, "\n") {
		in[l] = true
	}
	var rest []string
	for _, l := range strings.Split(stderr, "\n") {
		if !in[l] && !strings.Contains(l, "/tandem_worker/") {
			rest = append(rest, l)
		}
	}
	return strings.Trim(strings.Join(rest, "\n"), "=\n")
}

func sure(c tandem.Confidence) string {
	switch c {
	case tandem.Proven:
		return "proven"
	case tandem.Probable:
		return "probable: the evidence fits, another cause is thinkable"
	}
	return "by whom is unknown: nothing tells"
}

func threadText(t tandem.ThreadView) string {
	text := fmt.Sprintf("thread %d (%s) ", t.ID, t.Name)
	if word, ok := map[string]string{"R": "runs", "S": "sleeps", "D": "waits in the kernel", "T": "is stopped", "t": "is traced", "Z": "has ended"}[t.State]; ok {
		text += word
	} else {
		text += "is in state " + t.State
	}
	switch {
	case t.Syscall != "":
		text += " in " + t.Syscall
	case t.Number >= 0:
		text += " in system call " + strconv.Itoa(t.Number)
	}
	if t.Wait != "" {
		text += ", kernel: " + t.Wait
	}
	return text
}
