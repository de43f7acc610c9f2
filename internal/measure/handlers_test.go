package measure_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	root "tandem"
	"tandem/engine"
	"tandem/internal/compare"
	"tandem/internal/handler"
)

// labelled is a line of testdata/corpus/handlers/handlers.txt.
type labelled struct {
	name, kind, handler, truth string
	best                       string
	grid                       []string
}

func readHandlers(t *testing.T) (list []labelled) {
	t.Helper()
	b, err := os.ReadFile("testdata/corpus/handlers/handlers.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		part := strings.Split(strings.TrimSpace(line), "|")
		if len(part) != 6 {
			t.Fatalf("%q: want six columns", line)
		}
		for i := range part {
			part[i] = strings.TrimSpace(part[i])
		}
		list = append(list, labelled{part[0], part[1], part[2], part[3], part[4], strings.Fields(part[5])})
	}
	return list
}

// bench is what the handlers run in.
type bench struct {
	t      *testing.T
	dir    string
	env    []string
	python []string
	worker []string
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, dir: t.TempDir()}
	var err error
	if b.python, err = handler.Python(handler.PythonConfig{Step: "corpus", Cache: b.dir}); err != nil {
		t.Skip(err)
	}
	here, _ := filepath.Abs("testdata/corpus/handlers")
	if b.worker, err = handler.Go(t.Context(), handler.GoConfig{Step: "corpus", Package: "./goworker", Dir: here, Cache: b.dir}); err != nil {
		t.Fatal(err)
	}
	b.env = append(handler.PythonEnv(os.Environ()), "SEED="+strconv.Itoa(*seed), "DIR="+b.dir, "SERVER="+serveWaits(t), "CORPUS="+here)
	return b
}

// serveWaits is a server that answers after a while; /narrow serves eight at a time.
func serveWaits(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	eight := make(chan struct{}, 8)
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ms, _ := strconv.ParseFloat(r.FormValue("ms"), 64)
		if r.URL.Path == "/narrow" {
			eight <- struct{}{}
			defer func() { <-eight }()
		}
		time.Sleep(time.Duration(ms * float64(time.Millisecond)))
		fmt.Fprintln(w, "done")
	})}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { s.Close() })
	return l.Addr().String()
}

// step is the step of a handler under a setting: auto, 2x16, or for commands 8.
func (b *bench) step(h labelled, setting string) engine.Step {
	s := engine.Step{Name: h.name, Mode: root.Auto}
	workers, atOnce := 1, 1
	if setting != "auto" {
		w, a, two := strings.Cut(setting, "x")
		workers, _ = strconv.Atoi(w)
		if atOnce, _ = strconv.Atoi(a); !two {
			atOnce = workers
		}
	}
	if h.kind == "command" {
		script := filepath.Join("testdata", "corpus", "handlers", "cmd.sh")
		words := []string{"sh", script, h.handler}
		var argv []func(*root.Task) (string, error)
		for _, w := range words {
			argv = append(argv, func(*root.Task) (string, error) { return w, nil })
		}
		s.Handler = engine.Func{Do: handler.Command(handler.CommandConfig{Step: h.name, Argv: argv, Env: b.env}), Computes: true}
		if setting != "auto" {
			s.Mode, s.Concurrency = root.Goroutine, atOnce
		}
		return s
	}
	p := engine.Program{Argv: b.python, Handler: "handlers.py:" + h.handler, Home: filepath.Join("testdata", "corpus", "handlers"), Env: b.env, Output: "json", Budget: 1}
	if h.kind == "go" {
		p.Argv, p.Handler = b.worker, h.handler
	}
	s.Handler = p
	if setting == "auto" {
		return s
	}
	s.Workers = workers
	switch {
	case h.kind == "async":
		s.Mode, s.Concurrency = root.Async, atOnce
	case atOnce > 1:
		s.Mode, s.Threads = root.Thread, atOnce
	default:
		s.Mode = root.Process
	}
	return s
}

// numbers is a source that ends when it is told to.
type numbers struct{ over atomic.Bool }

