package procpool

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem"
	"tandem/internal/arena"
	"tandem/internal/wire"
)

// evil is a worker that says READY and then answers its first task wrongly.
func evil(how string) {
	sock := os.NewFile(3, "tandem")
	read := func() wire.Frame {
		head := make([]byte, wire.HeaderSize)
		if _, err := io.ReadFull(sock, head); err != nil {
			os.Exit(0)
		}
		b := append(head, make([]byte, binary.LittleEndian.Uint32(head)-wire.HeaderSize)...)
		_, _ = io.ReadFull(sock, b[wire.HeaderSize:])
		f, _, _ := wire.Parse(b)
		return f
	}
	read()
	page, _ := arena.Open(5, arena.ControlSize+64<<20, true)
	ctl := arena.ControlOf(page)
	mode := tandem.Process
	if how == "late" {
		mode = tandem.Thread
	}
	ready, _ := wire.AppendJSON(nil, wire.Ready, 0, wire.ReadyBody{Protocol: 1, Mode: mode, Measure: strings.HasPrefix(how, "measures")})
	_, _ = sock.Write(ready)
	if how == "plain" { // not evil, but simple: one task after the other, until DRAIN
		for n := uint64(1); ; n++ {
			f := read()
			if f.Type == wire.Drain {
				_, _ = sock.Write(wire.Append(nil, wire.Bye, 0, 0, nil))
				os.Exit(0)
			}
			ctl.SetStarted(n)
			ctl.Begin(0, f.ID, arena.Now())
			time.Sleep(200 * time.Millisecond)
			ctl.End(0)
			ctl.SetFinished(n)
			_, _ = sock.Write(wire.AppendResult(nil, f.ID, 0, 200*time.Millisecond, tandem.TextValue("x")))
		}
	}
	f := read()
	for n := uint64(1); how == "severs"; n++ { // with an item whose text is "x", and goes on with the next
		ctl.SetStarted(n)
		ctl.Begin(0, f.ID, arena.Now())
		if string(f.Payload) == "x" {
			_ = sock.Close()
			time.Sleep(100 * time.Millisecond)
			ctl.End(0)
			ctl.SetStarted(n + 1)
			ctl.Begin(0, f.ID+1, arena.Now())
			time.Sleep(time.Minute)
		}
		ctl.End(0)
		_, _ = sock.Write(wire.AppendResult(nil, f.ID, 0, 1, tandem.TextValue("x")))
		if f = read(); f.Type == wire.Drain {
			os.Exit(0)
		}
	}
	lie(how, f, sock, ctl, read)
	if how == "leaves" { // without a word, as often as the file has bytes
		if b, err := os.ReadFile(os.Args[3]); err == nil && len(b) > 0 {
			_ = os.WriteFile(os.Args[3], b[1:], 0o644)
			os.Exit(0)
		}
		for {
			ctl.SetStarted(1)
			ctl.Begin(0, f.ID, arena.Now())
			ctl.End(0)
			_, _ = sock.Write(wire.AppendResult(nil, f.ID, 0, 1, tandem.TextValue("x")))
			f = read()
			if f.Type == wire.Drain {
				os.Exit(0)
			}
			if b, err := os.ReadFile(os.Args[3]); err == nil && len(b) > 0 {
				_ = os.WriteFile(os.Args[3], b[1:], 0o644)
				os.Exit(0)
			}
		}
	}
	if how != "mute" {
		ctl.AddStarted()
		ctl.Begin(0, f.ID, arena.Now())
	}
	good := tandem.TextValue("x")
	var b []byte
	switch how {
	case "garbage":
		b = []byte(strings.Repeat("garbage!", 100))
	case "oversized":
		b = binary.LittleEndian.AppendUint32(nil, 1<<30)
		b = append(b, make([]byte, 12)...)
	case "stale":
		b = wire.AppendResult(nil, f.ID, 0, 1, good)
		b = wire.AppendResult(b, f.ID, 0, 1, good)
	case "forged":
		b = wire.AppendResult(nil, f.ID+1<<32, 0, 1, good)
	case "nobody":
		b = wire.AppendResult(nil, 77, 0, 1, good)
	case "outside":
		b = wire.AppendResultBlob(nil, f.ID, 0, 1, tandem.Bytes, wire.Span{Offset: 1 << 40, Length: 10, End: 64})
	case "backward":
		b = wire.AppendResultBlob(nil, f.ID, wire.More, 1, tandem.Bytes, wire.Span{Offset: 0, Length: 10, End: 640})
		b = wire.AppendResultBlob(b, f.ID, 0, 1, tandem.Bytes, wire.Span{Offset: 0, Length: 10, End: 64})
	case "short":
		b = wire.Append(nil, wire.Result, 0, f.ID, []byte("abc"))
	case "hello":
		b = wire.Append(nil, wire.Hello, 0, f.ID, nil)
	case "badjson":
		b = wire.Append(nil, wire.Error, 0, f.ID, append(make([]byte, 8), "{nope"...))
	case "unasked":
		b = wire.AppendMeasured(nil, f.ID, tandem.Usage{Tasks: 1})
	case "measures little":
		b = wire.Append(nil, wire.Measured, 0, f.ID, []byte("abc"))
	case "measures much":
		b = wire.Append(nil, wire.Measured, 0, f.ID, binary.LittleEndian.AppendUint64(make([]byte, 64), 1<<63))
	case "mute":
		time.Sleep(time.Minute)
	case "spins": // and shows nothing
		ctl.End(0)
		for begun := time.Now(); time.Since(begun) < time.Minute; {
			runtime.Gosched()
		}
	}
	_, _ = sock.Write(b)
	time.Sleep(time.Minute)
}

