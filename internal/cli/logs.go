package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tandem"
	"tandem/internal/live"
	"tandem/internal/runs"
)

type logOptions struct {
	json, follow bool
	workers      []string
	tail         int
}

func (a *app) logsCommand() *cobra.Command {
	var o logOptions
	c := &cobra.Command{Use: "logs [RUN]", Short: "Show what the workers and commands of a run printed, and what happened to workers",
		Long: `Show what workers printed, what commands wrote to standard error (their standard output is their result), and what happened to workers, with time and origin; by
default of the latest run, also of one that has ended. Secrets are taken out. Kept are at most the newest 16 MiB of a run, 4 MiB of each second, and 4096 bytes of each
line; where something is missing the log says how many lines. tandem map writes what its commands print as its own output and keeps no log.`,
		Example: "  tandem logs\n  tandem logs -f\n  tandem logs 20260301-101500-ab3de --worker thumb/1 --tail 50", Args: takes(0, 1, "run"), ValidArgsFunction: a.completeRuns(false),
		RunE: func(_ *cobra.Command, args []string) error { return a.logs(append(args, "")[0], o) }}
	f := c.Flags()
	f.BoolVarP(&o.follow, "follow", "f", false, "go on until the run has ended")
	f.StringArrayVar(&o.workers, "worker", nil, "only of this worker, such as thumb/1, or of this step; may be repeated")
	f.IntVar(&o.tail, "tail", -1, "only the last so many lines; -1 means all")
	f.BoolVar(&o.json, "json", false, "one JSON document per line")
	_ = c.RegisterFlagCompletionFunc("worker", a.completeWorkers)
	return c
}

func (a *app) logs(id string, o logOptions) error {
	e, ok, err := named(id)
	if id == "" {
		e, ok, err = a.runOf("")
	}
	if err != nil {
		return err
	}
	if !ok {
		return noRun(id)
	}
	log, err := live.ReadLog(e.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return &tandem.Error{Op: "read the log of run", On: e.ID, Kind: tandem.KindInvalid, Message: "it has none", Hint: "a run keeps one since tandem logs came; tandem map never does", Err: err}
	}
	if err != nil {
		return &tandem.Error{Op: "read the log of run", On: e.ID, Kind: tandem.KindFile, Message: reasonOf(err), Err: err}
	}
	defer func() { _ = log.Close() }()
	show := func(r live.Record) error { return a.logLine(r, o.json) }
	var last []live.Record
	begun := false
	for {
		over := !o.follow || !stillGoing(e) // before the last look: what it wrote is there
		for {
			r, err := log.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return &tandem.Error{Op: "read the log of run", On: e.ID, Kind: tandem.KindFile, Message: reasonOf(err), Err: err}
			}
			if !o.wants(r) {
				continue
			}
			if o.tail >= 0 && !begun {
				if last = append(last, r); len(last) > max(2*o.tail, 64) {
					last = slices.Clone(last[len(last)-o.tail:])
				}
				continue
			}
			if err := show(r); err != nil {
				return err
			}
		}
		if !begun {
			for _, r := range last[max(0, len(last)-max(o.tail, 0)):] {
				if err := show(r); err != nil {
					return err
				}
			}
			begun, last = true, nil
		}
		if over {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// stillGoing says whether somebody works on the run.
func stillGoing(e runs.Entry) bool { return runs.IsGoing(e.Path) }

// wants says whether a record is to be shown. That something is missing always is.
func (o *logOptions) wants(r live.Record) bool {
	if len(o.workers) == 0 || r.Origin == "" {
		return true
	}
	for _, w := range o.workers {
		if step, _, _ := strings.Cut(r.Origin, "/"); r.Origin == w || step == w {
			return true
		}
	}
	return false
}

func (a *app) logLine(r live.Record, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(a.out).Encode(r)
	}
	at := r.Time.Local().Format("15:04:05.000")
	var b strings.Builder
	if r.Cut > 0 {
		fmt.Fprintf(&b, "%s  %s\n", at, a.yellow(fmt.Sprintf("… %s before this are not kept", plural(r.Cut, "line"))))
	}
	switch {
	case r.Event != "":
		text := r.To
		if r.From != "" {
			text = r.From + " → " + r.To
		}
		if r.Reason != "" {
			text += ": " + r.Reason
		}
		fmt.Fprintf(&b, "%s  %s  %s\n", at, oneLine(r.Origin, 40), a.dim("event "+oneLine(text, 400)))
	case r.Origin != "" || r.Text != "":
		from := oneLine(r.Origin, 40)
		if r.Item != "" {
			from += " " + oneLine(r.Item, 60)
		}
		fmt.Fprintf(&b, "%s  %s  %s\n", at, from, oneLine(r.Text, 4200))
	}
	_, err := io.WriteString(a.out, b.String())
	return err
}
