package worker_test

import (
	"context"
	"fmt"
	"os"
	"strings"

	"tandem/worker"
)

// A worker program: a flow names it with `go: ./count:words` or `worker: [./count]` and `handler: words`.
func Example() {
	worker.Handle("words", func(_ context.Context, path string) (int, error) {
		text, err := os.ReadFile(path)
		return len(strings.Fields(string(text))), err
	})
	worker.Main() // serves when Tandem started this process; returns at once otherwise
	fmt.Println("started by hand: run it from a flow")
	// Output: started by hand: run it from a flow
}
