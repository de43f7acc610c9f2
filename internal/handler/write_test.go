package handler

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"tandem"
)

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, err := range []error{
		os.WriteFile(at("old"), []byte("a longer text than the new one"), 0o600), os.Mkdir(at("folder"), 0o755), os.Symlink(at("old"), at("link")),
		os.Mkdir(at("in"), 0o755), os.Symlink("/tmp", at("in/out")), os.Symlink(at("in/gone"), at("in/nowhere")), syscall.Mkfifo(at("pipe"), 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	text := tandem.TextValue("grün\n")
	for _, c := range []struct {
		path, within string
		body         tandem.Value
		want         string // the value, or in the message
		reason       string // of a failure
	}{
		{"a/b/c.txt", "", text, `{"path":"a/b/c.txt","bytes":6}`, ""},
		{"old", "", text, `{"path":"old","bytes":6}`, ""},
		{"link", "", text, `{"path":"link","bytes":6}`, ""},
		{at("abs \"&\n"), "", tandem.Value{Kind: tandem.Bytes, Data: []byte{0, 255}}, `{"path":"` + dir + `/abs \"\u0026\n","bytes":2}`, ""},
		{"\xff", "", tandem.Value{Kind: tandem.JSON, Data: []byte("[]")}, `{"path":"\udcff","bytes":2}`, ""},
		{"empty", "", tandem.Value{}, `{"path":"empty","bytes":0}`, ""},
		{"new/../x", at("fresh"), text, "lies outside", "outside"},
		{"fresh/x", at("fresh"), text, `{"path":"fresh/x","bytes":6}`, ""},
		{"in/a/../b", at("in"), text, `{"path":"in/a/../b","bytes":6}`, ""},
		{"in/../up", at("in"), text, "lies outside", "outside"},
		{"/etc/passwd", at("in"), text, "lies outside", "outside"},
		{"in/out/x/y", at("in"), text, "lies outside", "outside"},
		{"in/nowhere/x", at("in"), text, "lies outside", "outside"},
		{"in", at("in"), text, "lies outside", "outside"},
		{"folder", "", text, "folder: is a directory", "is_directory"},
		{"a/", "", text, "a/: is a directory", "is_directory"},
		{"old/x", "", text, "not a directory", ""},
		{"pipe", "", text, "is a pipe", ""},
		{strings.Repeat("l", 300), "", text, "file name too long", ""},
		{"/dev/full", "", text, "no space left", "full"},
		{"", "", text, "the path \"\" is none", ""},
		{"a\x00b", "", text, "zero byte", ""},
		{"x", "", tandem.ListOf(nil), "a list value has no bytes", ""},
		{"x", "", tandem.Value{Kind: tandem.Pickle}, "a pickle value", ""},
	} {
		r := Write(WriteConfig{Step: "s", Path: constant(c.path), Body: prev, Dir: dir, Within: c.within})(t.Context(), &tandem.Task{ID: "i", Value: c.body})
		if strings.HasPrefix(c.want, "{") {
			b, err := os.ReadFile(filepath.Join(dir, strings.TrimPrefix(c.path, dir)))
			if r.Outcome != tandem.OK || string(r.Value.Data) != c.want || r.Count != 1 || err != nil || string(b) != string(c.body.Data) {
				t.Errorf("%q: %+v %v; file %q %v", c.path, r, r.Err, b, err)
			}
		} else if r.Outcome != tandem.Failed || !strings.Contains(r.Err.Message, c.want) || r.Err.Reason != c.reason || r.Err.Kind != tandem.KindFile && r.Err.Kind != tandem.KindExpression {
			t.Errorf("%q: %+v %#v", c.path, r, r.Err)
		}
	}
	if info, err := os.Lstat(at("old")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file that was replaced: %v, %v", info.Mode(), err)
	}
	if info, err := os.Lstat("/dev/full"); err != nil || info.Mode()&os.ModeDevice == 0 {
		t.Fatalf("/dev/full is no device any more: %v, %v", info, err)
	}
	_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, _ error) error {
		if strings.HasPrefix(d.Name(), ".tandem-") {
			t.Errorf("left behind: %s", path)
		}
		return nil
	})
	gone := func(*tandem.Task) (string, error) { return "", errors.New("no field name") }
	if r := Write(WriteConfig{Path: gone, Body: prev})(t.Context(), &tandem.Task{}); r.Outcome != tandem.Failed || r.Err.Message != "the path: no field name" {
		t.Errorf("%+v", r.Err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := Write(WriteConfig{Path: constant("late"), Body: prev, Dir: dir})(ctx, &tandem.Task{}); r.Outcome != tandem.Canceled {
		t.Errorf("%+v", r)
	}
}

// A full disk leaves the old file as it was, and a user who may not write is told so.
func TestWriteLeavesTheOldFile(t *testing.T) {
	if dir := os.Getenv("WRITE_CHILD"); dir != "" {
		_ = syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 1000, Max: 1000})
		r := Write(WriteConfig{Step: "s", Path: constant("f"), Body: prev, Dir: dir})(t.Context(), &tandem.Task{Value: tandem.Value{Kind: tandem.Bytes, Data: make([]byte, 5000)}})
		os.Stdout.WriteString(r.Err.Reason + ": " + r.Err.Message)
		os.Exit(0)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	child := func(attr *syscall.SysProcAttr) string {
		cmd := exec.Command("/proc/self/exe", "-test.run", "TestWriteLeavesTheOldFile")
		cmd.Env, cmd.SysProcAttr = append(os.Environ(), "WRITE_CHILD="+dir, "GORACE=atexit_sleep_ms=0"), attr
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	if out := child(nil); !strings.Contains(out, "full: f: file too large") {
		t.Errorf("a file that may not grow: %s", out)
	}
	if os.Getuid() == 0 { // root may write anywhere, so nobody tries
		if out := child(&syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}); !strings.Contains(out, "permission: f: permission denied") {
			t.Errorf("a directory of somebody else: %s", out)
		}
	}
	list, _ := os.ReadDir(dir)
	if b, err := os.ReadFile(filepath.Join(dir, "f")); err != nil || string(b) != "old" || len(list) != 1 {
		t.Errorf("%q %v, %d files", b, err, len(list))
	}
}

