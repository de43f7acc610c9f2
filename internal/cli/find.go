package cli

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"tandem"
	"tandem/internal/live"
	"tandem/internal/runs"
)

// known are the runs of this machine: those kept in this user's directory, and those that are going on elsewhere, as far as this user may see.
func known() ([]runs.Entry, error) {
	root, err := runsDir()
	if err != nil {
		return nil, err
	}
	all, _, err := runs.List(root)
	if err != nil {
		return nil, err
	}
	maps, _, err := runs.List(mapsDir(root))
	if err != nil {
		return nil, err
	}
	all = append(append(all, maps...), runs.Elsewhere(root, mapsDir(root))...)
	slices.SortStableFunc(all, func(a, b runs.Entry) int { return b.Started.Compare(a.Started) })
	return all, nil
}

// going are the runs that are going on.
func going() ([]runs.Entry, error) {
	all, err := known()
	return slices.DeleteFunc(all, func(e runs.Entry) bool { return e.State != runs.Running }), err
}

// named is the run whose id is name or begins or ends with it, when it is only one.
func named(name string) (runs.Entry, bool, error) {
	all, err := known()
	if err != nil || name == "" {
		return runs.Entry{}, false, err
	}
	var like []runs.Entry
	for _, e := range all {
		if e.ID == name {
			return e, true, nil
		}
		if strings.HasPrefix(e.ID, name) || len(name) >= 4 && strings.HasSuffix(e.ID, name) {
			like = append(like, e)
		}
	}
	if len(like) > 1 {
		return runs.Entry{}, false, &tandem.Error{Op: "find run", On: name, Kind: tandem.KindInvalid, Message: fmt.Sprintf("%d runs are named so", len(like)), Hint: "give the whole id: tandem runs ls lists them"}
	}
	if len(like) == 0 {
		return runs.Entry{}, false, nil
	}
	return like[0], true, nil
}

// patience is how long a run has to answer.
const answerWithin = 3 * time.Second

// target is a worker of a run, or a process that belongs to one.
type target struct {
	run    runs.Entry
	worker string // thumb/1; empty for a process that is no worker
	pid    int
}

// findWorker finds thumb/1, in the run named or in the only one that has it, or the process of a number.
func findWorker(op, run, name string) (target, error) {
	wrong := func(msg, hint string) error {
		return &tandem.Error{Op: op, On: name, Kind: tandem.KindInvalid, Message: msg, Hint: hint}
	}
	all, err := going()
	if err != nil {
		return target{}, err
	}
	if run != "" {
		e, ok, err := named(run)
		switch {
		case err != nil:
			return target{}, err
		case !ok:
			return target{}, noRun(run)
		case e.State != runs.Running:
			return target{}, wrong("run "+e.ID+" is not going on: "+fate(e), "tandem ps lists those that are")
		}
		all = []runs.Entry{e}
	}
	if len(all) == 0 {
		return target{}, wrong("no run is going on", "tandem runs ls lists those that were")
	}
	pid := number(name)
	var found []target
	var quiet []string // runs that do not answer
	for _, e := range all {
		a, err := live.Ask(e.Path, live.Request{Ask: "state", Items: 1}, answerWithin)
		if err != nil {
			if !errors.Is(err, live.ErrSilent) {
				return target{}, err
			}
			quiet = append(quiet, e.ID)
		}
		if a.State != nil {
			for _, s := range a.State.Steps {
				for _, w := range s.Workers {
					if w.Worker == name || pid > 0 && w.PID == pid {
						found = append(found, target{e, w.Worker, w.PID})
					}
				}
			}
		}
		if pid > 0 && len(found) == 0 && (pid == e.PID || slices.Contains(live.Ancestors(pid), e.PID)) {
			found = append(found, target{run: e, pid: pid})
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		ids := make([]string, len(found))
		for i, f := range found {
			ids[i] = f.run.ID
		}
		return target{}, wrong("several runs have such a worker: "+strings.Join(ids, ", "), "name the run before it: tandem "+strings.Fields(op)[0]+" "+ids[0]+" "+name)
	case pid == 0 && len(quiet) > 0:
		return target{}, wrong("no run that is going on has such a worker; not asked could be, because they do not answer: "+strings.Join(quiet, ", "), "tandem ps shows their processes; give the number of one")
	case pid > 0:
		return target{}, wrong("that process is of no run that is going on", "tandem ps lists those that are")
	}
	return target{}, wrong("no run that is going on has such a worker", "tandem ps lists them")
}

// number is s as the number of a process, or 0.
func number(s string) (n int) {
	for _, c := range s {
		if c < '0' || c > '9' || n > 1<<30 {
			return 0
		}
		n = 10*n + int(c-'0')
	}
	return n
}

// fate is what became of a run that is not going on.
func fate(e runs.Entry) string {
	if e.State == runs.Ended {
		return fmt.Sprintf("it ended %s at %s", cmp.Or(e.Outcome, "ok"), e.Ended.Local().Format(time.DateTime))
	}
	if e.Outcome != "" {
		return fmt.Sprintf("it was stopped (%s) after its start at %s; tandem run %s --resume goes on with it", e.Outcome, e.Started.Local().Format(time.DateTime), shellWord(e.Flow))
	}
	text := fmt.Sprintf("it is dead: process %d was killed, last seen at %s", e.PID, e.Active.Local().Format(time.DateTime))
	if e.Flow == mapFlow {
		return text
	}
	return text + "; tandem run " + shellWord(e.Flow) + " --resume goes on with it"
}
