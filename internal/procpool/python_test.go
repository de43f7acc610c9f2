package procpool

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tandem"
	"tandem/sdk/python"
)

const pyHandlers = `
import os, time, asyncio
def echo(x): return x
def three(x):
    for i in range(3): yield f"{x}{i}"
def none(x):
    return
    yield
def fail(x): raise ValueError("bad header\nsecond line")
def gone(x): os._exit(3)
def abort(x): os.abort()
def odd(x): return {1, 2}
def nan(x): return float("nan")
def nap(x): time.sleep(float(x)); return x
async def anap(x): await asyncio.sleep(float(x)); return x
def shout(x):
    for i in range(1000): print("x" * 1000)
    return x
def size(x): return len(x)
def sleepy(x):
    if x != "quick": time.sleep(1.5)
    return x
async def asleepy(x): await asyncio.sleep(0 if x == "quick" else 1.5); return x
def upper(xs): return [] if xs[0] == "short" else (x.upper() for x in xs)
def again(x):
    from tandem import Permanent, Retry
    if x == "later": raise Retry("busy", after=1.5)
    if x == "again": raise Retry("busy")
    if x == "never": raise Permanent("bad")
    if x == "wrapped": raise Permanent("read: bad") from ValueError("bad")
    raise ValueError("no")
def big(n): return b"z" * n
`

// pyConfig is a pool of Python workers. Without Python the test fails: it is one of the two languages that must work.
func pyConfig(t testing.TB, handler string) Config {
	t.Helper()
	interpreter := os.Getenv("TANDEM_PYTHON")
	if interpreter == "" {
		interpreter = "python3"
	}
	path, err := exec.LookPath(interpreter)
	if err != nil {
		t.Fatalf("no Python: %v", err)
	}
	dir := t.TempDir()
	if err := errors.Join(os.CopyFS(dir, python.Worker), os.WriteFile(filepath.Join(dir, "handlers.py"), []byte(pyHandlers), 0o644)); err != nil {
		t.Fatal(err)
	}
	return Config{Step: "py", Measure: true, Argv: []string{path, "-c", fmt.Sprintf(python.Start, `"`+dir+`"`)},
		Template: []string{path, "-c", fmt.Sprintf(strings.Replace(python.Start, "start", "fork", 1), `"`+dir+`"`)},
		Handler:  "handlers.py:" + handler, Home: dir, Workers: 2}
}

func TestPythonValues(t *testing.T) {
	p := started(t, pyConfig(t, "echo"))
	for _, v := range []tandem.Value{
		{}, {Kind: tandem.Bytes, Data: []byte{0, 255, 1}}, {Kind: tandem.Bytes, Data: bytes.Repeat([]byte("ab"), 9000)}, {Kind: tandem.Text, Data: []byte("grün\xff\nx")},
		{Kind: tandem.JSON, Data: []byte("12345678901234567890123")}, {Kind: tandem.JSON, Data: []byte(`{"a":[1,2.5,null,true]}`)}, {Kind: tandem.JSON, Data: []byte("-7")}, {Kind: tandem.JSON, Data: []byte("1.5")},
	} {
		task := &tandem.Task{Value: v}
		if err := p.Call(t.Context(), task); err != nil {
			t.Fatal(err)
		}
		if r := task.Result; r.Outcome != tandem.OK || r.Value.Kind != v.Kind || !bytes.Equal(r.Value.Data, v.Data) {
			t.Errorf("%s %q came back as %s %q (%v)", v.Kind, v.Data, r.Value.Kind, r.Value.Data, r.Err)
		}
	}
}

func TestPythonOutcomes(t *testing.T) {
	type wanted struct {
		handler string
		outcome tandem.Outcome
		kind    string
		says    string
		spawn   bool
	}
	all := []wanted{
		{"three", tandem.OK, "", "", false}, {"none", tandem.Filtered, "", "", false},
		{"fail", tandem.Failed, tandem.KindException, "ValueError: bad header", false},
		{"odd", tandem.Failed, tandem.KindUnserialisable, "type set", false}, {"nan", tandem.Failed, tandem.KindUnserialisable, "JSON", false},
		{"gone", tandem.Crashed, tandem.KindCrash, "exit code 3", false}, {"abort", tandem.Crashed, tandem.KindCrash, "SIGABRT", false},
		{"shout", tandem.OK, "", "", false},
	}
	for _, c := range all {
		c.spawn = true
		all = append(all, c)
	}
	for _, c := range all {
		t.Run(fmt.Sprint(c.handler, " spawn ", c.spawn), func(t *testing.T) {
			t.Parallel()
			cfg := pyConfig(t, c.handler)
			if c.spawn {
				cfg.Template = nil
			}
			p := started(t, cfg)
			r := call(t, p, "x").Result
			if r.Outcome != c.outcome {
				t.Fatalf("got %s %v, want %s", r.Outcome, r.Err, c.outcome)
			}
			if c.kind != "" && (r.Err.Kind != c.kind || !strings.Contains(r.Err.Message, c.says)) {
				t.Errorf("got %s %q, want %s with %q", r.Err.Kind, r.Err.Message, c.kind, c.says)
			}
			if c.handler == "fail" && (!strings.Contains(r.Err.Trace, "handlers.py") || strings.Contains(r.Err.Trace, "tandem_worker")) {
				t.Errorf("trace: %s", r.Err.Trace)
			}
			if c.handler == "abort" && !strings.Contains(r.Err.Trace, "Fatal Python error: Aborted") {
				t.Errorf("no last words of faulthandler: %q", r.Err.Trace)
			}
			if c.handler == "three" && (r.Count != 3 || string(r.Rest[1].Data) != "x2") {
				t.Errorf("values: %+v", r)
			}
		})
	}
}

