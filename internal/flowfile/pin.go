package flowfile

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"tandem"
)

// Pinned is the setting of a step that Pin writes in place of `mode: auto`.
type Pinned struct {
	Step        string
	Mode        tandem.Mode
	Workers     int // 0 leaves the key out
	Threads     int
	Concurrency int
}

// Edit is a line of a flow file that Pin has changed.
type Edit struct {
	Line   int
	Before string
	After  []string
}

// Pin writes settings into the flow file in place of the `mode: auto` of their steps, and nothing else: comments, order and layout stay, and so do keys that the
// step has already. It refuses when the file is not the one that was loaded, and when what it would write is not the same flow with these settings.
func (f *File) Pin(pins []Pinned) ([]Edit, error) {
	path, err := filepath.EvalSymlinks(f.Path)
	if err != nil {
		return nil, &Error{File: f.Path, Message: reason(err), Hint: "nothing was pinned"}
	}
	now, err := os.ReadFile(path)
	if err != nil {
		return nil, &Error{File: f.Path, Message: reason(err), Hint: "nothing was pinned"}
	}
	if !bytes.Equal(now, f.src) {
		return nil, &Error{File: f.Path, Message: "the file has changed since the run began", Hint: "nothing was pinned; run it again with --pin"}
	}
	src, edits, err := f.pinned(pins)
	if err != nil || len(edits) == 0 {
		return nil, err
	}
	if err := replace(path, src); err != nil {
		return nil, &Error{File: f.Path, Message: "cannot be written: " + reason(err), Hint: "nothing was pinned"}
	}
	return edits, nil
}

// pinned is the source with the settings in it.
func (f *File) pinned(pins []Pinned) (src []byte, edits []Edit, err error) {
	src = f.src
	for _, p := range pins {
		i := f.index(p.Step)
		if i < 0 || f.Steps[i].Mode != tandem.Auto {
			continue
		}
		now, err := Parse(f.Path, src) // places move with each edit
		if err != nil {
			return nil, nil, err
		}
		at := now.nodes[fmt.Sprint("steps", i, "mode")]
		var next []byte
		var e Edit
		for _, write := range []func(line string, col int, keys []string) []string{pinBlock, pinFlow} {
			if next, e = edit(src, at, p.keys(&f.Steps[i]), write); next != nil && p.holds(f, next, i) {
				break
			}
			next = nil
		}
		if next == nil {
			return nil, nil, f.Errorf("write it yourself: "+strings.Join(p.keys(&f.Steps[i]), ", "), []any{"steps", i, "mode"}, "its mode is written in a way that cannot be changed for this step alone")
		}
		e.Line -= bytes.Count(src, []byte("\n")) - bytes.Count(f.src, []byte("\n")) // as it was
		src, edits = next, append(edits, e)
	}
	return src, edits, nil
}

func (f *File) index(step string) int {
	for i := range f.Steps {
		if f.Steps[i].Name == step {
			return i
		}
	}
	return -1
}

// keys is what stands in place of mode: auto.
func (p Pinned) keys(s *Step) []string {
	keys := []string{"mode: " + string(p.Mode)}
	add := func(name string, n int, has bool) {
		if n > 0 && !has {
			keys = append(keys, fmt.Sprintf("%s: %d", name, n))
		}
	}
	add("workers", p.Workers, s.Workers != Workers{})
	add("threads", p.Threads, s.Threads > 0)
	add("concurrency", p.Concurrency, s.Concurrency != 0)
	return keys
}

// holds says whether src is the same flow but for the pinned step.
func (p Pinned) holds(f *File, src []byte, i int) bool {
	got, err := Parse(f.Path, src)
	if err != nil || len(got.Steps) != len(f.Steps) {
		return false
	}
	for k := range got.Steps {
		g, was := got.Steps[k], f.Steps[k]
		if k == i {
			if g.Mode != p.Mode || g.Name != p.Step || p.Workers > 0 && g.Workers.N == 0 && g.Workers.Share == 0 || p.Threads > 0 && g.Threads == 0 {
				return false
			}
		} else if g.Mode != was.Mode && was.Mode != tandem.Auto {
			return false
		}
		if g.Name != was.Name || g.Verb() != was.Verb() || k > i && g.Mode != was.Mode {
			return false
		}
	}
	return true
}

// edit rewrites the line of a value; nil when what stands there is not auto.
func edit(src []byte, at place, keys []string, write func(string, int, []string) []string) ([]byte, Edit) {
	lines := bytes.SplitAfter(src, []byte("\n"))
	if at.line < 1 || at.line > len(lines) {
		return nil, Edit{}
	}
	whole := string(lines[at.line-1])
	line := strings.TrimRight(whole, "\r\n")
	end := cmp.Or(whole[len(line):], "\n")
	col := len(string([]rune(line)[:min(at.col-1, len([]rune(line)))]))
	after := write(line, col, keys)
	if after == nil {
		return nil, Edit{}
	}
	lines[at.line-1] = []byte(strings.Join(after, end) + whole[len(line):])
	return bytes.Join(lines, nil), Edit{Line: at.line, Before: line, After: after}
}

// autoLen is the length of the value at the beginning of s, 0 when it is another.
func autoLen(s string) int {
	for _, w := range []string{`"auto"`, `'auto'`, "auto"} {
		if strings.HasPrefix(s, w) {
			return len(w)
		}
	}
	return 0
}

// pinBlock is for a key on a line of its own: the others follow on lines of theirs.
func pinBlock(line string, col int, keys []string) []string {
	n := autoLen(line[col:])
	key := strings.LastIndex(line[:col], "mode")
	if n == 0 || key < 0 || strings.Trim(line[:key], " -") != "" || strings.HasPrefix(strings.TrimSpace(line[col+n:]), ",") {
		return nil
	}
	after := []string{line[:col] + strings.TrimPrefix(keys[0], "mode: ") + line[col+n:]}
	for _, k := range keys[1:] {
		after = append(after, strings.Repeat(" ", key)+k)
	}
	return after
}

// pinFlow is for a mapping in braces: the others follow on the same line.
func pinFlow(line string, col int, keys []string) []string {
	n := autoLen(line[col:])
	if n == 0 {
		return nil
	}
	return []string{line[:col] + strings.TrimPrefix(strings.Join(keys, ", "), "mode: ") + line[col+n:]}
}

// replace writes a file anew under its name: whole or not at all, and readable by whom it was.
func replace(path string, src []byte) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(src)
	err = errors.Join(err, tmp.Chmod(info.Mode().Perm()), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
	}
	return err
}
