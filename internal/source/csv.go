package source

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"tandem"
)

// CSVConfig says how a CSV file is written.
type CSVConfig struct {
	Comma rune // between fields; zero means ','
}

// CSV gives each row of a CSV file below its header as an item: json, an object of texts in the order of the header; id "name:17", the line on
// which the row begins.
//
// It reads RFC 4180 with line ends of either kind and an optional mark of UTF-8 in front, one row in memory. Empty lines are passed over, a CRLF
// inside quotes becomes LF. A file without a header, a name that is empty or comes twice, a row with more or fewer fields than the header, a
// stray or unclosed quote, a zero byte, bytes that are no UTF-8 and a row above 64 MiB are errors with line and column: none of them is guessed at.
func CSV(name string, open Opener, c CSVConfig) tandem.Source {
	if c.Comma == 0 {
		c.Comma = ','
	}
	return &table{name, open, c.Comma}
}

type table struct {
	name  string
	open  Opener
	comma rune
}

func (s *table) Total() int64 { return -1 }

func (s *table) Each(_ context.Context, yield func(string, tandem.Value) bool) error {
	f, err := s.open()
	if err != nil {
		return err
	}
	defer f.Close()
	limit := &bounded{r: f, left: maxLine}
	b := bufio.NewReaderSize(limit, 256<<10)
	if err := s.begin(b); err != nil {
		return err
	}
	r := csv.NewReader(b)
	r.Comma, r.ReuseRecord, r.FieldsPerRecord = s.comma, true, -1
	header, err := r.Read()
	if errors.Is(err, io.EOF) {
		return s.fault(1, 0, "it is empty, want a row with the names of the columns", "a table without rows still needs its header; did what wrote it fail?", nil)
	}
	if err != nil {
		return s.broken(err, 1)
	}
	keys, err := s.header(r, header)
	if err != nil {
		return err
	}
	next := after(r, header)
	for size := 256; ; {
		limit.left = maxLine
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return s.broken(err, next)
		}
		if len(row) != len(keys) {
			return s.ragged(r, len(row), len(keys))
		}
		data := make([]byte, 0, size)
		for i, field := range row {
			if err := s.text(r, i, field); err != nil {
				return err
			}
			data = appendText(append(data, keys[i]...), field)
		}
		data = append(data, '}')
		size = min(len(data)+len(data)/8, 1<<20) // rows of a file are about alike
		line, _ := r.FieldPos(0)
		next = after(r, row)
		if !yield(s.name+":"+strconv.Itoa(line), tandem.Value{Kind: tandem.JSON, Data: data}) {
			return nil
		}
	}
}

// begin passes over the mark of UTF-8 and knows that of UTF-16, which is no text to us.
func (s *table) begin(b *bufio.Reader) error {
	head, _ := b.Peek(3) // a real error comes again with the first row
	switch {
	case bytes.Equal(head, []byte("\xef\xbb\xbf")):
		_, _ = b.Discard(3)
	case bytes.HasPrefix(head, []byte("\xff\xfe")), bytes.HasPrefix(head, []byte("\xfe\xff")):
		return s.fault(1, 0, "it is UTF-16, want UTF-8", "convert it: iconv -f UTF-16 -t UTF-8", nil)
	}
	return nil
}

// header checks the names and gives what stands before each field: {"id":  ,"name":
func (s *table) header(r *csv.Reader, names []string) (keys [][]byte, err error) {
	seen := map[string]int{}
	for i, name := range names {
		line, col := r.FieldPos(i)
		if err := s.text(r, i, name); err != nil {
			return nil, err
		}
		switch at, twice := seen[name]; {
		case strings.TrimSpace(name) == "":
			return nil, s.fault(line, col, fmt.Sprintf("column %d has no name", i+1), "the first row must name every column", nil)
		case strings.ContainsRune(name, '\r'):
			return nil, s.fault(line, col, "a name holds a carriage return, want lines that end in LF or CRLF", "convert it: tr '\\r' '\\n'", nil)
		case twice:
			return nil, s.fault(line, col, fmt.Sprintf("columns %d and %d are both named %q", at+1, i+1, name), "give each column a name of its own", nil)
		}
		seen[name] = i
		sign := ","
		if i == 0 {
			sign = "{"
		}
		keys = append(keys, append(appendText([]byte(sign), name), ':'))
	}
	return keys, nil
}

