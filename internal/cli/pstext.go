package cli

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"tandem"
	"tandem/internal/live"
	"tandem/internal/runs"
)

// psText writes one run as a table.
func (a *app) psText(b *strings.Builder, r psRun, o psOptions) {
	flow := filepath.Base(r.Flow)
	if r.Flow == mapFlow {
		flow = "map " + r.Name
	}
	if r.State != runs.Running {
		fmt.Fprintf(b, "%s  %s  %s\n", r.Run, flow, a.yellow(oneLine(r.Fate, 400)))
		return
	}
	fmt.Fprintf(b, "%s  %s  pid %d  %s\n", r.Run, oneLine(flow, 60), r.PID, psHead(r))
	if r.Silent != "" {
		fmt.Fprintf(b, "  %s\n", a.yellow("the run does not answer, so this is only what the kernel shows: "+oneLine(r.Silent, 200)))
	}
	if r.Live != nil {
		for _, s := range r.Live.Steps {
			fmt.Fprintf(b, "  %-16s %-10s %8s done %7s/s  %4d running of %-5d queue %-5d%s\n", oneLine(s.Name, 16), s.Mode, count(s.Ended), rate(s.Rate), s.RunningTotal, s.Limit, s.Queue, a.psStep(s))
		}
	}
	if len(r.Processes) > 0 {
		fmt.Fprintf(b, "  %-14s %7s %-8s %-14s %5s %8s %8s %8s %4s %7s  %s\n", "WORKER", "PID", "STATE", "LIFE", "CPU%", "TIME", "RSS", "AGE", "RST", "DONE", "ITEM")
	}
	for _, p := range r.Processes {
		a.psLine(b, p)
	}
	if r.Live != nil {
		for _, s := range r.Live.Steps {
			psRunning(b, s, o.items)
		}
	}
}

func psHead(r psRun) string {
	l := r.Live
	if l == nil {
		return "since " + r.Started.Local().Format(time.DateTime)
	}
	text := fmt.Sprintf("%s  %s", brief(seconds(l.Seconds).Round(100*time.Millisecond)), count(l.Items.Ended))
	if l.Items.Total != nil {
		text += " of " + count(*l.Items.Total)
	} else {
		text += " of " + count(l.Items.In+l.Items.Made) + " read so far"
	}
	if l.Items.Bad > 0 {
		text += fmt.Sprintf(", %s bad", count(l.Items.Bad))
	}
	if l.Stopping {
		text += "  stopping"
	}
	return text
}

func (a *app) psStep(s live.Step) (text string) {
	if s.Bad > 0 {
		text += a.red(fmt.Sprintf("  %s bad", count(s.Bad)))
	}
	if s.Waiting > 0 {
		text += a.yellow(fmt.Sprintf("  %s wait for another attempt", count(int64(s.Waiting))))
	}
	if s.Lost > 0 {
		text += a.red(fmt.Sprintf("  %d lost", s.Lost))
	}
	if s.Paused != "" {
		text += a.yellow("  paused: " + oneLine(s.Paused, 80))
	}
	return text
}

func (a *app) psLine(b *strings.Builder, p psProcess) {
	name, state, restarts, done, item := p.Worker, p.State, "", "", p.Item
	switch p.Role {
	case "child":
		name = "  └ " + oneLine(commandText(p.Process), 10)
		item = commandText(p.Process)
	case "template":
		item = a.dim("its workers are forked from it")
	case "command":
		if name == "" {
			name = "command"
		}
		item = strings.TrimSpace(item + "  " + a.dim(oneLine(commandText(p.Process), 80)))
	case "worker":
		item = ""
		if v := p.View; v != nil {
			state, restarts, done = v.State, fmt.Sprint(v.Restarts), count(v.Done)
			item = runningText(v.Running, 2)
			if v.Waiting > 0 {
				item += fmt.Sprintf("  +%d waiting", v.Waiting)
			}
		}
	}
	life := string(p.Life)
	if p.Observed {
		life += "*"
	}
	fmt.Fprintf(b, "  %-14s %7d %-8s %-14s %5s %8s %8s %8s %4s %7s  %s\n", oneLine(name, 14), p.PID, state, life, percent(p.Share), brief(p.CPU), sizeShort(p.RSS), brief(p.Age.Round(time.Second)), restarts, done, oneLineOf(item))
	for _, t := range p.Detail {
		where := strings.TrimSpace(t.Syscall + " " + t.Wait)
		fmt.Fprintf(b, "    %-12s %7d %-8s %-14s %5s %8s  %s\n", oneLine(t.Name, 12), t.ID, t.State, string(t.Life)+"*", percent(t.Share), brief(t.CPU), a.dim(where))
	}
}

// oneLineOf is text that may hold colours of ours; what others wrote in it has been made printable where it was put in.
func oneLineOf(s string) string { return strings.TrimRight(strings.ReplaceAll(s, "\n", `\n`), " ") }

func psRunning(b *strings.Builder, s live.Step, most int) {
	if len(s.Running) == 0 || most == 0 {
		return
	}
	shown := s.Running[:min(most, len(s.Running))]
	head := fmt.Sprintf("%d running", s.RunningTotal)
	if len(shown) < s.RunningTotal {
		head = fmt.Sprintf("showing %d of %s that run, the longest first", len(shown), count(int64(s.RunningTotal)))
	}
	fmt.Fprintf(b, "  %s: %s\n", oneLine(s.Name, 40), head)
	for _, one := range shown {
		fmt.Fprintf(b, "    %8s  %s%s\n", brief(seconds(one.Seconds)), oneLine(one.Item, 100), othersText(one.Others))
	}
}

func othersText(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" and %d more", n)
}

func percent(share *float64) string {
	if share == nil {
		return "-"
	}
	return fmt.Sprintf("%.0f", 100**share)
}

func sizeShort(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%dG", n>>30)
	case n >= 1<<30:
		return fmt.Sprintf("%.1fG", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%dM", n>>20)
	}
	return fmt.Sprintf("%dK", n>>10)
}

func commandText(p live.Process) string {
	if len(p.Command) == 0 {
		return "[" + printable(p.Name) + "]"
	}
	words := make([]string, len(p.Command))
	for i, w := range p.Command {
		words[i] = shellWord(w)
	}
	return oneLine(strings.Join(words, " "), 160)
}

// runningText is what a worker runs, in one line.
func runningText(all []tandem.Running, most int) string {
	var parts []string
	for _, one := range all[:min(most, len(all))] {
		parts = append(parts, fmt.Sprintf("%s%s for %s", oneLine(one.Item, 60), othersText(one.Others), brief(seconds(one.Seconds))))
	}
	if more := len(all) - most; more > 0 {
		parts = append(parts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(parts, ", ")
}
