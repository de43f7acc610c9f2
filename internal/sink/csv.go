package sink

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"tandem"
)

// Column is a column of a CSV sink.
type Column struct {
	Name string
	Make func(*tandem.Task) (string, error) // nil means the item's id, which a run that goes on needs to find its items
}

// CSVConfig says what a CSV sink writes.
type CSVConfig struct {
	Columns []Column // empty means id, outcome, value, error_kind, error_message, attempts, seconds
}

// CSV writes a header and one RFC 4180 record for each item, with LF at the end of a record.
//
// A cell that is no text, because its bytes are no UTF-8 or hold a zero byte, is written as base64: and the base64 of its bytes; so is a text that
// begins with that word itself, so that whatever begins with it can be decoded. No value and the empty text are both an empty cell. JSON stands as
// it is, a list as a JSON array.
//
// A column that cannot be made is an empty cell for an item that is not ok, which often has no value to make it of; for one that is ok it ends the run.
type CSV struct {
	records
	columns []Column
	header  []byte
	id      int // which column is the id, or -1
}

// OpenCSV makes a CSV sink at path; "-" is stdout.
func OpenCSV(path string, stdout io.Writer, c CSVConfig) (*CSV, error) {
	s := &CSV{columns: c.Columns, id: -1}
	if len(s.columns) == 0 {
		s.columns = outcomeColumns
	}
	seen := map[string]bool{}
	names := make([]string, len(s.columns))
	for i, col := range s.columns {
		if names[i] = col.Name; col.Name == "" || seen[col.Name] {
			return nil, &tandem.Error{Op: "open the sink", On: path, Kind: tandem.KindInvalid, Message: fmt.Sprintf("column %d is named %q: want a name, and each once", i+1, col.Name)}
		}
		seen[col.Name] = true
		if col.Make == nil && s.id < 0 {
			s.id = i
		}
	}
	s.header = appendRecord(nil, names)
	var err error
	s.records, err = open(path, stdout)
	return s, err
}

// Begin empties the file and writes the header.
func (s *CSV) Begin() error {
	err := s.records.Begin()
	if err == nil {
		s.buf = append(s.buf, s.header...)
	}
	return err
}

// Write is tandem.Sink's.
func (s *CSV) Write(ended []*tandem.Task) (int, error) {
	cells := make([]string, len(s.columns))
	return s.write(ended, func(b []byte, t *tandem.Task) ([]byte, error) {
		for i, col := range s.columns {
			text, err := t.ID, error(nil)
			if col.Make != nil {
				text, err = col.Make(t)
			}
			if err != nil && t.Result.Outcome == tandem.OK {
				return b, &tandem.Error{Op: "write the sink", On: s.name, Kind: tandem.KindSink, Message: fmt.Sprintf("column %s of item %s: %v", col.Name, strconv.Quote(t.ID), err),
					Hint: "a column must be made of what every ok item has", Err: err}
			}
			if err != nil {
				text = ""
			}
			cells[i] = text
		}
		return appendRecord(b, cells), nil
	})
}

// Resume is tandem.Resumer's. A file whose header has other columns is another one.
func (s *CSV) Resume(position int64) error {
	if position == 0 {
		err := s.records.Resume(0)
		if err == nil {
			s.buf = append(s.buf, s.header...)
		}
		return err
	}
	f, err := os.Open(s.path)
	if position == tandem.End && errors.Is(err, os.ErrNotExist) {
		return s.Begin()
	}
	if err == nil {
		have := make([]byte, len(s.header))
		n, _ := io.ReadFull(f, have)
		f.Close()
		if position >= 0 && position < int64(len(have)) || n < len(have) || string(have[:n]) != string(s.header[:n]) {
			return &tandem.Error{Op: "resume the sink", On: s.name, Kind: tandem.KindSink, Message: "its columns are not those of this flow", Hint: "run again without --resume"}
		}
	}
	return s.records.Resume(position) // this has words for a file that could not be read above
}

