// Command count is a Tandem worker: it counts lines, words and bytes of a file.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"

	"tandem/worker"
)

type counts struct {
	Lines int `json:"lines"`
	Words int `json:"words"`
	Bytes int `json:"bytes"`
}

func main() {
	worker.Handle("count", func(_ context.Context, path string) (counts, error) {
		b, err := os.ReadFile(path)
		if err != nil {
			return counts{}, err
		}
		return counts{Lines: bytes.Count(b, []byte("\n")), Words: len(bytes.Fields(b)), Bytes: len(b)}, nil
	})
	worker.Main()
	fmt.Println("this program is a worker: start it from a flow with go: ./count:count")
}
