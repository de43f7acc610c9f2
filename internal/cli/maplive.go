package cli

import (
	"os"
	"path/filepath"
	"sync"
	"time"

	"tandem"
	"tandem/internal/live"
	"tandem/internal/proc"
	"tandem/internal/runs"
)

// mapFlow stands for the flow of a run of tandem map.
const mapFlow = "tandem map"

// mapsDir is where a run of tandem map has its directory while it goes on. It is no kept run: it cannot be resumed from there.
func mapsDir(root string) string { return filepath.Join(filepath.Dir(root), "maps") }

// mapShown is how old a map is when it begins to be seen: short ones do not pay for it.
const mapShown = 200 * time.Millisecond

// showMap lets others see a map and stop it, until the returned function is called. What it cannot do it does without: the map itself goes on.
func (a *app) showMap(name string, r runner, stops chan<- os.Signal, say func(string)) (hide func()) {
	quit := make(chan struct{})
	var wg sync.WaitGroup
	begun := time.Now()
	wg.Go(func() {
		timer := time.NewTimer(mapShown)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-quit:
			return
		}
		root, err := runsDir()
		if err != nil {
			return // nothing is kept on this machine, and tandem ps would not look anywhere
		}
		root = mapsDir(root)
		forgetMaps(root)
		dir, err := runs.Create(root, runs.Run{Flow: mapFlow, Name: name, Started: begun})
		if err != nil {
			say("tandem ps will not show this map: " + err.Error())
			return
		}
		server, err := live.Serve(mapServer(dir, r, stops))
		if err != nil {
			say("tandem ps will know little of this map: " + err.Error())
		}
		<-quit
		if server != nil {
			server.Close()
		}
		_ = dir.Close()
		_ = runs.Remove(root, dir.Run().ID) // what is left is forgotten by the next
	})
	return func() {
		close(quit)
		wg.Wait()
	}
}

// forgetMaps removes what maps that were killed have left.
func forgetMaps(root string) {
	all, _, _ := runs.List(root)
	for _, e := range all {
		if e.State != runs.Running {
			_ = runs.Remove(root, e.ID) // another map may have done it
		}
	}
}

func mapServer(dir *runs.Dir, r runner, stops chan<- os.Signal) live.Config {
	none := func(op, worker string) error {
		return &tandem.Error{Op: op, On: worker, Kind: tandem.KindInvalid, Message: "the workers of a map have no names", Hint: "give the number of a process that tandem ps shows"}
	}
	run := dir.Run()
	return live.Config{Dir: dir.Path(),
		Dump: func(worker string, _ bool) (tandem.Dump, error) { return tandem.Dump{}, none("dump worker", worker) },
		Kill: func(worker string) error { return none("kill worker", worker) },
		Stop: func(now bool) {
			for range map[bool]int{false: 1, true: 2}[now] {
				select {
				case stops <- proc.Terminate:
				default: // it has been told often enough
				}
			}
		},
		State: func(int) live.State {
			s := r.Snapshot()
			st := live.State{Run: run.ID, Flow: run.Flow, Name: run.Name, PID: os.Getpid(), Started: run.Started, Seconds: s.Elapsed.Seconds(),
				Items: live.Items{In: s.In, Ended: s.Ended(), OK: s.OK, Bad: s.Bad()}}
			if s.All {
				total := s.In
				st.Items.Total = &total
			}
			st.Steps = []live.Step{{Name: "map", Mode: tandem.Process, Ended: s.Ended(), Bad: s.Bad(), Rate: float64(s.Ended()) / max(s.Elapsed.Seconds(), 0.001),
				InFlight: s.Running, RunningTotal: s.Running, Limit: s.Size}}
			return st
		}}
}

// mapName is what a map runs, in a few words.
func mapName(j *mapJob) string {
	switch {
	case j.flags.python != "":
		return oneLine(j.flags.python, 60)
	case j.flags.shell != "":
		return oneLine(j.flags.shell, 60)
	}
	return oneLine(j.cfg.Command.Name(), 60)
}
