// Package sink writes the items of a flow that have ended.
//
// A JSONL sink writes one line per item. A line is in the file whole or not at all: when a write fails, what was written of the broken line is
// taken away again, and Write tells how many lines are safe.
package sink

import (
	"encoding/base64"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"
	"unicode/utf8"

	"tandem"
)

// flushEvery bounds how long an ended item waits to be seen in the file while items trickle in.
const (
	flushEvery = 100 * time.Millisecond
	flushBytes = 64 << 10
)

// JSONL writes JSON lines. It is for one goroutine.
type JSONL struct {
	name    string
	path    string // empty for standard output
	w       io.Writer
	file    *os.File // nil for standard output
	buf     []byte
	ends    []int // where the lines in buf end
	size    int64 // bytes safely in the file
	regular bool
	flushed time.Time
	broken  error
}

// Open makes a JSONL sink at path; "-" is stdout. It looks whether the file can be written, and leaves what is in it alone until Begin.
func Open(path string, stdout io.Writer) (*JSONL, error) {
	if path == "-" {
		return &JSONL{name: "standard output", w: stdout}, nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	switch {
	case err == nil:
		f.Close()
	case errors.Is(err, os.ErrNotExist):
		if _, err = os.Stat(filepath.Dir(path)); err != nil {
			return nil, openError(path, err)
		}
	default:
		return nil, openError(path, err)
	}
	return &JSONL{name: path, path: path}, nil
}

// Begin empties the file. The engine calls it when the steps are ready, so that a flow that cannot start leaves the last run's results alone.
func (s *JSONL) Begin() error {
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

func cause(err error) string {
	if p, ok := errors.AsType[*os.PathError](err); ok {
		return p.Err.Error()
	}
	return err.Error()
}

// Write is tandem.Sink's. Lines gather in a buffer of 64 KiB, but for at most a tenth of a second; a task counts as written when Write, or the Close
// that follows, has put its line into the file.
func (s *JSONL) Write(ended []*tandem.Task) (int, error) {
	if s.broken != nil {
		return 0, s.broken
	}
	earlier := len(s.ends)
	for _, t := range ended {
		s.buf = AppendLine(s.buf, t)
		s.ends = append(s.ends, len(s.buf))
	}
	if len(s.buf) >= flushBytes || time.Since(s.flushed) > flushEvery {
		lines, err := s.flush()
		if err != nil {
			return lines - earlier, err // lines of earlier calls that are lost count against this one
		}
	}
	return len(ended), nil
}

// flush writes the buffer; lines tells how many of its lines are safe.
func (s *JSONL) flush() (lines int, err error) {
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
	hint := "free some room, or write to another disk"
	s.broken = &tandem.Error{Op: "write the sink", On: s.name, Kind: tandem.KindSink, Message: cause(err), Hint: hint, Err: err}
	return lines, s.broken
}

// Flush writes what has gathered. It is called when no item comes for a while.
func (s *JSONL) Flush() (lost int, err error) {
	if s.broken != nil {
		return 0, nil
	}
	had := len(s.ends)
	lines, err := s.flush()
	if err != nil {
		return had - lines, err
	}
	return 0, nil
}

// Close is tandem.Sink's.
func (s *JSONL) Close() error {
	_, err := s.Flush()
	if s.file != nil {
		if cerr := s.file.Close(); err == nil && cerr != nil {
			err = &tandem.Error{Op: "close the sink", On: s.name, Kind: tandem.KindSink, Message: cause(cerr), Err: cerr}
		}
	}
	return err
}

// AppendLine appends the line of one item.
func AppendLine(b []byte, t *tandem.Task) []byte {
	b = append(b, `{"id":`...)
	b = appendText(b, t.ID)
	b = append(b, `,"outcome":"`...)
	b = append(b, t.Result.Outcome...)
	b = append(b, '"')
	if e := t.Result.Err; e != nil {
		b = append(b, `,"error":{"kind":`...)
		b = appendText(b, e.Kind)
		b = append(b, `,"message":`...)
		b = appendText(b, e.Message)
		b = append(b, `,"hint":`...)
		b = appendText(b, e.Hint)
		b = append(b, `,"step":`...)
		b = appendText(b, e.On)
		if e.Trace != "" {
			b = append(b, `,"trace":`...)
			b = appendText(b, e.Trace)
		}
		b = append(b, '}')
	} else {
		b = append(b, `,"value":`...)
		b = appendValue(b, t.Result.Value)
	}
	b = append(b, `,"attempts":`...)
	b = strconv.AppendInt(b, int64(t.Attempts), 10)
	b = append(b, `,"seconds":`...)
	b = strconv.AppendFloat(b, t.Elapsed.Seconds(), 'f', 6, 64)
	return append(b, '}', '\n')
}

func appendValue(b []byte, v tandem.Value) []byte {
	switch v.Kind {
	case tandem.Text:
		return appendText(b, string(v.Data))
	case tandem.JSON:
		for _, c := range v.Data { // a JSON text may hold line ends between its parts, a line may not
			if c == '\n' || c == '\r' {
				c = ' '
			}
			b = append(b, c)
		}
		return b
	case tandem.Bytes:
		return appendBase64(append(b, `{"base64":"`...), v.Data)
	case tandem.Pickle:
		return appendBase64(append(b, `{"pickle_base64":"`...), v.Data)
	}
	return append(b, "null"...)
}

func appendBase64(b, data []byte) []byte {
	return append(base64.StdEncoding.AppendEncode(b, data), `"}`...)
}

const hexDigits = "0123456789abcdef"

// appendText appends s as a JSON string. Bytes that are no UTF-8, which a path may hold, become lone surrogates \udcXX: Python reads them back
// as the same path (os.fsencode).
func appendText(b []byte, s string) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			switch {
			case c == '"' || c == '\\':
				b = append(b, '\\', c)
			case c == '\n':
				b = append(b, '\\', 'n')
			case c == '\t':
				b = append(b, '\\', 't')
			case c < 0x20 || c == 0x7f:
				b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			default:
				b = append(b, c)
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			b = append(b, '\\', 'u', 'd', 'c', hexDigits[c>>4], hexDigits[c&15])
		} else {
			b = append(b, s[i:i+n]...)
		}
		i += n
	}
	return append(b, '"')
}

var _ tandem.Sink = (*JSONL)(nil)
