package procpool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tandem"
)

// run submits texts and waits for all outcomes.
func run(t *testing.T, p *Pool, texts ...string) map[string]*tandem.Task {
	t.Helper()
	c := &counter{want: len(texts), done: make(chan struct{})}
	tasks := make([]*tandem.Task, len(texts))
	for i, s := range texts {
		tasks[i] = &tandem.Task{ID: s, Value: tandem.TextValue(s), Owner: c}
	}
	for rest := tasks; len(rest) > 0; {
		n, err := p.Submit(t.Context(), rest)
		if err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	select {
	case <-c.done:
	case <-time.After(30 * time.Second):
		t.Fatalf("only %d of %d tasks ended", c.n, c.want)
	}
	got := map[string]*tandem.Task{}
	for _, task := range tasks {
		got[task.ID] = task
	}
	return got
}

func TestATimeoutKillsAndOthersGoOn(t *testing.T) {
	cfg := testConfig("behave")
	cfg.Timeout = 300 * time.Millisecond
	p := started(t, cfg)
	texts := []string{"sleep 1m"}
	for i := range 100 {
		texts = append(texts, fmt.Sprint("item ", i))
	}
	begun := time.Now()
	got := run(t, p, texts...)
	if d := time.Since(begun); d > 10*time.Second {
		t.Errorf("took %v", d)
	}
	for id, task := range got {
		want := tandem.OK
		if id == "sleep 1m" {
			want = tandem.TimedOut
		}
		if task.Result.Outcome != want || task.Attempts != 1 {
			t.Errorf("%s: %s after %d attempts, want %s after 1", id, task.Result.Outcome, task.Attempts, want)
		}
	}
}

// A worker that never keeps its control page is bounded by our own clock.
func TestASilentWorkerIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 6 s")
	}
	t.Parallel()
	cfg := testConfig("")
	cfg.Argv, cfg.Workers, cfg.Timeout = []string{os.Args[0], "evil", "mute"}, 1, 100*time.Millisecond
	p := started(t, cfg)
	if r := call(t, p, "x").Result; r.Outcome != tandem.Crashed {
		t.Errorf("got %s %v", r.Outcome, r.Err)
	}
}

func TestThreadsShareAWorker(t *testing.T) {
	cfg := testConfig("sleep")
	cfg.Mode, cfg.Workers, cfg.Threads, cfg.Timeout = tandem.Thread, 1, 20, 5*time.Second
	p := started(t, cfg)
	begun := time.Now()
	texts := make([]string, 40)
	for i := range texts {
		texts[i] = strconv.Itoa(200+i) + "ms"
	}
	for id, task := range run(t, p, texts...) {
		if task.Result.Outcome != tandem.OK {
			t.Errorf("%s: %s %v", id, task.Result.Outcome, task.Result.Err)
		}
	}
	if d := time.Since(begun); d > 2*time.Second {
		t.Errorf("40 sleeps of 0.2 s in 20 threads took %v", d)
	}
	if s := p.State(); s.Mode != tandem.Thread || s.Concurrency != 20 {
		t.Errorf("state %+v", s)
	}
}

func TestATimeoutInAThreadSparesItsNeighbours(t *testing.T) {
	for _, handler := range []string{"sleep", "behave"} { // one listens to CANCEL, the other does not
		t.Run(handler, func(t *testing.T) {
			cfg := testConfig(handler)
			cfg.Mode, cfg.Workers, cfg.Threads = tandem.Thread, 1, 4
			cfg.Timeout, cfg.Grace = 600*time.Millisecond, 200*time.Millisecond
			p := started(t, cfg)
			say := func(d string) string {
				if handler == "behave" {
					return "sleep " + d
				}
				return d
			}
			got := run(t, p, say("30s"), say("500ms"), say("510ms"), say("520ms"), say("530ms"), say("540ms"))
			for id, task := range got {
				want := tandem.OK
				if id == say("30s") {
					want = tandem.TimedOut
				}
				if task.Result.Outcome != want {
					t.Errorf("%s: %s %v, want %s", id, task.Result.Outcome, task.Result.Err, want)
				}
			}
		})
	}
}

// What a dead worker had not started runs elsewhere, without counting an attempt; what it was running is lost, once.
func TestUnstartedTasksGoBack(t *testing.T) {
	cfg := testConfig("behave")
	cfg.Workers = 1
	p := started(t, cfg)
	run(t, p, "warm 1", "warm 2", "warm 3") // fast tasks open the window
	texts := []string{"kill"}
	for i := range 300 {
		texts = append(texts, fmt.Sprint("item ", i))
	}
	for id, task := range run(t, p, texts...) {
		want := tandem.OK
		if id == "kill" {
			want = tandem.Crashed
		}
		if task.Result.Outcome != want || task.Attempts != 1 {
			t.Errorf("%s: %s after %d attempts", id, task.Result.Outcome, task.Attempts)
		}
	}
	if s := p.State(); s.Crashes != 1 || s.Attempts != 304 {
		t.Errorf("state %+v, want 1 crash and 304 attempts", s)
	}
}

