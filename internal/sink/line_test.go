package sink

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tandem"
)

func ok(id string, v tandem.Value) *tandem.Task {
	return &tandem.Task{ID: id, Attempts: 1, Elapsed: 1500 * time.Millisecond, Result: tandem.Give(v)}
}

func TestLines(t *testing.T) {
	failed := &tandem.Task{ID: "x", Attempts: 2, Result: tandem.Result{Outcome: tandem.Failed, Err: &tandem.Error{Kind: "exception", Message: "a \"b\"\n\x00", Hint: "h", On: "step"}}}
	for _, c := range []struct {
		t    *tandem.Task
		want string
	}{
		{ok("a\xffb", tandem.TextValue("grün\n\x01\"\xfe")), `{"id":"a\udcffb","outcome":"ok","value":"grün\n\u0001\"\udcfe","attempts":1,"seconds":1.500000}`},
		{ok("1", tandem.Value{Kind: tandem.JSON, Data: []byte("{\"a\":\n1}")}), `{"id":"1","outcome":"ok","value":{"a": 1},"attempts":1,"seconds":1.500000}`},
		{ok("1", tandem.Value{Kind: tandem.Bytes, Data: []byte{0, 255}}), `{"id":"1","outcome":"ok","value":{"base64":"AP8="},"attempts":1,"seconds":1.500000}`},
		{ok("1", tandem.Value{}), `{"id":"1","outcome":"ok","value":null,"attempts":1,"seconds":1.500000}`},
		{failed, `{"id":"x","outcome":"failed","error":{"kind":"exception","message":"a \"b\"\n\u0000","hint":"h","step":"step"},"attempts":2,"seconds":0.000000}`},
	} {
		got := string(AppendLine(nil, c.t))
		if got != c.want+"\n" {
			t.Errorf("got  %swant %s", got, c.want)
		}
		if !json.Valid([]byte(got)) {
			t.Errorf("not JSON: %s", got)
		}
	}
}

func TestItIsEmptiedOnlyWhenTheRunBegins(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.jsonl")
	if err := os.WriteFile(path, []byte("the last run's\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s, err := Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if b, _ := os.ReadFile(path); len(b) == 0 {
		t.Error("emptied by a run that never began")
	}
	if err := s.Begin(); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Write([]*tandem.Task{ok("1", tandem.Value{}), ok("2", tandem.Value{})}); n != 2 || err != nil {
		t.Error(n, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if b, _ := os.ReadFile(path); bytes.Count(b, []byte("\n")) != 2 {
		t.Errorf("%q", b)
	}
	for _, bad := range []string{filepath.Join(path, "x"), t.TempDir(), "/no/such/dir/x"} {
		if s, err := Open(bad, nil); err == nil {
			if err = s.Begin(); err == nil {
				t.Errorf("%s could be opened", bad)
			}
		}
	}
}

func TestFullDevice(t *testing.T) {
	s, err := Open("/dev/full", nil)
	if err == nil {
		err = s.Begin()
	}
	if err != nil {
		t.Fatal(err)
	}
	written, lost := 0, 0
	for range 10 {
		n, err := s.Write([]*tandem.Task{ok("1", tandem.Value{Kind: tandem.Bytes, Data: make([]byte, 100_000)})})
		written += n
		if err != nil && !strings.Contains(err.Error(), "no space left") {
			t.Errorf("got %v", err)
		}
	}
	n, _ := s.Flush()
	if lost += n; written-lost > 0 {
		t.Errorf("%d lines are said to be in a full device", written-lost)
	}
	if err := s.Close(); err != nil {
		t.Errorf("the fault was told already, Close says %v", err)
	}
}

// A real file that may not grow further: what is in it are whole lines, and as many as were reported.
func TestFileThatMayNotGrow(t *testing.T) {
	if path := os.Getenv("SINK_CHILD"); path != "" {
		limited(path)
		return
	}
	path := filepath.Join(t.TempDir(), "out.jsonl")
	cmd := exec.Command(os.Args[0], "-test.run", "TestFileThatMayNotGrow")
	cmd.Env = append(os.Environ(), "SINK_CHILD="+path, "GORACE=atexit_sleep_ms=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSuffix(b, []byte("\n")), []byte("\n"))
	for _, l := range lines {
		if !json.Valid(l) {
			t.Fatalf("half a line is in the file: %q", l[:min(len(l), 80)])
		}
	}
	_, said, _ := strings.Cut(string(out), "written=")
	if n, _ := strconv.Atoi(strings.Fields(said + " ")[0]); n != len(lines) || n == 0 {
		t.Errorf("%d lines in the file, the sink says %d", len(lines), n)
	}
}

// limited runs in a process whose files may not grow above 200 kB.
func limited(path string) {
	_ = syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 200_000, Max: 200_000})
	s, err := Open(path, nil)
	if err == nil {
		err = s.Begin()
	}
	written := 0
	for i := 0; err == nil; i++ {
		var n int
		n, err = s.Write([]*tandem.Task{ok(strconv.Itoa(i), tandem.TextValue(strings.Repeat("x", 777)))})
		written += n
	}
	println("written=" + strconv.Itoa(written))
	os.Exit(0)
}

func BenchmarkAppendLine(b *testing.B) {
	task := ok("12345", tandem.Value{Kind: tandem.JSON, Data: []byte("12345")})
	var buf []byte
	for b.Loop() {
		buf = AppendLine(buf[:0], task)
	}
}
