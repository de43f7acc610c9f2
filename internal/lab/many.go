package lab

import (
	"fmt"
	"time"
)

func manyPart(p part) error {
	n := p.of(2_000, 10_000)
	for _, m := range []struct {
		model string
		start func(func())
	}{{"goroutine", goroutine}, {"os thread", onThread}} {
		if m.model == "os thread" {
			if most := threadsLeft(); most < n { // the runtime would end this process
				n = most
			}
		}
		note := ""
		if n < p.of(2_000, 10_000) {
			note = fmt.Sprintf("only %d: the system allows no more threads", n)
		}
		stop := make(chan struct{})
		begun := time.Now()
		each, ended := waiting(n, m.start, stop)
		time.Sleep(time.Second)
		close(stop)
		ended.Wait()
		p.row(m.model, "all waits", time.Since(begun).Seconds(), "s", n, note)
		p.row(m.model, "memory of each", each, "KB", n, note)
	}
	return nil
}

func manyMeans(_ *Report, row Row) string {
	if row.Unit == "KB" {
		return fmt.Sprintf("%s for 10 000", megabytes(row.Value*10_000/1024))
	}
	switch over := row.Value - 1; {
	case row.N < 2000:
		return "not for thousands"
	case over < .25:
		return "thousands at once are no trouble"
	case over < 2:
		return "thousands at once, when they live long"
	}
	return "making them takes longer than the waits"
}

func megabytes(mb float64) string {
	switch {
	case mb >= 1024:
		return fmt.Sprintf("%.1f GB", mb/1024)
	case mb >= 10:
		return fmt.Sprintf("%.0f MB", mb)
	}
	return fmt.Sprintf("%.1f MB", mb)
}
