package cli

import (
	"fmt"
	"strings"
	"time"

	"tandem/engine"
	"tandem/internal/flowfile"
)

// summary tells how the run ended: totals, then a line a step.
func (a *app) summary(r engine.Report, file *flowfile.File, w *watch) {
	var parts []string
	add := func(n int64, word string, paint func(string) string) {
		if n > 0 {
			parts = append(parts, paint(count(n)+" "+word))
		}
	}
	plain := func(s string) string { return s }
	add(r.Items.OK, "ok", a.green)
	add(r.Items.Failed, "failed", a.red)
	add(r.Items.TimedOut, "timed out", a.red)
	add(r.Items.Crashed, "crashed", a.red)
	add(r.Items.Quarantined, "quarantined", a.red)
	add(r.Items.OutOfMemory, "out of memory", a.red)
	add(r.Items.Filtered, "filtered", plain)
	add(r.Items.Canceled, "canceled", a.yellow)
	add(r.Items.Unwritten, "not written", a.red)
	if len(parts) == 0 {
		parts = []string{"no items: the source gave none"}
	}
	word := "done"
	switch r.Outcome {
	case "interrupted", "stopped":
		word = r.Outcome
		if r.Items.In == 0 {
			parts = []string{"before the first item was read"}
		}
	}
	line := fmt.Sprintf("%s: %s in %s   %s", r.Flow, word, brief(seconds(r.Seconds)), strings.Join(parts, "  "))
	if s := file.SinkPath(); s != "" {
		line += a.dim("  → " + s)
	}
	fmt.Fprintln(a.err, line)
	if b := r.Before; b != nil {
		bad := ""
		if b.Bad() > 0 {
			bad = fmt.Sprintf(", %s of them badly", count(b.Bad()))
		}
		fmt.Fprintf(a.err, "  %s had ended before%s\n", plural(b.Ended(), "item"), bad)
	}
	if r.Items.Made > 0 {
		fmt.Fprintf(a.err, "  %s items read, %s more made of them on the way\n", count(r.Items.In), count(r.Items.Made))
	}
	width := 0
	for _, s := range r.Steps {
		width = max(width, len(s.Name))
	}
	for _, s := range r.Steps {
		where := fmt.Sprintf("%s, %d in flight", s.Mode, s.Concurrency)
		if s.Workers > 0 {
			where = fmt.Sprintf("%s, %s", s.Mode, plural(int64(s.Workers), "worker"))
			if s.Threads > 1 {
				where += fmt.Sprintf(" × %d", s.Threads)
			}
		}
		line := fmt.Sprintf("  %-*s  %-22s %9s attempts  p50 %-7s p99 %-7s", width, s.Name, where, count(s.Attempts), brief(seconds(s.P50)), brief(seconds(s.P99)))
		if s.CPU != nil {
			line += fmt.Sprintf("  cpu %s  wait %s", brief(seconds(*s.CPU)), brief(seconds(*s.Wait)))
		}
		if s.Retried > 0 {
			line += a.yellow(fmt.Sprintf("  %s retried", count(s.Retried)))
		}
		if s.Crashes > 0 {
			line += a.red("  " + plural(s.Crashes, "worker") + " lost and replaced")
		}
		line += a.ends(s)
		fmt.Fprintln(a.err, strings.TrimRight(line, " "))
		if i := s.Isolation; i != nil && len(i.Requested) > 0 {
			paint := a.dim
			if len(i.Missing) > 0 {
				paint = a.yellow
			}
			fmt.Fprintln(a.err, paint(fmt.Sprintf("  %-*s  isolation: %s", width, "", printable(i.String()))))
		}
		a.settled(s, width)
		if s.Limit != nil && s.Because != "" {
			fmt.Fprintln(a.err, a.dim(fmt.Sprintf("  %-*s  %s", width, "", s.Because)))
		}
	}
	if b := r.Bottleneck; b != nil && len(r.Steps) > 1 {
		fmt.Fprintf(a.err, "  bottleneck: %s: %s\n", b.Step, b.Because)
	}
	if kinds := w.kinds(); len(kinds) > 0 {
		fmt.Fprintln(a.err, "  failures: "+strings.Join(kinds, ", "))
	}
}

// ends are the workers that ended for other reasons than an item. Those that only were not needed any more go without saying.
func (a *app) ends(s engine.StepReport) (line string) {
	if s.Losses > 0 {
		line += a.yellow("  " + plural(s.Losses, "worker") + " lost with no item to blame")
	}
	if s.BootFailures > 0 {
		line += a.red("  " + plural(s.BootFailures, "start") + " failed")
	}
	if s.Recycled > 0 {
		line += a.dim("  " + count(s.Recycled) + " recycled")
	}
	return line
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// plural writes 1 item, 2 items.
func plural(n int64, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return count(n) + " " + word + "s"
}
