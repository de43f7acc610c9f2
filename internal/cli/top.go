package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"tandem"
	"tandem/engine"
	"tandem/internal/live"
	"tandem/internal/proc"
	"tandem/internal/runs"
	"tandem/internal/top"
)

func (a *app) topCommand() *cobra.Command {
	var every time.Duration
	c := &cobra.Command{Use: "top [RUN]", Short: "Watch a run in the terminal: steps, workers, queues",
		Long: `Watch a run that is going on: of each step how many items are done, how many a second, how many run and how full its queue is; of each worker its state, processor time,
memory and item. It ends with the run and then prints its totals; the run does not notice. Without a name the only run that is going on.
Keys: q ends it (not the run) · s sorts by worker, cpu, memory, time of the item, done · r reverses · / filters by worker, state or item, esc drops the filter ·
space holds the picture · arrows, page up and down scroll. NO_COLOR switches colours off; states have glyphs:
◐ starting ○ idle ● busy ◆ suspect ▽ draining ✗ dead.`,
		Example: "  tandem top\n  tandem top 20260301-101500-ab3de --every 500ms", Args: takes(0, 1, "run"), ValidArgsFunction: a.completeRuns(true),
		RunE: func(_ *cobra.Command, args []string) error { return a.top(append(args, "")[0], every) }}
	c.Flags().DurationVar(&every, "every", time.Second, "how often it is drawn anew")
	return c
}

func (a *app) top(name string, every time.Duration) error {
	wrong := func(msg, hint string) error {
		return &tandem.Error{Op: "watch", On: "tandem top", Kind: tandem.KindInvalid, Message: msg, Hint: hint}
	}
	in, _ := a.in.(*os.File)
	out, _ := a.out.(*os.File)
	if in == nil || out == nil || !term.IsTerminal(int(in.Fd())) || !term.IsTerminal(int(out.Fd())) {
		return wrong("it needs a terminal for its picture and its keys", "tandem ps -w shows the same as text")
	}
	if every < 100*time.Millisecond {
		return wrong(fmt.Sprintf("--every %v", every), "want 100ms or more")
	}
	e, err := a.onlyRun(name)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), proc.Terminate)
	defer stop()
	eye := &topEye{e: e}
	last, err := top.Run(ctx, top.Config{Ask: eye.look, Every: every, Colour: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb", In: in, Out: out, Env: os.Environ()})
	if err != nil && !errors.Is(err, tea.ErrProgramKilled) && !errors.Is(err, tea.ErrInterrupted) {
		return wrong(err.Error(), "tandem ps -w shows the same as text")
	}
	if last.Over {
		a.topEnd(e)
	}
	return nil
}

// onlyRun is the run that is named, or the only one that is going on.
func (a *app) onlyRun(name string) (runs.Entry, error) {
	if name != "" {
		e, ok, err := named(name)
		switch {
		case err != nil:
			return e, err
		case !ok:
			return e, noRun(name)
		case e.State != runs.Running:
			return e, &tandem.Error{Op: "watch run", On: e.ID, Kind: tandem.KindInvalid, Message: "it is not going on: " + fate(e), Hint: "tandem logs " + e.ID + " shows what it printed"}
		}
		return e, nil
	}
	all, err := going()
	switch {
	case err != nil:
		return runs.Entry{}, err
	case len(all) == 0:
		return runs.Entry{}, &tandem.Error{Op: "watch", On: "tandem top", Kind: tandem.KindInvalid, Message: "no run is going on", Hint: "tandem runs ls lists those that were"}
	case len(all) > 1:
		return runs.Entry{}, &tandem.Error{Op: "watch", On: "tandem top", Kind: tandem.KindInvalid, Message: fmt.Sprintf("%d runs are going on", len(all)), Hint: "name one: tandem ps lists them"}
	}
	return all[0], nil
}

// topEye looks at a run again and again. It is for one goroutine.
type topEye struct {
	e    runs.Entry
	cpu  map[int]time.Duration
	when time.Time
}

const topItems = 200 // of each step in goroutines

func (t *topEye) look() top.Snapshot {
	if !stillGoing(t.e) {
		return top.Snapshot{Over: true}
	}
	a, err := live.Ask(t.e.Path, live.Request{Ask: "state", Items: topItems}, answerWithin)
	s := top.Snapshot{State: a.State, Kernel: map[int]top.Process{}}
	if err != nil {
		s.Silent, s.Over = err.Error(), !stillGoing(t.e)
		return s
	}
	now, cpu := time.Now(), map[int]time.Duration{}
	for _, step := range a.State.Steps {
		for _, w := range step.Workers {
			p, ok := live.Look(w.PID)
			if !ok {
				continue
			}
			k := top.Process{CPU: -1, RSS: p.RSS}
			if old, known := t.cpu[w.PID]; known {
				k.CPU = max(0, float64(p.CPU-old)/float64(now.Sub(t.when)))
			}
			cpu[w.PID], s.Kernel[w.PID] = p.CPU, k
		}
	}
	t.cpu, t.when = cpu, now
	return s
}

// topEnd tells how the run ended, once its picture is gone.
func (a *app) topEnd(e runs.Entry) {
	now, ok, err := named(e.ID)
	if err != nil || !ok {
		fmt.Fprintf(a.err, "run %s has ended\n", e.ID) // a map leaves nothing
		return
	}
	fmt.Fprintf(a.err, "run %s: %s\n", now.ID, fate(now))
	var r engine.Report
	if json.Unmarshal(now.Totals, &r) != nil || r.Flow == "" {
		return
	}
	fmt.Fprintf(a.err, "%s: %s in %s   %s ok  %s\n", printable(r.Flow), r.Outcome, brief(seconds(r.Seconds)), count(r.Items.OK), plural(r.Items.Bad(), "bad item"))
	for _, s := range r.Steps {
		fmt.Fprintf(a.err, "  %-16s %-10s %9s attempts  p50 %-7s p99 %-7s\n", oneLine(s.Name, 16), s.Mode, count(s.Attempts), brief(seconds(s.P50)), brief(seconds(s.P99)))
	}
	if b := r.Bottleneck; b != nil && len(r.Steps) > 1 {
		fmt.Fprintf(a.err, "  bottleneck: %s: %s\n", b.Step, b.Because)
	}
}