// Forget is tandem.Resumer's. It needs the column of the ids.
func (s *CSV) Forget(ids func(id string) bool) error {
	if s.id < 0 {
		return &tandem.Error{Op: "resume the sink", On: s.name, Kind: tandem.KindSink, Message: "no column holds the item's id, so its record cannot be found", Hint: "add a column for the id, or run again without --resume"}
	}
	return s.forget(ids, true, func(n int, record []byte) (string, bool, error) {
		if n == 0 {
			return "", false, nil
		}
		id, err := readCell(record, s.id)
		return id, true, err
	})
}

// outcomeColumns are those of an outcome, under the names of the JSON lines.
var outcomeColumns = []Column{
	{"id", nil},
	{"outcome", func(t *tandem.Task) (string, error) { return string(t.Result.Outcome), nil }},
	{"value", func(t *tandem.Task) (string, error) { return Text(t.Result.Value), nil }},
	{"error_kind", ofError(func(e *tandem.Error) string { return e.Kind })},
	{"error_message", ofError(func(e *tandem.Error) string { return e.Message })},
	{"attempts", func(t *tandem.Task) (string, error) { return strconv.Itoa(t.Attempts), nil }},
	{"seconds", func(t *tandem.Task) (string, error) { return strconv.FormatFloat(t.Elapsed.Seconds(), 'f', 6, 64), nil }},
}

func ofError(part func(*tandem.Error) string) func(*tandem.Task) (string, error) {
	return func(t *tandem.Task) (string, error) {
		if t.Result.Err == nil {
			return "", nil
		}
		return part(t.Result.Err), nil
	}
}

// Text is a value as the text of a cell: its bytes, a list as a JSON array.
func Text(v tandem.Value) string {
	if v.Kind == tandem.List {
		return string(appendValue(nil, v))
	}
	return string(v.Data)
}

const marked = "base64:"

// appendRecord appends cells as a record.
func appendRecord(b []byte, cells []string) []byte {
	for i, cell := range cells {
		if i > 0 {
			b = append(b, ',')
		}
		switch {
		case !utf8.ValidString(cell), strings.IndexByte(cell, 0) >= 0, strings.HasPrefix(cell, marked):
			b = base64.StdEncoding.AppendEncode(append(b, marked...), []byte(cell))
		case strings.ContainsAny(cell, ",\"\r\n"), strings.HasPrefix(cell, " "), strings.HasPrefix(cell, "\t"), cell == "" && len(cells) == 1: // an empty line would be no record
			b = append(b, '"')
			b = append(b, strings.ReplaceAll(cell, `"`, `""`)...)
			b = append(b, '"')
		default:
			b = append(b, cell...)
		}
	}
	return append(b, '\n')
}

// readCell gives the n-th cell of a record of appendRecord's, byte for byte: encoding/csv would turn a CRLF in an id into LF.
func readCell(record []byte, n int) (string, error) {
	rest := strings.TrimSuffix(string(record), "\n")
	for ; ; n-- {
		var cell string
		if strings.HasPrefix(rest, `"`) {
			end := 1
			for end < len(rest) && (rest[end] != '"' || strings.HasPrefix(rest[end:], `""`)) {
				if rest[end] == '"' {
					end++
				}
				end++
			}
			if end >= len(rest) {
				return "", errors.New("a quote is never closed")
			}
			cell, rest = strings.ReplaceAll(rest[1:end], `""`, `"`), rest[end+1:]
		} else {
			end := strings.IndexByte(rest, ',')
			if end < 0 {
				end = len(rest)
			}
			cell, rest = rest[:end], rest[end:]
		}
		if n == 0 {
			if code, ok := strings.CutPrefix(cell, marked); ok {
				raw, err := base64.StdEncoding.DecodeString(code)
				return string(raw), err
			}
			return cell, nil
		}
		if !strings.HasPrefix(rest, ",") {
			return "", errors.New("has too few cells")
		}
		rest = rest[1:]
	}
}

var _ tandem.Resumer = (*CSV)(nil)
