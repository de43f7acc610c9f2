package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"tandem/internal/mapper"
)

// mapBar is the progress of tandem map: one line at the bottom of a terminal, a line now and then elsewhere, or JSON lines. What commands print
// on the same terminal goes through over, which takes the line away first.
type mapBar struct {
	a     *app
	mode  string // tty, plain, json, none
	total int64
	snap  func() mapper.Snapshot
	mu    sync.Mutex
	drawn bool
	open  bool // the terminal's last line has no end yet: draw nothing behind it
	ended int64
	at    time.Time
	rate  float64
	atEnd func() // may be nil
	ticks *ticks
}

func (a *app) newMapBar(j *mapJob) *mapBar {
	mode := a.progressMode(j.flags.progress)
	if j.flags.quiet {
		mode = "none"
	}
	return &mapBar{a: a, mode: mode, total: j.total, ticks: newTicks(), at: time.Now()}
}

func (p *mapBar) start(snap func() mapper.Snapshot) {
	p.snap = snap
	p.ticks.start(p.mode, p.draw)
}

func (p *mapBar) stop() {
	p.ticks.stop()
	if p.atEnd != nil {
		p.atEnd()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
}

func (p *mapBar) erase() {
	if p.drawn {
		_, _ = io.WriteString(p.a.err, "\r\x1b[J")
		p.drawn = false
	}
}

// print writes a message; control characters in it are made visible.
func (p *mapBar) print(text string) { p.raw(p.a.yellow(printable(text))) }

// raw writes a message as it is.
func (p *mapBar) raw(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
	_, _ = io.WriteString(p.a.err, strings.TrimRight(text, "\n")+"\n")
	p.open = false
}

// over is w, or a writer that takes the line away first when w is the terminal too.
func (p *mapBar) over(w io.Writer) io.Writer {
	f, ok := w.(*os.File)
	if p.mode != "tty" || !ok || !term.IsTerminal(int(f.Fd())) {
		return w
	}
	return overBar{p, w}
}

type overBar struct {
	p *mapBar
	w io.Writer
}

func (o overBar) Write(b []byte) (int, error) {
	o.p.mu.Lock()
	defer o.p.mu.Unlock()
	o.p.erase()
	if n := len(b); n > 0 {
		o.p.open = b[n-1] != '\n'
	}
	return o.w.Write(b)
}

func (p *mapBar) draw() {
	s := p.snap()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open {
		return
	}
	if dt := time.Since(p.at).Seconds(); dt > 0.05 {
		now := float64(s.Ended()-p.ended) / dt
		p.rate, p.ended, p.at = smoothly(p.mode, p.rate, now, dt, p.ended > 0), s.Ended(), time.Now()
	}
	switch p.mode {
	case "json":
		line, _ := json.Marshal(map[string]any{"elapsed_seconds": s.Elapsed.Seconds(), "in": s.In, "skipped": s.Skipped, "ok": s.OK, "failed": s.Failed,
			"timed_out": s.TimedOut, "crashed": s.Crashed, "running": s.Running, "size": s.Size, "rate": p.rate}) // numbers only: it cannot fail
		_, _ = p.a.err.Write(append(line, '\n'))
	case "plain":
		_, _ = io.WriteString(p.a.err, "tandem map "+p.line(s)+"\n")
	default:
		p.erase()
		_, _ = io.WriteString(p.a.err, clip(p.line(s), p.a.width()-1))
		p.drawn = true
	}
}

func (p *mapBar) line(s mapper.Snapshot) string {
	total := p.total
	if s.All {
		total = s.In + s.Skipped
	}
	line := fmt.Sprintf("%s  %s done", brief(s.Elapsed.Round(100*time.Millisecond)), count(s.Ended()))
	if total >= 0 {
		line = fmt.Sprintf("%s  %s of %s done", brief(s.Elapsed.Round(100*time.Millisecond)), count(s.Ended()+s.Skipped), count(total))
	}
	line += fmt.Sprintf("  %s/s  %d running (-j %d)", rate(p.rate), s.Running, s.Size)
	if bad := s.Bad(); bad > 0 {
		line += p.a.red(fmt.Sprintf("  %s failed", count(bad)))
	}
	if left := total - s.Skipped - s.Ended(); total >= 0 && left > 0 && s.Ended() >= 10 && s.Elapsed > time.Second {
		line += "  eta " + brief((time.Duration(float64(s.Elapsed) * float64(left) / float64(s.Ended()))).Round(time.Second))
	}
	return line
}
