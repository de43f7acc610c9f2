// Command go-worker is a Tandem worker in Go: it counts the lines, words and bytes of a text file.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"

	"tandem/worker"
)

func count(_ context.Context, path string) (map[string]int, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return map[string]int{"lines": bytes.Count(text, []byte("\n")), "words": len(bytes.Fields(text)), "bytes": len(text)}, nil
}

func main() {
	worker.Handle("count", count)
	worker.Main() // serves when Tandem started this process, and returns otherwise
	fmt.Fprintln(os.Stderr, "this is a Tandem worker: start it with  tandem run flow.yaml")
	os.Exit(2)
}
