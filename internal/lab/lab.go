// Package lab measures on this machine what textbooks say of processes, threads, goroutines, virtual threads, coroutines and event loops: what they cost to
// make, to keep, to switch between and to talk to, what a crash takes with it, what they gain for computing and for waiting, and what it costs to share data.
//
// Every figure is measured by a program in the language itself, started one after the other, so that nothing else of ours runs meanwhile. A runtime that is not
// here, or a program that fails, is Missing in the report, with the reason: no figure is made up. Run blocks; its cost is about a minute of all processors, and
// up to some hundred megabytes for a moment. Decide and the meanings are pure: figures in, sentences out.
package lab

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"tandem"
	"tandem/internal/measure"
	"tandem/internal/proc"
)

// Row is one figure.
type Row struct {
	Experiment string  `json:"experiment"`
	Model      string  `json:"model"`
	Measure    string  `json:"measure"`
	Value      float64 `json:"value"`
	Unit       string  `json:"unit"`
	N          int     `json:"n"`                  // of how many
	Note       string  `json:"note,omitempty"`     // what limits the figure
	Foreign    float64 `json:"foreign_processors"` // that others used meanwhile; -1 when it cannot be told
	Means      string  `json:"means,omitempty"`
}

// Missing is what could not be measured.
type Missing struct {
	Experiment string `json:"experiment,omitempty"` // empty: all of the runtime
	Runtime    string `json:"runtime"`
	Why        string `json:"why"`
}

// Machine is what the figures hold for.
type Machine struct {
	Processor string            `json:"processor"`
	Cores     float64           `json:"cores"`
	MemoryMB  int64             `json:"memory_mb"`
	Kernel    string            `json:"kernel"`
	Runtimes  map[string]string `json:"runtimes"`
}

// Report is what was measured.
type Report struct {
	Version int       `json:"version"`
	Time    time.Time `json:"time"`
	Quick   bool      `json:"quick"` // smaller sizes: figures are rougher
	Machine Machine   `json:"machine"`
	Rows    []Row     `json:"rows"`
	Missing []Missing `json:"missing"`
	Foreign float64   `json:"foreign_processors"` // that others used meanwhile; -1 when it cannot be told
	Seconds float64   `json:"seconds"`
}

// Config says what to measure and with what.
type Config struct {
	Quick  bool
	Only   []string // experiments; nil means all
	Self   []string // starts Part in a process of its own
	Python string   // empty means python3
	Java   []string // where to look for Java first; see findJava
	Temp   string   // a directory for the programs
	Tell   func(done, all int, what string)
}

// Run measures. The error is about the experiments asked for, the programs' directory, or the cause of ctx.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	todo := Experiments
	if cfg.Only != nil {
		todo = nil
		for _, name := range cfg.Only {
			i := slices.IndexFunc(Experiments, func(e Experiment) bool { return e.Name == name })
			if i < 0 {
				return nil, &tandem.Error{Op: "measure", On: name, Kind: tandem.KindInvalid, Message: "no such experiment", Hint: "there are " + strings.Join(Names(), ", ")}
			}
			todo = append(todo, Experiments[i])
		}
	}
	if cfg.Tell == nil {
		cfg.Tell = func(int, int, string) {}
	}
	r := &Report{Version: version, Time: time.Now().UTC().Truncate(time.Second), Quick: cfg.Quick, Rows: []Row{}, Missing: []Missing{}}
	r.Machine = machine()
	starters, err := r.starters(ctx, &cfg)
	if err != nil {
		return nil, err
	}
	foreign, own := measure.NewForeign(), measure.KinCPU()
	all, done := 0, 0
	for _, e := range todo {
		all += len(e.Runtimes)
	}
	for _, e := range todo {
		for _, name := range e.Runtimes {
			cfg.Tell(done, all, name+": "+e.Title)
			done++
			if start := starters[name]; start != nil {
				r.one(ctx, cfg, e, name, start(e.Name))
			}
			if cause := context.Cause(ctx); cause != nil {
				return nil, cause
			}
		}
	}
	r.Foreign = foreign.Since(measure.KinCPU() - own)
	r.explain()
	r.Seconds = time.Since(r.Time).Seconds()
	return r, nil
}

// version of the report: a cached one of another is not read.
const version = 1

// most time a program has.
const mostTime = 60 * time.Second

// one runs one program and takes its rows.
func (r *Report) one(ctx context.Context, cfg Config, e Experiment, name string, argv []string) {
	ctx, cancel := context.WithTimeout(ctx, mostTime)
	defer cancel()
	if cfg.Quick {
		argv = append(argv, "--quick")
	}
	foreign, before := measure.NewForeign(), measure.KinCPU()
	end, err := proc.Run(ctx, proc.Command{Argv: argv, Extra: []string{"PYTHONDONTWRITEBYTECODE=1"}})
	others := math.Round(100*foreign.Since(measure.KinCPU()-before)) / 100
	missing := func(why string) { r.Missing = append(r.Missing, Missing{e.Name, name, why}) }
	for s := bufio.NewScanner(bytes.NewReader(end.Stdout)); s.Scan(); {
		row := Row{Experiment: e.Name}
		if json.Unmarshal(s.Bytes(), &row) != nil || row.Model == "" || row.Measure == "" {
			missing("its program printed " + s.Text())
			continue
		}
		row.Experiment, row.Foreign = e.Name, others
		r.Rows = append(r.Rows, row)
	}
	lines := strings.Split(strings.TrimSpace(string(end.Stderr)), "\n")
	switch last := lines[len(lines)-1]; {
	case err != nil:
		missing(err.Error())
	case end.Canceled:
		missing("not done within " + mostTime.String())
	case end.Signal != "":
		missing("its program was ended by " + end.Signal + ": " + last)
	case end.Code != 0:
		missing(cmp.Or(last, fmt.Sprintf("exit code %d", end.Code)))
	}
}

// machine is what this machine is.
func machine() Machine {
	m := Machine{Processor: runtime.GOARCH, Cores: float64(measure.FindCores().Effective()), Runtimes: map[string]string{"go": runtime.Version()}}
	if q := measure.FindCores().Quota; q > 0 {
		m.Cores = min(m.Cores, q)
	}
	m.Processor = cmp.Or(field("/proc/cpuinfo", "model name"), m.Processor)
	_, _ = fmt.Sscan(field("/proc/meminfo", "MemTotal"), &m.MemoryMB)
	m.MemoryMB >>= 10
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(b))
	}
	return m
}

// field is what stands behind a name in a file of /proc.
func field(file, name string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if before, after, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(before) == name {
			return strings.TrimSpace(after)
		}
	}
	return ""
}

// Value is a figure of the report; false when there is none.
func (r *Report) Value(experiment, model, measure string) (float64, bool) {
	for _, row := range r.Rows {
		if row.Experiment == experiment && row.Model == model && row.Measure == measure {
			return row.Value, true
		}
	}
	return 0, false
}

// Load reads a report that Save has written; nil when there is none that this version can use.
func Load(file string) *Report {
	b, err := os.ReadFile(file)
	var r Report
	if err != nil || json.Unmarshal(b, &r) != nil || r.Version != version {
		return nil
	}
	return &r
}

// Save keeps a report, in one step.
func (r *Report) Save(file string) error {
	b, err := json.MarshalIndent(r, "", " ")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(file), 0o755)
	}
	if err == nil {
		err = os.WriteFile(file+".new", append(b, '\n'), 0o644)
	}
	if err == nil {
		err = os.Rename(file+".new", file)
	}
	return err
}
