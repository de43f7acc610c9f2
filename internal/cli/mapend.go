package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"tandem"
	"tandem/engine"
	"tandem/internal/mapper"
)

// mapSummary is the end of a map for a person: counts, rate, why so many at a time, and the failures by kind.
func (a *app) mapSummary(r mapper.Report, err error, unread bool) {
	var parts []string
	add := func(n int64, word string, paint func(string) string) {
		if n > 0 {
			parts = append(parts, paint(count(n)+" "+word))
		}
	}
	add(r.OK, "ok", a.green)
	add(r.Failed, "failed", a.red)
	add(r.TimedOut, "timed out", a.red)
	add(r.Crashed, "crashed", a.red)
	add(r.Canceled, "canceled", a.yellow)
	add(r.Skipped, "done before", a.dim)
	if len(parts) == 0 {
		parts = []string{"no inputs"}
	}
	word := "done"
	switch {
	case errors.Is(err, tandem.ErrInterrupted):
		word = "interrupted"
	case unread:
		word = "stopped, because nobody reads the output any more,"
	case err != nil:
		word = "stopped"
	case r.Halted != "":
		word = "stopped by --halt (" + r.Halted + ")"
	}
	speed := ""
	if r.Ended() > 0 {
		speed = fmt.Sprintf(" (%s/s)", rate(float64(r.Ended())/r.Elapsed.Seconds()))
	}
	fmt.Fprintf(a.err, "%s: %s in %s%s   %s\n", oneLine(r.Name, 60), word, brief(r.Elapsed), speed, strings.Join(parts, "  "))
	if r.Attempts > 0 {
		line := fmt.Sprintf("  -j %d: %s", r.Size, r.Because)
		if r.Because == mapper.BecauseGiven {
			line = fmt.Sprintf("  -j %d", r.Size)
		}
		line += a.dim(fmt.Sprintf("  p50 %s  p99 %s", brief(r.P50), brief(r.P99)))
		if r.CPU >= 0 {
			line += a.dim("  cpu " + brief(r.CPU))
		}
		fmt.Fprintln(a.err, line)
	}
	if r.Retries > 0 {
		fmt.Fprintf(a.err, "  %s run again after a failure\n", count(r.Retries))
	}
	if r.Evicted > 0 {
		fmt.Fprintf(a.err, "  %s times a command was killed to free memory and put back\n", count(r.Evicted))
	}
	for i, reason := range r.Reasons {
		if i == 5 {
			fmt.Fprintf(a.err, "  … and %d other kinds of failure\n", len(r.Reasons)-i)
			break
		}
		fmt.Fprintf(a.err, "  %s × %s, first: %s\n", count(reason.Count), reason.What, oneLine(reason.First, 100))
	}
}

// mapReport is the document of --json: that of tandem run, with what only a map has.
type mapReport struct {
	engine.Report
	Skipped  int64           `json:"skipped"` // done by an earlier run, see --resume
	Evicted  int64           `json:"evicted"` // times a command was killed to free memory and put back
	Failures []mapReportFail `json:"failures"`
}

type mapReportFail struct {
	What  string `json:"what"`
	Count int64  `json:"count"`
	First string `json:"first"`
}

func writeMapReport(w io.Writer, j *mapJob, r mapper.Report, err error, begun time.Time) error {
	d := mapReport{Skipped: r.Skipped, Evicted: r.Evicted, Failures: []mapReportFail{}}
	d.Run, d.Flow, d.Outcome, d.Seconds = runID(begun), "map", "ok", r.Elapsed.Seconds()
	d.Items = engine.Items{In: r.In, OK: r.OK, Failed: r.Failed, TimedOut: r.TimedOut, Crashed: r.Crashed, Canceled: r.Canceled}
	switch te, typed := errors.AsType[*tandem.Error](err); {
	case errors.Is(err, tandem.ErrInterrupted):
		d.Outcome = "interrupted"
	case err != nil:
		d.Outcome, d.Error = "stopped", &engine.ReportError{Kind: tandem.KindCanceled, Message: err.Error()}
		if typed {
			d.Error.Kind, d.Error.Hint = te.Kind, te.Hint
		}
	case r.Halted != "":
		d.Outcome, d.Error = "stopped", &engine.ReportError{Kind: tandem.KindCanceled, Message: "--halt " + j.flags.halt + ": " + r.Halted}
	case r.Bad() > 0:
		d.Outcome = "failed"
	}
	step := engine.StepReport{Name: r.Name, Mode: tandem.Process, Workers: r.Size, Threads: 1, Concurrency: r.Size, Because: r.Because, Attempts: r.Attempts,
		Retries: r.Retries, Crashes: r.Crashed, P50: r.P50.Seconds(), P99: r.P99.Seconds()}
	if r.CPU >= 0 {
		cpu, wait := r.CPU.Seconds(), max(0, (r.Wall-r.CPU-r.RunQueue).Seconds())
		step.CPU, step.Wait = &cpu, &wait
	}
	d.Steps = []engine.StepReport{step}
	for _, f := range r.Reasons {
		d.Failures = append(d.Failures, mapReportFail(f))
	}
	if err := json.NewEncoder(w).Encode(d); err != nil {
		return &tandem.Error{Op: "write", On: "standard output", Kind: tandem.KindSink, Message: err.Error(), Err: err}
	}
	return nil
}
