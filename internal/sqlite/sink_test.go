package sqlite

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tandem"
	"tandem/tandemtest"
)

func small(t *testing.T) string {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		return ""
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

func records(t *testing.T, path, table string) (list []tandemtest.Record) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query("SELECT id, outcome, coalesce(value, ''), error_message, attempts, seconds FROM " + table + " ORDER BY rowid")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var r tandemtest.Record
		var message *string
		var attempts int
		var seconds float64
		if err := rows.Scan(&r.ID, &r.Outcome, &r.Value, &message, &attempts, &seconds); err != nil {
			t.Fatal(err)
		}
		if message != nil && *message != "no,\n\"\xff\x00" {
			t.Fatalf("message %q", *message)
		}
		list = append(list, r)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return list
}

func TestSink(t *testing.T) {
	tandemtest.Sink(t, tandemtest.SinkConfig{
		Open: func(t *testing.T, dir string) tandem.Resumer {
			s, err := Open(SinkConfig{Path: filepath.Join(dir, "a ?&%41#.db"), Table: "Results_2"})
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
		Read: func(t *testing.T, dir string) []tandemtest.Record {
			link := filepath.Join(t.TempDir(), "plain.db") // the driver's own names cannot hold a question mark
			if err := os.Symlink(filepath.Join(dir, "a ?&%41#.db"), link); err != nil {
				t.Fatal(err)
			}
			return records(t, link, "Results_2")
		},
		Gone: func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "a ?&%41#.db")); err != nil {
				t.Fatal(err)
			}
		},
		Replaces: true, Small: small(t),
	})
}

func TestTypesOfColumns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "o.db")
	s, err := Open(SinkConfig{Path: path})
	if err == nil {
		err = s.Begin()
	}
	if err != nil {
		t.Fatal(err)
	}
	give := func(id string, v tandem.Value) *tandem.Task { return &tandem.Task{ID: id, Result: tandem.Give(v)} }
	if _, err := s.Write([]*tandem.Task{
		give("text", tandem.TextValue("x")), give("json", tandem.Value{Kind: tandem.JSON, Data: []byte("[1]")}), give("bytes", tandem.Value{Kind: tandem.Bytes, Data: []byte("x")}),
		give("empty", tandem.Value{Kind: tandem.Bytes}), give("null", tandem.Value{}), give("path", tandem.TextValue("\xff")), give("\xff", tandem.TextValue("")),
		give("list", tandem.ListOf([]tandem.Value{{}, tandem.TextValue("a<"), {Kind: tandem.Bytes, Data: []byte{0}}, {Kind: tandem.JSON, Data: []byte("2")}})),
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	db, _ := sql.Open("sqlite", path)
	defer db.Close()
	for id, want := range map[string]string{"text": "text x", "json": "text [1]", "bytes": "blob x", "empty": "blob ", "null": "null ", "path": "blob \xff", "list": `text [null,"a<",{"base64":"AA=="},2]`} {
		var got string
		if err := db.QueryRow("SELECT typeof(value) || ' ' || coalesce(value, '') FROM items WHERE id = ?", id).Scan(&got); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", id, got, err, want)
		}
	}
	var kind string
	if err := db.QueryRow("SELECT typeof(id) FROM items WHERE id = ?", []byte("\xff")).Scan(&kind); err != nil || kind != "blob" {
		t.Errorf("an id that is no UTF-8 is %q, %v", kind, err)
	}
}

func TestSinkThatCannotBe(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(path("text"), []byte(strings.Repeat("no database ", 200)), 0o644); err != nil {
		t.Fatal(err)
	}
	other, _ := sql.Open("sqlite", path("other"))
	defer other.Close()
	if _, err := other.Exec("CREATE TABLE items (a, b); INSERT INTO items VALUES (1, 2)"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		cfg           SinkConfig
		kind, message string
	}{
		{SinkConfig{Path: path("text")}, tandem.KindSink, "no SQLite database"},
		{SinkConfig{Path: dir}, tandem.KindSink, "is a directory"},
		{SinkConfig{Path: path("no/such.db")}, tandem.KindSink, "no such file"},
		{SinkConfig{Path: path("other")}, tandem.KindSink, "items has other columns (a, b)"},
		{SinkConfig{Path: path("x"), Table: `a"b`}, tandem.KindInvalid, "no good name"},
		{SinkConfig{Path: path("x"), Table: "sqlite_master"}, tandem.KindInvalid, "no good name"},
	} {
		_, err := Open(c.cfg)
		e, ok := errors.AsType[*tandem.Error](err)
		if !ok || e.Kind != c.kind || !strings.Contains(e.Message, c.message) || e.Hint == "" {
			t.Errorf("%+v: %#v, want %s", c.cfg, err, c.message)
		}
	}
	if _, err := os.Stat(path("x")); err == nil {
		t.Error("a refused table's database was made")
	}
	if b, _ := os.ReadFile(path("text")); len(b) != 2400 {
		t.Error("the text file was touched")
	}
}

func TestLockedDatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "o.db")
	s, err := Open(SinkConfig{Path: path, Wait: 300 * time.Millisecond})
	if err == nil {
		err = s.Begin()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	other, _ := connect(path, "rw", "immediate")
	defer other.Close()
	tx, err := other.Begin()
	if err != nil {
		t.Fatal(err)
	}
	free := time.AfterFunc(100*time.Millisecond, func() { _ = tx.Rollback() })
	if n, err := s.Write([]*tandem.Task{{ID: "a", Result: tandem.Give(tandem.Value{})}}); n != 1 || err != nil {
		t.Errorf("a lock that is given back: %d, %v", n, err)
	}
	free.Stop()
	if tx, err = other.Begin(); err != nil {
		t.Fatal(err)
	}
	n, err := s.Write([]*tandem.Task{{ID: "b", Result: tandem.Give(tandem.Value{})}})
	e, ok := errors.AsType[*tandem.Error](err)
	if n != 0 || !ok || e.Reason != "busy" || !strings.Contains(e.Message, "locked") || e.Hint == "" {
		t.Errorf("a lock that stays: %d, %#v", n, err)
	}
	_ = tx.Rollback()
	if list := records(t, path, "items"); len(list) != 1 || list[0].ID != "a" {
		t.Errorf("%v", list)
	}
}

// A file that is read-only for everybody: mounted so, because root may write any other.
func TestReadOnlyDatabase(t *testing.T) {
	dir := small(t)
	if dir == "" {
		t.Skip("needs the right to mount")
	}
	path := filepath.Join(dir, "o.db")
	s, err := Open(SinkConfig{Path: path})
	if err == nil {
		err = s.Begin()
	}
	if err == nil {
		err = s.Close()
	}
	if err == nil {
		err = syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, "size=1m")
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(SinkConfig{Path: path}); err == nil || !strings.Contains(err.Error(), "read-only file system") {
		t.Errorf("%v", err)
	}
}
