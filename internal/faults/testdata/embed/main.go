// Command embed is a program that runs a flow itself, while threads of it end that goroutines had locked. No worker may end with them.
package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	"tandem/engine"
	"tandem/worker"
)

var slow = worker.Define("slow", func(_ context.Context, n int) (int, error) {
	time.Sleep(5 * time.Millisecond)
	return n, nil
})

func main() {
	worker.Main()
	done := make(chan struct{})
	go func() {
		for range 300 {
			go func() { runtime.LockOSThread(); time.Sleep(time.Millisecond) }()
			time.Sleep(2 * time.Millisecond)
		}
		close(done)
	}()
	items := make([]int, 200)
	for i := range items {
		items[i] = i
	}
	ok := 0
	flow := engine.Compute(engine.From("numbers", slices.Values(items)), slow, engine.Step{Workers: 4})
	for r, err := range flow.Results(context.Background()) {
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		if r.Err == nil {
			ok++
		}
	}
	<-done
	fmt.Println(ok)
}
