package cli

import (
	"fmt"
	"os"
	"sync"
	"time"

	"tandem/engine"
	"tandem/internal/live"
	"tandem/internal/proc"
)

// liveRun is what a kept run lets others see: the log of what it printed, and the socket on which it answers.
type liveRun struct {
	r      *running
	log    *live.Log
	feed   live.Feed
	server *live.Server
	once   sync.Once

	mu   sync.Mutex
	last engine.Progress // when somebody last asked
	rate []float64
}

// newLive opens the log of a run that is kept, before the first worker starts.
func (r *running) newLive() *liveRun {
	if r.kept == nil {
		return nil
	}
	l := &liveRun{r: r}
	log, err := live.OpenLog(r.kept.dir.Path())
	if err != nil {
		r.bar.print(r.a.yellow("what handlers print is not kept for tandem logs: ") + err.Error())
	}
	l.log = log
	r.watch.keep = func(rec live.Record) {
		if l.log != nil {
			l.log.Add(rec)
		}
		l.feed.Add(rec)
	}
	return l
}

// serve begins to answer questions about the engine's run. Where it cannot, the run goes on without.
func (l *liveRun) serve(e *engine.Engine) {
	if l == nil {
		return
	}
	server, err := live.Serve(live.Config{Dir: l.r.kept.dir.Path(), Feed: &l.feed, Dump: e.Dump, Kill: e.KillWorker,
		State: func(items int) live.State { return l.state(e, items) },
		Stop: func(now bool) {
			for range map[bool]int{false: 1, true: 2}[now] {
				select {
				case l.r.stops <- proc.Terminate:
				default: // it has been told often enough
				}
			}
		}})
	if err != nil {
		l.r.bar.print(l.r.a.yellow("tandem ps will know little of this run: ") + err.Error())
		return
	}
	l.server = server
}

func (l *liveRun) close() {
	if l == nil {
		return
	}
	l.once.Do(func() {
		l.feed.End()
		if l.server != nil {
			l.server.Close()
		}
		if l.log != nil {
			if err := l.log.Close(); err != nil {
				fmt.Fprintln(l.r.a.err, l.r.a.yellow("  not all that handlers printed is kept for tandem logs: ")+err.Error())
			}
		}
	})
}

// state is the run as it is now.
func (l *liveRun) state(e *engine.Engine, items int) live.State {
	now := e.Snapshot()
	run := l.r.kept.dir.Run()
	s := live.State{Run: run.ID, Flow: run.Flow, Name: now.Flow, PID: os.Getpid(), Started: run.Started, Seconds: now.Elapsed.Seconds(), Stopping: l.r.told.Load(),
		Items: live.Items{In: now.Items.In, Made: now.Items.Made, Ended: now.Items.Ended(), OK: now.Items.OK, Bad: now.Items.Bad()}}
	if now.Total >= 0 {
		total := now.Total + now.Items.Made
		s.Items.Total = &total
	}
	if b := now.Bottleneck; b != nil {
		s.Bottleneck = b.Step + ": " + b.Because
	}
	rates := l.rates(now)
	looks := e.Look(items)
	for i, p := range now.Steps {
		step := live.Step{Name: p.Name, Mode: p.Pool.Mode, Because: p.Because, Ended: p.Ended, Bad: p.Bad, Rate: rates[i], InFlight: p.Pool.Running, Limit: p.Pool.Concurrency,
			Queue: p.Queue, QueueFull: p.QueueFull, Waiting: p.Waiting, Paused: p.Paused, Lost: p.Pool.Crashes + p.Pool.Losses}
		if i < len(looks) {
			step.Workers, step.Running, step.RunningTotal = looks[i].Workers, looks[i].Running, looks[i].Total
		}
		for _, w := range step.Workers {
			step.RunningTotal += len(w.Running)
		}
		for k := range step.Workers {
			for j := range step.Workers[k].Running {
				step.Workers[k].Running[j].Item = l.r.watch.clean(step.Workers[k].Running[j].Item)
			}
		}
		for k := range step.Running {
			step.Running[k].Item = l.r.watch.clean(step.Running[k].Item)
		}
		s.Steps = append(s.Steps, step)
	}
	return s
}

// rates are the items a second of each step since somebody asked at least a second ago, or since the start.
func (l *liveRun) rates(now engine.Progress) []float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	dt := now.Elapsed - l.last.Elapsed
	if len(l.rate) == len(now.Steps) && dt < time.Second {
		return l.rate
	}
	rate := make([]float64, len(now.Steps))
	for i, s := range now.Steps {
		var before int64
		if i < len(l.last.Steps) {
			before = l.last.Steps[i].Ended
		}
		rate[i] = float64(s.Ended-before) / max(dt.Seconds(), 0.001)
	}
	l.last, l.rate = now, rate
	return rate
}
