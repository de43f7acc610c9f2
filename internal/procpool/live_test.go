package procpool

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tandem"
)

// until waits until the view of a worker is as wanted.
func until(t *testing.T, p *Pool, want func(tandem.WorkerView) bool) tandem.WorkerView {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		for _, v := range p.Workers() {
			if want(v) {
				return v
			}
		}
	}
	t.Fatalf("no worker is as it should be: %+v", p.Workers())
	return tandem.WorkerView{}
}

func running(item string) func(tandem.WorkerView) bool {
	return func(v tandem.WorkerView) bool {
		return len(v.Running) == 1 && v.Running[0].Item == item && v.State == "busy" && v.PID > 0
	}
}

func submit(t *testing.T, p *Pool, texts ...string) (*counter, []*tandem.Task) {
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
	return c, tasks
}

func TestAUserKillsAWorkerAndNoItemPays(t *testing.T) {
	cfg := testConfig("behave")
	var reports atomic.Int32
	cfg.OnCrash = func(c tandem.Crash) {
		reports.Add(1)
		if c.Reason != tandem.ExitKilledByUs || c.Item != "" || !strings.Contains(c.Why, "tandem kill") {
			t.Errorf("reported as %s (%s) of item %q", c.Reason, c.Why, c.Item)
		}
	}
	p := started(t, cfg)
	texts := []string{"sleep 3s"}
	for i := range 50 {
		texts = append(texts, fmt.Sprint("sleep 10ms ", i))
	}
	c, tasks := submit(t, p, texts...)
	kills := 3
	for i := range kills {
		v := until(t, p, func(v tandem.WorkerView) bool { return running("sleep 3s")(v) })
		var place int
		if _, err := fmt.Sscanf(v.Worker, "test/%d", &place); err != nil {
			t.Fatal(err)
		}
		if err := p.KillWorker(place - 1); err != nil {
			t.Fatal(i, err)
		}
		until(t, p, func(now tandem.WorkerView) bool {
			return now.Worker == v.Worker && now.PID != v.PID && now.Restarts > 0
		})
	}
	select {
	case <-c.done:
	case <-time.After(30 * time.Second):
		t.Fatal("it does not end")
	}
	for _, task := range tasks {
		if task.Result.Outcome != tandem.OK || task.Attempts != 1 {
			t.Errorf("%s: %s after %d attempts: %v", task.ID, task.Result.Outcome, task.Attempts, task.Result.Err)
		}
	}
	for deadline := time.Now().Add(5 * time.Second); int(reports.Load()) < kills && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
	}
	if n := int(reports.Load()); n != kills {
		t.Errorf("%d reports of %d kills", n, kills)
	}
}

// A person may kill workers that have never done anything as often as they like: the pool does not give up.
func TestAUserKillsIdleWorkers(t *testing.T) {
	cfg := testConfig("behave")
	cfg.Workers = 1
	p := started(t, cfg)
	for range 6 {
		until(t, p, func(v tandem.WorkerView) bool { return v.State == "idle" })
		if err := p.KillWorker(0); err != nil {
			t.Fatal(err)
		}
	}
	if got := run(t, p, "x")["x"]; got.Result.Outcome != tandem.OK {
		t.Errorf("then: %v", got.Result.Err)
	}
	if err := p.KillWorker(7); err == nil {
		t.Error("a worker that is not there was killed")
	}
}

func TestAGoWorkerIsAskedAndGoesOn(t *testing.T) {
	cfg := testConfig("behave")
	cfg.Workers, cfg.Threads, cfg.Mode = 1, 2, tandem.Thread
	p := started(t, cfg)
	c, tasks := submit(t, p, "sleep 2s")
	v := until(t, p, running("sleep 2s"))
	for range 3 {
		d, err := p.Dump(0, false)
		if err != nil {
			t.Fatal(err)
		}
		if d.PID != v.PID || d.How != "go's goroutine dump" || d.Stack == nil || !strings.HasSuffix(d.Stack.Function, "behave") || len(d.Threads) == 0 || d.Ended {
			t.Errorf("%+v", d)
		}
	}
	<-c.done
	if tasks[0].Result.Outcome != tandem.OK || tasks[0].Attempts != 1 {
		t.Errorf("then: %+v", tasks[0].Result)
	}
	if now := p.Workers(); len(now) != 1 || now[0].PID != v.PID || now[0].Done != 1 {
		t.Errorf("it is another: %+v", now)
	}
}

// A Go worker with one item at a time can only say where it is as it ends: it is asked so only when somebody wants it, and the item is not to blame.
func TestAGoWorkerThatEndsByIt(t *testing.T) {
	cfg := testConfig("behave")
	cfg.Workers = 1
	p := started(t, cfg)
	c, tasks := submit(t, p, "sleep 2s")
	v := until(t, p, running("sleep 2s"))
	d, err := p.Dump(0, false)
	if err != nil || d.How != "the kernel alone" || !strings.Contains(d.Why, "--end") || len(d.Threads) == 0 {
		t.Errorf("%+v, %v", d, err)
	}
	if now := until(t, p, running("sleep 2s")); now.PID != v.PID {
		t.Error("it has ended although nobody wanted it")
	}
	d, err = p.Dump(0, true)
	if err != nil || !d.Ended || d.Stack == nil || !strings.HasSuffix(d.Stack.Function, "behave") {
		t.Errorf("%+v, %v", d, err)
	}
	<-c.done
	if tasks[0].Result.Outcome != tandem.OK || tasks[0].Attempts != 1 {
		t.Errorf("then: %+v", tasks[0].Result)
	}
}

// Looking at a pool from outside is safe at any time.
func TestLookingWhileItWorks(t *testing.T) {
	cfg := testConfig("behave")
	p := started(t, cfg)
	quit, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		for i := 0; ; i++ {
			select {
			case <-quit:
				return
			default:
			}
			p.Workers()
			if i%100 == 50 {
				_ = p.KillWorker(i % 2) // it may just not be there
				time.Sleep(5 * time.Millisecond)
			}
			if i%100 == 0 {
				_, _ = p.Dump(i%2, false)
			}
		}
	}()
	var texts []string
	for i := range 300 {
		texts = append(texts, fmt.Sprint("sleep 1ms ", i))
	}
	for id, task := range run(t, p, texts...) {
		if task.Result.Outcome != tandem.OK {
			t.Errorf("%s: %s %v", id, task.Result.Outcome, task.Result.Err)
		}
	}
	close(quit)
	<-gone
}
