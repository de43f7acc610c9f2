package cli

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tandem"
	"tandem/internal/live"
	"tandem/internal/proc"
	"tandem/internal/runs"
)

// psRun is a run as tandem ps --json shows it.
type psRun struct {
	Run       string      `json:"run"`
	Flow      string      `json:"flow"`
	Name      string      `json:"name,omitempty"`
	State     runs.State  `json:"state"`
	Fate      string      `json:"fate,omitempty"` // of one that is not going on
	PID       int         `json:"pid"`
	Dir       string      `json:"dir"`
	Started   time.Time   `json:"started"`
	Silent    string      `json:"silent,omitempty"` // why it does not answer
	Live      *live.State `json:"live,omitempty"`
	Processes []psProcess `json:"processes"`
}

// psProcess is a process of a run: a worker, a command, or what one of these has started.
type psProcess struct {
	live.Process
	Role     string             `json:"role"`             // worker, command, child
	Worker   string             `json:"worker,omitempty"` // thumb/1, or the step of a command
	View     *tandem.WorkerView `json:"view,omitempty"`   // what the run knows of a worker
	Share    *float64           `json:"cpu_share"`        // of one processor, while we looked; null when it is not known
	Life     live.Life          `json:"life"`             // NEW, RUNNABLE, BLOCKED, WAITING, TIMED_WAITING, TERMINATED
	Observed bool               `json:"observed"`         // the kernel says so
	Detail   []psThread         `json:"detail,omitempty"` // its threads
	top      int                // the worker or command that it came of
}

type psThread struct {
	live.Thread
	Share *float64 `json:"cpu_share"`
}

type psOptions struct {
	json, threads, watch bool
	items                int
	every                time.Duration
}

func (a *app) psCommand() *cobra.Command {
	var o psOptions
	c := &cobra.Command{Use: "ps [RUN]", Short: "Show the runs that are going on: every worker, what it does and on which item",
		Long: `Show the runs that are going on on this machine, every worker and command of them with the item it runs; root sees those of all users. There is no daemon: runs are
found by the locks on their directories, and answer on a socket there. Of a run that does not answer, what the kernel shows.

STATE is what the run knows of a worker: starting, idle, busy, suspect, draining, dead; for a command and for threads what the kernel shows: R runs, S sleeps,
D waits in the kernel, T is stopped, Z has ended. LIFE is the classic state of a thread: NEW, RUNNABLE, BLOCKED, WAITING, TIMED_WAITING, TERMINATED; with * it is observed from
the kernel, which cannot tell a lock from another wait on a futex. CPU% is of one processor, over a quarter of a second. Process numbers are this machine's.`,
		Example: "  tandem ps\n  tandem ps 20260301-101500-ab3de --threads\n  tandem ps -w\n  tandem ps --json", Args: takes(0, 1, "run"), ValidArgsFunction: a.completeRuns(true),
		RunE: func(_ *cobra.Command, args []string) error { return a.ps(append(args, "")[0], o) }}
	f := c.Flags()
	f.BoolVar(&o.json, "json", false, "one JSON document per run and line")
	f.BoolVar(&o.threads, "threads", false, "show the threads of each process")
	f.BoolVarP(&o.watch, "watch", "w", false, "show it again and again until Ctrl-C, or until no run is left")
	f.DurationVar(&o.every, "every", 2*time.Second, "with --watch: how often")
	f.IntVar(&o.items, "items", 5, "how many items of a step in goroutines to show")
	return c
}

func (a *app) ps(run string, o psOptions) error {
	if o.every < 200*time.Millisecond || o.items < 0 {
		return &tandem.Error{Op: "read the flags of", On: "tandem ps", Kind: tandem.KindInvalid, Message: fmt.Sprintf("--every %v --items %d", o.every, o.items), Hint: "want --every 200ms or more, and --items 0 or more"}
	}
	for first := true; ; first = false {
		entries, err := a.psEntries(run)
		if err != nil {
			return err
		}
		all := look(entries, o)
		if o.json {
			enc := json.NewEncoder(a.out)
			for _, r := range all {
				if err := enc.Encode(r); err != nil {
					return err
				}
			}
		} else {
			var b strings.Builder
			if o.watch && a.tty {
				b.WriteString("\x1b[H\x1b[2J")
			} else if !first {
				b.WriteString("\n")
			}
			for i, r := range all {
				if i > 0 {
					b.WriteString("\n")
				}
				a.psText(&b, r, o)
			}
			fmt.Fprint(a.out, b.String())
		}
		left := slices.ContainsFunc(all, func(r psRun) bool { return r.State == runs.Running })
		if !o.watch || !left {
			if len(all) == 0 && !o.json {
				fmt.Fprintln(a.err, "no run is going on")
			}
			return nil
		}
		time.Sleep(o.every)
	}
}

// psEntries are the runs to show: the one that is named, however it is, or those that are going on.
func (a *app) psEntries(run string) ([]runs.Entry, error) {
	if run == "" {
		return going()
	}
	e, ok, err := named(run)
	if err == nil && !ok {
		err = noRun(run)
	}
	return []runs.Entry{e}, err
}

