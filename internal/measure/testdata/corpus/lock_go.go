package main

import (
	"os"
	"strconv"
	"sync"
	"time"
)

// Six goroutines share a mutex; whoever has it sleeps. The kernel sees only a timer.
func main() {
	seed, _ := strconv.Atoi(os.Args[1])
	var wg sync.WaitGroup
	var mu sync.Mutex
	for range 6 {
		wg.Go(func() {
			for range 45 {
				mu.Lock()
				time.Sleep(time.Duration(8+seed%4) * time.Millisecond)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}