// lie does what is no breach of the protocol and no way to behave either. It returns when how is none of these.
func lie(how string, f wire.Frame, sock *os.File, ctl arena.Control, read func() wire.Frame) {
	answer := func(id uint64) { _, _ = sock.Write(wire.AppendResult(nil, id, 0, 1, tandem.TextValue("x"))) }
	serve := func() {
		for n := uint64(2); ; n++ {
			f := read()
			if f.Type == wire.Drain {
				os.Exit(0)
			}
			if f.Type == wire.Task {
				ctl.SetStarted(n)
				answer(f.ID)
			}
		}
	}
	if slices.Contains([]string{"future", "past", "refreshes", "others", "closes", "child", "late"}, how) {
		ctl.SetStarted(1)
	}
	switch how {
	case "future":
		ctl.Begin(0, f.ID, arena.Now()+int64(time.Hour))
	case "past":
		ctl.Begin(0, f.ID, 1)
		time.Sleep(200 * time.Millisecond)
		ctl.End(0)
		answer(f.ID)
		serve()
	case "refreshes":
		for {
			ctl.Begin(0, f.ID, arena.Now())
			time.Sleep(time.Millisecond)
		}
	case "others":
		ctl.Begin(0, f.ID+1<<32, arena.Now())
	case "closes":
		ctl.Begin(0, f.ID, arena.Now())
		_ = sock.Close()
	case "child": // that holds everything open
		ctl.Begin(0, f.ID, arena.Now())
		_, _ = os.StartProcess("/bin/sleep", []string{"sleep", "60"}, &os.ProcAttr{Files: []*os.File{nil, os.Stdout, os.Stderr, sock}})
		os.Exit(7)
	case "late":
		ctl.Begin(0, f.ID, arena.Now())
		for read().Type != wire.Cancel {
		}
		time.Sleep(100 * time.Millisecond)
		ctl.End(0)
		answer(f.ID)
		serve()
	default:
		return
	}
	time.Sleep(time.Minute)
}

// Whatever a worker says or leaves unsaid, its item ends, and the next one finds a worker.
func TestAWorkerThatLiesCostsItsItem(t *testing.T) {
	for how, c := range map[string]struct {
		outcome tandem.Outcome
		message string
		slow    bool
	}{
		"future":    {tandem.TimedOut, "not done after 500ms", false},
		"past":      {tandem.OK, "", false},
		"refreshes": {tandem.Crashed, "neither answers", true},
		"others":    {tandem.Crashed, "neither answers", true},
		"closes":    {tandem.Crashed, "closed its channel and went on", false},
		"child":     {tandem.Crashed, "exit code 7", false},
		"late":      {tandem.TimedOut, "not done after 500ms", false},
	} {
		t.Run(how, func(t *testing.T) {
			if c.slow && testing.Short() {
				t.Skip("takes 6 s")
			}
			t.Parallel()
			cfg := testConfig("")
			cfg.Argv, cfg.Workers, cfg.Timeout = []string{os.Args[0], "evil", how}, 1, 500*time.Millisecond
			if how == "late" {
				cfg.Mode, cfg.Threads = tandem.Thread, 2
			}
			p := started(t, cfg)
			begun := time.Now()
			r := call(t, p, "x").Result
			if r.Outcome != c.outcome || r.Err != nil && !strings.Contains(r.Err.Message, c.message) {
				t.Errorf("%s %v, want %s with %q", r.Outcome, r.Err, c.outcome, c.message)
			}
			if most := map[bool]time.Duration{false: 5 * time.Second, true: 15 * time.Second}[c.slow]; time.Since(begun) > most {
				t.Errorf("took %v", time.Since(begun))
			}
			if how == "late" || how == "past" { // the same worker goes on
				if r := call(t, p, "y").Result; r.Outcome != tandem.OK {
					t.Errorf("the next item: %s %v", r.Outcome, r.Err)
				}
				if s := p.State(); s.Crashes != 0 {
					t.Errorf("%d workers lost", s.Crashes)
				}
			}
		})
	}
}

