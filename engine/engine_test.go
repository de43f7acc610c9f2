package engine

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tandem"
	"tandem/internal/source"
	"tandem/worker"
)

var double = worker.Define("double", func(_ context.Context, n int) (int, error) {
	switch {
	case n == 13:
		os.Exit(9)
	case n == 17:
		return 0, errors.New("unlucky")
	case n == 19:
		time.Sleep(time.Minute)
	}
	return 2 * n, nil
})

var upTo = worker.DefineSeq("upto", func(_ context.Context, n int) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		for i := range n {
			if !yield(i, nil) {
				return
			}
		}
	}
})

func TestMain(m *testing.M) {
	worker.Main()
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	goleak.VerifyTestMain(m)
}

// memory is a sink that keeps everything.
type memory struct {
	mu    sync.Mutex
	ended map[string]*tandem.Task
	twice []string
	fail  int // fail after so many
	slow  time.Duration
}

func (m *memory) Write(ts []*tandem.Task) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	time.Sleep(m.slow)
	for i, t := range ts {
		if m.fail > 0 && len(m.ended) >= m.fail {
			return i, &tandem.Error{Op: "write", On: "memory", Kind: tandem.KindSink, Message: "full"}
		}
		if m.ended == nil {
			m.ended = map[string]*tandem.Task{}
		}
		if m.ended[t.ID] != nil {
			m.twice = append(m.twice, t.ID)
		}
		m.ended[t.ID] = t
	}
	return len(ts), nil
}
func (m *memory) Close() error { return nil }

func exe() string { e, _ := os.Executable(); return e }

func check(t *testing.T, r Report, sink *memory) {
	t.Helper()
	if sum := r.Items.Ended(); sum != r.Items.In+r.Items.Made {
		t.Errorf("in %d + made %d, but %d ended: %+v", r.Items.In, r.Items.Made, sum, r.Items)
	}
	if got := int64(len(sink.ended)) + r.Items.Unwritten; got != r.Items.Ended() || len(sink.twice) > 0 {
		t.Errorf("%d written + %d not, %d ended; twice: %v", len(sink.ended), r.Items.Unwritten, r.Items.Ended(), sink.twice)
	}
}

func TestEveryItemEndsOnce(t *testing.T) {
	sink := &memory{}
	flow := Flow{Name: "t", Source: source.Range(1, 2000), Sink: sink, Steps: []Step{
		{Name: "double", Handler: Program{Argv: []string{exe()}, Handler: "double"}, Workers: 2, Timeout: 400 * time.Millisecond},
		{Name: "wait", Handler: Func{Do: func(_ context.Context, t *tandem.Task) tandem.Result { return tandem.Give(t.Value) }}, Concurrency: 10},
	}}
	r, err := New(Config{}).Run(t.Context(), flow)
	if err != nil {
		t.Fatal(err)
	}
	check(t, r, sink)
	if r.Items.OK != 1997 || r.Items.Failed != 1 || r.Items.Quarantined != 1 || r.Items.TimedOut != 1 || r.Outcome != "failed" {
		t.Errorf("%+v", r)
	}
	if x := sink.ended["7"]; x == nil || string(x.Result.Value.Data) != "14" {
		t.Errorf("item 7: %+v", x)
	}
	// What a dying worker had finished but not sent is run again, and counts.
	if r.Steps[0].Attempts < 2000 || r.Steps[0].Attempts != 2000+r.Steps[0].Retries || r.Steps[1].Attempts != 1997 || r.Steps[0].CPU == nil {
		t.Errorf("steps: %+v", r.Steps)
	}
}

func TestFanOut(t *testing.T) {
	sink := &memory{}
	flow := Flow{Name: "t", Source: source.Range(0, 9), Sink: sink, Steps: []Step{
		{Name: "upto", Handler: Program{Argv: []string{exe()}, Handler: upTo.Name()}, Workers: 2},
		{Name: "next", Handler: Func{Do: func(_ context.Context, t *tandem.Task) tandem.Result { return tandem.Give(t.Value) }}},
	}}
	r, err := New(Config{}).Run(t.Context(), flow)
	if err != nil {
		t.Fatal(err)
	}
	check(t, r, sink)
	// 0 gives nothing, 1 one value, n gives n: 45 values, of which 8 lots have an item of their own to start from.
	if r.Items.Filtered != 1 || r.Items.OK != 45 || r.Items.Made != 36 {
		t.Errorf("%+v", r.Items)
	}
	if x := sink.ended["9/9"]; x == nil || string(x.Result.Value.Data) != "8" {
		t.Errorf("9/9: %+v", x)
	}
	if sink.ended["9/1"] == nil || sink.ended["1"] == nil {
		t.Error("ids of the first value")
	}
}

