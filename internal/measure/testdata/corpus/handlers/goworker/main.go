// A worker of the corpus in Go.
package main

import (
	"context"
	"crypto/sha256"
	"time"

	"tandem/worker"
)

func main() {
	worker.Handle("cpu", func(_ context.Context, n int) (int, error) {
		block := make([]byte, 1<<20)
		for range 8 {
			h := sha256.Sum256(block)
			copy(block, h[:])
		}
		return n, nil
	})
	worker.Handle("wait", func(_ context.Context, n int) (int, error) { time.Sleep(20 * time.Millisecond); return n, nil })
	worker.Handle("mixed", func(_ context.Context, n int) (int, error) {
		block := make([]byte, 1<<20)
		for range 4 {
			h := sha256.Sum256(block)
			copy(block, h[:])
		}
		time.Sleep(15 * time.Millisecond)
		return n, nil
	})
	worker.Main()
}
