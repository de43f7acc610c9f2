// Package sqlite holds what needs the SQLite driver: the sink that writes into a table, and the sql step.
//
// It is a room of its own so that only the flow file reaches the driver, which makes a program some 4 MB larger; the engine and the programs that embed
// it do without. Nothing here changes a database's journal mode. A database that another program has locked is waited for, while the context allows.
// Texts that are no UTF-8, as paths may be, are stored as BLOBs: other programs cannot read them as TEXT.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"
	"unicode/utf8"

	driver "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"tandem"
	"tandem/internal/proc"
)

// lockWait is how long the driver itself waits for a lock. It is short because it does not listen to a context while it waits; patient does.
const lockWait = 100 * time.Millisecond

// connect opens a database file with mode rw or rwc (made when it is not there). Nothing is read before the first statement. With lock immediate a
// transaction takes the write lock when it begins: one that reads first could not get it later without starting over. The other is deferred.
func connect(path, mode, lock string) (*sql.DB, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	q := url.Values{"mode": {mode}, "_txlock": {lock}, "_pragma": {"busy_timeout(" + strconv.FormatInt(lockWait.Milliseconds(), 10) + ")"}}
	return sql.Open("sqlite", (&url.URL{Scheme: "file", Path: abs, RawQuery: q.Encode()}).String())
}

// patient calls f again while the database is locked, for at most wait.
func patient(ctx context.Context, wait time.Duration, f func() error) error {
	for begun := time.Now(); ; {
		err := f()
		if !isBusy(err) || time.Since(begun) >= wait {
			return err
		}
		select { // the driver has waited already; this lets others at the connection
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func code(err error) int {
	if e, ok := errors.AsType[*driver.Error](err); ok {
		return e.Code() & 0xff
	}
	return 0
}

func isBusy(err error) bool { c := code(err); return c == lib.SQLITE_BUSY || c == lib.SQLITE_LOCKED }

// explain says in plain words what SQLite's codes mean for the one who reads them: reason for grouping, message, hint.
func explain(err error) (reason, message, hint string) {
	message = err.Error()
	switch code(err) {
	case lib.SQLITE_BUSY, lib.SQLITE_LOCKED:
		return "busy", "another program has locked the database", "end what is writing to it, or let it commit more often"
	case lib.SQLITE_NOTADB:
		return "not_a_database", "the file is no SQLite database", "name another file; this one is left as it is"
	case lib.SQLITE_CORRUPT:
		return "corrupt", "the database is damaged: " + message, "sqlite3 FILE '.recover' saves what can be saved"
	case lib.SQLITE_FULL:
		return "full", "no space left on device", "free some room, or write to another disk"
	case lib.SQLITE_READONLY, lib.SQLITE_PERM:
		return "read_only", "the database cannot be written", "are the file and its directory writable?"
	case lib.SQLITE_CANTOPEN:
		return "cannot_open", "the database cannot be opened", "is it a file, and are it and its directory writable?"
	case lib.SQLITE_IOERR:
		return "io", "the disk failed: " + message, "is there room, and is the disk healthy?"
	case lib.SQLITE_CONSTRAINT:
		return "constraint", message, ""
	case lib.SQLITE_TOOBIG:
		return "too_large", "a value is larger than SQLite takes (1 GB)", ""
	}
	if proc.Full(err) {
		return "full", "no space left on device", "free some room, or write to another disk"
	}
	return "", message, ""
}

// readable finds before SQLite does what it has poorer words for.
func readable(path string) (exists bool, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		if _, err := os.Stat(filepath.Dir(path)); err != nil {
			return false, err
		}
		return false, nil
	}
	if err != nil {
		return true, err
	}
	return true, f.Close()
}

func openHint(path string, err error) string {
	if errors.Is(err, os.ErrNotExist) {
		return "make its directory first: mkdir -p " + filepath.Dir(path)
	}
	return "is it a file that can be written?"
}

// cause is an error without the path that the message around it repeats.
func cause(err error) string {
	if p, ok := errors.AsType[*os.PathError](err); ok {
		return p.Err.Error()
	}
	return err.Error()
}

// text is s for a column: a BLOB when it is no UTF-8.
func text(s string) any {
	if utf8.ValidString(s) {
		return s
	}
	return []byte(s)
}

// cell is a value for a column.
func cell(v tandem.Value) any {
	switch v.Kind {
	case tandem.Null:
		return nil
	case tandem.Text, tandem.JSON:
		return text(string(v.Data))
	case tandem.List:
		return string(appendValue(nil, v))
	}
	return blob(v.Data)
}

// blob is never nil, which would be NULL.
func blob(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