func TestPythonStartsOrSaysWhyNot(t *testing.T) {
	for handler, want := range map[string]string{
		"handlers.py:ehco": "no function", "handlers.py:os": "no function", "missing.py:f": "no such file", "no_such_module:f": "ModuleNotFoundError", "broken.py:f": "ZeroDivisionError", "nocolon": "names no handler",
	} {
		t.Run(handler, func(t *testing.T) {
			t.Parallel()
			cfg := pyConfig(t, "")
			cfg.Handler = handler
			_ = os.WriteFile(filepath.Join(cfg.Home, "broken.py"), []byte("x = 1\ny = x / 0\n"), 0o644)
			err := New(cfg).Run(t.Context())
			if err == nil || !strings.Contains(err.Error(), want) {
				// os is a module, which is a value that cannot be called
				if handler == "handlers.py:os" && err != nil && strings.Contains(err.Error(), "module") {
					return
				}
				t.Fatalf("got %v, want %q", err, want)
			}
			e := err.(*tandem.Error)
			if handler == "broken.py:f" && !strings.Contains(e.Trace, "y = x / 0") {
				t.Errorf("no traceback: %q", e.Trace)
			}
			if handler == "handlers.py:ehco" && !strings.Contains(e.Hint, "echo") {
				t.Errorf("no suggestion: %q", e.Hint)
			}
		})
	}
}

func TestPythonThreadsAndAsync(t *testing.T) {
	for _, c := range []struct {
		mode    tandem.Mode
		handler string
	}{{tandem.Thread, "nap"}, {tandem.Async, "anap"}, {tandem.Auto, "anap"}} {
		t.Run(string(c.mode), func(t *testing.T) {
			t.Parallel()
			cfg := pyConfig(t, c.handler)
			cfg.Mode, cfg.Workers, cfg.Threads, cfg.Concurrency, cfg.Timeout = c.mode, 1, 1, 50, 3*time.Second
			if c.mode == tandem.Thread {
				cfg.Threads = 50
			}
			p := started(t, cfg)
			texts := []string{"30"} // times out
			for i := range 100 {
				texts = append(texts, "0.2"+strings.Repeat("0", i))
			}
			begun := time.Now()
			for id, task := range run(t, p, texts...) {
				want := tandem.OK
				if id == "30" {
					want = tandem.TimedOut
				}
				if task.Result.Outcome != want {
					t.Errorf("%s: %s %v", id, task.Result.Outcome, task.Result.Err)
				}
			}
			if d := time.Since(begun); d > 8*time.Second {
				t.Errorf("took %v", d)
			}
		})
	}
}

// An async handler needs one process, unless the flow names a number.
func TestPythonAsyncNeedsOneLoop(t *testing.T) {
	for _, loops := range []int{0, 1} {
		cfg := pyConfig(t, "anap")
		cfg.Workers, cfg.Loops = 3, loops
		p := started(t, cfg)
		run(t, p, "0.01", "0.02", "0.03")
		want := cmp.Or(loops, 3)
		for range 500 { // surplus workers are sent away as they come
			p.mu.Lock()
			here := len(p.workers)
			p.mu.Unlock()
			if here == want {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		p.mu.Lock()
		here := len(p.workers)
		p.mu.Unlock()
		if s := p.State(); here != want || s.Workers != want || s.Mode != tandem.Async {
			t.Errorf("loops %d: %d workers serve, the state says %d in mode %s; want %d", loops, here, s.Workers, s.Mode, want)
		}
	}
}

func TestPythonLargeValues(t *testing.T) {
	p := started(t, pyConfig(t, "size"))
	task := &tandem.Task{Value: tandem.Value{Kind: tandem.Bytes, Data: make([]byte, 300<<20)}}
	if err := p.Call(context.Background(), task); err != nil {
		t.Fatal(err)
	}
	if r := task.Result; r.Outcome != tandem.OK || string(r.Value.Data) != "314572800" {
		t.Errorf("300 MiB in: %s %q %v", r.Outcome, r.Value.Data, r.Err)
	}
	p = started(t, pyConfig(t, "big"))
	for _, n := range []string{"8192", "8193", "300000000", "100000", "1"} {
		task = &tandem.Task{Value: tandem.Value{Kind: tandem.JSON, Data: []byte(n)}}
		if err := p.Call(context.Background(), task); err != nil {
			t.Fatal(err)
		}
		if r := task.Result; r.Outcome != tandem.OK || !strings.HasPrefix(n, "3") && len(r.Value.Data) < 1 {
			t.Errorf("%s out: %s %d bytes %v", n, r.Outcome, len(r.Value.Data), r.Err)
		}
	}
}

func BenchmarkPythonCallSync(b *testing.B) { benchSync(b, started(b, pyConfig(b, "echo"))) }
func BenchmarkPythonCall256(b *testing.B)  { bench256(b, started(b, pyConfig(b, "echo"))) }
func BenchmarkPythonSubmit(b *testing.B)   { benchSubmit(b, started(b, pyConfig(b, "echo"))) }