// slowSource counts how far it was read.
type slowSource struct {
	mu   sync.Mutex
	read int
}

func (s *slowSource) Total() int64 { return -1 }
func (s *slowSource) Each(_ context.Context, yield func(string, tandem.Value) bool) error {
	for i := 0; ; i++ {
		s.mu.Lock()
		s.read = i
		s.mu.Unlock()
		if !yield(fmt.Sprint(i), tandem.Value{Kind: tandem.Bytes, Data: make([]byte, 1000)}) {
			return nil
		}
	}
}

func TestASourceIsNotReadAhead(t *testing.T) {
	src, sink := &slowSource{}, &memory{}
	hold := make(chan struct{})
	e := New(Config{})
	flow := Flow{Name: "t", Source: src, Sink: sink, Steps: []Step{
		{Name: "a", Handler: Func{Do: func(_ context.Context, t *tandem.Task) tandem.Result { return tandem.Give(t.Value) }}, Concurrency: 4, Queue: Bounds{Items: 10}},
		{Name: "b", Handler: Func{Do: func(ctx context.Context, t *tandem.Task) tandem.Result { <-hold; return tandem.Give(t.Value) }}, Concurrency: 2, Queue: Bounds{Bytes: 20_000}},
	}}
	ended := make(chan error, 1)
	var r Report
	go func() {
		var err error
		r, err = e.Run(context.Background(), flow)
		ended <- err
	}()
	time.Sleep(300 * time.Millisecond)
	src.mu.Lock()
	// 10 + 18 in queues, at most 4 + 2 running, a backlog, and a batch of results on its way.
	if src.read > 2000 {
		t.Errorf("%d items were read into queues of 10 and 18", src.read)
	}
	src.mu.Unlock()
	e.Drain()
	close(hold)
	if err := <-ended; !errors.Is(err, tandem.ErrInterrupted) {
		t.Errorf("a drained run ended with %v", err)
	}
	check(t, r, sink)
	if r.Items.Canceled != 0 || r.Outcome != "interrupted" {
		t.Errorf("a drain lets everything accepted end: %+v", r)
	}
}

func TestStopAtOnce(t *testing.T) {
	sink := &memory{}
	ctx, cancel := context.WithCancelCause(t.Context())
	var first sync.Once // to wait: on a busy machine workers take their time to start
	flow := Flow{Name: "t", Source: source.Range(1, 1_000_000), Sink: sink, Steps: []Step{
		{Name: "double", Handler: Program{Argv: []string{exe()}, Handler: "double"}, Workers: 2},
		{Name: "wait", Handler: Func{Do: func(ctx context.Context, t *tandem.Task) tandem.Result {
			first.Do(func() { time.AfterFunc(100*time.Millisecond, func() { cancel(tandem.ErrInterrupted) }) })
			select {
			case <-ctx.Done():
				return tandem.Result{Outcome: tandem.Canceled, Err: &tandem.Error{Kind: tandem.KindCanceled, Message: "stopped"}}
			case <-time.After(time.Minute):
				return tandem.Give(t.Value)
			}
		}}, Concurrency: 10},
	}}
	begun := time.Now()
	r, err := New(Config{}).Run(ctx, flow)
	if !errors.Is(err, tandem.ErrInterrupted) || time.Since(begun) > 10*time.Second {
		t.Errorf("%v after %v", err, time.Since(begun))
	}
	check(t, r, sink)
	if r.Items.Canceled == 0 {
		t.Errorf("%+v", r.Items)
	}
}

