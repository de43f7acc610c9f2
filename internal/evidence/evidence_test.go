package evidence

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tandem"
)

func capture(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var (
	exit1   = Exit{Code: 1}
	aborted = Exit{Code: -1, Signal: "SIGABRT"}
)

// What real programs wrote as they died: testdata holds it as it came.
var deaths = []struct {
	name           string
	exit           Exit
	language, kind string
	message, where string
}{
	{"go_panic", Exit{Code: 2}, "go", "panic", "panic: runtime error: index out of range [7] with length 0", "main.(*parser).parse (gp.go:12)"},
	{"go_custom", Exit{Code: 2}, "go", "panic", "panic: boom: 3", "main.main (gp.go:24)"},
	{"go_segv", Exit{Code: 2}, "go", "panic", "panic: runtime error: invalid memory address or nil pointer dereference", "main.(*parser).parse (gp.go:12)"},
	{"go_nilmap", Exit{Code: 2}, "go", "panic", "panic: assignment to entry in nil map", "main.leaf (gp.go:14)"},
	{"go_concurrent", Exit{Code: 2}, "go", "fatal_error", "concurrent map writes", "main.leaf (gp.go:14)"},
	{"go_deadlock", Exit{Code: 2}, "go", "deadlock", "all goroutines are asleep - deadlock!", "main.main (gp.go:28)"},
	{"go_overflow", Exit{Code: 2}, "go", "fatal_error", "stack overflow", "main.main.func3 (gp.go:46)"},
	{"go_race", Exit{Code: 66}, "go", "data_race", "data race", "main.main (gp.go:53)"},
	{"go_abort", Exit{Code: 2}, "go", "fatal_error", "SIGABRT: abort", "main.parse (main.go:10)"},
	{"py_raise", exit1, "python", "exception", "ValueError: bad header", "parse (py1.py:3)"},
	{"py_chain", exit1, "python", "exception", "RuntimeError: wrapped", "parse (py1.py:6)"},
	{"py_group", exit1, "python", "exception", "ExceptionGroup: many (2 sub-exceptions)", "parse (py1.py:13)"},
	{"py_deep", exit1, "python", "exception", "RecursionError: maximum recursion depth exceeded", "f (py1.py:10)"},
	{"py_syntax", exit1, "python", "exception", "SyntaxError: invalid syntax", "<string>:1"},
	{"py_mem", exit1, "python", "out_of_memory", "MemoryError", "parse (py1.py:14)"},
	{"py_segv", Exit{Code: -1, Signal: "SIGSEGV"}, "python", "fatal_error", "Segmentation fault", "parse (py1.py:7)"},
	{"py_abort", aborted, "python", "fatal_error", "Aborted", "parse (py1.py:8)"},
	{"py_fatal", aborted, "python", "fatal_error", "oh no", "die (<string>:4)"},
	{"asan_o", exit1, "c", "heap-buffer-overflow", "AddressSanitizer: heap-buffer-overflow on address 0x602000000020", "parse (c1.c:8)"},
	{"asan_u", exit1, "c", "heap-use-after-free", "AddressSanitizer: heap-use-after-free on address 0x602000000013", "parse (c1.c:8)"},
	{"asan_n", exit1, "c", "SEGV", "AddressSanitizer: SEGV on unknown address 0x000000000005", "parse (c1.c:8)"},
	{"asan_l", exit1, "c", "memory-leak", "LeakSanitizer: detected memory leaks", "main (c1.c:11)"},
	{"tsan_r", Exit{Code: 66}, "c", "data_race", "ThreadSanitizer: data race", "bump (c1.c:9)"},
	{"ubsan_i", exit1, "c", "undefined-behaviour", "signed integer overflow: 2147483647 + 16 cannot be represented in type 'int'", "c1.c:17"},
	{"c_s", aborted, "c", "stack-smashing", "stack smashing detected", ""},
	{"c_d", aborted, "c", "heap-corruption", "free(): double free detected in tcache 2", ""},
	{"c_d", Exit{Code: 134}, "c", "heap-corruption", "free(): double free detected in tcache 2", ""}, // through a shell
	{"c_assert", aborted, "c", "assertion", "Assertion `c==7' failed.", "int main(int, char**) (x.cc:3)"},
	{"c_terminate", aborted, "c", "uncaught", "std::runtime_error: bad row", ""},
	{"java_throw", exit1, "java", "exception", "java.lang.IllegalStateException: bad row", "J$Work.run (J.java:5)"},
	{"java_thread", exit1, "java", "exception", `java.lang.NumberFormatException: For input string: "zz"`, "J.parse (J.java:3)"},
	{"java_overflow", exit1, "java", "exception", "java.lang.StackOverflowError", "J.over (J.java:16)"},
	{"java_oom", exit1, "java", "out_of_memory", "java.lang.OutOfMemoryError: Java heap space", "J.fill (J.java:4)"},
	{"java_exitoom", Exit{Code: 3}, "java", "out_of_memory", "java.lang.OutOfMemoryError: Java heap space", ""},
	{"java_crashoom", exit1, "java", "out_of_memory", "OutOfMemory encountered: Java heap space", ""},
	{"java_segv", exit1, "java", "fatal_error", "SIGSEGV", "Unsafe_PutLong (libjvm.so)"},
	{"node_throw", exit1, "node", "exception", "TypeError: Cannot read properties of undefined (reading 'z')", "parse (n.js:1)"},
	{"node_cause", exit1, "node", "exception", "Error: outer", "Object.<anonymous> (n.js:8)"},
	{"node_reject", exit1, "node", "exception", "Error: rejected", "Object.<anonymous> (n.js:5)"},
	{"node_string", exit1, "node", "exception", "just text", "n.js:4"},
	{"node_syntax", exit1, "node", "exception", "SyntaxError: Unexpected token ';'", "bad.js:1"},
	{"node_oom", aborted, "node", "out_of_memory", "Reached heap limit Allocation failed - JavaScript heap out of memory", ""},
	{"node_abort", aborted, "node", "fatal_error", "aborted", "n.js:10"},
	{"rust_panic", Exit{Code: 101}, "rust", "panic", "panic: index out of bounds: the len is 0 but the index is 3", "r.rs:1"},
	{"rust_bt_panic", Exit{Code: 101}, "rust", "panic", "panic: index out of bounds: the len is 0 but the index is 3", "r::parse (r.rs:1)"},
	{"rust_bt_thread", Exit{Code: 101}, "rust", "panic", "panic: called `Option::unwrap()` on a `None` value", "r::main::{{closure}} (r.rs:6)"},
	{"rust_overflow", aborted, "rust", "stack-overflow", "stack overflow in thread main", ""},
	{"shell_sh_killed", Exit{Code: 137}, "shell", "killed", "a process that it started: Killed", ""},
	{"shell_bash_killed", Exit{Code: 137}, "shell", "killed", "a process that it started: Killed", ""},
	{"shell_bash_segv", Exit{Code: 139}, "shell", "killed", "a process that it started: Segmentation fault", ""},
}

func TestRuntimesAreRecognised(t *testing.T) {
	const before = "INFO starting\n\x1b[31mwarning\x1b[0m panic: not one\nhalf a line without an end\n"
	for _, c := range deaths {
		for _, text := range []string{capture(t, c.name), before + capture(t, c.name), strings.ReplaceAll(capture(t, c.name), "\n", "\r\n")} {
			s := Find(text, c.exit)
			if s == nil {
				t.Errorf("%s: not recognised", c.name)
				continue
			}
			if s.Language != c.language || s.Kind != c.kind || s.Message != c.message || Where(s) != c.where {
				t.Errorf("%s:\ngot  %s %s %q %q\nwant %s %s %q %q", c.name, s.Language, s.Kind, s.Message, Where(s), c.language, c.kind, c.message, c.where)
			}
			if strings.Contains(s.Text, "INFO starting") || s.Text == "" || len(s.Text) > maxText+8 {
				t.Errorf("%s: the stack is %q", c.name, s.Text)
			}
		}
	}
}

func TestTheWholeStackIsKept(t *testing.T) {
	for name, parts := range map[string][]string{
		"py_chain": {"KeyError: 'k'", "direct cause", "RuntimeError: wrapped"},
		"py_segv":  {"Fatal Python error", "Thread 0x", "in <module>"},
		"go_panic": {"panic: ", "created by main.main", "gp.go:21 +0x2fb"},
		"asan_o":   {"==ERROR", "allocated by thread", "SUMMARY: "},
	} {
		exit := exit1
		if name == "py_segv" {
			exit = Exit{Signal: "SIGSEGV"}
		}
		s := Find(capture(t, name), exit)
		for _, part := range parts {
			if s == nil || !strings.Contains(s.Text, part) {
				t.Errorf("%s: no %q in %v", name, part, s)
			}
		}
	}
}

func TestHungHandlersAreNamed(t *testing.T) {
	for name, where := range map[string]string{
		"pyhang_spin": "spin (hang.py:4)", "pyhang_lock": "lock (hang.py:6)", "pyhang_event": "event (hang.py:8)", "pyhang_nap": "nap (hang.py:10)",
		"pyhang_gil": "gil (hang.py:12)", "pyhang_regex": "regex (hang.py:14)",
	} {
		s := Hung(capture(t, name))
		if s == nil || Where(s) != where || s.Kind != "hung" || s.Language != "python" {
			t.Errorf("%s: %+v, want %s", name, s, where)
		}
	}
	if s := Hung("goroutine 1 [running]:\nmain.main()\n\t/a/b.go:12 +0x2\n"); s != nil {
		t.Errorf("a stack that nobody asked for: %+v", s)
	}
}

// Ordinary logs, also those that speak of crashes, are no evidence of one.
func TestOrdinaryLogsAreNoEvidence(t *testing.T) {
	for name, text := range map[string]string{
		"empty":                       "",
		"words":                       "panic: everybody stay calm\nfatal error: none\nKilled 3 jobs\nAborted by user, trying again\n",
		"go in a log":                 "level=error msg=\"panic: x\" stack=\"goroutine 1 [running]:\\nmain.main()\"\n",
		"debug.PrintStack":            "goroutine 1 [running]:\nruntime/debug.Stack()\n\t/usr/local/go/src/runtime/debug/stack.go:26 +0x5e\nmain.main()\n\t/tmp/x.go:5 +0x1d\n",
		"a traceback that was caught": capture(t, "py_raise") + strings.Repeat("INFO going on\n", 8),
		"a traceback that was cut":    "Traceback (most recent call last):\n  File \"a.py\", line 3, in f\n    g()\n",
		"indented traceback":          "    Traceback (most recent call last):\n      File \"a.py\", line 3, in f\n    ValueError: x\n",
		"a faulthandler word":         "Fatal Python error: is what the manual says\nand then something else\nmore\nmore\nmore\nmore\n",
		"asan in a log":               "tests: ERROR: AddressSanitizer: heap-buffer-overflow was fixed in 1.2\n",
		"asan without a stack":        "==12==ERROR: AddressSanitizer: something\n",
		"a compiler":                  "main.c:12:3: error: expected ';'\nmain.go:3:4: runtime error: made up\n",
		"java logged":                 "2026-01-01 ERROR java.lang.IllegalStateException: bad\n\tat a.B.c(B.java:3)\n",
		"node, alive":                 "Error: x\n    at f (/a.js:1:2)\nNode.js v20 is what we need\n",
		"rust in a log":               "[error] thread 'main' panicked at src/main.rs:3:4:\n",
		"glibc words, exit 1":         "*** stack smashing detected ***: terminated\nfree(): invalid pointer\n",
		"a shell's other words":       "sh: 1: foo: not found\nbash: line 3: cd: nowhere: No such file or directory\n",
		"binary":                      string([]byte{0, 255, 10, 254, 13, 10, 0x1b}),
	} {
		if s := Find(text, exit1); s != nil {
			t.Errorf("%s: taken for %+v", name, s)
		}
	}
	if s := Find(capture(t, "py_raise"), Exit{Code: -1, Signal: "SIGKILL"}); s != nil {
		t.Errorf("an exception does not end in SIGKILL: %+v", s)
	}
}

// A text that is cut anywhere, or broken by other output, must not bring a recogniser down, and what it finds stays bounded.
func FuzzFind(f *testing.F) {
	for _, c := range deaths {
		f.Add(capture(f, c.name), c.exit.Code, c.exit.Signal)
	}
	f.Fuzz(func(t *testing.T, text string, code int, signal string) {
		for _, text := range []string{text, text[len(text)/2:], text[:len(text)/3]} {
			for _, s := range []*tandem.Stack{Find(text, Exit{code, signal}), Hung(text)} {
				if s == nil {
					continue
				}
				if s.Language == "" || s.Kind == "" || s.Text == "" || len(s.Text) > maxText+8 || len(s.Message) > 510 || len(s.Function) > 210 || s.Line < 0 {
					t.Errorf("%+v", s)
				}
			}
		}
	})
}

func TestEveryCutOfEveryCapture(t *testing.T) {
	for _, c := range deaths {
		text := capture(t, c.name)
		for i := 0; i < len(text); i += 1 + len(text)/200 {
			Find(text[i:], c.exit)
			Find(text[:i], c.exit)
			Hung(text[i:])
		}
	}
}
