package lab

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// burn computes; what it returns keeps the compiler from leaving it out.
func burn(rounds int) uint64 {
	n := uint64(88172645463325252)
	for range rounds {
		n ^= n << 13
		n ^= n >> 7
		n ^= n << 17
	}
	return n
}

func cpuPart(p part) error {
	rounds := p.of(20_000_000, 60_000_000)
	sum := uint64(0)
	var results [4]uint64
	loop, together := time.Hour, time.Hour
	for range 3 { // by turns, and the best: who else wants the processors meets both alike
		begun := time.Now()
		for range 4 {
			sum ^= burn(rounds)
		}
		loop = min(loop, time.Since(begun))
		var w sync.WaitGroup
		begun = time.Now()
		for i := range results {
			w.Go(func() { results[i] = burn(rounds) })
		}
		w.Wait()
		together = min(together, time.Since(begun))
	}
	p.row("go loop", "four tasks", loop.Seconds(), "s", 4, "best of three rounds")
	p.row("goroutine", "four tasks", together.Seconds(), "s", 4, "best of three rounds")
	if sum != 0 || results[0] != results[3] { // four times the same
		return fmt.Errorf("the four tasks gave different results")
	}
	return nil
}

// loopOf is the model that does one after the other in the language of another.
func loopOf(model string) string {
	switch first, _, _ := strings.Cut(model, " "); first {
	case "python", "asyncio":
		return "python loop"
	case "jvm", "node":
		return first + " loop"
	}
	return "go loop"
}

func cpuMeans(r *Report, row Row) string {
	loop, ok := r.Value("cpu", loopOf(row.Model), "four tasks")
	switch {
	case !ok || row.Value <= 0:
		return ""
	case row.Model == loopOf(row.Model):
		return "what the others are compared with"
	}
	up := loop / row.Value
	text := fmt.Sprintf("%.1f times as fast as the loop on %.3g processors", up, r.Machine.Cores)
	switch {
	case r.Machine.Cores < 1.5:
		return text
	case row.Foreign >= .25*r.Machine.Cores:
		return fmt.Sprintf("%s, of which others used %.1f: tells little", text, row.Foreign)
	case up < 1.25:
		return text + ": no good for computing"
	}
	return text + ": good for computing"
}
