package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tandem"
)

func read(t *testing.T, s tandem.Source) (ids, values []string, err error) {
	t.Helper()
	err = s.Each(t.Context(), func(id string, v tandem.Value) bool {
		ids, values = append(ids, id), append(values, string(v.Data))
		return true
	})
	return ids, values, err
}

func text(s string) Opener {
	return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(s)), nil }
}

func TestFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "with [odd] {signs}*")
	for _, name := range []string{"a.jpg", "b c.jpg", "sub/d.jpg", "sub/deep/e.jpeg", "sub/f.txt", "n\nl.jpg", "\xff.jpg", "dir.jpg/g.jpg"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(dir, "a.jpg"), filepath.Join(dir, "link.jpg")); err != nil {
		t.Fatal(err)
	}
	_ = os.Symlink("nowhere", filepath.Join(dir, "dangling.jpg"))
	for _, c := range []struct {
		patterns []string
		want     []string
	}{
		{[]string{"**/*.jpg"}, []string{"a.jpg", "b c.jpg", "dir.jpg/g.jpg", "link.jpg", "n\nl.jpg", "sub/d.jpg", "\xff.jpg"}},
		{[]string{"*.jpg"}, []string{"a.jpg", "b c.jpg", "link.jpg", "n\nl.jpg", "\xff.jpg"}},
		{[]string{"sub/**/*.{jpg,jpeg}"}, []string{"sub/d.jpg", "sub/deep/e.jpeg"}},
		{[]string{"sub/*.jpg", "**/d.jpg", "a.jpg"}, []string{"sub/d.jpg", "a.jpg"}},
		{[]string{"sub/../a.jpg"}, []string{"a.jpg"}},
		{[]string{dir2pattern(dir) + "/sub/*.txt"}, []string{"sub/f.txt"}},
		{[]string{"*.nothing"}, nil},
	} {
		s, err := Files(dir, c.patterns)
		if err != nil {
			t.Fatal(err)
		}
		ids, values, err := read(t, s)
		if err != nil || !slices.Equal(ids, c.want) {
			t.Errorf("%q: got %q, %v; want %q", c.patterns, ids, err, c.want)
		}
		for i, v := range values {
			if v != filepath.Join(dir, ids[i]) {
				t.Errorf("value %q of %q", v, ids[i])
			}
		}
	}
	for pattern, want := range map[string]string{"missing.jpg": "no such file", "gone/*.jpg": "no such file", "sub": "is a directory"} {
		s, err := Files(dir, []string{pattern})
		if err == nil {
			_, _, err = read(t, s)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", pattern, err, want)
		}
	}
	if _, err := Files(dir, []string{"[x"}); err == nil {
		t.Error("a broken pattern was accepted")
	}
}

// dir2pattern is a directory's path as a pattern: its odd signs escaped.
func dir2pattern(dir string) string { return escape(dir) }

func TestAStoppedSourceReadsNoFurther(t *testing.T) {
	for name, s := range map[string]tandem.Source{"range": Range(1, math.MaxInt64), "lines": Lines("x", text(strings.Repeat("a\n", 1000)))} {
		n := 0
		err := s.Each(context.Background(), func(string, tandem.Value) bool { n++; return n < 5 })
		if n != 5 || err != nil {
			t.Errorf("%s: %d items, %v", name, n, err)
		}
	}
}

func TestLines(t *testing.T) {
	ids, values, err := read(t, Lines("in.txt", text("one\r\n\n\xfftwo \nlast")))
	if err != nil || !slices.Equal(values, []string{"one", "", "\xfftwo ", "last"}) || ids[3] != "in.txt:4" {
		t.Errorf("%q %q %v", ids, values, err)
	}
	long := strings.Repeat("x", 3<<20)
	if _, values, err = read(t, Lines("in.txt", text(long+"\n"))); err != nil || len(values) != 1 || len(values[0]) != 3<<20 {
		t.Errorf("a line of 3 MiB: %d lines, %v", len(values), err)
	}
	if _, _, err := read(t, Lines("in.txt", text(strings.Repeat("x", maxLine+1<<20)))); err == nil || !strings.Contains(err.Error(), "in.txt:1: the line is longer than 64 MiB") {
		t.Errorf("a line above the limit: %v", err)
	}
	if _, _, err := read(t, Lines("no.txt", File("/no/such.txt", nil))); err == nil || !strings.Contains(err.Error(), "/no/such.txt: no such file") {
		t.Errorf("a missing file: %v", err)
	}
	if _, values, err = read(t, Lines("-", File("-", strings.NewReader("a\nb")))); err != nil || len(values) != 2 {
		t.Errorf("standard input: %q %v", values, err)
	}
}

func TestJSONL(t *testing.T) {
	ids, values, err := read(t, JSONL("in.jsonl", text("\xef\xbb\xbf{\"a\": 1}\n\n  [2]  \n\"x\"")))
	if err != nil || !slices.Equal(values, []string{`{"a": 1}`, "[2]", `"x"`}) || !slices.Equal(ids, []string{"in.jsonl:1", "in.jsonl:3", "in.jsonl:4"}) {
		t.Errorf("%q %q %v", ids, values, err)
	}
	_, values, err = read(t, JSONL("in.jsonl", text("1\n{\"a\": }\n")))
	e, ok := errors.AsType[*tandem.Error](err)
	if !ok || e.Kind != tandem.KindSource || !strings.HasPrefix(e.On, "in.jsonl:2:") || len(values) != 1 {
		t.Errorf("%v after %q", err, values)
	}
}

func TestRange(t *testing.T) {
	ids, values, err := read(t, Range(-2, 2))
	if err != nil || fmt.Sprint(ids) != "[-2 -1 0 1 2]" || fmt.Sprint(values) != fmt.Sprint(ids) {
		t.Errorf("%v %v %v", ids, values, err)
	}
	ids, _, _ = read(t, Range(math.MaxInt64-1, math.MaxInt64))
	if len(ids) != 2 {
		t.Errorf("at the largest number: %v", ids)
	}
	if n := Range(3, 1).Total(); n != 0 {
		t.Errorf("an empty range has %d items", n)
	}
	all, _, _ := read(t, Range(1, 5000)) // several slabs: no number may be overwritten by a later one
	for i, id := range all {
		if id != fmt.Sprint(i+1) {
			t.Fatalf("item %d is %s", i, id)
		}
	}
}
