package engine

import (
	"strconv"
	"strings"

	"tandem"
)

// StepLook is who works on a step and on what.
type StepLook struct {
	Step    string
	Workers []tandem.WorkerView // of a step in worker processes
	Running []tandem.Running    // of a step in goroutines, the longest first
	Total   int                 // how many of those there are
}

// Look tells who works on what: every worker, and of each step in goroutines at most so many items. It may be called at any time, from anywhere, and
// costs nothing when it is not.
func (e *Engine) Look(most int) []StepLook {
	e.mu.Lock()
	steps := e.steps
	e.mu.Unlock()
	all := make([]StepLook, 0, len(steps))
	for _, s := range steps {
		l := StepLook{Step: s.def.Name}
		switch p := s.pool.(type) {
		case interface{ Workers() []tandem.WorkerView }:
			l.Workers = p.Workers()
		case interface {
			Running(int) ([]tandem.Running, int)
		}:
			l.Running, l.Total = p.Running(most)
		}
		all = append(all, l)
	}
	return all
}

// KillWorker ends a worker, such as thumb/1, because a person said so: it costs no item. What it was doing runs elsewhere.
func (e *Engine) KillWorker(worker string) error {
	pool, place, err := find[interface{ KillWorker(int) error }](e, "kill worker", worker)
	if err != nil {
		return err
	}
	return pool.KillWorker(place)
}

// Dump asks a worker where it is. One that can only answer as it ends is asked when end says so.
func (e *Engine) Dump(worker string, end bool) (tandem.Dump, error) {
	pool, place, err := find[interface {
		Dump(int, bool) (tandem.Dump, error)
	}](e, "dump worker", worker)
	if err != nil {
		return tandem.Dump{}, err
	}
	return pool.Dump(place, end)
}

func find[P any](e *Engine, op, worker string) (pool P, place int, err error) {
	e.mu.Lock()
	steps := e.steps
	e.mu.Unlock()
	wrong := &tandem.Error{Op: op, On: worker, Kind: tandem.KindInvalid, Message: "there is no such worker", Hint: "workers are named STEP/NUMBER, as tandem ps shows them"}
	i := strings.LastIndexByte(worker, '/')
	if i < 0 {
		return pool, 0, wrong
	}
	n, nerr := strconv.Atoi(worker[i+1:])
	for _, s := range steps {
		if nerr != nil || n < 1 || s.def.Name != worker[:i] {
			continue
		}
		pool, ok := s.pool.(P)
		if !ok {
			wrong.Message, wrong.Hint = "step "+s.def.Name+" runs in goroutines: it has no worker processes", "tandem ps shows its items and the commands that run for them"
			return pool, 0, wrong
		}
		return pool, n - 1, nil
	}
	return pool, 0, wrong
}
