package lab

import (
	"fmt"
	"math"
	"strings"

	"tandem"
	"tandem/internal/advise"
)

// Needs is what a person answers to the questions of the decision guide.
type Needs struct {
	Language  string  `json:"language"`   // python, go, java, node, command
	CPU       float64 `json:"cpu"`        // share of a task's time on a processor, 0 to 1
	CrashSafe bool    `json:"crash_safe"` // a crash must cost one item only
	Share     int64   `json:"share"`      // bytes that every task needs to see; 0 for none
	AtOnce    int     `json:"at_once"`    // tasks there are at the same time
	Async     bool    `json:"async"`      // the code is written as coroutines
}

// Languages that a decision can be made for.
var Languages = []string{"python", "go", "java", "node", "command"}

// Decision is a mode, a size, and why, by the figures of a machine.
type Decision struct {
	Needs    Needs       `json:"needs"`
	Mode     tandem.Mode `json:"mode"`
	Workers  int         `json:"workers"` // worker processes; 0 for goroutines
	Each     int         `json:"each"`    // tasks at a time in each
	Because  []string    `json:"because"`
	MemoryMB float64     `json:"memory_mb"`     // for all of them; -1 when the lab has no figure
	Times    [2]float64  `json:"times_as_fast"` // as one at a time: predicted, and the bound
	PerTask  float64     `json:"overhead_us"`   // of handing a task over, at the least; -1 when the lab has no figure
	Flow     string      `json:"flow"`          // the lines for a step
	Beware   []string    `json:"beware"`        // what the answer does not hold for
	Measured string      `json:"measured"`      // "quick" or "whole": how good the figures are
}

// Decide answers by the lab's figures. It is pure.
func Decide(r *Report, n Needs) Decision {
	d := Decision{Needs: n, MemoryMB: -1, PerTask: -1, Because: []string{}, Beware: []string{}, Measured: "whole"}
	if r.Quick {
		d.Measured = "quick"
	}
	cores := r.Machine.Cores
	share := min(max(n.CPU, 0), 1)
	atOnce := max(n.AtOnce, 1)
	want := atOnce // in flight, so that the processors are used
	if share > 0 {
		want = int(math.Ceil(cores / share))
	}
	size := max(1, min(atOnce, want))
	because := func(format string, args ...any) { d.Because = append(d.Because, fmt.Sprintf(format, args...)) }
	processes := max(1, min(atOnce, int(math.Round(cores))))
	switch computes := share >= .5; {
	case n.Language == "command":
		d.Mode, d.Each = tandem.Goroutine, size
		because("a command is a process already; goroutines wait for it, %d at a time", size)
	case n.Language == "go" && !n.CrashSafe:
		d.Mode, d.Each = tandem.Goroutine, size
		if computes {
			because("goroutines use all processors%s, in one process", r.speedText("goroutine"))
		} else {
			because("a goroutine that waits costs %s", r.memoryText("goroutine"))
		}
	case n.CrashSafe:
		d.Mode, d.Workers, d.Each = tandem.Process, processes, 1
		because("a crash must cost one item: %s", r.crashText(n.Language))
		if !computes {
			d.Workers = max(1, min(atOnce, want, int(max(cores*8, 8))))
			because("it waits %.0f %% of its time, so more processes than processors are useful, up to what memory bears", 100*(1-share))
		}
	case computes && n.Language == "java":
		d.Mode, d.Workers, d.Each = tandem.Thread, 1, processes
		because("threads of the JVM use all processors%s", r.speedText("jvm thread"))
	case computes:
		d.Mode, d.Workers, d.Each = tandem.Process, processes, 1
		if n.Language == "python" {
			because("it computes, and Python's threads take turns%s%s", r.speedText("python thread"), r.versus("python process"))
		} else {
			because("it computes, and an event loop has one processor; processes use all")
		}
	case n.Language == "node" || n.Async:
		d.Mode, d.Workers, d.Each = tandem.Async, 1, size
		if share > 0 { // an event loop has one processor
			d.Each = max(1, min(atOnce, int(math.Ceil(1/share))))
		}
		because("it waits, and an event loop keeps a wait for %s", r.memoryText(map[bool]string{true: "asyncio task", false: "node promise"}[n.Language == "python"]))
	default:
		d.Mode, d.Workers, d.Each = tandem.Thread, 1, size
		model := "python thread"
		if n.Language == "java" {
			model = "jvm thread"
		}
		because("it waits %.0f %% of its time; a thread that waits costs %s", 100*(1-share), r.memoryText(model))
		if share > 0 && n.Language == "python" {
			if one := int(math.Ceil(1 / share)); one < d.Each { // one interpreter computes on one processor
				d.Workers = max(1, min(int(math.Round(cores)), (d.Each+one-1)/one))
				d.Each = (d.Each + d.Workers - 1) / d.Workers
				if d.Workers > 1 {
					because("beyond %d at a time one interpreter has no time left, so there are %d of them", one, d.Workers)
				}
			}
		}
	}
	r.size(&d, share, cores)
	r.sharing(&d)
	if atOnce > d.size() {
		because("%d of the %d at a time; the others wait in the queue, which costs less than a place", d.size(), atOnce)
	}
	d.Flow = d.flow()
	return d
}

func (d *Decision) size() int { return max(d.Workers, 1) * max(d.Each, 1) }

