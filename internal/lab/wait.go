package lab

import (
	"fmt"
	"sync"
	"time"
)

func waitPart(p part) error {
	d := time.Second
	if p.quick {
		d = 100 * time.Millisecond
	}
	var w sync.WaitGroup
	begun := time.Now()
	for range 4 {
		w.Go(func() { time.Sleep(d) })
	}
	w.Wait()
	p.row("goroutine", "four waits", time.Since(begun).Seconds(), "s", 4, fmt.Sprintf("waits of %g s", d.Seconds()))
	return nil
}

func waitMeans(r *Report, row Row) string {
	loop, ok := r.Value("wait", "python loop", "four waits")
	switch {
	case row.Model == "python loop":
		return "one after the other: the waits add up"
	case !ok || row.Value <= 0:
		return "together: the longest wait counts"
	}
	return fmt.Sprintf("%.1f times as fast as the loop: the waits overlap", loop/row.Value)
}
