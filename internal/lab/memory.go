package lab

import (
	"fmt"
	"math"

	"tandem/internal/proc"
)

func memoryPart(p part) error {
	for _, m := range []struct {
		model string
		n     int
		start func(func())
	}{{"goroutine", p.of(20_000, 100_000), goroutine}, {"os thread", p.of(200, 500), onThread}} {
		stop := make(chan struct{})
		each, ended := waiting(m.n, m.start, stop)
		close(stop)
		ended.Wait()
		p.row(m.model, "memory", each, "KB", m.n, "")
	}
	child, err := proc.StartForeground([]string{"sleep", "60"})
	if err != nil {
		return err
	}
	defer func() { child.Signal(proc.Terminate); child.Reap() }()
	// It is started when it is no longer a copy of this program.
	each := 0.0
	for range 200 {
		if private, ok := own(child.PID()); ok {
			each = private
			break
		}
	}
	if each > 0 {
		p.row("process", "memory", each, "KB", 1, "the program sleep; what it does not share with others")
	}
	return nil
}

func memoryMeans(_ *Report, row Row) string {
	if row.Value <= 0 {
		return "too little to be seen"
	}
	return fmt.Sprintf("%s of them fit into 1 GB", about(1<<20/row.Value))
}

// about writes a number in one or two digits.
func about(x float64) string {
	if x < 10 {
		return fmt.Sprintf("%.0f", x)
	}
	by := math.Pow(10, math.Floor(math.Log10(x))-1)
	n := int64(math.Round(x/by) * by)
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + " " + s[i:]
	}
	return s
}
