// Package protocol holds the contract of the worker protocol and its byte-exact vectors. These tests run the vectors through the Go decoder and
// a Go worker; sdk/python runs the same files.
package protocol

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tandem"
	"tandem/internal/arena"
	"tandem/internal/wire"
	"tandem/worker"
)

const arenaSize = 1 << 20

// The test binary is the Go worker under test.
func TestMain(m *testing.M) {
	worker.Register("same", func(_ context.Context, in tandem.Value, give func(tandem.Value)) error { give(in); return nil })
	worker.HandleSeq("three", func(_ context.Context, s string) iter.Seq2[string, error] {
		return func(yield func(string, error) bool) {
			for i := range 3 {
				if !yield(s+strconv.Itoa(i), nil) {
					return
				}
			}
		}
	})
	worker.HandleSeq("none", func(context.Context, string) iter.Seq2[string, error] { return func(func(string, error) bool) {} })
	worker.Handle("fail", func(context.Context, string) (string, error) { return "", errors.New("bad header") })
	worker.Handle("big", func(_ context.Context, n int) ([]byte, error) { return bytes.Repeat([]byte("z"), n), nil })
	worker.Handle("nap", func(_ context.Context, s string) (string, error) {
		seconds, err := strconv.ParseFloat(s, 64)
		time.Sleep(time.Duration(seconds * float64(time.Second)))
		return s, err
	})
	worker.Handle("again", func(_ context.Context, s string) (string, error) {
		switch s {
		case "retry":
			return "", worker.Retry(errors.New("busy"), 5*time.Second)
		case "soon":
			return "", worker.Retry(errors.New("busy"), 0)
		}
		return "", worker.Permanent(errors.New("bad"))
	})
	worker.Handle("short", func(_ context.Context, list []string) ([]string, error) { return list[:max(len(list)-1, 0)], nil })
	worker.Handle("nothing", func(context.Context, []string) (any, error) { return nil, nil })
	worker.Main()
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	os.Exit(m.Run())
}

