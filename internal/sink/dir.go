package sink

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"

	"tandem"
)

// DirConfig says how a Dir sink names its files.
type DirConfig struct {
	Name func(*tandem.Task) (string, error) // nil means the item's id
}

// Dir writes the value of each ok item into a file of its own, and one line for every item into outcomes.jsonl beside them. The line of an ok item has
// {"file":"a/b.jpg","bytes":123} in place of the value; one without a value has no file. The bytes are the value's own, a list is a JSON array.
//
// A file is written under another name and renamed, so it is there whole or not at all. Slashes in a name make directories, nothing leaves the
// directory, not through a link in it either, and what cannot be in a name is written as %XX. The first item to end keeps its name. Another that
// wants the same, or a file where there is a directory, gets a name with ~ and a hash of its id, and its line says "wanted": no item costs
// another its file, and none stops the run. For this the sink remembers the names of the run, some 20 bytes each.
//
// Files of earlier runs stay until one of the same name replaces them. One run at a time may write into a directory.
type Dir struct {
	lines  *JSONL
	path   string
	name   func(*tandem.Task) (string, error)
	root   *os.Root
	seed   maphash.Seed
	used   map[uint64]struct{}
	made   string // the last directory that was made
	synced int64  // the files of all lines before it are on stable storage
	broken error
}

// OpenDir makes a Dir sink. The directory is made by Begin.
func OpenDir(dir string, c DirConfig) (*Dir, error) {
	s := &Dir{path: filepath.Clean(dir), name: c.Name, seed: maphash.MakeSeed(), used: map[uint64]struct{}{}}
	if s.name == nil {
		s.name = func(t *tandem.Task) (string, error) { return t.ID, nil }
	}
	file := filepath.Join(s.path, outcomesFile)
	info, err := os.Stat(s.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		s.lines = &JSONL{records{name: file, path: file}}
		return s, nil
	case err == nil && !info.IsDir():
		return nil, &tandem.Error{Op: "open the sink", On: dir, Kind: tandem.KindSink, Message: "it is no directory", Hint: "name a directory; its files are named after the items"}
	case err != nil:
		return nil, openError(dir, err)
	}
	s.lines, err = Open(file, nil)
	return s, err
}

// Begin makes the directory and empties the list of outcomes.
func (s *Dir) Begin() error {
	err := os.MkdirAll(s.path, 0o777)
	if err == nil {
		s.root, err = os.OpenRoot(s.path)
	}
	if err != nil {
		return openError(s.path, err)
	}
	return s.lines.Begin()
}

// Write is tandem.Sink's.
func (s *Dir) Write(ended []*tandem.Task) (int, error) {
	if s.broken != nil {
		return 0, s.broken
	}
	n, err := s.lines.write(ended, func(b []byte, t *tandem.Task) ([]byte, error) {
		if t.Result.Outcome != tandem.OK || t.Result.Value.Kind == tandem.Null {
			return AppendLine(b, t), nil
		}
		v, err := s.save(t)
		if err != nil {
			return b, err
		}
		line := *t
		line.Result.Value = v
		return AppendLine(b, &line), nil
	})
	s.broken = err
	return n, err
}

// save writes an item's file and gives what its line says of it.
func (s *Dir) save(t *tandem.Task) (tandem.Value, error) {
	wanted, err := s.name(t)
	if err != nil {
		return tandem.Value{}, &tandem.Error{Op: "write the sink", On: s.path, Kind: tandem.KindSink, Message: fmt.Sprintf("the name of item %s: %v", strconv.Quote(t.ID), err),
			Hint: "a name must be made of what every ok item has", Err: err}
	}
	data := t.Result.Value.Data
	if t.Result.Value.Kind == tandem.List {
		data = appendValue(nil, t.Result.Value)
	}
	if err := s.part(data); err != nil {
		return tandem.Value{}, writeError(filepath.Join(s.path, partFile), err)
	}
	wanted = safeName(wanted)
	name, err := s.place(wanted, t.ID)
	if err != nil {
		_ = s.root.Remove(partFile)
		return tandem.Value{}, writeError(filepath.Join(s.path, name), err)
	}
	b := appendText([]byte(`{"file":`), name)
	b = strconv.AppendInt(append(b, `,"bytes":`...), int64(len(data)), 10)
	if name != wanted {
		b = appendText(append(b, `,"wanted":`...), wanted)
	}
	return tandem.Value{Kind: tandem.JSON, Data: append(b, '}')}, nil
}