// size fills in what the choice costs and gains.
func (r *Report) size(d *Decision, share, cores float64) {
	process, each, task := "python process, spawned", "", "python process"
	switch d.Mode {
	case tandem.Goroutine:
		process, each, task = "", "goroutine", ""
		if d.Needs.Language == "command" {
			process, task = "", ""
			d.Beware = append(d.Beware, "the memory of the commands themselves is not counted")
		}
	case tandem.Thread:
		each = "python thread"
		if d.Needs.Language == "java" {
			process, each = "", "jvm thread"
		}
	case tandem.Async:
		each = map[bool]string{true: "asyncio task", false: "node promise"}[d.Needs.Language == "python"]
	}
	if l := d.Needs.Language; process != "" && l != "python" {
		if process, task = "", ""; l == "node" {
			process = "node worker"
		} else if d.Mode == tandem.Process {
			process = "process"
		}
		d.Beware = append(d.Beware, "the memory of a "+l+" worker is taken from the nearest that the lab has measured")
	}
	kb, known := 0.0, true
	if process != "" {
		v, ok := r.Value("memory", process, "memory")
		kb, known = kb+float64(max(d.Workers, 1))*v, known && ok
	}
	if each != "" {
		v, ok := r.Value("memory", each, "memory")
		if !ok {
			v, ok = r.Value("many", each, "memory of each")
		}
		kb, known = kb+float64(d.size())*v, known && ok
	}
	if known {
		d.MemoryMB = math.Round(kb/1024*10) / 10
	}
	if v, ok := r.Value("talk", task, "task"); ok && task != "" {
		d.PerTask = math.Round(v)
		d.Beware = append(d.Beware, fmt.Sprintf("Python's own pool takes %s to hand a task over; Tandem gives several at a time and takes less", short(v)))
	}
	e := cores
	if d.Mode == tandem.Thread && d.Needs.Language == "python" || d.Mode == tandem.Async {
		e = min(cores, float64(max(d.Workers, 1)))
	}
	d.Times = advise.Predict(share, e, 1, float64(d.size()))
	d.Beware = append(d.Beware, "the speed is what queueing predicts: the other side may bear less; `tandem compare` measures it")
}

// sharing says what the shared data costs.
func (r *Report) sharing(d *Decision) {
	mb, text := float64(d.Needs.Share)/(1<<20), sizeText(d.Needs.Share)
	if mb == 0 {
		return
	}
	whole := 256.0
	if r.Quick {
		whole = 32
	}
	cost := func(model string) (string, bool) {
		v, ok := r.Value("share", model, "hand over")
		return short(v * 1e3 * mb / whole), ok
	}
	if d.Mode != tandem.Process && d.Workers <= 1 {
		d.Because = append(d.Because, fmt.Sprintf("all see the same memory: %s are there once", text))
		return
	}
	pickle, ok := cost("pickle")
	shared, ok2 := cost("shared memory")
	if ok && ok2 {
		d.Because = append(d.Because, fmt.Sprintf("%s to each process take about %s by pickle and %s in shared memory: give a path, or bytes, which Tandem lends without a copy", text, pickle, shared))
	}
	d.Beware = append(d.Beware, fmt.Sprintf("a copy in each of the %d processes would take %s more", d.Workers, sizeText(d.Needs.Share*int64(d.Workers))))
}

func (r *Report) memoryText(model string) string {
	for _, at := range [][2]string{{"memory", "memory"}, {"many", "memory of each"}} {
		if v, ok := r.Value(at[0], model, at[1]); ok {
			return Row{Unit: "KB", Value: max(v, .1)}.Figure() + " here"
		}
	}
	return "little (not measured here)"
}

// speedText is what four of a model gain here, in brackets.
func (r *Report) speedText(model string) string {
	if up, ok := r.speedUp(model); ok {
		return fmt.Sprintf(" (four %ss: %.1f times a loop here)", model, up)
	}
	return ""
}

func (r *Report) versus(model string) string {
	if up, ok := r.speedUp(model); ok {
		return fmt.Sprintf("; processes have a lock each (%.1f times)", up)
	}
	return "; processes have a lock each"
}

func (r *Report) crashText(language string) string {
	model := map[string]string{"python": "python thread", "go": "goroutine"}[language]
	if v, ok := r.Value("crash", model, "neighbours lost"); ok && v > 0 {
		text := fmt.Sprintf("of four %ss one took %.0f with it here", model, v)
		if v, ok := r.Value("crash", "python process", "replaced"); ok {
			text += fmt.Sprintf("; a process was replaced in %s", short(v*1e3))
		}
		return text
	}
	return "only processes keep a crash in native code from their neighbours"
}

// flow is what to write into a step.
func (d *Decision) flow() string {
	var b strings.Builder
	fmt.Fprintf(&b, "mode: %s\n", d.Mode)
	switch d.Mode {
	case tandem.Process:
		fmt.Fprintf(&b, "workers: %d\n", d.Workers)
	case tandem.Thread:
		fmt.Fprintf(&b, "workers: %d\nthreads: %d\n", d.Workers, d.Each)
	case tandem.Async:
		fmt.Fprintf(&b, "concurrency: %d\n", d.Each)
	case tandem.Goroutine:
		fmt.Fprintf(&b, "concurrency: %d\n", d.Each)
	}
	return b.String()
}

// sizeText writes a size as flow files do: 256MB is 256 million.
func sizeText(n int64) string {
	if n >= 10e9 {
		return fmt.Sprintf("%.3g GB", float64(n)/1e9)
	}
	return fmt.Sprintf("%.3g MB", float64(n)/1e6)
}