// An item that began after another had closed the worker's channel is not to blame, even where a crash is not tried once more.
func TestWhoseChannelWasClosedByAnotherIsNotBlamed(t *testing.T) {
	for _, never := range []bool{false, true} {
		cfg := testConfig("")
		cfg.Argv, cfg.Workers, cfg.NoTrial = []string{os.Args[0], "evil", "severs"}, 1, never
		p := started(t, cfg)
		done, tasks := submit(t, p, "x", "y")
		<-done.done
		if r := tasks[0].Result; r.Outcome != tandem.Crashed {
			t.Errorf("NoTrial %v: who closed it: %s %v", never, r.Outcome, r.Err)
		}
		if r := tasks[1].Result; r.Outcome != tandem.OK {
			t.Errorf("NoTrial %v: the next item: %s %v", never, r.Outcome, r.Err)
		}
	}
}

func TestAWorkerThatBreaksTheProtocolIsEnded(t *testing.T) {
	for how, want := range map[string]string{
		"garbage": "frame", "oversized": "frame length", "forged": "does not run on this worker", "nobody": "does not run on this worker",
		"outside": "outside the arena", "backward": "outside the arena", "short": "want 8 or more", "hello": "HELLO frame", "badjson": "not the JSON", "unasked": "MEASURED frame", "measures little": "want 72 or more", "measures much": "figure 9",
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			cfg := testConfig("")
			cfg.Argv, cfg.Workers = []string{os.Args[0], "evil", how}, 1
			p := started(t, cfg)
			r := call(t, p, "x").Result
			if r.Outcome != tandem.Crashed || r.Err.Kind != tandem.KindProtocol || !strings.Contains(r.Err.Message, want) {
				t.Errorf("got %s %v, want crashed with a protocol error that names %q", r.Outcome, r.Err, want)
			}
		})
	}
}

func TestAStaleAnswerEndsTheWorkerAndCostsNothing(t *testing.T) {
	cfg := testConfig("")
	cfg.Argv, cfg.Workers = []string{os.Args[0], "evil", "stale"}, 1
	dead := make(chan string, 10)
	cfg.OnEvent = func(e tandem.Event) {
		if e.To == "dead" {
			dead <- e.Reason
		}
	}
	p := started(t, cfg)
	if r := call(t, p, "x").Result; r.Outcome != tandem.OK {
		t.Errorf("the first answer was good, got %s %v", r.Outcome, r.Err)
	}
	select {
	case why := <-dead:
		if !strings.Contains(why, "does not run on this worker") {
			t.Errorf("ended for %q", why)
		}
	case <-time.After(10 * time.Second):
		t.Error("the worker lives on")
	}
}

func TestAWorkerThatIsNoneIsNamed(t *testing.T) {
	for _, c := range []struct {
		argv []string
		kind string
		want string
	}{
		{[]string{"/no/such/worker"}, tandem.KindStart, "no such program"},
		{[]string{"/bin/true"}, tandem.KindCrash, "exit code 0"},
		{[]string{"/bin/sh", "-c", "echo oh dear >&2; exit 3"}, tandem.KindCrash, "exit code 3"},
		{[]string{"/bin/sh", "-c", "echo this is no frame at all >&3; sleep 60"}, tandem.KindProtocol, "frame"},
		{[]string{"/bin/sleep", "60"}, tandem.KindTimeout, "not ready after"},
	} {
		t.Run(fmt.Sprint(c.argv), func(t *testing.T) {
			t.Parallel()
			cfg := testConfig("x")
			cfg.Argv, cfg.Workers, cfg.StartTimeout = c.argv, 1, 500*time.Millisecond
			p := New(cfg)
			err := p.Run(t.Context())
			e, ok := err.(*tandem.Error)
			if !ok || e.Kind != c.kind || !strings.Contains(e.Message, c.want) {
				t.Fatalf("got %v, want kind %s with %q", err, c.kind, c.want)
			}
			if c.want == "exit code 3" && !strings.Contains(e.Trace, "oh dear") {
				t.Errorf("its last words are missing: %q", e.Trace)
			}
			if err := p.Call(t.Context(), &tandem.Task{}); err != tandem.ErrClosed {
				t.Errorf("Call after the end: %v", err)
			}
		})
	}
}

func TestAnUnknownHandlerIsNamed(t *testing.T) {
	p := New(testConfig("ehco"))
	err := p.Run(t.Context())
	e, ok := err.(*tandem.Error)
	if !ok || e.Kind != tandem.KindNotCallable || !strings.Contains(e.Hint, "echo") {
		t.Fatalf("got %v, want not_callable with the names that are there", err)
	}
}
