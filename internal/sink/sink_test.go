package sink

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"tandem"
)

func TestCSVColumns(t *testing.T) {
	field := func(t *tandem.Task) (string, error) {
		if t.Result.Value.Kind == tandem.Null {
			return "", errors.New("no field name")
		}
		return string(t.Result.Value.Data), nil
	}
	failed := &tandem.Task{ID: "f", Result: tandem.Result{Outcome: tandem.Failed, Err: &tandem.Error{}}}
	var out bytes.Buffer
	s, err := OpenCSV("-", &out, CSVConfig{Columns: []Column{{"na,me", field}, {"item", nil}}})
	if err == nil {
		err = s.Begin()
	}
	if err != nil {
		t.Fatal(err)
	}
	n, err := s.Write([]*tandem.Task{ok("1", tandem.TextValue("a\"b")), failed, ok("3", tandem.Value{}), ok("4", tandem.TextValue("late"))})
	e, isOurs := errors.AsType[*tandem.Error](err)
	if n != 2 || !isOurs || e.Message != `column na,me of item "3": no field name` || e.Hint == "" {
		t.Errorf("%d, %#v", n, err)
	}
	if want := "\"na,me\",item\n\"a\"\"b\",1\n,f\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
	if n, again := s.Write([]*tandem.Task{failed}); n != 0 || again != err {
		t.Errorf("after the fault: %d, %v", n, again)
	}
	for _, bad := range [][]Column{{{"a", nil}, {"a", nil}}, {{"", nil}}} {
		if _, err := OpenCSV("-", &out, CSVConfig{Columns: bad}); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
	path := filepath.Join(t.TempDir(), "o.csv")
	s, _ = OpenCSV(path, nil, CSVConfig{Columns: []Column{{"one", field}}})
	if err := s.Begin(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write([]*tandem.Task{ok("1", tandem.TextValue("")), ok("2", tandem.TextValue("x"))}); err != nil {
		t.Fatal(err)
	}
	at, err := s.Position(true)
	if b, _ := os.ReadFile(path); err != nil || string(b) != "one\n\"\"\nx\n" || at != int64(len(b)) {
		t.Errorf("%q at %d, %v", b, at, err)
	}
	if err := s.Forget(func(string) bool { return true }); err == nil || !strings.Contains(err.Error(), "no column holds the item's id") {
		t.Errorf("%v", err)
	}
	_ = s.Close()
	other, _ := OpenCSV(path, nil, CSVConfig{})
	if err := other.Resume(at); err == nil || !strings.Contains(err.Error(), "its columns are not those of this flow") {
		t.Errorf("%v", err)
	}
}

// Every cell can be read again, byte for byte.
func TestCellsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cells := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string {
			return strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{`"`, ",", "\n", "\r", " ", "a", "\xff", "\x00", "base64:", "é"}), 0, 6).Draw(t, "parts"), "")
		}), 1, 4).Draw(t, "cells")
		record := appendRecord(nil, cells)
		for i, want := range cells {
			if got, err := readCell(record, i); err != nil || got != want {
				t.Fatalf("cell %d of %q: got %q, %v", i, record, got, err)
			}
		}
		if !utf8.Valid(record) || len(record) < 2 {
			t.Fatalf("%q", record)
		}
	})
}

func TestIDsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := string(rapid.SliceOf(rapid.Byte()).Draw(t, "id")) + rapid.String().Draw(t, "text") + `\udc80"`
		line := AppendLine(nil, ok(id, tandem.Value{}))
		if got, _, err := lineID(line); err != nil || got != id {
			t.Fatalf("%q from %q, %v", got, line, err)
		}
	})
	for in, want := range map[string]string{`{"id":"\ud83d\ude00\/\b"}`: "😀/\b", `{"id":"\udcff\ud800"}`: "\xff\ufffd"} {
		if got, _, err := lineID([]byte(in)); err != nil || got != want {
			t.Errorf("%s: %q, %v", in, got, err)
		}
	}
	for _, bad := range []string{``, `{}`, `{"id":1}`, `{"id":"a`, `{"id":"a\`, `{"id":"\u12"}`, `{"id":"\x"}`} {
		if _, _, err := lineID([]byte(bad)); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}

func TestWhatCannotBeResumed(t *testing.T) {
	var out bytes.Buffer
	for path, want := range map[string]string{"-": "cannot be taken back", "/dev/null": "no regular file"} {
		s, err := Open(path, &out)
		if err == nil {
			err = s.Begin()
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Write([]*tandem.Task{ok("1", tandem.Value{})}); err != nil {
			t.Fatal(err)
		}
		if at, err := s.Position(true); at == 0 || err != nil {
			t.Errorf("%s: a run that only wants to know where it is: %d, %v", path, at, err)
		}
		again, _ := Open(path, &out)
		err = again.Resume(1)
		e, isOurs := errors.AsType[*tandem.Error](err)
		if !isOurs || !strings.Contains(e.Message, want) || !strings.Contains(e.Hint, "without --resume") {
			t.Errorf("%s: %#v", path, err)
		}
		if err := s.Forget(func(string) bool { return true }); err == nil {
			t.Errorf("%s: forgot", path)
		}
	}
}

// What Write took and a Position could not save is told by the next Flush.
func TestPositionOnAFullDevice(t *testing.T) {
	s, err := Open("/dev/full", nil)
	if err == nil {
		err = s.Begin()
	}
	if err != nil {
		t.Fatal(err)
	}
	s.flushed = time.Now().Add(time.Hour) // so that lines wait in the buffer
	n, err := s.Write([]*tandem.Task{ok("1", tandem.Value{}), ok("2", tandem.Value{})})
	if n != 2 || err != nil {
		t.Fatal(n, err)
	}
	if _, err := s.Position(false); err == nil {
		t.Error("a position in a full device")
	}
	if lost, err := s.Flush(); lost != 2 || err != nil {
		t.Errorf("lost %d, %v; want 2", lost, err)
	}
	if lost, _ := s.Flush(); lost != 0 {
		t.Error("told twice")
	}
}

// Forget keeps permissions and links, and what is no outcome is not thrown away.
func TestForgetTakesCare(t *testing.T) {
	dir := t.TempDir()
	real, link := filepath.Join(dir, "sub", "real"), filepath.Join(dir, "link")
	if err := errors.Join(os.Mkdir(filepath.Dir(real), 0o755), os.WriteFile(real, nil, 0o600), os.Chmod(real, 0o640), os.Symlink(real, link)); err != nil {
		t.Fatal(err)
	}
	s, _ := Open(link, nil)
	if err := s.Begin(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write([]*tandem.Task{ok("1", tandem.Value{}), ok("2", tandem.Value{})}); err != nil {
		t.Fatal(err)
	}
	if err := s.Forget(func(id string) bool { return id == "1" }); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write([]*tandem.Task{ok("3", tandem.Value{})}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(real)
	l, lerr := os.Lstat(link)
	list, _ := os.ReadDir(filepath.Dir(real))
	b, _ := os.ReadFile(link)
	if err != nil || lerr != nil || info.Mode().Perm() != 0o640 || l.Mode()&os.ModeSymlink == 0 || len(list) != 1 || !strings.HasPrefix(string(b), `{"id":"2"`) || bytes.Count(b, []byte("\n")) != 2 {
		t.Errorf("%v %v, %d files, %q", info.Mode(), l.Mode(), len(list), b)
	}
	odd := append([]byte("not ours\n"), b...)
	if err := os.WriteFile(real, odd, 0o640); err != nil {
		t.Fatal(err)
	}
	s, _ = Open(real, nil)
	if err := s.Resume(int64(len(odd))); err != nil {
		t.Fatal(err)
	}
	if err := s.Forget(func(string) bool { return true }); err == nil || !strings.Contains(err.Error(), "record 1: is no line of an outcome") {
		t.Errorf("%v", err)
	}
	_ = s.Close()
	list, _ = os.ReadDir(filepath.Dir(real))
	if b, _ := os.ReadFile(real); !bytes.Equal(b, odd) || len(list) != 1 {
		t.Errorf("%q, %d files", b, len(list))
	}
}

func TestNames(t *testing.T) {
	for in, want := range map[string]string{
		"a/b.jpg": "a/b.jpg", "": "%00", ".": "%2E", "..": "%2E%2E", "../a": "%2E%2E/a", "a/../b": "a/%2E%2E/b", "/etc/x": "%2Fetc/x", "a//b": "a/%2Fb", "a/": "a%2F", "/": "%2F%2F",
		"a\x00b": "a%00b", "outcomes.jsonl": "%.outcomes.jsonl", "a/outcomes.jsonl": "a/outcomes.jsonl", ".tandem-part": "%..tandem-part", ".hidden": ".hidden", "50%": "50%", "\xff": "\xff",
	} {
		if got := safeName(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		in := strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"/", ".", "..", "\x00", "a", "é", "\xff", strings.Repeat("x", 150), "outcomes.jsonl"}), 0, 12).Draw(t, "parts"), "")
		for _, name := range []string{safeName(in), otherName(safeName(in), in, 0), flatName(safeName(in))} {
			if !filepath.IsLocal(name) || filepath.Clean(name) != name || name == "." || strings.IndexByte(name, 0) >= 0 || name == outcomesFile || len(name) > 2*longestName {
				t.Fatalf("%q becomes %q", in, name)
			}
			for part := range strings.SplitSeq(name, "/") {
				if len(part) > 255 {
					t.Fatalf("%q becomes %q", in, name)
				}
			}
		}
	})
}

func TestDirNames(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "out")
	secret := filepath.Join(t.TempDir(), "secret")
	if err := errors.Join(os.WriteFile(secret, []byte("keep"), 0o644), os.MkdirAll(dir, 0o755), os.Symlink(filepath.Dir(secret), filepath.Join(dir, "leads-out")), os.Symlink(secret, filepath.Join(dir, partFile))); err != nil {
		t.Fatal(err)
	}
	name := func(t *tandem.Task) (string, error) {
		if t.ID == "bad" {
			return "", errors.New("no field name")
		}
		_, n, _ := strings.Cut(t.ID, ":")
		return n, nil
	}
	open := func() *Dir {
		s, err := OpenDir(dir, DirConfig{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	if err := s.Begin(); err != nil {
		t.Fatal(err)
	}
	var tasks []*tandem.Task
	for _, id := range []string{"1:a.txt", "2:a.txt", "3:a.txt", "4:d/e", "5:d", "6:a.txt/x", "7:leads-out/secret", "8:../../secret", "9:.profile", "10:.profile"} {
		tasks = append(tasks, ok(id, tandem.TextValue("of "+id)))
	}
	if n, err := s.Write(tasks); n != len(tasks) || err != nil {
		t.Fatal(n, err)
	}
	at, err := s.Position(true)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := s.Write([]*tandem.Task{ok("bad", tandem.TextValue("x"))}); n != 0 || err == nil || !strings.Contains(err.Error(), `the name of item "bad": no field name`) {
		t.Errorf("%d, %v", n, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	b, _ := os.ReadFile(filepath.Join(dir, outcomesFile))
	lines := strings.Split(string(b), "\n")
	for i, task := range tasks {
		file, found := lineFile([]byte(lines[i]))
		data, err := os.ReadFile(filepath.Join(dir, file))
		if !found || err != nil || string(data) != "of "+task.ID {
			t.Errorf("%s: file %q holds %q, %v", task.ID, file, data, err)
		}
		if _, wanted, _ := strings.Cut(task.ID, ":"); (file == safeName(wanted)) == strings.Contains(lines[i], `"wanted":"`) {
			t.Errorf("%s: %s", task.ID, lines[i])
		}
	}
	if !strings.Contains(lines[1], `"file":"a~`) || !strings.Contains(lines[1], `.txt","bytes":10,"wanted":"a.txt"}`) {
		t.Errorf("the second a.txt: %s", lines[1])
	}
	if b, _ := os.ReadFile(secret); string(b) != "keep" {
		t.Errorf("a file outside holds %q now", b)
	}
	// A run that goes on knows the names that are taken.
	s = open()
	if err := s.Resume(at); err != nil {
		t.Fatal(err)
	}
	if err := s.Forget(func(id string) bool { return id == "9:.profile" }); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Write([]*tandem.Task{ok("11:a.txt", tandem.TextValue("eleven")), ok("9:.profile", tandem.TextValue("nine"))}); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]string{"a.txt": "of 1:a.txt", ".profile": "nine"} {
		if b, _ := os.ReadFile(filepath.Join(dir, name)); string(b) != want {
			t.Errorf("%s holds %q, want %q", name, b, want)
		}
	}
	if _, err := OpenDir(secret, DirConfig{}); err == nil || !strings.Contains(err.Error(), "no directory") {
		t.Errorf("%v", err)
	}
}
