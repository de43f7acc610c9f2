package sink

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

// Failed keeps items that ended badly, so that a later run can try them again: one line each, with the item of the source it came of.
type Failed struct{ records }

// OpenFailed makes a sink for failed items at path.
func OpenFailed(path string) (*Failed, error) {
	r, err := open(path, nil)
	if err != nil {
		return nil, err
	}
	return &Failed{r}, nil
}

// Write is tandem.Sink's.
func (s *Failed) Write(ended []*tandem.Task) (int, error) {
	return s.write(ended, func(b []byte, t *tandem.Task) ([]byte, error) { return appendFailed(b, t), nil })
}

// Forget is tandem.Resumer's; the ids are of items of the source.
func (s *Failed) Forget(ids func(id string) bool) error {
	return s.forget(ids, false, func(_ int, line []byte) (string, bool, error) {
		id, _, err := lineID(line)
		return id, true, err
	})
}

const (
	failedKind = `,"kind":`
	failedItem = `,"item":`
)

func appendFailed(b []byte, t *tandem.Task) []byte {
	b = appendText(append(b, `{"id":`...), t.Root)
	b = appendText(append(b, failedKind...), t.Source.Kind.String())
	b = appendValue(append(b, failedItem...), t.Source)
	b = appendText(append(b, `,"became":`...), t.ID)
	b = appendText(append(b, `,"outcome":`...), string(t.Result.Outcome))
	if e := t.Result.Err; e != nil {
		b = appendText(append(b, `,"step":`...), e.On)
		b = appendText(append(b, `,"error":`...), e.Kind)
		b = appendText(append(b, `,"message":`...), e.Message)
	}
	b = strconv.AppendInt(append(b, `,"attempts":`...), int64(t.Attempts), 10)
	return append(b, '}', '\n')
}

// FailedItems is a file of failed items as a source. It holds their ids in memory.
type FailedItems struct {
	path string
	ids  map[string]bool
}

// ReadFailed reads the ids in a file that Failed wrote. An item that failed in several parts is there once.
func ReadFailed(path string) (*FailedItems, error) {
	f := &FailedItems{path: path, ids: map[string]bool{}}
	err := f.each(func(id string, _ tandem.Value) bool {
		f.ids[id] = true
		return true
	})
	return f, err
}

// Len is how many items there are.
func (f *FailedItems) Len() int { return len(f.ids) }

// Has tells whether an item is there, or came of one that is: "a.jpg/2" of "a.jpg".
func (f *FailedItems) Has(id string) bool {
	for {
		if f.ids[id] {
			return true
		}
		i := bytes.LastIndexByte([]byte(id), '/')
		if i < 0 {
			return false
		}
		if _, err := strconv.Atoi(id[i+1:]); err != nil {
			return false
		}
		id = id[:i]
	}
}

// Total is tandem.Source's.
func (f *FailedItems) Total() int64 { return int64(len(f.ids)) }

// Each is tandem.Source's.
func (f *FailedItems) Each(_ context.Context, yield func(string, tandem.Value) bool) error {
	seen := map[string]bool{}
	return f.each(func(id string, v tandem.Value) bool {
		if seen[id] {
			return true
		}
		seen[id] = true
		return yield(id, v)
	})
}

func (f *FailedItems) each(yield func(string, tandem.Value) bool) error {
	file, err := os.Open(f.path)
	if err != nil {
		return &tandem.Error{Op: "read the failed items in", On: f.path, Kind: tandem.KindSource, Message: cause(err), Hint: "a run with failures: {save: …} writes it", Err: err}
	}
	defer file.Close()
	r := bufio.NewReaderSize(file, 256<<10)
	for n := 1; ; n++ {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return nil
		}
		id, v, bad := parseFailed(line)
		if bad != nil || err != nil {
			return &tandem.Error{Op: "read", On: fmt.Sprint(f.path, ":", n), Kind: tandem.KindSource, Message: "the line is no failed item as Tandem writes it", Hint: "take the line away, or the whole file and run the flow again", Err: errors.Join(bad, err)}
		}
		if !yield(id, v) {
			return nil
		}
	}
}

func parseFailed(line []byte) (id string, v tandem.Value, err error) {
	id, rest, err := lineID(line)
	if err != nil || !json.Valid(line) {
		return "", v, errors.Join(errLine, err)
	}
	rest, ok := bytes.CutPrefix(rest, []byte(failedKind))
	kind, rest, err := unquote(rest)
	rest, ok2 := bytes.CutPrefix(rest, []byte(failedItem))
	if err != nil || !ok || !ok2 {
		return "", v, errors.Join(errLine, err)
	}
	if kind == tandem.Text.String() {
		text, _, err := unquote(rest)
		return id, tandem.TextValue(text), err
	}
	var raw json.RawMessage
	if err := json.NewDecoder(bytes.NewReader(rest)).Decode(&raw); err != nil {
		return "", v, err
	}
	switch kind {
	case tandem.Null.String():
		return id, v, nil
	case tandem.JSON.String():
		return id, tandem.Value{Kind: tandem.JSON, Data: raw}, nil
	case tandem.Bytes.String():
		var in struct {
			Base64 []byte `json:"base64"`
		}
		err := json.Unmarshal(raw, &in)
		return id, tandem.Value{Kind: tandem.Bytes, Data: in.Base64}, err
	}
	return "", v, errLine
}

var _ tandem.Resumer = (*Failed)(nil)

// ForgetParts is Forget for the ids of what the items became: of an item that failed in several parts the other lines stay.
func (s *Failed) ForgetParts(ids func(id string) bool) error {
	return s.forget(ids, false, func(_ int, line []byte) (string, bool, error) {
		const key = `,"became":`
		i := bytes.LastIndex(line, []byte(key)) // what follows is text, and text has its quotes escaped
		if i < 0 {
			return "", false, errLine
		}
		id, _, err := unquote(line[i+len(key):])
		return id, true, err
	})
}
