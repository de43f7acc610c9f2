// Command worker is the Go worker of the fault suite.
package main

import (
	"context"
	"os"
	"sync"
	"syscall"
	"time"

	"tandem/worker"
)

const culprit = 5

func on(f func()) func(context.Context, int) (int, error) {
	return func(_ context.Context, n int) (int, error) {
		if n == culprit {
			f()
		}
		return n, nil
	}
}

func mark() {
	_ = os.WriteFile("culprit.new", []byte(os.Getenv("TANDEM_PLACE")), 0o644)
	_ = os.Rename("culprit.new", "culprit")
}

func spin() {
	for n := 0; ; n++ {
		if n < 0 {
			return
		}
	}
}

func lock() {
	var mu sync.Mutex
	mu.Lock()
	mu.Lock()
}

func deep(n int) int { return deep(n+1) + 1 }

func main() {
	worker.Handle("good", on(func() {}))
	worker.Handle("brief", func(_ context.Context, n int) (int, error) { time.Sleep(5 * time.Millisecond); return n, nil })
	worker.Handle("sleeps", on(func() { mark(); time.Sleep(10 * time.Minute) }))
	worker.Handle("once", on(func() {
		if f, err := os.OpenFile("attempt", os.O_CREATE|os.O_EXCL, 0o644); err == nil {
			f.Close()
			mark()
			time.Sleep(10 * time.Minute)
		}
	}))
	worker.Handle("panics", on(func() { panic("five") }))
	worker.Handle("beside", on(func() {
		go func() { var list []int; list[culprit] = 1 }()
		time.Sleep(time.Minute)
	}))
	worker.Handle("overflow", on(func() { deep(0) }))
	worker.Handle("deadlock", on(lock))
	worker.Handle("exit0", on(func() { os.Exit(0) }))
	worker.Handle("codes", func(_ context.Context, n int) (int, error) { os.Exit(n); return n, nil })
	worker.Handle("spins", on(spin))
	worker.Handle("poison", on(func() { time.Sleep(50 * time.Millisecond); _ = syscall.Kill(os.Getpid(), syscall.SIGKILL) }))
	worker.Main()
	os.Exit(2)
}