// Kill workers from outside, at random moments, under load: every task ends exactly once and none but running ones are lost.
func TestKilledFromOutside(t *testing.T) {
	cfg := testConfig("behave")
	var mu sync.Mutex
	pids := map[int]bool{}
	cfg.OnEvent = func(e tandem.Event) {
		if e.To == "idle" {
			_, pid, _ := strings.Cut(e.Reason, "pid ")
			n, _ := strconv.Atoi(pid)
			mu.Lock()
			pids[n] = true
			mu.Unlock()
		}
	}
	p := started(t, cfg)
	texts := make([]string, 3000)
	for i := range texts {
		texts[i] = fmt.Sprint("sleep 1ms ", i)
		if i%10 > 0 {
			texts[i] = fmt.Sprint("item ", i)
		}
	}
	stop := make(chan struct{})
	var killer sync.WaitGroup
	kills := 0
	killer.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
			mu.Lock()
			for pid := range pids {
				_ = syscall.Kill(pid, syscall.SIGKILL)
				delete(pids, pid)
				kills++
				break
			}
			mu.Unlock()
		}
	})
	got := run(t, p, texts...)
	close(stop)
	killer.Wait()
	crashed := 0
	for id, task := range got {
		switch task.Result.Outcome {
		case tandem.Crashed:
			crashed++
		case tandem.OK:
		default:
			t.Errorf("%s: %s", id, task.Result.Outcome)
		}
	}
	if len(got) != len(texts) || crashed > kills {
		t.Errorf("%d of %d tasks, %d crashed with %d kills", len(got), len(texts), crashed, kills)
	}
	t.Logf("%d kills, %d crashed", kills, crashed)
}

func TestStoppingTheRunCancelsWhatIsLeft(t *testing.T) {
	cfg := testConfig("behave")
	p := New(cfg)
	ctx, cancel := context.WithCancelCause(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	<-p.Ready()
	c := &counter{want: 4, done: make(chan struct{})}
	var tasks []*tandem.Task
	for i := range 4 {
		tasks = append(tasks, &tandem.Task{ID: fmt.Sprint(i), Value: tandem.TextValue("sleep 1m"), Owner: c})
	}
	if n, err := p.Submit(ctx, tasks); n != 4 || err != nil {
		t.Fatal(n, err)
	}
	time.Sleep(50 * time.Millisecond)
	cause := errors.New("enough")
	cancel(cause)
	if err := <-ended; err != cause {
		t.Errorf("Run: %v, want the cause", err)
	}
	<-c.done
	for _, task := range tasks {
		if task.Result.Outcome != tandem.Canceled {
			t.Errorf("task %s: %s", task.ID, task.Result.Outcome)
		}
	}
}

func TestLargeValues(t *testing.T) {
	cfg := testConfig("echo")
	cfg.ArenaSize = 16 << 20
	p := started(t, cfg)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 6 {
				b := bytes.Repeat([]byte{byte(i), byte(n), 3}, (n+1)*900_000)
				task := &tandem.Task{Value: tandem.Value{Kind: tandem.Bytes, Data: b}}
				if err := p.Call(context.Background(), task); err != nil {
					t.Error(err)
					return
				}
				if task.Result.Outcome != tandem.OK || !bytes.Equal(task.Result.Value.Data, b) {
					t.Errorf("%d bytes came back wrong: %s %v", len(b), task.Result.Outcome, task.Result.Err)
				}
			}
		})
	}
	wg.Wait()
	task := &tandem.Task{Value: tandem.Value{Kind: tandem.Bytes, Data: make([]byte, 17<<20)}}
	if err := p.Call(context.Background(), task); err != nil {
		t.Fatal(err)
	}
	if r := task.Result; r.Outcome != tandem.Failed || r.Err.Kind != tandem.KindTooLarge {
		t.Errorf("17 MiB through 16: %s %v", r.Outcome, r.Err)
	}
}

func TestSeveralValuesAndErrors(t *testing.T) {
	for handler, check := range map[string]func(tandem.Result) bool{
		"three": func(r tandem.Result) bool {
			return r.Outcome == tandem.OK && r.Count == 3 && string(r.Value.Data) == "x0" && string(r.Rest[1].Data) == "x2"
		},
		"none": func(r tandem.Result) bool { return r.Outcome == tandem.Filtered && r.Count == 0 },
		"fail": func(r tandem.Result) bool { return r.Outcome == tandem.Failed && r.Err.Message == "no" },
	} {
		p := started(t, testConfig(handler))
		if r := call(t, p, "x").Result; !check(r) {
			t.Errorf("%s: %+v", handler, r)
		}
	}
	p := started(t, testConfig("behave"))
	if r := call(t, p, "panic").Result; r.Outcome != tandem.Failed || r.Err.Kind != tandem.KindPanic || !strings.Contains(r.Err.Trace, "behave") {
		t.Errorf("panic: %+v", r)
	}
}

// What handlers print reaches OnOutput, and never the protocol.
func TestPrintsAreTheHandlersOwn(t *testing.T) {
	cfg := testConfig("behave")
	cfg.Workers = 1
	var mu sync.Mutex
	var out [3]bytes.Buffer
	cfg.OnOutput = func(_, stream int, chunk []byte) {
		mu.Lock()
		defer mu.Unlock()
		out[stream].Write(chunk)
	}
	t.Run("print", func(t *testing.T) {
		p := started(t, cfg)
		if r := call(t, p, "print").Result; r.Outcome != tandem.OK {
			t.Errorf("%+v", r)
		}
	})
	mu.Lock()
	defer mu.Unlock()
	if out[1].String() != "hello from the handler\n" || out[2].String() != "and from stderr\n" {
		t.Errorf("stdout %q, stderr %q", &out[1], &out[2])
	}
}
