// Package sink writes the items of a flow that have ended: JSON lines, CSV, or a file for each item.
//
// A record is in the file whole or not at all: when a write fails, what was written of the broken record is taken away again, and Write tells how
// many items are safe. Every sink here is a tandem.Resumer, for one goroutine. Sinks look at their files when they are opened and leave what is in
// them alone until Begin or Resume, so that a flow that cannot start costs nobody the last run's results.
package sink

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"tandem"
	"tandem/internal/proc"
)

// flushEvery bounds how long an ended item waits to be seen in the file while items trickle in.
const (
	flushEvery = 100 * time.Millisecond
	flushBytes = 64 << 10
)

// records is a file, or standard output, that grows by whole records.
type records struct {
	name    string
	path    string // empty for standard output
	w       io.Writer
	file    *os.File // nil for standard output
	buf     []byte
	ends    []int // where the records in buf end
	size    int64 // bytes safely in the file
	regular bool
	synced  bool // the directory knows the file for good
	flushed time.Time
	broken  error
	lost    int // records that Write had taken and that a Position could not save; Flush tells
}

// open looks whether path can be written; "-" is stdout.
func open(path string, stdout io.Writer) (records, error) {
	if path == "-" {
		return records{name: "standard output", w: stdout}, nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	switch {
	case err == nil:
		f.Close()
	case errors.Is(err, os.ErrNotExist):
		if _, err = os.Stat(filepath.Dir(path)); err != nil {
			return records{}, openError(path, err)
		}
	default:
		return records{}, openError(path, err)
	}
	return records{name: path, path: path}, nil
}

// Begin empties the file. The engine calls it when the steps are ready, so that a flow that cannot start leaves the last run's results alone.
func (s *records) Begin() error {
	if s.path == "" {
		return nil
	}
	f, err := os.OpenFile(s.path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return openError(s.path, err)
	}
	s.w, s.file = f, f
	if info, err := f.Stat(); err == nil {
		s.regular = info.Mode().IsRegular()
	}
	return nil
}

func openError(path string, err error) error {
	hint := "is it writable?"
	if errors.Is(err, os.ErrNotExist) {
		hint = "make its directory first: mkdir -p " + filepath.Dir(path)
	}
	return &tandem.Error{Op: "open the sink", On: path, Kind: tandem.KindSink, Message: cause(err), Hint: hint, Err: err}
}

func writeError(name string, err error) error {
	hint := ""
	switch {
	case errors.Is(err, os.ErrPermission):
		hint = "is it writable?"
	case proc.Full(err):
		hint = "free some room, or write to another disk"
	}
	return &tandem.Error{Op: "write the sink", On: name, Kind: tandem.KindSink, Message: cause(err), Hint: hint, Err: err}
}

// cause is an error without the path that the message around it repeats.
func cause(err error) string {
	if p, ok := errors.AsType[*os.PathError](err); ok {
		return p.Err.Error()
	}
	if l, ok := errors.AsType[*os.LinkError](err); ok {
		return l.Err.Error()
	}
	return err.Error()
}

// write appends a record for each item. Records gather in a buffer of 64 KiB, but for at most a tenth of a second; an item counts as written when
// Write, or the Close that follows, has put its record into the file. An item that cannot be made a record ends the sink; those before it are written.
func (s *records) write(ended []*tandem.Task, add func([]byte, *tandem.Task) ([]byte, error)) (int, error) {
	if s.broken != nil {
		return 0, s.broken
	}
	earlier := len(s.ends)
	var refused error
	for _, t := range ended {
		b, err := add(s.buf, t)
		if err != nil {
			refused = err
			break
		}
		s.buf = b
		s.ends = append(s.ends, len(b))
	}
	if len(s.buf) >= flushBytes || refused != nil || time.Since(s.flushed) > flushEvery {
		lines, err := s.flush()
		if err != nil {
			return lines - earlier, err // records of earlier calls that are lost count against this one
		}
		if refused != nil {
			s.broken = refused
			return lines - earlier, refused
		}
	}
	return len(ended), nil
}

// flush writes the buffer; lines tells how many of its records are safe.
func (s *records) flush() (lines int, err error) {
	s.flushed = time.Now()
	if len(s.buf) == 0 {
		return 0, nil
	}
	n, err := s.w.Write(s.buf)
	if err == nil {
		s.size += int64(n)
		lines = len(s.ends)
		s.buf, s.ends = s.buf[:0], s.ends[:0]
		return lines, nil
	}
	whole := 0
	for _, end := range s.ends {
		if end <= n {
			lines, whole = lines+1, end
		}
	}
	s.size += int64(whole)
	if s.regular {
		_ = s.file.Truncate(s.size) // a shorter file needs no room, so this works on a full disk
	}
	s.broken = writeError(s.name, err)
	return lines, s.broken
}

// Flush writes what has gathered. It is called when no item comes for a while.
func (s *records) Flush() (lost int, err error) {
	if s.broken != nil {
		lost, s.lost = s.lost, 0
		return lost, nil
	}
	had := len(s.ends)
	lines, err := s.flush()
	if err != nil {
		return had - lines, err
	}
	return 0, nil
}

// Close is tandem.Sink's.
func (s *records) Close() error {
	_, err := s.Flush()
	if s.file != nil {
		if cerr := s.file.Close(); err == nil && cerr != nil {
			err = &tandem.Error{Op: "close the sink", On: s.name, Kind: tandem.KindSink, Message: cause(cerr), Err: cerr}
		}
	}
	return err
}

// Position is tandem.Resumer's. For standard output and devices it counts what this run has written; they cannot be resumed.
func (s *records) Position(sync bool) (int64, error) {
	had := len(s.ends)
	if lines, err := s.flush(); err != nil {
		s.lost += had - lines
		return s.size, err
	}
	if sync && s.regular {
		err := s.file.Sync()
		if err == nil && !s.synced {
			err = syncDir(filepath.Dir(s.path))
			s.synced = err == nil
		}
		if err != nil {
			// What the kernel could not write it may have dropped: nothing is certain any more.
			s.broken = writeError(s.name, err)
			return s.size, s.broken
		}
	}
	return s.size, nil
}

// Resume is tandem.Resumer's.
func (s *records) Resume(position int64) error {
	const again = "run again without --resume"
	fail := func(msg, hint string, err error) error {
		return &tandem.Error{Op: "resume the sink", On: s.name, Kind: tandem.KindSink, Message: msg, Hint: hint, Err: err}
	}
	if s.path == "" {
		return fail("what was written to it cannot be taken back", "write to a file to be able to resume, or "+again, nil)
	}
	f, err := os.OpenFile(s.path, os.O_RDWR, 0)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) && position == tandem.End {
			return s.Begin()
		}
		if errors.Is(err, os.ErrNotExist) {
			return fail("it is gone, and the lines of the earlier run with it", again, err)
		}
		return fail(cause(err), "is it writable?", err)
	}
	info, err := f.Stat()
	if err == nil && position == tandem.End {
		position, err = lastLine(f, info.Size())
	}
	switch {
	case err != nil:
		err = fail(cause(err), "", err)
	case !info.Mode().IsRegular():
		err = fail("it is no regular file: what was written to it cannot be taken back", "write to a file to be able to resume, or "+again, nil)
	case info.Size() < position:
		err = fail("it has "+strconv.FormatInt(info.Size(), 10)+" bytes and had "+strconv.FormatInt(position, 10)+" when the run stopped: lines are lost", "put the file back as it was, or "+again, nil)
	case position < 0 || position > 0 && !endsLine(f, position):
		err = fail("no line ends where the run stopped: something else has written to it", "put the file back as it was, or "+again, nil)
	}
	if err == nil {
		if err = f.Truncate(position); err == nil {
			_, err = f.Seek(position, io.SeekStart)
		}
		if err != nil {
			err = fail(cause(err), "", err)
		}
	}
	if err != nil {
		f.Close()
		return err
	}
	s.w, s.file, s.size, s.regular = f, f, position, true
	return nil
}

// lastLine is where the last whole line ends.
func lastLine(f *os.File, size int64) (int64, error) {
	buf := make([]byte, 64<<10)
	for end := size; end > 0; {
		begin := max(0, end-int64(len(buf)))
		part := buf[:end-begin]
		if _, err := f.ReadAt(part, begin); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(part, '\n'); i >= 0 {
			return begin + int64(i) + 1, nil
		}
		end = begin
	}
	return 0, nil
}

func endsLine(f *os.File, position int64) bool {
	var last [1]byte
	_, err := f.ReadAt(last[:], position-1)
	return err == nil && last[0] == '\n'
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	if err = d.Sync(); errors.Is(err, errors.ErrUnsupported) {
		return nil // a file system whose directories are always on disk, or never
	}
	return err
}