func TestManyWriteOneFile(t *testing.T) {
	dir := t.TempDir()
	do := Write(WriteConfig{Path: constant("d/f"), Body: prev, Dir: dir})
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for range 20 {
				if r := do(t.Context(), &tandem.Task{Value: tandem.TextValue(strings.Repeat(string(rune('a'+i)), 10_000))}); r.Outcome != tandem.OK {
					t.Error(r.Err)
				}
			}
		})
	}
	wg.Wait()
	list, err := os.ReadDir(filepath.Join(dir, "d"))
	b, _ := os.ReadFile(filepath.Join(dir, "d/f"))
	if err != nil || len(list) != 1 || len(b) != 10_000 || strings.Trim(string(b), string(b[:1])) != "" {
		t.Errorf("%d files, %d bytes of more than one writer; %v", len(list), len(b), err)
	}
}

func TestShell(t *testing.T) {
	id := func(t *tandem.Task) (string, error) { return t.ID, nil }
	shell := func(script string, params ...func(*tandem.Task) (string, error)) ShellConfig {
		return ShellConfig{Step: "s", Script: script, Params: params, Stdin: prev, Extra: func(t *tandem.Task) []string { return []string{"TANDEM_ITEM_ID=" + t.ID, "HOME=over"} }}
	}
	evil := `"; echo pwned; $(echo pwned) '` + "`echo pwned`\n * \xff"
	for _, c := range []struct {
		name    string
		cfg     ShellConfig
		id      string
		outcome tandem.Outcome
		want    string
		kind    string
	}{
		{"parameters", shell(`printf '%s|' "$0" "$1" "$2" $#`, constant("a b"), id), "i", tandem.OK, "tandem|a b|i|2|", ""},
		{"a pipe", shell("tr a-z A-Z | rev"), "i", tandem.OK, "TUPNI", ""},
		{"what looks like a script is a text", shell(`printf %s "$1"`, id), evil, tandem.OK, evil, ""},
		{"so it is in the environment", shell(`printf %s "$TANDEM_ITEM_ID$HOME"`), evil, tandem.OK, evil + "over", ""},
		{"a bad script", shell("if then"), "i", tandem.Failed, "the script ended with exit code 2: ", tandem.KindExit},
		{"an exit code", shell("echo last words >&2; exit 7"), "i", tandem.Failed, "the script ended with exit code 7: last words", tandem.KindExit},
		{"a signal", shell("kill -SEGV $$"), "i", tandem.Crashed, "the script was killed by SIGSEGV", tandem.KindCrash},
		{"a zero byte", shell("true", constant("x"), id), "a\x00b", tandem.Failed, "parameter $2 holds a zero byte", tandem.KindExpression},
		{"a zero byte in the environment", shell("true"), "a\x00b", tandem.Failed, `the environment cannot hold "TANDEM_ITEM_ID=a\x00b"`, tandem.KindExpression},
		{"too long", shell("true", id), strings.Repeat("x", 200_000), tandem.Failed, "longer than this system takes", tandem.KindStart},
	} {
		r := Shell(c.cfg)(t.Context(), &tandem.Task{ID: c.id, Value: tandem.TextValue("input")})
		got := string(r.Value.Data)
		if r.Err != nil {
			got = r.Err.Message
			if r.Err.Kind != c.kind || r.Err.On != "s" {
				t.Errorf("%s: %#v", c.name, r.Err)
			}
		}
		if r.Outcome != c.outcome || !strings.HasPrefix(got, c.want) && !(r.Err != nil && strings.Contains(got, c.want)) || r.Err == nil && got != c.want {
			t.Errorf("%s: %s %q, want %s %q", c.name, r.Outcome, got, c.outcome, c.want)
		}
	}
}

// What is extra is added to the environment that a step has, or to ours when it names none, and each attempt has its own.
func TestExtraEnvironment(t *testing.T) {
	t.Setenv("TANDEM_TEST", "ours")
	printenv := []func(*tandem.Task) (string, error){constant("sh"), constant("-c"), constant(`echo "$TANDEM_TEST $A $TANDEM_ATTEMPT"`)}
	extra := func(t *tandem.Task) []string { return []string{"TANDEM_ATTEMPT=" + string(rune('0'+t.Attempts))} }
	for _, c := range []struct {
		env  []string
		want string
	}{{nil, "ours  "}, {[]string{"A=a", "TANDEM_ATTEMPT=9"}, " a "}, {[]string{}, "  "}} {
		do := Command(CommandConfig{Argv: printenv, Env: c.env, Extra: extra})
		for attempt := 1; attempt < 3; attempt++ {
			want := c.want + string(rune('0'+attempt))
			if r := do(t.Context(), &tandem.Task{Attempts: attempt}); string(r.Value.Data) != want {
				t.Errorf("%q: got %q %v, want %q", c.env, r.Value.Data, r.Err, want)
			}
		}
	}
}
