package top

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"tandem"
	"tandem/internal/live"
)

// The colours of Okabe and Ito.
const (
	green     = "38;2;0;158;115"
	blue      = "38;2;86;180;233"
	orange    = "38;2;230;159;0"
	vermilion = "38;2;213;94;0"
	purple    = "38;2;204;121;167"
	bold      = "1"
	faint     = "2"
	reversed  = "7"
)

// marks are how a worker's state is shown.
var marks = map[string]struct{ glyph, colour string }{
	"starting": {"◐", blue}, "idle": {"○", faint}, "busy": {"●", green}, "suspect": {"◆", orange}, "draining": {"▽", purple}, "dead": {"✗", vermilion}, "item": {"·", green},
}

func (m *model) paint(code, s string) string {
	if !m.cfg.Colour || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// View is the whole window.
func (m *model) View() tea.View {
	v := tea.NewView(strings.Join(m.lines(), "\n"))
	v.AltScreen = true
	return v
}

// lines are those of the window, each within its width.
func (m *model) lines() []string {
	if m.now.State == nil {
		text := "asking the run…"
		if m.now.Silent != "" {
			text = "the run does not answer: " + m.now.Silent
		}
		return m.fit([]string{clean(text)}, m.keys())
	}
	top := m.head()
	top = append(top, m.steps()...)
	rows := m.workers()
	m.rows = len(rows)
	room := m.height - len(top) - 3 // a heading, what is hidden, the keys
	m.at = max(0, min(m.at, len(rows)-max(room, 1)))
	shown := rows[m.at:min(len(rows), m.at+max(room, 0))]
	body := append(top, m.paint(bold, fmt.Sprintf("  %-14s %7s %-8s %4s %5s %6s %3s %7s  %s", "WORKER", "PID", "STATE", "CPU%", "RSS", "AGE", "RST", "DONE", "ITEM")))
	body = append(body, shown...)
	if hidden := len(rows) - len(shown); hidden > 0 {
		body = append(body, m.paint(faint, fmt.Sprintf("  %d more: ↑ ↓ or / to filter", hidden)))
	}
	return m.fit(body, m.keys())
}

// fit cuts lines to the window and puts the keys on its last one.
func (m *model) fit(body []string, keys string) []string {
	height, width := max(m.height, 2), max(m.width, 10)
	body = body[:min(len(body), height-1)]
	for len(body) < height-1 {
		body = append(body, "")
	}
	body = append(body, keys)
	for i, l := range body {
		body[i] = ansi.Truncate(l, width, "…")
	}
	return body
}

func (m *model) keys() string {
	if m.typing {
		return "filter: " + clean(m.filter) + "▏ enter keeps it, esc drops it"
	}
	sort := m.order.String()
	if m.reverse {
		sort += " reversed"
	}
	text := "q quit  s sort: " + sort + "  r reverse  / filter"
	if m.filter != "" {
		text += ": " + clean(m.filter) + " (esc)"
	}
	text += "  space pause  ↑↓ scroll"
	if m.paused {
		text = "PAUSED (space)  " + text
	}
	return m.paint(reversed, text)
}

func (m *model) head() []string {
	s := m.now.State
	whole := fmt.Sprintf("%d of %d read so far", s.Items.Ended, s.Items.In+s.Items.Made)
	if t := s.Items.Total; t != nil && *t > 0 {
		whole = fmt.Sprintf("%d of %d (%d %%)", s.Items.Ended, *t, 100*s.Items.Ended / *t)
		if left := *t - s.Items.Ended; s.Items.Ended >= 10 && left > 0 {
			whole += "  eta " + span(s.Seconds*float64(left)/float64(s.Items.Ended))
		}
	}
	line := m.paint(bold, clean(s.Name)) + "  " + s.Run + "  " + span(s.Seconds) + "  " + whole
	if s.Items.Bad > 0 {
		line += m.paint(vermilion, fmt.Sprintf("  %d bad", s.Items.Bad))
	}
	if s.Stopping {
		line += m.paint(orange, "  stopping")
	}
	if m.now.Silent != "" {
		return []string{line, m.paint(orange, "it does not answer: "+clean(m.now.Silent)+"; this is "+span(time.Since(m.seen).Seconds())+" old"), ""}
	}
	second := ""
	if s.Bottleneck != "" {
		second = m.paint(faint, "bottleneck: "+clean(s.Bottleneck))
	}
	return []string{line, second, ""}
}

func (m *model) steps() []string {
	all := []string{m.paint(bold, fmt.Sprintf("  %-14s %-9s %8s %8s %11s  %-8s %5s %5s", "STEP", "MODE", "DONE", "A SECOND", "RUNNING", "QUEUE", "", "BAD"))}
	for _, s := range m.now.State.Steps {
		const cells = 8
		n := min(cells, max(0, int(s.QueueFull*cells+0.5)))
		bar := m.paint(blue, strings.Repeat("█", n)) + strings.Repeat("·", cells-n)
		bad := fmt.Sprintf("%5d", s.Bad)
		if s.Bad > 0 {
			bad = m.paint(vermilion, bad)
		}
		line := fmt.Sprintf("  %-14s %-9s %8d %8.1f %11s  %s %5d %s", cut(s.Name, 14), s.Mode, s.Ended, m.rate(s), fmt.Sprintf("%d of %d", s.RunningTotal, s.Limit), bar, s.Queue, bad)
		if s.Waiting > 0 {
			line += m.paint(orange, fmt.Sprintf("  %d wait for another attempt", s.Waiting))
		}
		if s.Paused != "" {
			line += m.paint(orange, "  paused: "+clean(s.Paused))
		}
		all = append(all, line)
	}
	return append(all, "")
}

// rate is the items a second since the snapshot before.
func (m *model) rate(s live.Step) float64 {
	b := m.before.State
	if b == nil || m.now.State.Seconds-b.Seconds < 0.1 {
		return s.Rate
	}
	for _, old := range b.Steps {
		if old.Name == s.Name {
			return float64(s.Ended-old.Ended) / (m.now.State.Seconds - b.Seconds)
		}
	}
	return s.Rate
}

// row is one worker, or one item in a goroutine.
type row struct {
	name, state, item string
	pid, restarts     int
	done              int64
	age, ran          float64
	kernel            Process
	place             int
}

func (m *model) workers() (lines []string) {
	var rows []row
	for i, s := range m.now.State.Steps {
		for j, w := range s.Workers {
			r := row{name: w.Worker, state: w.State, pid: w.PID, restarts: w.Restarts, done: w.Done, age: w.Age, place: i<<20 + j, kernel: Process{CPU: -1}}
			if k, ok := m.now.Kernel[w.PID]; ok {
				r.kernel = k
			}
			r.item, r.ran = items(w.Running)
			rows = append(rows, r)
		}
		for j, one := range s.Running {
			r := row{name: s.Name, state: "item", place: i<<20 + j, age: -1, kernel: Process{CPU: -1}}
			r.item, r.ran = items([]tandem.Running{one})
			rows = append(rows, r)
		}
	}
	if want := strings.ToLower(m.filter); want != "" {
		rows = slices.DeleteFunc(rows, func(r row) bool {
			return !strings.Contains(strings.ToLower(r.name+" "+r.state+" "+r.item), want)
		})
	}
	slices.SortStableFunc(rows, func(a, b row) int {
		c := 0
		switch m.order {
		case byCPU:
			c = cmp.Compare(b.kernel.CPU, a.kernel.CPU)
		case byMemory:
			c = cmp.Compare(b.kernel.RSS, a.kernel.RSS)
		case byTime:
			c = cmp.Compare(b.ran, a.ran)
		case byDone:
			c = cmp.Compare(b.done, a.done)
		}
		if c = cmp.Or(c, cmp.Compare(a.place, b.place)); m.reverse {
			c = -c
		}
		return c
	})
	for _, r := range rows {
		lines = append(lines, m.line(r))
	}
	return lines
}

func (m *model) line(r row) string {
	mark := marks[r.state]
	if r.state == "item" {
		return fmt.Sprintf("%s %-14s %7s %-8s %4s %5s %6s %3s %7s  %s", m.paint(mark.colour, mark.glyph), cut(r.name, 14), "", "running", "", "", "", "", "", clean(r.item))
	}
	cpu, rss := "-", "-"
	if r.kernel.CPU >= 0 {
		cpu, rss = fmt.Sprintf("%.0f", 100*r.kernel.CPU), size(r.kernel.RSS)
	}
	return fmt.Sprintf("%s %-14s %7d %s %4s %5s %6s %3d %7d  %s", m.paint(mark.colour, cmp.Or(mark.glyph, "?")), cut(r.name, 14), r.pid, m.paint(mark.colour, fmt.Sprintf("%-8s", r.state)), cpu, rss, span(r.age), r.restarts, r.done, clean(r.item))
}

func items(all []tandem.Running) (text string, longest float64) {
	for i, one := range all {
		if i > 0 {
			return text + fmt.Sprintf(" and %d more", len(all)-1), longest
		}
		text, longest = one.Item+" for "+span(one.Seconds), one.Seconds
		if one.Others > 0 {
			text = fmt.Sprintf("%s and %d more for %s", one.Item, one.Others, span(one.Seconds))
		}
	}
	return text, longest
}

// span is a time in four or five characters.
func span(s float64) string {
	switch {
	case s < 10:
		return fmt.Sprintf("%.1fs", s)
	case s < 60:
		return fmt.Sprintf("%.0fs", s)
	case s < 3600:
		return fmt.Sprintf("%dm%02ds", int(s)/60, int(s)%60)
	}
	return fmt.Sprintf("%dh%02dm", int(s)/3600, int(s)/60%60)
}

func size(n int64) string {
	if n >= 1<<30 {
		return fmt.Sprintf("%.1fG", float64(n)/(1<<30))
	}
	return fmt.Sprintf("%dM", n>>20)
}

func cut(s string, n int) string { return ansi.Truncate(clean(s), n, "…") }

// clean keeps what others wrote from moving the cursor.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '·'
		}
		return r
	}, s)
}