// part writes the bytes of a file that has no name yet.
func (s *Dir) part(data []byte) error {
	_ = s.root.Remove(partFile) // of a run that died just here, or a link that somebody put there
	f, err := s.root.OpenFile(partFile, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		_ = s.root.Remove(partFile) // room for the lines of those that ended before
	}
	return err
}

// place gives the part its name.
func (s *Dir) place(wanted, id string) (name string, err error) {
	name = wanted
	for try := 0; ; try++ {
		if _, taken := s.used[s.hash(name)]; !taken {
			err := s.rename(name)
			if err == nil {
				s.used[s.hash(name)] = struct{}{}
				return name, nil
			}
			if !s.inTheWay(name) {
				return name, err
			}
			wanted = flatName(wanted) // a file where a directory should be, or the other way round
		}
		if try == 7 {
			return name, errors.New("too many items want this name")
		}
		name = otherName(wanted, id, try)
	}
}

func (s *Dir) hash(name string) uint64 { return maphash.String(s.seed, name) }

func (s *Dir) rename(name string) error {
	if dir := path.Dir(name); dir != "." && dir != s.made {
		if err := s.root.MkdirAll(dir, 0o777); err != nil {
			return err
		}
		s.made = dir
	}
	return s.root.Rename(partFile, name)
}

// inTheWay says whether a name cannot be had because of what is there: a directory under the name, or a file, or a link that leads out, above it.
func (s *Dir) inTheWay(name string) bool {
	if info, err := s.root.Lstat(name); err == nil && info.IsDir() {
		return true
	}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if info, err := s.root.Lstat(dir); err == nil && !info.IsDir() {
			if info, err = s.root.Stat(dir); err != nil || !info.IsDir() {
				return true
			}
		}
	}
	return false
}

// Flush writes the lines that have gathered.
func (s *Dir) Flush() (lost int, err error) { return s.lines.Flush() }

// Close is tandem.Sink's.
func (s *Dir) Close() error {
	err := s.lines.Close()
	if s.root != nil {
		s.root.Close()
	}
	return err
}

// Position is tandem.Resumer's: a position in the list of outcomes. To sync is to sync every file that was written since the last time.
func (s *Dir) Position(sync bool) (int64, error) {
	pos, err := s.lines.Position(false)
	if err != nil || !sync {
		return pos, err
	}
	dirs := map[string]bool{".": true}
	err = s.files(s.synced, pos, func(name string) error {
		for d := path.Dir(name); d != "."; d = path.Dir(d) {
			dirs[d] = true
		}
		return s.sync(name)
	})
	for d := range dirs {
		if err == nil {
			err = s.sync(d)
		}
	}
	if err != nil {
		s.broken = writeError(s.path, err)
		return pos, s.broken
	}
	s.synced = pos
	return s.lines.Position(true)
}

func (s *Dir) sync(name string) error {
	f, err := s.root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err = f.Sync(); errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}

// Resume is tandem.Resumer's. Files of items whose lines are dropped stay until the item ends again.
func (s *Dir) Resume(position int64) error {
	if err := s.lines.Resume(position); err != nil {
		return err
	}
	var err error
	if s.root, err = os.OpenRoot(s.path); err != nil {
		return openError(s.path, err)
	}
	return s.remember()
}

// Forget is tandem.Resumer's. The names of those items are free again; their files stay until the items end again.
func (s *Dir) Forget(ids func(id string) bool) error {
	if err := s.lines.Forget(ids); err != nil {
		return err
	}
	return s.remember()
}

// remember finds the names that are in use.
func (s *Dir) remember() error {
	clear(s.used)
	s.synced = 0 // lines have moved; to sync a file twice does no harm
	return s.files(0, s.lines.size, func(name string) error {
		s.used[s.hash(name)] = struct{}{}
		return nil
	})
}

// files calls f with the files of the lines between two positions.
func (s *Dir) files(from, to int64, f func(name string) error) error {
	r, err := os.Open(s.lines.path)
	if err != nil {
		return err
	}
	defer r.Close()
	lines := bufio.NewReaderSize(io.NewSectionReader(r, from, to-from), 256<<10)
	var line []byte
	for {
		line, err = readRecord(lines, line[:0], false)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if name, ok := lineFile(line); ok {
			if err := f(name); err != nil {
				return err
			}
		}
	}
}

// lineFile is the file that a line names.
func lineFile(line []byte) (string, bool) {
	_, rest, err := lineID(line)
	rest, ok := bytes.CutPrefix(rest, []byte(`,"outcome":"ok","value":{"file":`))
	if err != nil || !ok {
		return "", false
	}
	name, _, err := unquote(rest)
	return name, err == nil
}

var _ tandem.Resumer = (*Dir)(nil)
