package live

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tandem"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve answers for a run in a directory whose path is longer than a socket's may be.
func serve(t *testing.T, cfg Config) string {
	t.Helper()
	cfg.Dir = filepath.Join(t.TempDir(), strings.Repeat("long", 40))
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	// What a killed run has left is in the way of nobody.
	dir, err := os.Open(cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: short(dir), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	old.SetUnlinkOnClose(false)
	old.Close()
	if _, err := Ask(cfg.Dir, Request{Ask: "state"}, time.Second); !errors.Is(err, ErrSilent) {
		t.Errorf("a socket that was left answers %v", err)
	}
	s, err := Serve(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		if _, err := os.Lstat(filepath.Join(cfg.Dir, SocketName)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is still there: %v", err)
		}
	})
	return cfg.Dir
}

func TestARunAnswers(t *testing.T) {
	var stopped []bool
	dir := serve(t, Config{
		State: func(items int) State { return State{Run: "r", Seconds: float64(items)} },
		Dump: func(worker string, end bool) (tandem.Dump, error) {
			return tandem.Dump{Worker: worker, Ended: end}, nil
		},
		Kill: func(worker string) error {
			return &tandem.Error{Op: "kill worker", On: worker, Kind: tandem.KindInvalid, Message: "no", Hint: "yes"}
		},
		Stop: func(now bool) { stopped = append(stopped, now) },
	})
	info, err := os.Stat(filepath.Join(dir, SocketName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the socket is %v, %v", info.Mode(), err)
	}
	a, err := Ask(dir, Request{Ask: "state"}, time.Second)
	if err != nil || a.State.Run != "r" || a.State.Seconds != 20 {
		t.Errorf("state: %+v, %v", a.State, err)
	}
	a, err = Ask(dir, Request{Ask: "dump", Worker: "w/1", End: true}, time.Second)
	if err != nil || a.Dump.Worker != "w/1" || !a.Dump.Ended {
		t.Errorf("dump: %+v, %v", a.Dump, err)
	}
	_, err = Ask(dir, Request{Ask: "kill", Worker: "w/1"}, time.Second)
	if e, ok := errors.AsType[*tandem.Error](err); !ok || e.On != "w/1" || e.Hint != "yes" || errors.Is(err, ErrSilent) {
		t.Errorf("kill: %#v", err)
	}
	if _, err = Ask(dir, Request{Ask: "stop", Now: true}, time.Second); err != nil || len(stopped) != 1 || !stopped[0] {
		t.Errorf("stop: %v, %v", stopped, err)
	}
	if _, err = Ask(dir, Request{Ask: "dance"}, time.Second); err == nil {
		t.Error("what it does not know is answered")
	}
}

func TestNonsenseIsNamed(t *testing.T) {
	dir := serve(t, Config{State: func(int) State { return State{} }})
	for _, c := range []struct{ say, want string }{
		{"hello\n", "that is no request"},
		{`{"version":7,"ask":"state"}` + "\n", "the question is of version 7"},
		{strings.Repeat("x", maxRequest+1) + "\n", ""}, // too long: the end
	} {
		conn, err := dial(dir, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = io.WriteString(conn, c.say) }()
		line, err := bufio.NewReader(conn).ReadString('\n')
		conn.Close()
		var a Answer
		switch {
		case c.want == "" && err == nil:
			t.Errorf("%.20q is answered: %s", c.say, line)
		case c.want != "" && (json.Unmarshal([]byte(line), &a) != nil || a.Error == nil || !strings.Contains(a.Error.Message, c.want)):
			t.Errorf("%.40q: %s, %v", c.say, line, err)
		}
	}
}

func TestTooManyAskAtATime(t *testing.T) {
	dir := serve(t, Config{State: func(int) State { return State{} }})
	var held []net.Conn
	defer func() {
		for _, c := range held {
			c.Close()
		}
	}()
	for range mostCallers {
		c, err := dial(dir, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
	}
	var err error
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if _, err = Ask(dir, Request{Ask: "state"}, time.Second); err != nil {
			break
		}
	}
	if err == nil {
		t.Error("there is no end to who is answered")
	}
}

func TestFollow(t *testing.T) {
	var feed Feed
	dir := serve(t, Config{Feed: &feed})
	var mu sync.Mutex
	var heard []string
	ended := make(chan error)
	go func() {
		ended <- Follow(t.Context(), dir, func(r Record) {
			mu.Lock()
			defer mu.Unlock()
			heard = append(heard, r.Text)
		})
	}()
	for feed.listens.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	feed.Add(Record{Text: "one"})
	feed.Add(EventRecord(tandem.Event{What: "worker", ID: "w/1"}))
	feed.End()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if len(heard) != 2 || heard[0] != "one" {
		t.Errorf("heard %q", heard)
	}
	if err := Follow(t.Context(), dir, nil); err != nil {
		t.Errorf("of a run that is over: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Follow(ctx, dir, nil); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// Who does not keep up loses records and is told how many; who tells never waits.
func TestFeedNeverWaits(t *testing.T) {
	var feed Feed
	records, stop := feed.Subscribe()
	for i := range backlog + 10 {
		feed.Add(Record{Text: fmt.Sprint(i)})
	}
	for range backlog {
		<-records
	}
	feed.Add(Record{Text: "after"})
	if r := <-records; r.Text != "after" || r.Cut != 10 {
		t.Errorf("got %+v", r)
	}
	stop()
	stop()
	if feed.listens.Load() != 0 {
		t.Error("it is still listened to")
	}
}

func TestLogIsBoundedAndSaysWhatIsMissing(t *testing.T) {
	dir := t.TempDir()
	l, err := OpenLog(dir)
	if err != nil {
		t.Fatal(err)
	}
	l.max = 4 << 10
	const n = 1000
	for i := range n {
		l.Add(Record{Text: fmt.Sprint(i)})
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var size int64
	for _, name := range []string{logName, olderName} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if size > 2*l.max+200 {
		t.Errorf("it has %d bytes", size)
	}
	check(t, dir, n)

	// A killed run leaves half a line; to go on cuts it off.
	f, err := os.OpenFile(filepath.Join(dir, logName), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = f.WriteString(`{"text":"ha`)
	f.Close()
	if l, err = OpenLog(dir); err != nil {
		t.Fatal(err)
	}
	l.Add(Record{Text: fmt.Sprint(n)})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	check(t, dir, n+1)
}

// check reads a log: the records are in order, the last is n-1, and those that are missing are counted where they were.
func check(t *testing.T, dir string, n int64) {
	t.Helper()
	r, err := ReadLog(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	next := int64(-1)
	var cut int64
	for {
		rec, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		var i int64
		if _, err := fmt.Sscan(rec.Text, &i); err != nil {
			t.Fatal(err)
		}
		cut += rec.Cut
		if next >= 0 && i != next {
			t.Fatalf("%d follows %d", i, next-1)
		}
		next = i + 1
	}
	if next != n || cut == 0 {
		t.Errorf("the last is %d of %d, %d are said to be missing", next-1, n, cut)
	}
}

func TestReaderFollowsTheTurnOfFiles(t *testing.T) {
	dir := t.TempDir()
	l, err := OpenLog(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.max = 1 << 10
	r, err := ReadLog(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for i := range 200 {
		l.Add(Record{Text: fmt.Sprint(i)})
		l.Flush()
		if rec, err := r.Next(); err != nil || rec.Text != fmt.Sprint(i) {
			t.Fatalf("%d: %+v, %v", i, rec, err)
		}
		if _, err := r.Next(); err != io.EOF {
			t.Fatalf("%d: %v", i, err)
		}
	}
}

func TestFloodIsCounted(t *testing.T) {
	l, err := OpenLog(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 1<<20)
	for range 20 {
		l.Add(Record{Text: long})
	}
	l.mu.Lock()
	lost := l.lost
	l.mu.Unlock()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if lost < 10 {
		t.Errorf("%d of 20 MiB in a moment were not kept", lost)
	}
}