// text says whether a field is one: UTF-8 without zero bytes.
func (s *table) text(r *csv.Reader, i int, field string) error {
	zero := strings.IndexByte(field, 0)
	if zero < 0 && utf8.ValidString(field) {
		return nil
	}
	at, what, hint := zero, "a zero byte", "CSV is text: is it UTF-16, or cut off? iconv -f UTF-16 -t UTF-8 converts"
	if at < 0 {
		for n := 0; at < 0; n++ {
			c, size := utf8.DecodeRuneInString(field[n:])
			if c == utf8.RuneError && size == 1 {
				at = n
			}
			n += size - 1
		}
		what, hint = fmt.Sprintf("byte 0x%02x, which is no UTF-8", field[at]), "convert it, for example: iconv -f WINDOWS-1252 -t UTF-8"
	}
	line, col := r.FieldPos(i)
	if lines := strings.Count(field[:at], "\n"); lines > 0 {
		line, col = line+lines, at-strings.LastIndexByte(field[:at], '\n')
	} else {
		col += at
	}
	return s.fault(line, col, fmt.Sprintf("field %d holds %s", i+1, what), hint, nil)
}

// after is the line that follows a row.
func after(r *csv.Reader, row []string) int {
	last := len(row) - 1
	line, _ := r.FieldPos(last)
	return line + strings.Count(row[last], "\n") + 1
}

func (s *table) ragged(r *csv.Reader, have, want int) error {
	line, col := r.FieldPos(0)
	hint := "a field that holds the separator, a quote or a line end must stand in quotes"
	if have > want {
		line, col = r.FieldPos(want)
		return s.fault(line, col, fmt.Sprintf("%d fields, want %d as in the header: this one has no name", have, want), hint, nil)
	}
	return s.fault(line, col, fmt.Sprintf("%d fields, want %d as in the header", have, want), "an empty field still needs its separator; "+hint, nil)
}

// broken is an error of the readers below, in the row that begins in line next or, behind empty lines, later.
func (s *table) broken(err error, next int) error {
	p, ok := errors.AsType[*csv.ParseError](err)
	if !ok {
		hint := ""
		if errors.Is(err, errRow) {
			hint = "is a quote never closed?"
		}
		return s.fault(next, 0, reason(err), hint, err)
	}
	msg, hint := p.Err.Error(), ""
	switch {
	case errors.Is(err, csv.ErrBareQuote):
		msg, hint = "a quote inside a field that does not begin with one", `put the field in quotes and double those inside: "5"" disk"`
	case errors.Is(err, csv.ErrQuote):
		msg, hint = "a quoted field goes on after its closing quote, or is never closed", `inside quotes a quote is written twice: "5"" disk"`
		if p.StartLine != p.Line {
			msg += fmt.Sprintf("; its row begins in line %d", p.StartLine)
		}
	}
	return s.fault(p.Line, p.Column, msg, hint, err)
}

func (s *table) fault(line, col int, msg, hint string, err error) error {
	return lines{name: s.name}.fault(line, col, msg, hint, err)
}

var errRow = fmt.Errorf("the row is longer than %d MiB", maxLine>>20)

// bounded fails when a row asks for more than the limit: without it a quote that is never closed would take the whole file into memory.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errRow
	}
	n, err := b.r.Read(p)
	b.left -= int64(n)
	return n, err
}

// appendText appends valid UTF-8 as a JSON string.
func appendText(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' && c != 0x7f {
			continue
		}
		b = append(b, s[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(append(b, s[from:]...), '"')
}
