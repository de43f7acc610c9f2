package source

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"tandem"

	"pgregory.net/rapid"
)

func TestCSV(t *testing.T) {
	for _, c := range []struct {
		name, in    string
		comma       rune
		ids, values []string
	}{
		{"plain", "id,name\n1,Ada\n2,\n", 0, []string{"t:2", "t:3"}, []string{`{"id":"1","name":"Ada"}`, `{"id":"2","name":""}`}},
		{"order of the header", "z,a,m\n1,2,3\n", 0, []string{"t:2"}, []string{`{"z":"1","a":"2","m":"3"}`}},
		{"mark, CRLF, no last line end", "\xef\xbb\xbf\"id\",b\r\n1,2\r\n3,4", 0, []string{"t:2", "t:3"}, []string{`{"id":"1","b":"2"}`, `{"id":"3","b":"4"}`}},
		{"line ends in quotes", "a,b\n\"1\n2\r\n3\",x\n4,y\n", 0, []string{"t:2", "t:5"}, []string{`{"a":"1\n2\n3","b":"x"}`, `{"a":"4","b":"y"}`}},
		{"quotes", "a,\"b \"\"c\"\"\"\n\"\"\"\",\\<&>\n", 0, []string{"t:2"}, []string{`{"a":"\"","b \"c\"":"\\<&>"}`}},
		{"empty lines", "\na\n\n1\n\n\"\"\n\n", 0, []string{"t:4", "t:6"}, []string{`{"a":"1"}`, `{"a":""}`}},
		{"tabs", "a\tb\n1,5\t2\n", '\t', []string{"t:2"}, []string{`{"a":"1,5","b":"2"}`}},
		{"header only", "a,b\n", 0, nil, nil},
		{"grün", "größe\n☃\t\u2028\x01\x7f\n", 0, []string{"t:2"}, []string{`{"größe":"☃\t` + "\u2028" + `\u0001\u007f"}`}},
	} {
		ids, values, err := read(t, CSV("t", text(c.in), CSVConfig{Comma: c.comma}))
		if err != nil || !slices.Equal(ids, c.ids) || !slices.Equal(values, c.values) {
			t.Errorf("%s: got %q %q %v; want %q %q", c.name, ids, values, err, c.ids, c.values)
		}
	}
}

func TestABrokenCSVSaysWhere(t *testing.T) {
	for _, c := range []struct {
		name, in, on, message, hint string
		rows                        int
	}{
		{"empty", "", "t:1", "it is empty, want a row with the names", "did what wrote it fail?", 0},
		{"only a mark", "\xef\xbb\xbf", "t:1", "it is empty", "", 0},
		{"no name", "a,,c\n1,2,3\n", "t:1:3", "column 2 has no name", "name every column", 0},
		{"a blank name", "a, \n1,2\n", "t:1:3", "column 2 has no name", "", 0},
		{"twice", "a,b,a\n", "t:1:5", `columns 1 and 3 are both named "a"`, "of its own", 0},
		{"too few", "a,b\n1,2\n\"x\ny\"\n", "t:3:1", "1 fields, want 2", "still needs its separator", 1},
		{"too many", "a,b\n1,2,3\n", "t:2:5", "3 fields, want 2 as in the header", "must stand in quotes", 0},
		{"bare quote", "a,b\n1,5\" disk\n", "t:2:4", "a quote inside a field", `"5"" disk"`, 0},
		{"goes on", "a\n\"5\" disk\n", "t:2:3", "goes on after its closing quote", "written twice", 0},
		{"never closed", "a\n1\n\"x\ny\n", "t:4:3", "never closed; its row begins in line 3", "", 1},
		{"zero", "a,b\n1,x\x00y\n", "t:2:4", "field 2 holds a zero byte", "cut off", 0},
		{"not UTF-8", "a,b\n1,\"x\ny\xe4z\"\n", "t:3:2", "field 2 holds byte 0xe4, which is no UTF-8", "iconv", 0},
		{"not UTF-8 in the header", "a,\xfc\n", "t:1:3", "field 2 holds byte 0xfc", "iconv", 0},
		{"a true U+FFFD is no fault", "a,b\n�\xff,\n", "t:2:4", "field 1 holds byte 0xff", "", 0},
		{"UTF-16", "\xff\xfea\x00\n\x00", "t:1", "UTF-16", "iconv -f UTF-16", 0},
		{"CR", "a,b\r1,2\r3,4\r", "t:1:3", "carriage return", "tr", 0},
		{"above the limit", "a\n1\n\"" + strings.Repeat("x\n", maxLine/2+200<<10), "t:3", "longer than 64 MiB", "never closed?", 1},
	} {
		_, values, err := read(t, CSV("t", text(c.in), CSVConfig{}))
		e, ok := errors.AsType[*tandem.Error](err)
		if !ok || e.Kind != tandem.KindSource || e.On != c.on || !strings.Contains(e.Message, c.message) || !strings.Contains(e.Hint, c.hint) || len(values) != c.rows {
			t.Errorf("%s: after %d rows %#v; want %s: %s (%s) after %d", c.name, len(values), err, c.on, c.message, c.hint, c.rows)
		}
	}
	if _, _, err := read(t, CSV("no.csv", File("/no/such.csv", nil), CSVConfig{})); err == nil || !strings.Contains(err.Error(), "/no/such.csv: no such file") {
		t.Errorf("a missing file: %v", err)
	}
	cut := func() (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(strings.NewReader("a\n1\n2"), errReader{})), nil
	}
	if _, values, err := read(t, CSV("t", cut, CSVConfig{})); err == nil || !strings.Contains(err.Error(), "t:3: cable cut") || len(values) != 1 {
		t.Errorf("a reader that fails: %v after %q", err, values)
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errors.New("cable cut") }