// sampled is how long processor time is measured for CPU%.
const sampled = 250 * time.Millisecond

// look asks the runs and the kernel.
func look(entries []runs.Entry, o psOptions) (all []psRun) {
	before := map[int]time.Duration{}
	begun := time.Now()
	for _, e := range entries {
		for _, p := range treeOf(e) {
			before[p.PID] = p.CPU
			if o.threads {
				for _, t := range live.Threads(p.PID, shownThreads) {
					before[-t.ID] = t.CPU
				}
			}
		}
	}
	if len(before) > 0 {
		time.Sleep(sampled)
	}
	dt := time.Since(begun)
	share := func(id int, now time.Duration) *float64 {
		old, ok := before[id]
		if !ok {
			return nil
		}
		s := max(0, float64(now-old)/float64(dt))
		return &s
	}
	for _, e := range entries {
		r := psRun{Run: e.ID, Flow: e.Flow, Name: e.Name, State: e.State, PID: e.PID, Dir: e.Path, Started: e.Started, Processes: []psProcess{}}
		if e.State != runs.Running {
			r.Fate = fate(e)
			all = append(all, r)
			continue
		}
		ans, err := live.Ask(e.Path, live.Request{Ask: "state", Items: max(o.items, 1)}, answerWithin)
		if err != nil {
			r.Silent = strings.TrimPrefix(err.Error(), "ask the run: ")
			if !errors.Is(err, live.ErrSilent) {
				r.Silent = err.Error()
			}
		}
		r.Live = ans.State
		r.Processes = processes(treeOf(e), ans.State, share, o.threads)
		all = append(all, r)
	}
	return all
}

// treeOf are the processes of a run that is going on, itself first.
func treeOf(e runs.Entry) []live.Process {
	if e.State != runs.Running || e.PID <= 0 {
		return nil
	}
	return live.Tree(e.PID)
}

// shownThreads bounds how many threads of one process are looked at.
const shownThreads = 256

// processes are the workers, commands and what they have started. Tandem itself, its warden and its shims are left out.
func processes(tree []live.Process, state *live.State, share func(int, time.Duration) *float64, threads bool) []psProcess {
	views := map[int]*tandem.WorkerView{}
	if state != nil {
		for _, s := range state.Steps {
			for i := range s.Workers {
				views[s.Workers[i].PID] = &s.Workers[i]
			}
		}
	}
	name, top := map[int]string{}, map[int]int{} // of those that are shown, by pid
	all := []psProcess{}
	for i, p := range tree {
		if i == 0 {
			continue
		}
		r := psProcess{Process: p, Role: "child", View: views[p.PID], Share: share(p.PID, p.CPU)}
		parent, under := name[p.Parent]
		r.top = p.PID
		switch {
		case r.View != nil:
			r.Role, r.Worker = "worker", r.View.Worker
		case isTemplate(p) && under:
			continue // the shim of a worker that was forked from it
		case isTemplate(p):
			r.Role, r.Worker = "template", p.Step+"/template"
		case under:
			r.Worker, r.top = parent, top[p.Parent]
		case ours(p, tree[0]):
			continue
		case p.Place > 0 && p.Step != "":
			r.Role, r.Worker = "worker", fmt.Sprintf("%s/%d", p.Step, p.Place)
		default:
			r.Role, r.Worker = "command", p.Step
		}
		name[p.PID], top[p.PID] = r.Worker, r.top
		list := live.Threads(p.PID, shownThreads)
		if r.View != nil {
			r.Life, r.Observed = live.LifeOf(r.View.State, list)
		} else {
			r.Life, r.Observed = live.LifeOf("", list)
		}
		if threads {
			for _, t := range list {
				r.Detail = append(r.Detail, psThread{t, share(-t.ID, t.CPU)})
			}
		}
		all = append(all, r)
	}
	for pid, v := range views { // it may have started since
		if _, ok := name[pid]; !ok {
			if p, ok := live.Look(pid); ok {
				life, observed := live.LifeOf(v.State, nil)
				all = append(all, psProcess{Process: p, Role: "worker", Worker: v.Worker, View: v, Life: life, Observed: observed})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b psProcess) int {
		return cmp.Or(strings.Compare(byNumber(a.Worker), byNumber(b.Worker)), cmp.Compare(a.top, b.top))
	})
	return all
}

// ours says that a process is a part of Tandem: its warden, or a shim, which have no command of their own but that of Tandem.
func ours(p, run live.Process) bool {
	return len(p.Command) > 0 && len(run.Command) > 0 && filepath.Base(p.Command[0]) == proc.WardenName || slices.Equal(p.Command, run.Command)
}

// isTemplate says that a process is a template of Python workers, or a shim that it has made, which has its command.
func isTemplate(p live.Process) bool {
	return slices.ContainsFunc(p.Command, func(s string) bool { return strings.Contains(s, "from tandem_worker.fork import") })
}

// byNumber makes thumb/2 come before thumb/10.
func byNumber(worker string) string {
	if i := strings.LastIndexByte(worker, '/'); i >= 0 {
		return worker[:i+1] + fmt.Sprintf("%09s", worker[i+1:])
	}
	return worker
}
