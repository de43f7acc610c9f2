package sink

import (
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"tandem"
	"tandem/tandemtest"
)

// small mounts a disk of 512 kB; without the right to, the test of a full disk is skipped.
func small(t *testing.T) string {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=512k"); err != nil {
		return ""
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

func removed(name string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestJSONLIsASink(t *testing.T) {
	tandemtest.Sink(t, tandemtest.SinkConfig{
		Open: func(t *testing.T, dir string) tandem.Resumer { return opened(Open(filepath.Join(dir, "out"), nil))(t) },
		Read: func(t *testing.T, dir string) []tandemtest.Record { return jsonLines(t, filepath.Join(dir, "out")) },
		Gone: removed("out"), Small: small(t),
	})
}

func TestCSVIsASink(t *testing.T) {
	tandemtest.Sink(t, tandemtest.SinkConfig{
		Open: func(t *testing.T, dir string) tandem.Resumer {
			return opened(OpenCSV(filepath.Join(dir, "out"), nil, CSVConfig{}))(t)
		},
		Read: func(t *testing.T, dir string) []tandemtest.Record { return csvRecords(t, filepath.Join(dir, "out")) },
		Gone: removed("out"), Small: small(t),
	})
}

func TestDirIsASink(t *testing.T) {
	tandemtest.Sink(t, tandemtest.SinkConfig{
		Open: func(t *testing.T, dir string) tandem.Resumer {
			return opened(OpenDir(filepath.Join(dir, "out"), DirConfig{}))(t)
		},
		Read: func(t *testing.T, dir string) []tandemtest.Record {
			dir = filepath.Join(dir, "out")
			records := jsonLines(t, filepath.Join(dir, outcomesFile))
			files := map[string]bool{}
			for i, r := range records {
				if r.Outcome != "ok" || r.Value == "" {
					continue
				}
				var v struct {
					File  string
					Bytes int
				}
				if err := json.Unmarshal([]byte(pyPath(r.Value)), &v); err != nil {
					t.Fatalf("%v in %q", err, r.Value)
				}
				name := unmark(v.File)
				b, err := os.ReadFile(filepath.Join(dir, name))
				if err != nil || len(b) != v.Bytes || files[name] || !filepath.IsLocal(name) {
					t.Fatalf("file %q of item %q: %d bytes, want %d; named before: %v; %v", name, r.ID, len(b), v.Bytes, files[name], err)
				}
				files[name] = true
				records[i].Value = string(b)
			}
			return records
		},
		Gone: func(t *testing.T, dir string) { removed("out/outcomes.jsonl")(t, dir) }, Small: small(t),
	})
}

func opened[S tandem.Resumer](s S, err error) func(*testing.T) tandem.Resumer {
	return func(t *testing.T) tandem.Resumer {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

// pyPath and unmark carry bytes that are no UTF-8 past encoding/json, which knows no lone surrogates: \udcff becomes the rune U+100000 + 0xff.
func pyPath(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case strings.HasPrefix(s[i:], `\\`):
			b.WriteString(`\\`)
			i++
		case strings.HasPrefix(s[i:], `\udc`):
			raw, _ := hex4([]byte(s[i:]))
			b.WriteRune(0x100000 + raw&0xff)
			i += 5
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func unmark(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r >= 0x100000 {
			b.WriteByte(byte(r))
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func jsonLines(t *testing.T, path string) (records []tandemtest.Record) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		var r struct {
			ID, Outcome string
			Value       json.RawMessage
		}
		if err := json.Unmarshal([]byte(pyPath(line)), &r); err != nil || !strings.HasSuffix(line, "\n") {
			t.Fatalf("%v in %.200q", err, line)
		}
		value := string(r.Value)
		var text string
		var coded map[string]any
		switch {
		case json.Unmarshal(r.Value, &text) == nil:
			value = unmark(text)
		case json.Unmarshal(r.Value, &coded) == nil && len(coded) == 1:
			for k, v := range coded {
				if s, _ := v.(string); strings.HasSuffix(k, "base64") {
					raw, _ := base64.StdEncoding.DecodeString(s)
					value = string(raw)
				}
			}
		}
		if value == "null" {
			value = ""
		}
		records = append(records, tandemtest.Record{ID: unmark(r.ID), Outcome: r.Outcome, Value: value})
	}
	return records
}

// csvRecords reads with encoding/csv, which turns CRLF into LF: they are kept apart on the way.
func csvRecords(t *testing.T, path string) (records []tandemtest.Record) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r := csv.NewReader(strings.NewReader(strings.ReplaceAll(string(b), "\r", "\U00100000")))
	head, err := r.Read()
	if err != nil || strings.Join(head, " ") != "id outcome value error_kind error_message attempts seconds" {
		t.Fatalf("header %q, %v", head, err)
	}
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return records
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := range row {
			row[i] = strings.ReplaceAll(row[i], "\U00100000", "\r")
			if code, ok := strings.CutPrefix(row[i], "base64:"); ok {
				raw, err := base64.StdEncoding.DecodeString(code)
				if err != nil {
					t.Fatal(err)
				}
				row[i] = string(raw)
			}
		}
		if (row[3] == "exception") != (row[4] == "no,\n\"\xff\x00") {
			t.Fatalf("error %q %q", row[3], row[4])
		}
		records = append(records, tandemtest.Record{ID: row[0], Outcome: row[1], Value: row[2]})
	}
}
