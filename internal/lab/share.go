package lab

import (
	"fmt"
	"time"
)

func sharePart(p part) error {
	mb := p.of(32, 256)
	data := make([]byte, mb<<20)
	for i := 0; i < len(data); i += 4096 {
		data[i] = 1
	}
	c, sum := make(chan []byte), make(chan int)
	go func() {
		n := 0
		for b := <-c; len(b) > 0; b = b[min(4096, len(b)):] {
			n += int(b[0])
		}
		sum <- n
	}()
	begun := time.Now()
	c <- data
	if n := <-sum; n != mb<<8 {
		return fmt.Errorf("the other goroutine read %d, not %d", n, mb<<8)
	}
	p.row("goroutine", "hand over", float64(time.Since(begun).Microseconds())/1e3, "ms", 1, fmt.Sprintf("%d MB, every page of it read by the other", mb))
	return nil
}

func shareMeans(r *Report, row Row) string {
	pickle, ok := r.Value("share", "pickle", "hand over")
	switch {
	case row.Model == "pickle":
		return "what a pool of processes does when nothing is done about it"
	case !ok || row.Value <= 0:
		return ""
	}
	up := pickle / row.Value
	text := fmt.Sprintf("%s times as fast as pickle", about(up))
	if up < 2 {
		text = fmt.Sprintf("%.1f times as fast as pickle", up)
	}
	if row.Model == "shared memory" {
		text += ": processes can share as threads do; Tandem lends large values to workers so"
	}
	return text
}
