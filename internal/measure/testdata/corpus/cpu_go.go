package main

import (
	"os"
	"runtime"
	"strconv"
	"sync"
)

// A goroutine for each processor computes.
func main() {
	seed, _ := strconv.Atoi(os.Args[1])
	var wg sync.WaitGroup
	var out [64]uint64
	for w := range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			x := uint64(seed + w + 1)
			for range 900_000_000 {
				x ^= x << 13
				x ^= x >> 7
				x ^= x << 17
			}
			out[w%64] = x
		})
	}
	wg.Wait()
	if out[0] == 0 {
		os.Exit(1)
	}
}