func TestABrokenSinkStopsTheRun(t *testing.T) {
	sink := &memory{fail: 100}
	flow := Flow{Name: "t", Source: source.Range(1, 1_000_000), Sink: sink, Steps: []Step{
		{Name: "a", Handler: Func{Do: func(_ context.Context, t *tandem.Task) tandem.Result { return tandem.Give(t.Value) }}}}}
	r, err := New(Config{}).Run(t.Context(), flow)
	e, ok := err.(*tandem.Error)
	if !ok || e.Kind != tandem.KindSink {
		t.Fatalf("got %v", err)
	}
	if r.Items.Unwritten == 0 || len(sink.ended) != 100 || r.Items.In > 100_000 {
		t.Errorf("%d written, %+v", len(sink.ended), r.Items)
	}
	if r.Items.Ended() != r.Items.In {
		t.Errorf("%+v", r.Items)
	}
}

func TestAStepThatCannotStartCostsNoItem(t *testing.T) {
	src := &slowSource{}
	flow := Flow{Name: "t", Source: src, Steps: []Step{
		{Name: "good", Handler: Func{Do: func(_ context.Context, t *tandem.Task) tandem.Result { return tandem.Give(t.Value) }}},
		{Name: "bad", Handler: Program{Argv: []string{exe()}, Handler: "nobody"}, Workers: 3},
	}}
	r, err := New(Config{}).Run(t.Context(), flow)
	e, ok := err.(*tandem.Error)
	if !ok || e.Kind != tandem.KindNotCallable || r.Items.In != 0 || src.read != 0 {
		t.Errorf("got %v, %+v, %d read", err, r.Items, src.read)
	}
}

func TestZeroItems(t *testing.T) {
	r, err := New(Config{}).Run(t.Context(), Flow{Name: "t", Source: source.Range(1, 0), Sink: &memory{}, Steps: []Step{
		{Name: "double", Handler: Program{Argv: []string{exe()}, Handler: "double"}}}})
	if err != nil || r.Outcome != "ok" || r.Items.In != 0 {
		t.Errorf("%v %+v", err, r)
	}
}

func TestStreams(t *testing.T) {
	s := From("numbers", func(yield func(int) bool) {
		for i := range 100 {
			if !yield(i) {
				return
			}
		}
	})
	doubled := Compute(s, double, Step{Workers: 2, Timeout: time.Second})
	text := Wait(doubled, "text", func(_ context.Context, n int) (string, error) { return fmt.Sprint("n", n), nil }, Step{Concurrency: 8})
	got := map[string]tandem.Outcome{}
	for r, err := range text.Results(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got[r.ID] = r.Outcome
		if r.ID == "6" && r.Value != "n10" {
			t.Errorf("item 6: %+v", r)
		}
		if r.Outcome != tandem.OK && r.Err == nil {
			t.Errorf("%s without an error", r.ID)
		}
	}
	if len(got) != 100 || got["14"] != tandem.Quarantined || got["18"] != tandem.Failed || got["20"] != tandem.TimedOut {
		t.Errorf("%d results: 14 %s, 18 %s, 20 %s", len(got), got["14"], got["18"], got["20"])
	}
	n := 0
	for range text.Results(t.Context()) {
		if n++; n == 5 {
			break // stops the run; goleak sees what stays
		}
	}
}

func BenchmarkTwoSteps(b *testing.B) {
	pass := func(_ context.Context, t *tandem.Task) tandem.Result { return tandem.Give(t.Value) }
	worker := Program{Argv: []string{exe()}, Handler: "double"}
	flow := Flow{Name: "b", Source: source.Range(100, 100+int64(b.N)), Sink: nil, Steps: []Step{
		{Name: "double", Handler: worker, Workers: 2}, {Name: "pass", Handler: Func{Do: pass}, Concurrency: 64}}}
	b.ResetTimer()
	if r, err := New(Config{}).Run(context.Background(), flow); err != nil || r.Items.OK != int64(b.N)+1 {
		b.Fatal(err, r)
	}
}

func BenchmarkGoroutineStep(b *testing.B) {
	pass := func(_ context.Context, t *tandem.Task) tandem.Result { return tandem.Give(t.Value) }
	flow := Flow{Name: "b", Source: source.Range(1, int64(b.N)), Steps: []Step{{Name: "pass", Handler: Func{Do: pass}, Concurrency: 64}}}
	b.ResetTimer()
	if _, err := New(Config{}).Run(context.Background(), flow); err != nil {
		b.Fatal(err)
	}
}
