package cluster

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tandem"
	"tandem/engine"
	"tandem/internal/queue/jetstream"
)

// The NATS client leaves one goroutine behind when it begins to publish on a connection that is cut at that moment.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/nats-io/nats.go/jetstream.(*jetStream).resetPendingAcksOnReconnect"))
}

// numbers is a source of 1..n.
type numbers int

func (n numbers) Total() int64 { return int64(n) }
func (n numbers) Each(ctx context.Context, yield func(string, tandem.Value) bool) error {
	for i := 1; i <= int(n) && ctx.Err() == nil; i++ {
		if !yield(strconv.Itoa(i), tandem.TextValue(strconv.Itoa(i))) {
			break
		}
	}
	return nil
}

// lines is a sink that remembers.
type lines struct {
	mu   sync.Mutex
	seen map[string]int
	how  map[tandem.Outcome]int
	last map[string]string
}

func newLines() *lines {
	return &lines{seen: map[string]int{}, how: map[tandem.Outcome]int{}, last: map[string]string{}}
}

func (l *lines) Write(ended []*tandem.Task) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range ended {
		if t.Result.Outcome == tandem.Canceled {
			continue
		}
		l.seen[t.ID]++
		l.how[t.Result.Outcome]++
		l.last[t.ID] = string(t.Result.Value.Data)
	}
	return len(ended), nil
}

func (l *lines) Close() error { return nil }

func (l *lines) have(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen[id] > 0
}

func (l *lines) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.seen)
}

// steps of the flow that the tests run: one doubles, one makes up to three of each, one refuses what ends in 7.
func build(pause time.Duration) func(context.Context, string, Manifest, int) (engine.Flow, error) {
	return func(context.Context, string, Manifest, int) (engine.Flow, error) {
		f := func(do func(s string) ([]string, error)) engine.Func {
			return engine.Func{Default: 8, Do: func(ctx context.Context, t *tandem.Task) tandem.Result {
				select {
				case <-time.After(pause):
				case <-ctx.Done():
				}
				out, err := do(string(t.Value.Data))
				if err != nil {
					return tandem.Result{Outcome: tandem.Failed, Err: &tandem.Error{Op: "run", Kind: tandem.KindException, Message: err.Error()}}
				}
				r := tandem.Give(tandem.TextValue(out[0]))
				for _, s := range out[1:] {
					r.Rest = append(r.Rest, tandem.TextValue(s))
				}
				r.Count = len(out)
				return r
			}}
		}
		return engine.Flow{Name: "test", Steps: []engine.Step{
			{Name: "double", Handler: f(func(s string) ([]string, error) { n, err := strconv.Atoi(s); return []string{strconv.Itoa(2 * n)}, err })},
			{Name: "split", Handler: f(func(s string) ([]string, error) {
				n, err := strconv.Atoi(s)
				return []string{s + "a", s + "b", s + "c"}[:n%3+1], err
			})},
			{Name: "check", Handler: f(func(s string) ([]string, error) {
				if strings.HasSuffix(s, "4c") {
					return nil, errors.New("no " + s)
				}
				return []string{s}, nil
			})},
		}}, nil
	}
}

// want is what the flow makes of 1..n: items, and those that fail.
func want(n int) (items, failed int) {
	for i := 1; i <= n; i++ {
		parts := (2*i)%3 + 1
		items += parts
		if parts == 3 && strings.HasSuffix(strconv.Itoa(2*i), "4") {
			failed++
		}
	}
	return items, failed
}