func TestCSVFromStandardInput(t *testing.T) {
	ids, values, err := read(t, CSV("-", File("-", strings.NewReader("a\n1\n")), CSVConfig{}))
	if err != nil || !slices.Equal(ids, []string{"-:2"}) || !slices.Equal(values, []string{`{"a":"1"}`}) {
		t.Errorf("%q %q %v", ids, values, err)
	}
}

// endless is a file without end that counts what was read of it.
type endless struct {
	row  string
	read int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.row)
	e.read += n
	return n, nil
}

func TestCSVStreams(t *testing.T) {
	e := &endless{row: "1,2\n"} // the first row is the header, so its columns are named 1 and 2
	n := 0
	err := CSV("t", func() (io.ReadCloser, error) { return io.NopCloser(e), nil }, CSVConfig{}).Each(t.Context(), func(string, tandem.Value) bool {
		n++
		return n < 5
	})
	if err != nil || n != 5 {
		t.Errorf("%d rows, %v", n, err)
	}
	if e.read > 1<<20 {
		t.Errorf("read %d bytes ahead for 5 rows", e.read)
	}
}

func TestLargeFieldsPassWhole(t *testing.T) {
	big := strings.Repeat("0123456789", 1<<20)
	_, values, err := read(t, CSV("t", text("a,b\n\""+big+"\",x\n"+big+",y\n"), CSVConfig{}))
	if err != nil || len(values) != 2 || values[0] != `{"a":"`+big+`","b":"x"}` || values[1] != `{"a":"`+big+`","b":"y"}` {
		t.Errorf("two fields of 10 MiB: %d rows, %v", len(values), err)
	}
	odd := strings.Repeat("ab\x00\xff", 10<<20/4)
	_, values, err = read(t, Lines("t", text(odd+"\nlast\x00")))
	if err != nil || len(values) != 2 || values[0] != odd || values[1] != "last\x00" {
		t.Errorf("a line of 10 MiB with zero bytes: %d lines, %v", len(values), err)
	}
	_, values, err = read(t, JSONL("t", text(`{"a":"`+big+`","z":"\u0000"}`+"\n1")))
	if err != nil || len(values) != 2 || values[0] != `{"a":"`+big+`","z":"\u0000"}` {
		t.Errorf("a JSON line of 10 MiB: %d lines, %v", len(values), err)
	}
	if _, _, err = read(t, JSONL("t", text("1\n\"a\x00b\"\n"))); err == nil || !strings.HasPrefix(err.Error(), "read t:2:3: ") {
		t.Errorf("JSON allows no zero byte in a string: %v", err)
	}
	if _, _, err = read(t, Lines("t", text("1\n"+strings.Repeat("x", maxLine+1<<20)))); err == nil || !strings.Contains(err.Error(), "t:2: the line is longer than 64 MiB") {
		t.Errorf("the second line is above the limit: %v", err)
	}
}

// What a CSV writer wrote comes back as it was, whatever the fields hold.
func TestCSVReadsWhatWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cols := rapid.IntRange(2, 5).Draw(t, "columns")
		field := rapid.StringMatching(`[a-c,"\n \\é☃\t]{0,8}`)
		var buf bytes.Buffer
		w := csv.NewWriter(&buf)
		w.UseCRLF = rapid.Bool().Draw(t, "crlf")
		var header []string
		for i := range cols {
			header = append(header, fmt.Sprint("k", i))
		}
		_ = w.Write(header)
		rows := rapid.SliceOfN(rapid.SliceOfN(field, cols, cols), 0, 6).Draw(t, "rows")
		_ = w.WriteAll(rows)
		i := 0
		err := CSV("t", text(buf.String()), CSVConfig{}).Each(t.Context(), func(_ string, v tandem.Value) bool {
			var m map[string]string
			if err := json.Unmarshal(v.Data, &m); err != nil {
				t.Fatalf("%s: %v", v.Data, err)
			}
			for c, h := range header {
				if m[h] != rows[i][c] {
					t.Fatalf("row %d, %s: got %q, want %q", i, h, m[h], rows[i][c])
				}
			}
			i++
			return true
		})
		if err != nil || i != len(rows) {
			t.Fatalf("%d of %d rows: %v", i, len(rows), err)
		}
	})
}

// Whatever the bytes are: JSON objects or an error with a place, never a panic.
func FuzzCSV(f *testing.F) {
	for _, s := range []string{"a,b\n1,2\n", "a\n\"x\ny\"\n", "\xef\xbb\xbf\"a\"\r\n\"\"\"\"", "a,b\n1\n", "\"", "a\n\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		seen := map[string]bool{}
		err := CSV("t", text(in), CSVConfig{}).Each(t.Context(), func(id string, v tandem.Value) bool {
			if seen[id] || !json.Valid(v.Data) {
				t.Fatalf("%s %q", id, v.Data)
			}
			seen[id] = true
			return true
		})
		if e, ok := errors.AsType[*tandem.Error](err); err != nil && (!ok || !strings.HasPrefix(e.On, "t:")) {
			t.Fatalf("%#v", err)
		}
	})
}
