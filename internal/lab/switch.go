package lab

import (
	"fmt"
	"time"
)

func switchPart(p part) error {
	for _, m := range []struct {
		model string
		n     int
		start func(func())
	}{{"goroutine", p.of(50_000, 500_000), goroutine}, {"os thread", p.of(5_000, 20_000), onThread}} {
		there, back, took := make(chan struct{}), make(chan struct{}), make(chan time.Duration)
		m.start(func() {
			for range m.n {
				<-there
				back <- struct{}{}
			}
		})
		m.start(func() {
			begun := time.Now()
			for range m.n {
				there <- struct{}{}
				<-back
			}
			took <- time.Since(begun)
		})
		p.row(m.model, "switch", micros(<-took, m.n)/2, "µs", m.n, "over a channel")
	}
	return nil
}

func switchMeans(_ *Report, row Row) string {
	return fmt.Sprintf("steps that wait for each other: at most %s hand-overs a second", about(1e6/max(row.Value, 1e-3)))
}
