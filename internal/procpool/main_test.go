package procpool

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tandem"
	sdk "tandem/worker"
)

// The test binary is its own worker.
func TestMain(m *testing.M) {
	sdk.Register("echo", func(_ context.Context, in tandem.Value, give func(tandem.Value)) error { give(in); return nil })
	sdk.Handle("fail", func(context.Context, string) (string, error) { return "", fmt.Errorf("no") })
	sdk.HandleSeq("none", func(context.Context, string) iter.Seq2[string, error] { return func(func(string, error) bool) {} })
	sdk.HandleSeq("three", func(_ context.Context, s string) iter.Seq2[string, error] {
		return func(yield func(string, error) bool) {
			for i := range 3 {
				if !yield(fmt.Sprint(s, i), nil) {
					return
				}
			}
		}
	})
	sdk.Handle("sleep", func(ctx context.Context, s string) (string, error) {
		d, err := time.ParseDuration(s)
		if err != nil {
			return "", err
		}
		select {
		case <-time.After(d):
		case <-ctx.Done():
			return "", ctx.Err()
		}
		return s, nil
	})
	sdk.Handle("behave", behave)
	sdk.Handle("hold", func(_ context.Context, mebibytes string) (string, error) {
		n, err := strconv.Atoi(mebibytes)
		if err != nil {
			return "", err
		}
		held = make([]byte, n<<20)
		for i := 0; i < len(held); i += 4096 {
			held[i] = 1
		}
		return "", nil
	})
	sdk.Handle("env", func(context.Context, string) (string, error) { return strings.Join(os.Environ(), "\n"), nil })
	sdk.Handle("joins", func(_ context.Context, list []string) (string, error) { return strings.Join(list, ","), nil })
	sdk.Handle("upper", func(_ context.Context, list []string) ([]string, error) {
		if list[0] == "short" {
			return nil, nil
		}
		for i, s := range list {
			list[i] = strings.ToUpper(s)
		}
		return list, nil
	})
	sdk.Handle("again", func(_ context.Context, s string) (string, error) {
		switch s {
		case "later":
			return "", sdk.Retry(fmt.Errorf("busy"), 1500*time.Millisecond)
		case "again":
			return "", sdk.Retry(fmt.Errorf("busy"), 0)
		case "never":
			return "", sdk.Permanent(fmt.Errorf("bad"))
		case "wrapped":
			return "", fmt.Errorf("read: %w", sdk.Permanent(fmt.Errorf("bad")))
		}
		return "", fmt.Errorf("no")
	})
	if len(os.Args) > 2 && os.Args[1] == "evil" {
		evil(os.Args[2])
	}
	if len(os.Args) > 1 && os.Args[1] == "app" {
		app(os.Args[2:])
	}
	sdk.Main()
	os.Setenv("GORACE", "atexit_sleep_ms=0") // or each worker takes a second to end
	goleak.VerifyTestMain(m)
}

var held []byte // what the worker keeps

// behave does what the item says.
func behave(_ context.Context, s string) (string, error) {
	switch what, arg, _ := strings.Cut(s, " "); what {
	case "exit":
		os.Exit(7)
	case "kill":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		time.Sleep(time.Minute)
	case "sleep":
		arg, _, _ = strings.Cut(arg, " ")
		d, err := time.ParseDuration(arg)
		if err != nil {
			return "", err
		}
		time.Sleep(d)
	case "awful": // deaf, with children that are deaf and leave its group, and then it spins or waits
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
		if err := exec.Command("sh", "-c", awful).Start(); err != nil {
			return "", err
		}
		time.Sleep(300 * time.Millisecond)
		if arg == "spin" {
			spin(s)
		}
		time.Sleep(5 * time.Minute)
	case "hog": // MiB, and keeps them
		n, err := strconv.Atoi(arg)
		if err != nil {
			return "", err
		}
		hogged = hogged[:0]
		for range n {
			b := make([]byte, 1<<20)
			for i := range b {
				b[i] = byte(i)
			}
			hogged = append(hogged, b)
		}
		time.Sleep(20 * time.Second)
	case "note": // note FILE WHAT…: says in FILE that it has begun
		file, rest, _ := strings.Cut(arg, " ")
		f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o644)
		if err != nil {
			return "", err
		}
		defer f.Close()
		if _, err := fmt.Fprintln(f, s); err != nil {
			return "", err
		}
		return behave(context.Background(), rest)
	case "grow": // for good
		n, _ := strconv.Atoi(arg)
		hoard = append(hoard, bytes.Repeat([]byte{1}, n<<20))
	case "panic":
		panic("oh")
	case "panic-beside":
		go parse(nil, 7)
		time.Sleep(time.Minute)
	case "deadlock": // the runtime finds it
		var mu sync.Mutex
		mu.Lock()
		mu.Lock()
	case "spin":
		for spinning := true; spinning; {
			spinning = len(s) > 0
		}
	case "print":
		fmt.Println("hello from the handler")
		fmt.Fprintln(os.Stderr, "and from stderr")
	}
	return s, nil
}

// awful is a child, one in a session of its own, and one whose parent is gone; none of them listens.
const awful = `trap '' TERM INT HUP; setsid sh -c 'sleep 300 & while :; do sleep 1; done' & (setsid sleep 300 &) ; while :; do sleep 1; done`

func spin(s string) {
	for len(s) > 0 {
		runtime.KeepAlive(s)
	}
}

var hogged [][]byte
var hoard [][]byte

func parse(fields []int, i int) int { return fields[i] }

func testConfig(handler string) Config {
	return Config{Step: "test", Argv: []string{os.Args[0]}, Handler: handler, Workers: 2, ArenaSize: 64 << 20, Measure: true}
}

// started runs a pool for the length of the test.
func started(t testing.TB, cfg Config) *Pool {
	t.Helper()
	p := New(cfg)
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { ended <- p.Run(ctx) }()
	<-p.Ready()
	t.Cleanup(func() {
		p.Close()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("Run does not end")
			cancel()
			<-ended
		}
		cancel()
	})
	return p
}
