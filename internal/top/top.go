// Package top is the picture of a run in a terminal: its steps and workers, redrawn while it goes on.
//
//   - It asks for what it shows through a function and knows neither sockets nor processes; one question is under way at a time, and a slow answer holds up
//     nothing but the next.
//   - What it shows fits the window, from 40 columns and 10 rows on, and follows when that changes. What does not fit is said to be more.
//   - A state is told by a glyph and a word; colours only repeat it. They are those of Okabe and Ito, which people who see fewer colours can tell apart.
//
// Run returns when the run has ended, the person has had enough, or its context is done; the terminal is then as it was.
package top

import (
	"context"
	"io"
	"time"

	tea "charm.land/bubbletea/v2"

	"tandem/internal/live"
)

// Snapshot is a run at one moment.
type Snapshot struct {
	State  *live.State     // nil when the run does not answer
	Silent string          // why it does not
	Kernel map[int]Process // by process
	Over   bool            // the run has ended
}

// Process is what the kernel says of a worker.
type Process struct {
	CPU  float64 // of one processor; below zero means not known
	RSS  int64
	Life live.Life
}

// Config says what to show and where.
type Config struct {
	Ask    func() Snapshot
	Every  time.Duration // between two questions
	Colour bool
	In     io.Reader
	Out    io.Writer
	Env    []string // of the terminal: TERM and the like
}

// Run shows a run until it ends. The snapshot is the last that was seen.
func Run(ctx context.Context, cfg Config) (Snapshot, error) {
	m := &model{cfg: cfg, width: 80, height: 24}
	p := tea.NewProgram(m, tea.WithContext(ctx), tea.WithInput(cfg.In), tea.WithOutput(cfg.Out), tea.WithEnvironment(cfg.Env))
	_, err := p.Run()
	return m.now, err
}

// model is what is on the screen; it belongs to the program's loop.
type model struct {
	cfg           Config
	now, before   Snapshot
	seen          time.Time // when now was
	width, height int
	order         order
	reverse       bool
	paused        bool
	filter        string
	typing        bool // into the filter
	at            int  // first row that is shown
	rows          int  // how many there are
}

// order is what workers are sorted by.
type order int

const (
	byWorker order = iota
	byCPU
	byMemory
	byTime
	byDone
	orders
)

func (o order) String() string { return [...]string{"worker", "cpu", "memory", "time", "done"}[o] }

type (
	snapped Snapshot
	ticked  struct{}
)

func (m *model) Init() tea.Cmd { return m.ask }

func (m *model) ask() tea.Msg { return snapped(m.cfg.Ask()) }

func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case snapped:
		m.take(Snapshot(msg))
		if m.now.Over {
			return m, tea.Quit
		}
		return m, tea.Tick(m.cfg.Every, func(time.Time) tea.Msg { return ticked{} })
	case ticked:
		return m, m.ask
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tea.KeyPressMsg:
		return m, m.key(msg)
	}
	return m, nil
}

// take notes a snapshot. While the picture is paused, only that the run has ended.
func (m *model) take(s Snapshot) {
	if m.paused && !s.Over {
		return
	}
	if s.State == nil && m.now.State != nil {
		s.State = m.now.State // the last that is known
	}
	m.before, m.now, m.seen = m.now, s, time.Now()
}

func (m *model) key(k tea.KeyPressMsg) tea.Cmd {
	name := k.String()
	if name == "ctrl+c" {
		return tea.Quit
	}
	if m.typing {
		m.edit(name, k.Text)
		return nil
	}
	page := max(1, m.height/2)
	switch name {
	case "q", "esc":
		if m.filter != "" && name == "esc" {
			m.filter = ""
			return nil
		}
		return tea.Quit
	case "s":
		m.order, m.at = (m.order+1)%orders, 0
	case "r":
		m.reverse = !m.reverse
	case "/":
		m.typing = true
	case "space", " ":
		m.paused = !m.paused
	case "up", "k":
		m.at--
	case "down", "j":
		m.at++
	case "pgup":
		m.at -= page
	case "pgdown":
		m.at += page
	case "home":
		m.at = 0
	case "end":
		m.at = m.rows
	}
	m.at = max(0, min(m.at, m.rows-1))
	return nil
}

// edit is a key while the filter is typed.
func (m *model) edit(name, text string) {
	switch name {
	case "enter":
		m.typing = false
	case "esc":
		m.typing, m.filter = false, ""
	case "backspace":
		if r := []rune(m.filter); len(r) > 0 {
			m.filter = string(r[:len(r)-1])
		}
	default:
		if len(m.filter) < 60 {
			m.filter += text
		}
	}
	m.at = 0
}
