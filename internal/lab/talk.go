package lab

import (
	"fmt"
	"time"
)

func talkPart(p part) error {
	n := p.of(50_000, 1_000_000)
	c, done := make(chan []byte, 256), make(chan struct{})
	message := make([]byte, 64)
	begun := time.Now()
	go func() {
		for range n {
			<-c
		}
		close(done)
	}()
	for range n {
		c <- message
	}
	<-done
	p.row("goroutine", "message", micros(time.Since(begun), n), "µs", n, "a channel with room for 256")
	return nil
}

func talkMeans(_ *Report, row Row) string {
	if row.Measure == "task" {
		return fmt.Sprintf("tasks shorter than %s spend more on the way than on the work: give several at a time", short(row.Value))
	}
	return fmt.Sprintf("at most %s a second", about(1e6/max(row.Value, 1e-3)))
}
