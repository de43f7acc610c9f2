package cli

import (
	"bytes"
	"fmt"
	"sort"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"tandem"
	"tandem/internal/live"
)

// linesPerSecond is how much of what handlers print is shown; the rest is counted.
const linesPerSecond = 20

// watch tells the person what happens during a run: the first failure of each kind and reason in each step, and what handlers print.
type watch struct {
	a      *app
	flow   string // path of the flow file; empty when there is none
	print  func(string)
	redact func(tandem.Value) tandem.Value // takes secrets out; nil when there are none

	running func() bool       // whether an item has been read
	keep    func(live.Record) // takes what happened into the run's log; nil when it has none
	calm    bool              // decisions are not told while it runs

	mu      sync.Mutex
	seen    map[string]int64 // step, kind and reason → how many
	partial map[string][]byte
	second  time.Time
	shown   int
	hidden  int64
}

func (a *app) newWatch(flow string) *watch {
	return &watch{a: a, flow: flow, seen: map[string]int64{}, partial: map[string][]byte{}}
}

// event hears of workers; only what a person would want to know is said.
func (w *watch) event(e tandem.Event) {
	if w.keep != nil {
		r := live.EventRecord(e)
		r.Reason = w.clean(r.Reason)
		w.keep(r)
	}
	if e.From == "starting" && e.To == "dead" && w.running() { // before the first item the run itself fails, and says so
		w.print(w.a.yellow(e.ID+": ") + printable(e.Reason))
	}
	if e.What == "isolation" && e.To == "partial" {
		w.print(w.a.yellow("WARN ") + "step " + e.ID + ": isolation " + printable(e.Reason) + "; see `tandem doctor`")
	}
	if e.What == "step" && e.To == "open" || e.From == "stopped" {
		w.print(w.a.yellow(e.ID+": ") + printable(e.Reason))
	}
	if e.What == "decision" && !w.calm {
		w.print(w.a.dim(e.ID+": ") + e.From + " → " + e.To + ": " + printable(e.Reason))
	}
	if e.What == "cores" {
		w.print(w.a.yellow("cores: ") + "workers follow: " + e.Reason)
	}
}

// ended hears of every item; the first failure of each kind is shown at once.
func (w *watch) ended(t *tandem.Task) {
	e := t.Result.Err
	if e == nil || t.Result.Outcome == tandem.Canceled {
		return
	}
	w.mu.Lock()
	what := strings.TrimSpace(e.Kind + " " + e.Reason)
	if strings.HasPrefix(e.Reason, e.Kind) {
		what = e.Reason // "exit 3" says it all
	}
	key := e.On + " " + what
	w.seen[key]++
	first := w.seen[key] == 1
	w.mu.Unlock()
	if !first {
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: %s", w.a.red(string(t.Result.Outcome)), oneLine(t.ID, 80), w.a.dim("step "+e.On+": "))
	b.WriteString(oneLine(e.Message, 400))
	if e.Trace != "" {
		b.WriteString("\n" + indent(lastLines(printable(e.Trace), 12)))
	}
	if e.Hint != "" {
		b.WriteString("\n  hint: " + printable(e.Hint))
	}
	if w.flow != "" && !strings.ContainsFunc(t.Root, unicode.IsControl) && utf8.ValidString(t.Root) {
		b.WriteString(w.a.dim("\n  alone: tandem run " + shellWord(w.flow) + " --item " + shellWord(t.Root)))
	}
	w.print(b.String())
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	if len(lines) > n {
		lines = append([]string{fmt.Sprintf("… the last %d of %d lines:", n, len(lines))}, lines[len(lines)-n:]...)
	}
	return strings.Join(lines, "\n")
}

// output hears what workers print. Whole lines are shown with the worker's name in front, but not more than a person can read.
func (w *watch) output(step string, worker, stream int, chunk []byte) {
	w.mu.Lock()
	key := fmt.Sprintf("%s/%d", step, worker+1)
	at := key + fmt.Sprint(" ", stream)
	var show []string
	for len(chunk) > 0 {
		line, rest, whole := bytes.Cut(chunk, []byte("\n"))
		chunk = rest
		if !whole {
			if len(w.partial[at]) < 4096 {
				w.partial[at] = append(w.partial[at], line[:min(len(line), 4096)]...)
			}
			break
		}
		line = append(w.partial[at], line[:min(len(line), 4096)]...)
		if seen := w.allow(); seen || w.keep != nil {
			text := w.clean(string(line))
			if seen {
				show = append(show, w.a.dim(key+": ")+oneLine(text, 300))
			}
			if w.keep != nil {
				w.keep(live.Record{Time: time.Now(), Origin: key, Stream: stream, Text: text})
			}
		}
		w.partial[at] = w.partial[at][:0]
	}
	w.mu.Unlock()
	if len(show) > 0 {
		w.print(strings.Join(show, "\n"))
	}
}

// clean takes secrets out of a text.
func (w *watch) clean(s string) string {
	if w.redact == nil {
		return s
	}
	return string(w.redact(tandem.Value{Kind: tandem.Text, Data: []byte(s)}).Data)
}

// command hears what a command writes to standard error. A person sees it when the command fails; the log has all of it.
func (w *watch) command(step, item string, line []byte) {
	if w.keep != nil {
		w.keep(live.Record{Time: time.Now(), Origin: step, Item: w.clean(item), Stream: 2, Text: w.clean(string(line))})
	}
}

func (w *watch) allow() bool {
	if now := time.Now(); now.Sub(w.second) > time.Second {
		w.second, w.shown = now, 0
	}
	if w.shown++; w.shown > linesPerSecond {
		w.hidden++
		return false
	}
	return true
}

// flush says what was not shown.
func (w *watch) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for at, rest := range w.partial {
		if len(rest) > 0 {
			key, text := strings.Fields(at)[0], w.clean(string(rest))
			w.print(w.a.dim(key+": ") + oneLine(text, 300))
			if w.keep != nil {
				w.keep(live.Record{Time: time.Now(), Origin: key, Text: text})
			}
		}
	}
	if w.hidden > 0 {
		w.print(w.a.dim(fmt.Sprintf("%s more lines that handlers printed are not shown (at most %d a second are)", count(w.hidden), linesPerSecond)))
	}
}

// kinds lists the failures by step and kind, most frequent first.
func (w *watch) kinds() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var keys []string
	for k := range w.seen {
		keys = append(keys, k)
	}
	sort.Slice(keys, func(i, j int) bool {
		if w.seen[keys[i]] != w.seen[keys[j]] {
			return w.seen[keys[i]] > w.seen[keys[j]]
		}
		return keys[i] < keys[j]
	})
	for i, k := range keys {
		step, kind, _ := strings.Cut(k, " ")
		keys[i] = fmt.Sprintf("%s %s in %s", count(w.seen[k]), kind, step)
	}
	return keys
}