// place is a server and a hub at it.
func place(t *testing.T) *jetstream.Server {
	t.Helper()
	s, err := jetstream.Serve(jetstream.ServerConfig{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func join(t *testing.T, s *jetstream.Server) (*Hub, *jetstream.Engine) {
	t.Helper()
	e, err := s.Connect()
	if err != nil {
		t.Fatal(err)
	}
	h, err := Open(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	return h, e
}

// node starts a node; the function stops it and waits.
func node(t *testing.T, h *Hub, name string, pause time.Duration) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	n := NewNode(h, NodeConfig{Name: name, Cores: 2, Cache: t.TempDir(), Build: build(pause), Grace: 2 * time.Second,
		OnEvent: func(e tandem.Event) { t.Logf("%s: %s %s %s %s", name, e.What, e.ID, e.To, e.Reason) }})
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil && !h.e.Gone() {
			t.Errorf("node %s: %v", name, err)
		}
	}
}

func manifest(t *testing.T, h *Hub, run string) Manifest {
	t.Helper()
	name, packed, err := Bundle(t.TempDir(), nil)
	if err == nil {
		err = h.Store(t.Context(), name, packed)
	}
	m := Manifest{Version: Version, Run: run, Flow: "test", Bundle: name, File: "flow.yaml", State: Active, Created: time.Now(), Window: 200, Packs: true,
		Steps: []Step{{Name: "double"}, {Name: "split"}, {Name: "check"}}}
	if err == nil {
		err = h.Create(t.Context(), m)
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func submit(ctx context.Context, h *Hub, m Manifest, dir string, n int, to *lines) (engine.Report, error) {
	s := &Submission{Hub: h, Manifest: m, Source: numbers(n), Dir: dir, Have: to.have, Before: int64(to.count())}
	return engine.New(engine.Config{}).Run(ctx, engine.Flow{Name: "test", Source: s, Sink: to, Settled: s.Settled})
}

func check(t *testing.T, n int, to *lines) {
	t.Helper()
	items, failed := want(n)
	if len(to.seen) != items || to.how[tandem.Failed] != failed || to.how[tandem.OK] != items-failed {
		t.Errorf("%d lines, %v; want %d and %d failed", len(to.seen), to.how, items, failed)
	}
	for id, k := range to.seen {
		if k != 1 {
			t.Errorf("%s has %d lines", id, k)
		}
	}
}

func TestARunOnTwoNodes(t *testing.T) {
	s := place(t)
	h, e := join(t, s)
	defer e.Close()
	defer node(t, h, "a", time.Millisecond)()
	defer node(t, h, "b", time.Millisecond)()
	to := newLines()
	m := manifest(t, h, "two")
	r, err := submit(t.Context(), h, m, t.TempDir(), 600, to)
	if err != nil {
		t.Fatal(err)
	}
	check(t, 600, to)
	items, _ := want(600)
	if r.Items.In != 600 || r.Items.In+r.Items.Made != int64(items) {
		t.Errorf("the report says %+v; want 600 read and %d in all", r.Items, items)
	}
	if got := to.last["1/3"]; got != "2c" {
		t.Errorf("the value of 1/3 is %q, want 2c", got)
	}
	if err := h.Create(t.Context(), m); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("a second run of the same name: %v", err)
	}
}

// The server's level is known in its own process only, and a submitter elsewhere makes the first queue.
func TestARunAtLevelPower(t *testing.T) {
	s, err := jetstream.Serve(jetstream.ServerConfig{Dir: t.TempDir(), Level: jetstream.Power, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	h, e := join(t, s)
	defer e.Close()
	outside, err := jetstream.Connect(s.URL(), jetstream.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	from, err := Open(t.Context(), outside)
	if err != nil {
		t.Fatal(err)
	}
	m, to := manifest(t, from, "power"), newLines()
	q, err := from.queue(t.Context(), m, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	defer node(t, h, "inside", time.Millisecond)()
	if _, err := submit(t.Context(), from, m, t.TempDir(), 300, to); err != nil {
		t.Fatal(err)
	}
	check(t, 300, to)
}

// A node that vanishes: its connection is cut, so that it neither passes anything on nor gives anything back.
func TestANodeThatVanishes(t *testing.T) {
	s := place(t)
	h, e := join(t, s)
	defer e.Close()
	lost, cut := join(t, s)
	stopLost := node(t, lost, "lost", 10*time.Millisecond)
	stop := node(t, h, "stays", 10*time.Millisecond)
	defer stop()
	to := newLines()
	m := manifest(t, h, "vanish")
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		time.Sleep(1500 * time.Millisecond)
		cut.Cut()
		time.Sleep(3 * time.Second) // it ends by itself: nobody stops it
		begun := time.Now()
		stopLost()
		if d := time.Since(begun); d > 3*time.Second {
			t.Errorf("a node without a connection took %v to stop", d)
		}
	}()
	if _, err := submit(t.Context(), h, m, t.TempDir(), 1500, to); err != nil {
		t.Fatal(err)
	}
	<-gone
	check(t, 1500, to)
}

// The submitter is stopped again and again, and the nodes come and go.
func TestASubmitterThatComesBack(t *testing.T) {
	s := place(t)
	h, e := join(t, s)
	defer e.Close()
	m := manifest(t, h, "back")
	to, dir := newLines(), t.TempDir()
	for i := 0; ; i++ {
		stop := node(t, h, fmt.Sprint("n", i), 2*time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(700+200*i)*time.Millisecond)
		if i > 15 {
			cancel()
			ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
		}
		_, err := submit(ctx, h, m, dir, 800, to)
		cancel()
		had, begun := to.count(), time.Now()
		stop()
		t.Logf("round %d: %d lines; the node took %v to stop", i, had, time.Since(begun).Round(time.Millisecond))
		if err == nil {
			break
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
	}
	check(t, 800, to)
}

// held is a sink that takes its first lines only when it is told to.
type held struct {
	*lines
	open chan struct{}
}

func (s held) Write(ended []*tandem.Task) (int, error) {
	<-s.open
	return s.lines.Write(ended)
}

// A result whose lease lapses before its line is in the sink comes again; it must not end by that, or who kills the submitter then loses the line.
func TestAResultStaysUntilItsLineIsThere(t *testing.T) {
	s := place(t)
	h, e := join(t, s)
	defer e.Close()
	second := make(chan struct{}) // the run is not over before it is closed
	stop := run(t, NewNode(h, NodeConfig{Name: "n", Cores: 2, Cache: t.TempDir(), Build: one(engine.Limits{}, func(v string) error {
		if v == "2" {
			<-second
		}
		return nil
	})}))
	m := single(t, h, "run", nil)
	to := held{newLines(), make(chan struct{})}
	sub := &Submission{Hub: h, Manifest: m, Source: numbers(2), Dir: t.TempDir(), Have: to.have}
	done := make(chan error, 1)
	go func() {
		_, err := engine.New(engine.Config{}).Run(t.Context(), engine.Flow{Name: "test", Source: sub, Sink: to, Settled: sub.Settled})
		done <- err
	}()
	results, err := h.queue(t.Context(), m, len(m.Steps))
	if err != nil {
		t.Fatal(err)
	}
	defer results.Close()
	again := func() (n int) {
		sub.mu.Lock()
		defer sub.mu.Unlock()
		for _, r := range sub.flying {
			n += len(r)
		}
		return n
	}
	for end := time.Now().Add(5 * Lease); again() == 0; time.Sleep(10 * time.Millisecond) {
		sub.sent.mu.Lock()
		clear(sub.sent.all) // as of a submitter whose words do not get through
		sub.sent.mu.Unlock()
		if time.Now().After(end) {
			t.Error("it does not come again")
			break
		}
	}
	time.Sleep(200 * time.Millisecond)
	if now, err := results.Stats(t.Context()); now.Ready+now.Leased+now.Delayed == 0 || err != nil {
		t.Errorf("the results' queue has %+v, %v", now, err)
	}
	close(to.open)
	close(second)
	if err := errors.Join(<-done, stop()); err != nil {
		t.Error(err)
	}
	if to.seen["1"] != 1 || to.seen["2"] != 1 {
		t.Error(to.seen)
	}
}
