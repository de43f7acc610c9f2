package lab

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"tandem/internal/proc"
)

func createPart(p part) error {
	var w sync.WaitGroup
	n := p.of(20_000, 200_000)
	begun := time.Now()
	for range n {
		w.Add(1)
		go w.Done()
	}
	w.Wait()
	p.row("goroutine", "create", micros(time.Since(begun), n), "µs", n, "")
	n = p.of(200, 1000)
	begun = time.Now()
	for range n {
		w.Add(1)
		onThread(w.Done)
		w.Wait()
	}
	p.row("os thread", "create", micros(time.Since(begun), n), "µs", n, "a locked goroutine, which has a thread of its own")
	n = p.of(20, 60)
	took, err := middle(n, func() error {
		f, err := proc.StartForeground([]string{"true"})
		if err == nil {
			f.Reap()
		}
		return err
	})
	if err != nil {
		return err
	}
	p.row("process", "create", took, "µs", n, "the program true")
	took, err = middle(n, func() error {
		_, err := proc.Run(context.Background(), proc.Command{Argv: []string{"true"}})
		return err
	})
	if err != nil {
		return err
	}
	p.row("contained process", "create", took, "µs", n, "the program true, as Tandem starts it: nothing of it can be left behind")
	return nil
}

// middle is the median time of n calls, in microseconds.
func middle(n int, f func() error) (float64, error) {
	var all []float64
	for range n {
		begun := time.Now()
		if err := f(); err != nil {
			return 0, err
		}
		all = append(all, micros(time.Since(begun), 1))
	}
	slices.Sort(all)
	return all[n/2], nil
}

func createMeans(_ *Report, row Row) string {
	// Made anew for each task, it is a tenth of the work when the task is nine times as long.
	switch task := 9 * row.Value; {
	case task < 50:
		return "one for each task, however short"
	case task < 10_000:
		return fmt.Sprintf("one for each task that takes %s or more; else keep some", short(task))
	default:
		return fmt.Sprintf("keep some for many tasks: one each pays from %s a task", short(task))
	}
}

// short writes microseconds in two digits.
func short(us float64) string {
	switch {
	case us >= 1e6:
		return fmt.Sprintf("%.2g s", us/1e6)
	case us >= 1e3:
		return fmt.Sprintf("%.0f ms", us/1e3)
	case us >= 10:
		return fmt.Sprintf("%.0f µs", us)
	}
	return fmt.Sprintf("%.2g µs", us)
}
