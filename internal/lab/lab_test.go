package lab

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tandem"
)

// The test binary is also the Go side of an experiment.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "lab-part" {
		if os.Args[2] == CrashName {
			CrashPart()
		}
		if err := Part(os.Args[2], slices.Contains(os.Args, "--quick"), os.Stdout); err != nil {
			_, _ = os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func measured(t *testing.T, only ...string) *Report {
	t.Helper()
	r, err := Run(t.Context(), Config{Quick: true, Only: only, Self: []string{os.Args[0], "lab-part"}, Temp: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Cheap experiments with what is installed: each runtime that is here has figures, and whoever is not is missing by name.
func TestQuickRun(t *testing.T) {
	r := measured(t, "talk", "crash", "wait")
	have := map[string]bool{}
	for _, row := range r.Rows {
		have[row.Model] = true
		if row.Value < 0 || row.Unit == "" || row.Means == "" {
			t.Errorf("%+v", row)
		}
	}
	for runtime, model := range map[string]string{"go": "goroutine", "python": "python thread", "java": "jvm thread", "node": "node worker"} {
		_, here := r.Machine.Runtimes[runtime]
		absent := slices.ContainsFunc(r.Missing, func(m Missing) bool { return m.Runtime == runtime })
		if here != have[model] || !here && !absent {
			t.Errorf("%s: here %v, measured %v, missing %v", runtime, here, have[model], r.Missing)
		}
	}
	if lost, ok := r.Value("crash", "goroutine", "neighbours lost"); !ok || lost != 3 {
		t.Errorf("a panic left %v of three goroutines", 3-lost)
	}
	if _, here := r.Machine.Runtimes["python"]; here {
		thread, _ := r.Value("crash", "python thread", "neighbours lost")
		process, ok := r.Value("crash", "python process", "neighbours lost")
		if thread != 3 || process != 0 || !ok {
			t.Errorf("a crash took %v threads and %v processes along", thread, process)
		}
		loop, _ := r.Value("wait", "python loop", "four waits")
		together, _ := r.Value("wait", "asyncio task", "four waits")
		if loop < .4 || together < .1 {
			t.Errorf("waits ended early: %v and %v", loop, together)
		}
	}
	var b bytes.Buffer
	if err := r.Page().Write(&b); err != nil || !strings.Contains(b.String(), "neighbours lost") {
		t.Errorf("%v", err)
	}
}

func TestAllGoParts(t *testing.T) {
	for _, e := range Experiments {
		if e.Name == "many" || e.Name == "crash" {
			continue // seconds, and the test above
		}
		t.Run(e.Name, func(t *testing.T) {
			var b bytes.Buffer
			if err := Part(e.Name, true, &b); err != nil {
				t.Fatal(err)
			}
			var row Row
			if err := json.NewDecoder(&b).Decode(&row); err != nil || row.Model == "" {
				t.Errorf("%v %+v", err, row)
			}
		})
	}
	if err := Part("none", true, &bytes.Buffer{}); err == nil {
		t.Error("an experiment that is not there runs")
	}
}

// What is not installed, does not run or fails half-way is said and costs only its own figures.
func TestMissingRuntimes(t *testing.T) {
	bin := t.TempDir()
	for name, text := range map[string]string{
		"node":  "#!/bin/sh\ncase $1 in --version) echo v20.0.0;; *) echo '{\"model\":\"node worker\",\"measure\":\"message\",\"value\":1,\"unit\":\"µs\"}'; echo half a row; echo it broke >&2; exit 3;; esac\n",
		"java":  "#!/bin/sh\necho openjdk 17.0.1 2021-10-19\n",
		"javac": "#!/bin/sh\nexit 1\n",
		"sleep": "#!/bin/sh\n", "true": "#!/bin/sh\n",
	} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin)
	r, err := Run(t.Context(), Config{Quick: true, Only: []string{"talk"}, Self: []string{os.Args[0], "lab-part"}, Temp: t.TempDir(), Python: filepath.Join(bin, "python3")})
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, m := range r.Missing {
		all = append(all, m.Text())
	}
	text := strings.Join(all, "\n")
	for _, want := range []string{"python: " + filepath.Join(bin, "python3") + " is not here", "node in talk: it broke", "node in talk: its program printed half a row"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if v, ok := r.Value("talk", "node worker", "message"); !ok || v != 1 {
		t.Error("the row before the failure is lost")
	}
	if _, err := Run(t.Context(), Config{Only: []string{"everything"}, Temp: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "no such experiment") {
		t.Error(err)
	}
}

func TestSaveAndLoad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "deep", "lab.json")
	if Load(file) != nil {
		t.Error("something was loaded from nothing")
	}
	r := &Report{Version: version, Time: time.Now().UTC().Truncate(time.Second), Rows: []Row{{Experiment: "cpu", Model: "x", Measure: "y", Value: 2, Unit: "s"}}}
	if err := r.Save(file); err != nil {
		t.Fatal(err)
	}
	if back := Load(file); back == nil || back.Rows[0] != r.Rows[0] || !back.Time.Equal(r.Time) {
		t.Errorf("%+v", back)
	}
	for _, bad := range []string{"{", `{"version":99}`} {
		if err := os.WriteFile(file, []byte(bad), 0o644); err != nil {
			t.Fatal(err)
		}
		if Load(file) != nil {
			t.Errorf("%s was loaded", bad)
		}
	}
}

var figures = &Report{Machine: Machine{Cores: 4}, Rows: []Row{
	{Experiment: "cpu", Model: "python loop", Measure: "four tasks", Value: 4}, {Experiment: "cpu", Model: "python thread", Measure: "four tasks", Value: 4},
	{Experiment: "cpu", Model: "python process", Measure: "four tasks", Value: 1.1}, {Experiment: "memory", Model: "python thread", Measure: "memory", Value: 16},
	{Experiment: "memory", Model: "asyncio task", Measure: "memory", Value: 1}, {Experiment: "memory", Model: "goroutine", Measure: "memory", Value: 2.5},
	{Experiment: "memory", Model: "python process, spawned", Measure: "memory", Value: 10240}, {Experiment: "crash", Model: "python thread", Measure: "neighbours lost", Value: 3},
	{Experiment: "share", Model: "pickle", Measure: "hand over", Value: 1000}, {Experiment: "share", Model: "shared memory", Measure: "hand over", Value: 20},
	{Experiment: "talk", Model: "python process", Measure: "task", Value: 90}}}

func TestDecide(t *testing.T) {
	for _, tt := range []struct {
		name          string
		needs         Needs
		mode          tandem.Mode
		workers, each int
		says          string
	}{
		{"python computes", Needs{Language: "python", CPU: 1, AtOnce: 1000}, tandem.Process, 4, 1, "threads take turns"},
		{"python waits", Needs{Language: "python", CPU: .02, AtOnce: 5000}, tandem.Thread, 4, 50, "a thread that waits costs 16 KB here"},
		{"few waits", Needs{Language: "python", CPU: .02, AtOnce: 10}, tandem.Thread, 1, 10, "16 KB"},
		{"coroutines", Needs{Language: "python", CPU: .01, AtOnce: 5000, Async: true}, tandem.Async, 1, 100, "1 KB here"},
		{"survives", Needs{Language: "python", CPU: .9, CrashSafe: true, AtOnce: 100}, tandem.Process, 4, 1, "one took 3 with it"},
		{"waits and survives", Needs{Language: "python", CPU: .1, CrashSafe: true, AtOnce: 1000}, tandem.Process, 32, 1, "more processes than processors"},
		{"go", Needs{Language: "go", CPU: .01, AtOnce: 100}, tandem.Goroutine, 0, 100, "2.5 KB"},
		{"command", Needs{Language: "command", CPU: 1, AtOnce: 100}, tandem.Goroutine, 0, 4, "a process already"},
		{"java computes", Needs{Language: "java", CPU: 1, AtOnce: 100}, tandem.Thread, 1, 4, "threads of the JVM"},
		{"node waits", Needs{Language: "node", CPU: .1, AtOnce: 100}, tandem.Async, 1, 10, "event loop"},
		{"shares", Needs{Language: "python", CPU: 1, AtOnce: 8, Share: 256 << 20}, tandem.Process, 4, 1, "about 1 s by pickle and 20 ms in shared memory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := Decide(figures, tt.needs)
			if d.Mode != tt.mode || d.Workers != tt.workers || d.Each != tt.each || !strings.Contains(strings.Join(d.Because, "\n"), tt.says) {
				t.Errorf("%+v", d)
			}
		})
	}
	d := Decide(figures, Needs{Language: "python", CPU: 1, AtOnce: 10})
	if d.MemoryMB != 40 || d.Times[0] < 3 || d.Times[1] > 4.01 || d.PerTask != 90 {
		t.Errorf("%+v", d)
	}
}

// Whatever is answered, and with no figure at all, the decision has a mode, a place, a reason, and no more places than tasks.
func TestDecideAlwaysAnswers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := Needs{Language: rapid.SampledFrom(Languages).Draw(t, "language"), CPU: rapid.Float64Range(0, 1).Draw(t, "cpu"), CrashSafe: rapid.Bool().Draw(t, "safe"),
			Share: rapid.Int64Range(0, 1<<40).Draw(t, "share"), AtOnce: rapid.IntRange(0, 1<<20).Draw(t, "many"), Async: rapid.Bool().Draw(t, "async")}
		r := rapid.SampledFrom([]*Report{figures, {Machine: Machine{Cores: 1}}, {Machine: Machine{Cores: 128}}}).Draw(t, "report")
		d := Decide(r, n)
		if !slices.Contains(tandem.Modes, d.Mode) || d.size() < 1 || len(d.Because) == 0 || !strings.HasPrefix(d.Flow, "mode: ") || d.Times[0] <= 0 || d.Times[1] < d.Times[0] {
			t.Fatalf("%+v", d)
		}
		if d.size() > max(n.AtOnce, 1)+d.Workers {
			t.Fatalf("%d places for %d tasks", d.size(), n.AtOnce)
		}
	})
}
