package main

import (
	"io"
	"net/http"
	"os"
	"sync"
)

// Fifty goroutines ask a slow server.
func main() {
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			for range 50 {
				r, err := http.Get(os.Args[2])
				if err != nil {
					continue
				}
				_, _ = io.Copy(io.Discard, r.Body)
				r.Body.Close()
			}
		})
	}
	wg.Wait()
}
