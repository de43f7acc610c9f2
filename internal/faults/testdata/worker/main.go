// Command worker is the Go worker of the fault suite.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

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

//go:noinline
func poke(at uintptr) { *(*int)(unsafe.Pointer(at)) = 1 }

func work(end time.Time) (n int) {
	for ; time.Now().Before(end); n++ {
	}
	return n
}

func grow() {
	var all [][]byte
	for {
		b := make([]byte, 1<<20)
		for i := range b {
			b[i] = 1
		}
		all = append(all, b)
		if len(all) > 4096 {
			return
		}
	}
}

// channel is the one to Tandem, which no handler should know.
func channel() *os.File { return os.NewFile(3, "channel") }

func deep(n int) int { return deep(n+1) + 1 }

func used() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

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
	worker.Handle("writes", func(_ context.Context, n int) (int, error) {
		if n == culprit {
			return n, os.WriteFile("/tmp/tandem-faults-escaped", nil, 0o644)
		}
		return n, nil
	})
	worker.Handle("panics", on(func() { panic("five") }))
	worker.Handle("segv", on(func() { poke(0xdead0000) }))
	worker.Handle("abort", on(func() { _ = syscall.Kill(os.Getpid(), syscall.SIGABRT); time.Sleep(time.Minute) }))
	worker.Handle("hog", on(grow))
	worker.Handle("computes", on(func() { work(time.Now().Add(3 * time.Second)) }))
	worker.Handle("deaf", on(func() { signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP); spin() }))
	worker.Handle("daemon", on(func() {
		c := exec.Command("sh", "-c", "setsid sleep 600 & ")
		_ = c.Run()
	}))
	worker.Handle("garbage", on(func() { _, _ = channel().WriteString(strings.Repeat("garbage!", 100)); time.Sleep(time.Minute) }))
	worker.Handle("closes_beside", on(func() { _ = syscall.Close(3); time.Sleep(time.Minute) }))
	worker.Handle("closes_and_answers", on(func() { _ = syscall.Close(3) }))
	worker.Handle("reuses", on(func() {
		_ = syscall.Close(3)
		_, _ = syscall.Open("/dev/null", syscall.O_RDWR, 0)
		time.Sleep(time.Minute)
	}))
	worker.Handle("closes", on(func() { _ = syscall.Shutdown(3, syscall.SHUT_RDWR); _ = syscall.Close(3); time.Sleep(time.Minute) }))
	worker.Handle("prints", func(_ context.Context, n int) (int, error) {
		fmt.Print("garbage!\x00\x01\x02 no frame")
		return n, nil
	})
	worker.Handle("flood", on(func() {
		b := make([]byte, 1<<20)
		for range 64 {
			_, _ = os.Stderr.Write(b)
		}
	}))
	worker.Handle("holds", on(func() { _ = exec.Command("sh", "-c", "sleep 600 &").Run(); os.Exit(7) }))
	worker.Handle("late", on(func() { time.Sleep(1200 * time.Millisecond) }))
	worker.Handle("slow", func(_ context.Context, n int) (int, error) {
		time.Sleep(400 * time.Millisecond)
		if n == culprit {
			mark()
		}
		return n, nil
	})
	worker.Handle("starved", func(_ context.Context, n int) (int, error) {
		if n == 1 {
			mark()
		}
		for begun := used(); used()-begun < 20*time.Millisecond; {
		}
		return n, nil
	})
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
