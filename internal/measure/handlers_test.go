package measure_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	root "tandem"
	"tandem/engine"
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
	decided  float64 // seconds from the first item to the last decision; 0 when there was none
	decision string
	report   engine.StepReport
}

// run runs a handler for a while and counts from a moment on.
func (b *bench) run(h labelled, setting string, long, from time.Duration) ran {
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
	r.decision = fmt.Sprintf("%d×%d", max(s.Workers, 1), cmp.Or(map[bool]int{true: s.Threads, false: s.Concurrency}[s.Workers > 0], 1))
	if d := s.Decisions; len(d) > 0 {
		r.decided = d[len(d)-1].Seconds - first.Sub(begun).Seconds()
	}
	return r
}

func median(x []float64) float64 {
	slices.Sort(x)
	if len(x) == 0 {
		return 0
	}
	return (x[(len(x)-1)/2] + x[len(x)/2]) / 2
}

// TestHandlersAccuracy compares mode auto with the best setting that a search through the grid finds. Candidates are interleaved, figures are medians.
func TestHandlersAccuracy(t *testing.T) {
	if !*handlers {
		t.Skip("several minutes: make accuracy-handlers")
	}
	b := newBench(t)
	type line struct {
		Name, Truth, Best, ByHand, Auto string
		BestRate, AutoRate, Ratio       float64
		Whole                           float64 // of the whole run, the measuring included, to the best
		Decided                         float64
		Grid                            map[string]float64
		Because                         string
		Measured                        *engine.Measured
	}
	var lines []line
	fmt.Printf("%-18s %-9s %-8s %8s  %-8s %8s %6s %6s %8s\n", "handler", "truth", "best", "a second", "auto", "a second", "ratio", "whole", "decided")
	for _, h := range readHandlers(t) {
		if *only != "" && !strings.Contains(h.name, *only) {
			continue
		}
		rates, whole := map[string][]float64{}, []float64{}
		var last ran
		var decided []float64
		for range *rounds {
			for i, setting := range h.grid {
				r := b.run(h, setting, *gridTime, *gridTime/3)
				rates[setting] = append(rates[setting], r.rate)
				if i == len(h.grid)/2 || len(h.grid) == 1 {
					last = b.run(h, "auto", *autoTime, *autoTime-*gridTime)
					rates["auto"] = append(rates["auto"], last.rate)
					whole, decided = append(whole, last.whole), append(decided, last.decided)
				}
			}
		}
		l := line{Name: h.name, Truth: h.truth, ByHand: h.best, Auto: last.decision, Grid: map[string]float64{}, AutoRate: median(rates["auto"]), Decided: median(decided), Because: last.report.Because, Measured: last.report.Measured}
		for setting, r := range rates {
			l.Grid[setting] = median(r)
			if setting != "auto" && l.Grid[setting] > l.BestRate {
				l.Best, l.BestRate = setting, l.Grid[setting]
			}
		}
		l.Ratio, l.Whole = l.AutoRate/l.BestRate, median(whole)/l.BestRate
		lines = append(lines, l)
		fmt.Printf("%-18s %-9s %-8s %8.1f  %-8s %8.1f %6.2f %6.2f %7.1fs  %s\n", l.Name, l.Truth, l.Best, l.BestRate, l.Auto, l.AutoRate, l.Ratio, l.Whole, l.Decided, l.Because)
		if *explain {
			for _, d := range last.report.Decisions {
				fmt.Printf("    %6.2fs %s → %s: %s\n", d.Seconds, d.From, d.To, d.Because)
			}
			g, _ := json.Marshal(l.Grid)
			m, _ := json.Marshal(l.Measured)
			fmt.Printf("    grid %s\n    measured %s\n", g, m)
		}
	}
	var all []float64
	good, quick := 0, 0
	for _, l := range lines {
		all = append(all, l.Ratio)
		if l.Ratio >= .9 {
			good++
		}
		if l.Decided <= 2 {
			quick++
		}
	}
	fmt.Printf("%d handlers, seed %d, %d rounds: at least 90 %% of the best: %d; median %.2f; worst %.2f; decided within 2 s: %d\n", len(lines), *seed, *rounds, good, median(all), slices.Min(all), quick)
}
