package redis

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tandem"
	"tandem/tandemtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve starts a real server on a socket, in a directory of its own, and gives its address.
func serve(t *testing.T, args ...string) (url string, server *os.Process) {
	t.Helper()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("NOT TESTED: redis-server is not here (apt-get install redis-server)")
	}
	dir, err := os.MkdirTemp("", "tandem-redis") // a socket's name must be short
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	c := exec.Command(program, append([]string{"--port", "0", "--unixsocket", socket, "--dir", dir, "--appendonly", "yes", "--save", ""}, args...)...)
	var said strings.Builder
	c.Stdout, c.Stderr = &said, &said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
		_ = os.RemoveAll(dir)
	})
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(socket); err == nil {
			return "unix://" + socket, c.Process
		}
		if time.Now().After(end) {
			t.Fatalf("redis-server does not start: %s", said.String())
		}
	}
}

func connect(t *testing.T, url string) *Engine {
	t.Helper()
	e, err := Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func open(t *testing.T, e *Engine, cfg tandem.QueueConfig) *Queue {
	t.Helper()
	q, err := e.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
	return q
}

func TestRedis(t *testing.T) {
	url, _ := serve(t)
	e := connect(t, url)
	tandemtest.ExerciseQueue(t, func(t *testing.T, cfg tandem.QueueConfig) tandem.Queue { return open(t, e, cfg) })
}

func TestServersThatCannotKeepThePromise(t *testing.T) {
	url, _ := serve(t, "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
	if _, err := Connect(t.Context(), url); err == nil || !strings.Contains(err.Error(), "allkeys-lru") {
		t.Errorf("a server that evicts: %v", err)
	}
	url, _ = serve(t, "--requirepass", "secret")
	if _, err := Connect(t.Context(), url); err == nil || !strings.Contains(err.Error(), "credentials") {
		t.Errorf("a server with a password: %v", err)
	}
	if _, err := Connect(t.Context(), "unix:///nowhere/s"); err == nil {
		t.Error("no server, and no error")
	}
	for _, bad := range []string{"", "http://x", "redis://x/notanumber"} {
		if _, err := Connect(t.Context(), bad); err == nil {
			t.Errorf("the address %q was taken", bad)
		}
	}
}

func TestSafetyIsTold(t *testing.T) {
	for want, args := range map[string][]string{"power": {"--appendfsync", "always"}, "process": nil, "none": {"--appendonly", "no"}} {
		url, _ := serve(t, args...)
		if got := connect(t, url).Safety(t.Context()); got != want {
			t.Errorf("with %v: %s, want %s", args, got, want)
		}
	}
}

func TestAQueueOfOtherBoundsIsRefused(t *testing.T) {
	url, _ := serve(t)
	e := connect(t, url)
	open(t, e, tandem.QueueConfig{Name: "q", Items: 5})
	_, err := e.Open(t.Context(), tandem.QueueConfig{Name: "q", Items: 6})
	if x, ok := errors.AsType[*tandem.Error](err); !ok || x.Kind != tandem.KindInvalid || !strings.Contains(x.Message, "5 messages") {
		t.Errorf("other bounds: %v", err)
	}
	if err := e.RemoveQueue(t.Context(), "q"); err != nil {
		t.Fatal(err)
	}
	open(t, e, tandem.QueueConfig{Name: "q", Items: 6})
}

// What one process frees or puts in wakes the other at once, not at its next look.
func TestTwoConnectionsWakeEachOther(t *testing.T) {
	url, _ := serve(t)
	here, there := open(t, connect(t, url), tandem.QueueConfig{Name: "q", Items: 1}), open(t, connect(t, url), tandem.QueueConfig{Name: "q", Items: 1})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	passed := make(chan error, 1)
	go func() {
		for i := range 100 {
			if err := here.Put(ctx, tandem.Message{Body: []byte{byte(i)}}); err != nil {
				passed <- err
				return
			}
		}
		passed <- nil
	}()
	for i := range 100 { // a look a second would take 100 s
		l, err := there.Take(ctx, 1)
		if err != nil {
			t.Fatal(err)
		}
		if l[0].Message().Body[0] != byte(i) {
			t.Fatalf("came %d, want %d", l[0].Message().Body[0], i)
		}
		if err := there.Done(ctx, l...); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-passed; err != nil {
		t.Fatal(err)
	}
}

func TestOnOneIDManyLettersAreKept(t *testing.T) {
	url, _ := serve(t)
	q := open(t, connect(t, url), tandem.QueueConfig{Name: "q", Dedupe: time.Millisecond})
	for _, reason := range []string{"first", "second"} {
		time.Sleep(5 * time.Millisecond)
		if err := q.Put(t.Context(), tandem.Message{ID: "a"}); err != nil {
			t.Fatal(err)
		}
		l, err := q.Take(t.Context(), 1)
		if err == nil {
			err = l[0].Kill(t.Context(), reason)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if dead, err := q.Dead(t.Context(), 10); err != nil || len(dead) != 2 || dead[0].Reason != "first" || dead[1].Reason != "second" {
		t.Fatalf("dead letters: %+v, %v", dead, err)
	}
	for range 2 {
		if err := q.Bury(t.Context(), "a"); err != nil {
			t.Error(err)
		}
	}
}

// A server that dies and comes back with its file: what was put is there, waiting takers go on.
func TestAServerThatIsKilledComesBack(t *testing.T) {
	url, server := serve(t, "--appendfsync", "always")
	q := open(t, connect(t, url), tandem.QueueConfig{Name: "q"})
	if err := q.Put(t.Context(), tandem.Message{ID: "a"}, tandem.Message{ID: "b"}); err != nil {
		t.Fatal(err)
	}
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	socket := strings.TrimPrefix(url, "unix://")
	for q.Put(t.Context(), tandem.Message{ID: "c"}) == nil {
		time.Sleep(time.Millisecond)
	}
	if err := q.Put(t.Context(), tandem.Message{ID: "c"}); err == nil {
		t.Fatal("Put without a server")
	} else if e, ok := errors.AsType[*tandem.Error](err); !ok || e.Kind != tandem.KindQueue {
		t.Errorf("Put without a server: %v", err)
	}
	_ = os.Remove(socket)
	c := exec.Command("redis-server", "--port", "0", "--unixsocket", socket, "--dir", filepath.Dir(socket), "--appendonly", "yes", "--save", "")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var got []string
	for len(got) < 2 && ctx.Err() == nil {
		l, err := q.Take(ctx, 1)
		if err != nil {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		got = append(got, l[0].Message().ID)
	}
	if len(got) < 2 || got[0] != "a" || got[1] != "b" {
		t.Errorf("after the server came back: %q", got)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(string(encode(&tandem.Message{ID: "a", Key: "k", Body: []byte("x"), Header: map[string]string{"h": "v"}, NotBefore: time.Unix(1, 2)})))
	f.Add("\xff\xff\xff\xff")
	f.Fuzz(func(t *testing.T, s string) {
		m, err := decode(s)
		if err != nil {
			return
		}
		again, err := decode(string(encode(&m)))
		if err != nil || again.ID != m.ID || again.Key != m.Key || string(again.Body) != string(m.Body) || len(again.Header) != len(m.Header) {
			t.Errorf("%+v became %+v, %v", m, again, err)
		}
	})
}