// lines decodes a file of JSON Lines.
func lines[T any](t *testing.T, name string) []T {
	t.Helper()
	f, err := os.Open(filepath.Join("vectors", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []T
	d := json.NewDecoder(bufio.NewReader(f))
	d.DisallowUnknownFields() // a key that this runner does not know would be a check that never runs
	for {
		var x T
		if err := d.Decode(&x); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatalf("%s, record %d: %v", name, len(all)+1, err)
		}
		all = append(all, x)
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFrames(t *testing.T) {
	type frame struct {
		Type    uint8
		Flags   uint8
		ID      uint64
		Payload string
	}
	for _, v := range lines[struct {
		Name, Bytes, Fault string
		Frames             []frame
		Rest               int
	}](t, "frames.jsonl") {
		t.Run(v.Name, func(t *testing.T) {
			b := unhex(t, v.Bytes)
			got := []frame{}
			for {
				f, n, err := wire.Parse(b)
				if err != nil {
					if v.Fault == "" || !strings.Contains(err.Error(), v.Fault) {
						t.Fatalf("got %v, want a fault about %q", err, v.Fault)
					}
					return
				}
				if n == 0 {
					break
				}
				b = b[n:]
				if f.Type < wire.Grease {
					got = append(got, frame{uint8(f.Type), uint8(f.Flags), f.ID, hex.EncodeToString(f.Payload)})
				}
			}
			if v.Fault != "" {
				t.Fatalf("no fault about %q", v.Fault)
			}
			if !slices.Equal(got, v.Frames) || len(b) != v.Rest {
				t.Errorf("got %v and %d bytes, want %v and %d", got, len(b), v.Frames, v.Rest)
			}
		})
	}
}

type repeat struct {
	Byte  string
	Times int
}

type expect struct {
	Type     string
	ID       uint64
	Kind     *int
	Value    *string
	Repeat   *repeat
	Blob     *struct{ Offset, Length, End uint64 }
	More     bool
	None     bool
	Error    map[string]any
	Figures  map[string][2]int64
	AnyOrder []expect `json:"any_order"`
}

type step struct {
	Send   *string
	Expect *expect
	Fill   *struct {
		Offset int
		repeat
	}
	Release *uint64
	Halt    bool
	AtOnce  *int `json:"at_once"`
	Control map[string]uint64
	Silence float64
	Close   bool
	Exit    any
}

func TestTranscripts(t *testing.T) {
	for _, v := range lines[struct {
		Name, Handler string
		Hello         map[string]any
		Steps         []step
	}](t, "transcripts.jsonl") {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			w := start(t, v.Handler, v.Hello)
			for i, s := range v.Steps {
				if err := w.do(t, s); err != nil {
					t.Fatalf("step %d: %v", i+1, err)
				}
			}
		})
	}
}

// process is one worker under test.
type process struct {
	cmd     *exec.Cmd
	sock    *os.File
	in, out *arena.Region
	ended   chan error
	buf     []byte
}

func start(t *testing.T, handler string, more map[string]any) *process {
	t.Helper()
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	_ = syscall.SetNonblock(pair[1], false) // the worker's end blocks
	w := &process{sock: os.NewFile(uintptr(pair[0]), "worker"), ended: make(chan error, 1)}
	theirs := os.NewFile(uintptr(pair[1]), "worker's end")
	if w.in, err = arena.New("in", arenaSize); err != nil {
		t.Fatal(err)
	}
	if w.out, err = arena.New("out", arena.ControlSize+arenaSize); err != nil {
		t.Fatal(err)
	}
	arena.ControlOf(w.out.Mem).Reset()
	w.cmd = exec.Command(os.Args[0])
	w.cmd.Env = append(os.Environ(), worker.Env+"=1", "GORACE=atexit_sleep_ms=0")
	w.cmd.ExtraFiles = []*os.File{theirs, w.in.File(), w.out.File()}
	w.cmd.Stderr = new(bytes.Buffer)
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	go func() { w.ended <- w.cmd.Wait() }()
	t.Cleanup(func() {
		w.sock.Close()
		if w.cmd.ProcessState == nil {
			_ = w.cmd.Process.Kill()
		}
		w.in.Close()
		w.out.Close()
	})
	hello := map[string]any{"protocol": 1, "step": "test", "handler": handler, "dir": ".", "mode": "auto", "threads": 1, "concurrency": 0, "output": "json", "kwargs": false,
		"control": arena.ControlSize, "in_arena": arenaSize, "out_arena": arenaSize}
	for k, x := range more {
		hello[k] = x
	}
	b, err := wire.AppendJSON(nil, wire.Hello, 0, hello)
	if err == nil {
		_, err = w.sock.Write(b)
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *process) do(t *testing.T, s step) error {
	words := func(i int) []byte { return w.out.Mem[8*i : 8*i+8] }
	switch {
	case s.Send != nil:
		_, err := w.sock.Write(unhex(t, *s.Send))
		return err
	case s.Expect != nil:
		for want := s.Expect.AnyOrder; ; {
			f, err := w.next(20 * time.Second)
			if err != nil {
				return err
			}
			if len(s.Expect.AnyOrder) == 0 {
				return w.check(t, f, *s.Expect)
			}
			i := slices.IndexFunc(want, func(e expect) bool { return e.ID == f.ID })
			if i < 0 {
				return fmt.Errorf("an answer about task %d, want one of %d others", f.ID, len(want))
			}
			e := want[i]
			e.Type = s.Expect.Type
			if err := w.check(t, f, e); err != nil {
				return err
			}
			if want = slices.Delete(slices.Clone(want), i, i+1); len(want) == 0 {
				return nil
			}
		}
	case s.Fill != nil:
		copy(w.in.Mem[s.Fill.Offset:], bytes.Repeat(unhex(t, s.Fill.Byte), s.Fill.Times))
	case s.Release != nil:
		arena.ControlOf(w.out.Mem).Release(*s.Release)
	case s.AtOnce != nil:
		arena.ControlOf(w.out.Mem).SetAtOnce(*s.AtOnce)
	case s.Halt:
		arena.ControlOf(w.out.Mem).Halt()
	case s.Control != nil:
		for word, want := range s.Control {
			i, err := strconv.Atoi(word)
			if err != nil {
				return err
			}
			if got := binary.LittleEndian.Uint64(words(i)); got != want {
				return fmt.Errorf("word %d of the control page is %d, want %d", i, got, want)
			}
		}
	case s.Silence > 0:
		if f, err := w.next(time.Duration(s.Silence * float64(time.Second))); err == nil {
			return fmt.Errorf("want silence, got %v about %d", f.Type, f.ID)
		}
	case s.Close:
		return w.sock.Close()
	case s.Exit != nil:
		return w.exit(s.Exit)
	default:
		return errors.New("a step that says nothing")
	}
	return nil
}

// next is the next frame that is not grease.
func (w *process) next(wait time.Duration) (wire.Frame, error) {
	_ = w.sock.SetReadDeadline(time.Now().Add(wait))
	for {
		f, n, err := wire.Parse(w.buf)
		if err != nil {
			return f, err
		}
		if w.buf = w.buf[n:]; n > 0 && f.Type < wire.Grease {
			return f, nil
		}
		if n > 0 {
			continue
		}
		part := make([]byte, 64<<10)
		n, err = w.sock.Read(part)
		if err != nil {
			return f, fmt.Errorf("read from the worker: %w", err)
		}
		w.buf = append(slices.Clone(w.buf), part[:n]...)
	}
}

func (w *process) check(t *testing.T, f wire.Frame, want expect) error {
	if f.Type.String() != want.Type || f.ID != want.ID {
		return fmt.Errorf("got %v about task %d (%q), want %s about %d", f.Type, f.ID, f.Payload, want.Type, want.ID)
	}
	if f.Type == wire.Measured {
		u, err := f.Usage()
		if err != nil {
			return err
		}
		got := map[string]int64{"tasks": u.Tasks, "wall": int64(u.Wall), "cpu": int64(u.CPU), "queue": int64(u.Queue), "voluntary": u.Voluntary, "involuntary": u.Involuntary, "looks": u.Looks, "held": u.Held, "late": int64(u.Late)}
		for name, within := range want.Figures {
			if x, known := got[name]; !known || x < within[0] || x > within[1] {
				return fmt.Errorf("%s is %d, want %v", name, x, within)
			}
		}
		return nil
	}
	if f.Type != wire.Result && f.Type != wire.Error {
		return nil
	}
	_, value, err := f.Service()
	if err != nil {
		return err
	}
	if f.Type == wire.Error {
		var body map[string]any
		if err := json.Unmarshal(value, &body); err != nil {
			return err
		}
		for k, text := range want.Error {
			got, said := body[k].(string)
			if k == "message" && said && strings.Contains(got, text.(string)) {
				continue
			}
			if body[k] != text {
				return fmt.Errorf("%s is %v, want %v", k, body[k], text)
			}
		}
		return nil
	}
	if (f.Flags&wire.More != 0) != want.More || (f.Flags&wire.None != 0) != want.None || (f.Flags&wire.Blob != 0) != (want.Blob != nil) {
		return fmt.Errorf("flags %#x, want more %v, none %v, blob %v", uint8(f.Flags), want.More, want.None, want.Blob != nil)
	}
	if want.Kind != nil && int(f.Flags.Kind()) != *want.Kind {
		return fmt.Errorf("kind %v, want %d", f.Flags.Kind(), *want.Kind)
	}
	if want.Blob != nil {
		s, err := f.ReadSpan(value)
		if err != nil {
			return err
		}
		if s != (wire.Span{Offset: want.Blob.Offset, Length: want.Blob.Length, End: want.Blob.End}) {
			return fmt.Errorf("descriptor %+v, want %+v", s, *want.Blob)
		}
		value = w.out.Mem[arena.ControlSize:][s.Offset : s.Offset+s.Length]
	}
	if want.Value != nil && !bytes.Equal(value, unhex(t, *want.Value)) {
		return fmt.Errorf("value %q, want %q", value, unhex(t, *want.Value))
	}
	if r := want.Repeat; r != nil && !bytes.Equal(value, bytes.Repeat(unhex(t, r.Byte), r.Times)) {
		return fmt.Errorf("a value of %d bytes, want %d times %s", len(value), r.Times, r.Byte)
	}
	return nil
}

func (w *process) exit(want any) error {
	select {
	case <-w.ended:
	case <-time.After(20 * time.Second):
		return errors.New("the worker does not end")
	}
	code := w.cmd.ProcessState.ExitCode()
	if want == "any" || want == "not 0" && code != 0 || want == float64(code) {
		return nil
	}
	return fmt.Errorf("exit code %d, want %v; it said: %s", code, want, w.cmd.Stderr)
}