func (n *numbers) Total() int64 { return -1 }
func (n *numbers) Each(_ context.Context, yield func(string, root.Value) bool) error {
	for i := 1; !n.over.Load(); i++ {
		s := strconv.Itoa(i)
		if !yield(s, root.Value{Kind: root.JSON, Data: []byte(s)}) {
			return nil
		}
	}
	return nil
}

// tally is a sink that notes when items ended.
type tally struct {
	mu    sync.Mutex
	times []time.Time
	bad   int
}

func (s *tally) Write(ended []*root.Task) (int, error) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range ended {
		if t.Result.Outcome == root.OK || t.Result.Outcome == root.Filtered {
			s.times = append(s.times, now)
		} else if t.Result.Outcome != root.Canceled {
			s.bad++
		}
	}
	return len(ended), nil
}
func (s *tally) Close() error { return nil }

// ran is what a run gave.
type ran struct {
	rate     float64 // items a second in its last part
	whole    float64 // items a second from the first to the end
	decided  float64 // seconds from the first item to the last decision that stood; 0 when there was none
	near     float64 // to the first from which on the rate was never more than a tenth below that behind the last
	decision string
	report   engine.StepReport
}

// run runs a handler for a while and counts from a moment on.
func (b *bench) run(h labelled, setting string, long, from time.Duration) ran {
	if strings.HasSuffix(h.name, "_long") { // few of them end in a second
		long, from = 3*long, 2*from
	}
	ctx, cancel := context.WithCancel(b.t.Context())
	defer cancel()
	source, sink := &numbers{}, &tally{}
	e := engine.New(engine.Config{})
	var first, end time.Time
	begun := time.Now()
	go func() {
		for e.Snapshot().Items.In == 0 && ctx.Err() == nil {
			time.Sleep(5 * time.Millisecond)
		}
		first = time.Now()
		time.Sleep(long)
		end = time.Now()
		source.over.Store(true)
		cancel()
	}()
	report, err := e.Run(ctx, engine.Flow{Name: "corpus", Source: source, Steps: []engine.Step{b.step(h, setting)}, Sink: sink})
	if err != nil && ctx.Err() == nil {
		b.t.Fatalf("%s %s: %v", h.name, setting, err)
	}
	if sink.bad > 0 {
		b.t.Errorf("%s %s: %d items ended badly", h.name, setting, sink.bad)
	}
	r := ran{report: report.Steps[0]}
	n, all := 0, 0
	for _, at := range sink.times {
		if at.Before(end) {
			all++
			if at.After(first.Add(from)) {
				n++
			}
		}
	}
	r.rate, r.whole = float64(n)/(long-from).Seconds(), float64(all)/long.Seconds()
	s := r.report
	if r.decision = strconv.Itoa(s.Concurrency); s.Workers > 0 {
		r.decision = fmt.Sprintf("%dx%d", s.Workers, s.Threads)
	}
	if d := inForce(s.Decisions); len(d) > 0 {
		r.decided = d[len(d)-1].Seconds - first.Sub(begun).Seconds()
		r.near = nearly(d, s.Decisions, begun, end, sink.times) - first.Sub(begun).Seconds()
	}
	return r
}

// nearly says when the first of the decisions in force fell from which on none had a rate more than a tenth below that of the last. What a change takes does not
// count, nor does a try that was taken back.
func nearly(inForce, all []engine.Decision, begun, end time.Time, ended []time.Time) (at float64) {
	const change = .3 // seconds
	rate := func(d engine.Decision) float64 {
		from, to := d.Seconds+change, end.Sub(begun).Seconds()
		for _, next := range all {
			if next.Seconds > d.Seconds {
				to = next.Seconds
				break
			}
		}
		n := 0
		for _, t := range ended {
			if s := t.Sub(begun).Seconds(); s >= from && s < to {
				n++
			}
		}
		return float64(n) / max(to-from, 1e-9)
	}
	last := rate(inForce[len(inForce)-1])
	at = inForce[len(inForce)-1].Seconds
	for _, d := range slices.Backward(inForce) {
		if rate(d) < .9*last {
			break
		}
		at = d.Seconds
	}
	return at
}

