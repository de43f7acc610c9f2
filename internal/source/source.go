// Package source reads the items of a flow: files, lines, JSON lines, a range of numbers.
//
// Every source streams: it holds one item, not a list, and stops as soon as yield returns false. Ids are unique and the same in every run over the
// same input. What cannot be read is an error that names the place, never a gap.
package source

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"tandem"
)

// maxLine bounds one line of a text source.
const maxLine = 64 << 20

// Opener opens a text source; it is called once per run.
type Opener func() (io.ReadCloser, error)

// File opens a file, or gives stdin for "-".
func File(path string, stdin io.Reader) Opener {
	return func() (io.ReadCloser, error) {
		if path == "-" {
			return io.NopCloser(stdin), nil
		}
		f, err := os.Open(path)
		if err != nil {
			return nil, &tandem.Error{Op: "read", On: path, Kind: tandem.KindSource, Message: reason(err), Hint: "paths are relative to the flow file", Err: err}
		}
		return f, nil
	}
}

// reason is the cause without the path that the error repeats.
func reason(err error) string {
	if p, ok := errors.AsType[*os.PathError](err); ok {
		return p.Err.Error()
	}
	return err.Error()
}

// Lines gives each line of a text as an item: text, id "name:17".
func Lines(name string, open Opener) tandem.Source { return lines{name, open, false} }

// JSONL gives each line of a JSON lines file as an item: json, id "name:17". Empty lines are passed over.
func JSONL(name string, open Opener) tandem.Source { return lines{name, open, true} }

type lines struct {
	name string
	open Opener
	json bool
}

func (s lines) Total() int64 { return -1 }

func (s lines) Each(_ context.Context, yield func(string, tandem.Value) bool) error {
	f, err := s.open()
	if err != nil {
		return err
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 256<<10)
	for n := 1; ; n++ {
		line, err := readLine(r)
		if err != nil && !(errors.Is(err, io.EOF) && len(line) > 0) {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return s.fault(n, 0, reason(err), "", err)
		}
		v := tandem.Value{Kind: tandem.Text, Data: line}
		if s.json {
			if line = bytes.TrimSpace(line); len(line) == 0 {
				continue
			}
			if n == 1 {
				line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
			}
			if !json.Valid(line) {
				var x any
				err := json.Unmarshal(line, &x)
				col := 0
				if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
					col = int(syntax.Offset)
				}
				return s.fault(n, col, fmt.Sprint(err), "each line must be one JSON value; `lines:` takes any text", err)
			}
			v = tandem.Value{Kind: tandem.JSON, Data: line}
		}
		if !yield(s.name+":"+strconv.Itoa(n), v) {
			return nil
		}
	}
}

func (s lines) fault(line, col int, msg, hint string, err error) error {
	at := s.name + ":" + strconv.Itoa(line)
	if col > 0 {
		at += ":" + strconv.Itoa(col)
	}
	return &tandem.Error{Op: "read", On: at, Kind: tandem.KindSource, Message: msg, Hint: hint, Err: err}
}

// readLine gives the next line in memory of its own, without its end. With io.EOF it is the last, which had no end.
func readLine(r *bufio.Reader) ([]byte, error) {
	var whole []byte
	for {
		part, err := r.ReadSlice('\n')
		whole = append(whole, part...)
		if errors.Is(err, bufio.ErrBufferFull) {
			if len(whole) > maxLine {
				return nil, fmt.Errorf("the line is longer than %d MiB", maxLine>>20)
			}
			continue
		}
		if err == nil {
			whole = whole[:len(whole)-1]
			if n := len(whole); n > 0 && whole[n-1] == '\r' {
				whole = whole[:n-1]
			}
		}
		return whole, err
	}
}

// Range gives the numbers from first to last.
func Range(first, last int64) tandem.Source { return numbers{first, last} }

type numbers struct{ first, last int64 }

func (s numbers) Total() int64 { return max(0, s.last-s.first+1) }

func (s numbers) Each(_ context.Context, yield func(string, tandem.Value) bool) error {
	var slab []byte
	for n := s.first; n <= s.last; n++ {
		if cap(slab)-len(slab) < 20 {
			slab = make([]byte, 0, 4096) // one allocation for hundreds of numbers
		}
		at := len(slab)
		slab = strconv.AppendInt(slab, n, 10)
		digits := slab[at:len(slab):len(slab)]
		if !yield(string(digits), tandem.Value{Kind: tandem.JSON, Data: digits}) {
			return nil
		}
		if n == s.last { // n++ would overflow at the largest number
			return nil
		}
	}
	return nil
}
