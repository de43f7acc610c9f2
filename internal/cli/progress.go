package cli

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"tandem"
	"tandem/engine"
)

// progress shows how a run goes: a few lines redrawn in place on a terminal, a line now and then elsewhere. Messages go above the lines. One
// goroutine, Run's owner, draws; print may be called from anywhere.
type progress struct {
	a     *app
	mode  string // tty, plain, json, none
	snap  func() engine.Progress
	mu    sync.Mutex
	drawn []int // how many characters the lines on the screen have
	last  engine.Progress
	lastT time.Time
	rates map[string]float64
	ticks *ticks
}

func (a *app) newProgress(mode string, snap func() engine.Progress) *progress {
	return &progress{a: a, mode: a.progressMode(mode), snap: snap, rates: map[string]float64{}, ticks: newTicks(), lastT: time.Now()}
}

// start draws until stop.
func (p *progress) start() { p.ticks.start(p.mode, p.draw) }

func (p *progress) stop() {
	p.ticks.stop()
	if p.mode == "json" {
		p.draw() // how it ended, also of a run too short for a tick
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase(p.a.err)
}

// print writes text above the progress lines.
func (p *progress) print(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mode == "json" {
		p.record(struct {
			Note string `json:"note"`
		}{strings.TrimRight(text, "\n")})
		return
	}
	var b strings.Builder
	p.erase(&b)
	b.WriteString(strings.TrimRight(text, "\n") + "\n")
	_, _ = io.WriteString(p.a.err, b.String())
}

// Write is print for what is written line by line.
func (p *progress) Write(b []byte) (int, error) {
	p.print(string(b))
	return len(b), nil
}

// erase takes the lines away that are on the screen. A terminal that has become narrower since has broken them into more.
func (p *progress) erase(w io.Writer) {
	if len(p.drawn) == 0 {
		return
	}
	width, rows := max(p.a.width(), 1), 0
	for _, n := range p.drawn {
		rows += max(1, (n+width-1)/width)
	}
	fmt.Fprintf(w, "\x1b[%dA\r\x1b[J", rows)
	p.drawn = p.drawn[:0]
}

func (p *progress) draw() {
	now := p.snap()
	p.mu.Lock()
	defer p.mu.Unlock()
	if dt := time.Since(p.lastT).Seconds(); dt > 0.05 {
		for i, s := range now.Steps {
			var before int64
			if i < len(p.last.Steps) {
				before = p.last.Steps[i].Ended
			}
			rate := float64(s.Ended-before) / dt
			old, known := p.rates[s.Name]
			p.rates[s.Name] = smoothly(p.mode, old, rate, dt, known)
		}
		p.last, p.lastT = now, time.Now()
	}
	if p.mode == "json" {
		p.record(p.document(now))
		return
	}
	lines := p.lines(now)
	var b strings.Builder
	if p.mode == "plain" {
		b.WriteString(strings.Join(lines, "; ") + "\n")
	} else {
		p.erase(&b)
		width := p.a.width()
		for _, l := range lines {
			l = clip(l, max(width-1, 1))
			p.drawn = append(p.drawn, visible(l))
			b.WriteString(l + "\n")
		}
	}
	_, _ = io.WriteString(p.a.err, b.String())
}

// lines is the picture: one line a step, one for the whole.
func (p *progress) lines(now engine.Progress) []string {
	plain := p.mode == "plain"
	var lines []string
	width := 4
	for _, s := range now.Steps {
		width = max(width, len(s.Name))
	}
	for _, s := range now.Steps {
		bad := ""
		if s.Bad > 0 {
			bad = p.a.red(fmt.Sprintf("  %s failed", count(s.Bad)))
		}
		if s.Waiting > 0 {
			bad += p.a.yellow(fmt.Sprintf("  %s wait for another attempt", count(int64(s.Waiting))))
		}
		if s.Paused != "" {
			bad += p.a.yellow("  paused: " + oneLine(s.Paused, 80))
		}
		if plain {
			lines = append(lines, fmt.Sprintf("%s %s done %s/s %d in flight queue %d%s", s.Name, count(s.Ended), rate(p.rates[s.Name]), s.Pool.Running, s.Queue, bad))
			continue
		}
		lines = append(lines, fmt.Sprintf("  %-*s  %-14s %s  %9s  %8s/s  %4d in flight  queue %-5d%s", width, s.Name, shape(s.Pool), bar(s.QueueFull), count(s.Ended), rate(p.rates[s.Name]), s.Pool.Running, s.Queue, bad))
	}
	ended, in := now.Items.Ended(), now.Items.In+now.Items.Made
	whole := fmt.Sprintf("%s of %s", count(ended), count(in))
	if now.Total >= 0 {
		whole = fmt.Sprintf("%s of %s", count(ended), count(now.Total+now.Items.Made))
		if eta, ok := remaining(now); ok {
			whole += "  eta " + brief(eta)
		}
	} else {
		whole += " read so far"
	}
	if b := now.Bottleneck; b != nil && len(now.Steps) > 1 {
		whole += "  bottleneck: " + b.Step
	}
	head := "  " + brief(now.Elapsed.Round(100*time.Millisecond)) + "  " + whole
	if plain {
		return append([]string{now.Flow + strings.TrimRight(head, " ")}, lines...)
	}
	return append([]string{now.Flow + head}, lines...)
}

// remaining is the time to go at the average pace.
func remaining(now engine.Progress) (time.Duration, bool) {
	ended, total := now.Items.Ended(), now.Total+now.Items.Made
	if ended < 10 || now.Elapsed < time.Second || total < ended {
		return 0, false
	}
	return time.Duration(float64(now.Elapsed) * float64(total-ended) / float64(ended)).Round(time.Second), true
}

// shape is the execution model in few letters.
func shape(s tandem.PoolState) string {
	switch s.Mode {
	case tandem.Goroutine:
		return fmt.Sprintf("goroutine %d", s.Concurrency)
	case tandem.Process, tandem.Auto:
		return fmt.Sprintf("process %d", s.Workers)
	}
	return fmt.Sprintf("%s %d×%d", s.Mode, s.Workers, s.Threads)
}

// bar shows how full the queue in front of a step is.
func bar(full float64) string {
	const cells = 8
	n := int(full*cells + 0.5)
	return strings.Repeat("█", n) + strings.Repeat("·", cells-n)
}

func rate(r float64) string {
	if r < 10 {
		return fmt.Sprintf("%.1f", r)
	}
	return count(int64(r + 0.5))
}

// visible is how many characters of a line a terminal shows.
func visible(s string) (n int) {
	esc := false
	for _, r := range s {
		switch {
		case r == '\x1b':
			esc = true
		case esc:
			esc = r != 'm'
		default:
			n++
		}
	}
	return n
}

// clip cuts a line to the terminal's width; escape sequences take no room.
func clip(s string, width int) string {
	n, esc := 0, false
	for i, r := range s {
		switch {
		case r == '\x1b':
			esc = true
		case esc:
			esc = r != 'm'
		default:
			if n++; n > width {
				return s[:i] + "\x1b[0m"
			}
		}
	}
	return s
}