// times is a factor for people.
func times(x float64) string {
	if x == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f×", x)
}

func median(x []float64) float64 {
	slices.Sort(x)
	if len(x) == 0 {
		return 0
	}
	return (x[(len(x)-1)/2] + x[len(x)/2]) / 2
}

// compared is a line of the table.
type compared struct {
	Name, Truth, ByHand string
	Best, Auto          string             // settings
	Ratio               float64            // of auto's setting to the best one: the median of pairs run one after the other
	Pairs               []float64          // the ratios
	Whole               float64            // items a second of the whole run in mode auto, the measuring included, to the best
	Decided             float64            // seconds from the first item to the last decision that stood; 0 when it stayed as it began
	Near                float64            // to the first from which on the rate was never more than a tenth below that behind the last
	Expected            float64            // times as fast as it began, as the decisions in force foretold; 0 when none did
	Became              float64            // times as fast: the rate behind the decisions to that of the setting it began with, run before and after
	Grid                map[string]float64 // items a second
	Because             string
	Decisions           []engine.Decision
	Measured            *engine.Measured
}

// compare searches the grid, lets auto decide, and runs what both have found in pairs, so that what else goes on on the machine befalls both.
func (b *bench) compare(h labelled) compared {
	c := compared{Name: h.name, Truth: h.truth, ByHand: h.best, Grid: map[string]float64{}}
	for range *rounds {
		for _, setting := range h.grid {
			c.Grid[setting] += b.run(h, setting, *gridTime, *gridTime/4).rate / float64(*rounds)
		}
	}
	first := b.run(h, h.start(), *gridTime, *gridTime/4).rate
	auto := b.run(h, "auto", *autoTime, *autoTime/2)
	if c.Expected = foretold(auto.report.Decisions); c.Expected > 0 {
		c.Became = 2 * auto.rate / (first + b.run(h, h.start(), *gridTime, *gridTime/4).rate)
	}
	c.Auto, c.Decided, c.Near, c.Because, c.Decisions, c.Measured = auto.decision, auto.decided, auto.near, auto.report.Because, auto.report.Decisions, auto.report.Measured
	for _, setting := range h.grid {
		if c.Best == "" || c.Grid[setting] > c.Grid[c.Best] {
			c.Best = setting
		}
	}
	if c.Best == c.Auto { // the same is as fast as itself
		c.Ratio, c.Pairs = 1, []float64{1}
		c.Whole = auto.whole / max(c.Grid[c.Best], auto.rate)
		return c
	}
	var best []float64
	for i := range *pairs {
		var r [2]float64
		for k := range r {
			which := (i + k) % 2 // each comes first in turn
			r[which] = b.run(h, []string{c.Auto, c.Best}[which], *gridTime, *gridTime/4).rate
		}
		c.Pairs, best = append(c.Pairs, r[0]/max(r[1], 1e-9)), append(best, r[1])
	}
	c.Ratio, c.Whole = median(slices.Clone(c.Pairs)), auto.whole/max(median(best), 1e-9)
	return c
}

// start is the setting that mode auto begins with, on two processors.
func (h labelled) start() string {
	switch h.kind {
	case "async":
		return "1x64"
	case "command":
		return "2"
	}
	return "2x1"
}

// inForce are the decisions that made the setting what it was in the end: without those that were taken back.
func inForce(all []engine.Decision) (list []engine.Decision) {
	for _, d := range all {
		if strings.HasPrefix(d.Because, "taken back") {
			list = list[:max(0, len(list)-1)]
		} else {
			list = append(list, d)
		}
	}
	return list
}

// foretold is the product of what the decisions in force were expected to bring; 0 when none of them said.
func foretold(all []engine.Decision) float64 {
	product, said := 1.0, false
	for _, d := range inForce(all) {
		if d.Expected > 0 {
			product, said = product*d.Expected, true
		}
	}
	if !said {
		return 0
	}
	return product
}

// named says whether a name fits -only.
func named(t *testing.T, name string) bool {
	fits, err := regexp.MatchString(*only, name)
	if err != nil {
		t.Fatal(err)
	}
	return fits
}

// TestHandlersAccuracy compares mode auto with the best setting that a search through the grid finds.
func TestHandlersAccuracy(t *testing.T) {
	if !*handlers {
		t.Skip("several minutes: make accuracy-handlers")
	}
	b := newBench(t)
	var lines []compared
	fmt.Printf("%-18s %-9s %-8s %-8s %-8s %6s %6s %6s %8s %8s %8s\n", "handler", "truth", "by hand", "best", "auto", "ratio", "whole", "near", "decided", "expected", "became")
	for _, h := range readHandlers(t) {
		if !named(t, h.name) {
			continue
		}
		l := b.compare(h)
		lines = append(lines, l)
		fmt.Printf("%-18s %-9s %-8s %-8s %-8s %6.2f %6.2f %5.1fs %7.1fs %8s %8s  %s\n", l.Name, l.Truth, l.ByHand, l.Best, l.Auto, l.Ratio, l.Whole, l.Near, l.Decided, times(l.Expected), times(l.Became), l.Because)
		if *explain {
			for _, d := range l.Decisions {
				fmt.Printf("    %6.2fs %s → %s: %s\n", d.Seconds, d.From, d.To, d.Because)
			}
			g, _ := json.Marshal(l.Grid)
			m, _ := json.Marshal(l.Measured)
			fmt.Printf("    grid %s\n    pairs %.2f\n    measured %s\n", g, l.Pairs, m)
		}
	}
	var all, off []float64
	good, near, quick := 0, 0, 0
	for _, l := range lines {
		all = append(all, l.Ratio)
		if l.Ratio >= .9 {
			good++
		}
		if l.Near <= 2 {
			near++
		}
		if l.Decided <= 2 {
			quick++
		}
		if l.Expected > 0 {
			off = append(off, math.Abs(compare.Off([2]float64{l.Expected, l.Expected}, l.Became)))
		}
	}
	fmt.Printf("%d handlers, seed %d: at least 90 %% of the best: %d; median %.2f; worst %.2f; within a tenth of the rate of the end after 2 s: %d; the last change that stood within 2 s: %d\n",
		len(lines), *seed, good, median(all), slices.Min(all), near, quick)
	if len(off) > 0 {
		held := 0
		for _, o := range off {
			if compare.Held(o) {
				held++
			}
		}
		fmt.Printf("%d predictions: off by %.0f %% in the median, at most by %.0f %%; within 15 %%: %d\n", len(off), 100*median(off), 100*slices.Max(off), held)
	}
	if *outFile != "" {
		doc, err := json.MarshalIndent(lines, "", "  ")
		if err == nil {
			err = os.WriteFile(*outFile, append(doc, '\n'), 0o644)
		}
		if err != nil {
			t.Error(err)
		}
	}
}

// TestHandlersOfTheCorpusRun runs each labelled handler for a moment, so that none of them rots, and lets mode auto decide of it.
func TestHandlersOfTheCorpusRun(t *testing.T) {
	if testing.Short() {
		t.Skip("starts three dozen processes")
	}
	b := newBench(t)
	list := readHandlers(t)
	if len(list) < 16 {
		t.Fatalf("%d handlers", len(list))
	}
	for _, h := range list {
		if !slices.Contains(h.grid, h.best) {
			t.Errorf("%s: the best setting by hand, %s, is not in its grid", h.name, h.best)
		}
		if strings.HasSuffix(h.name, "_long") {
			continue
		}
		long := 400 * time.Millisecond
		if h.kind == "async" { // a loop that is kept from turning tells of itself when it does
			long = 2 * time.Second
		}
		if r := b.run(h, "auto", long, 0); r.report.Attempts == 0 || r.report.Measured == nil {
			t.Errorf("%s: %d attempts, measured %+v", h.name, r.report.Attempts, r.report.Measured)
		}
	}
}
