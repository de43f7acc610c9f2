package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"tandem"
)

// SinkConfig says where a Sink writes.
type SinkConfig struct {
	Path  string
	Table string        // empty means items
	Wait  time.Duration // how long to wait for a lock of another program; zero means 30s
}

// Sink writes one row for each item: id, outcome, value, error_kind, error_message, hint, attempts, seconds. The value is text, or a BLOB for bytes.
//
// Each Write is one transaction, on stable storage when Write returns, so a fault leaves none of its rows and an item written again replaces its row.
// Begin empties the table and leaves its indexes, and refuses one of that name that has other columns. It is for one goroutine.
type Sink struct {
	cfg    SinkConfig
	db     *sql.DB
	insert string
	broken error
}

var columns = []string{"id", "outcome", "value", "error_kind", "error_message", "hint", "attempts", "seconds"}

// A table's name cannot be a parameter of a statement, so it must be a plain word.
var plainName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)

// Open looks whether the database can be written and whether the table, if it is there, is one of a Sink. It changes nothing.
func Open(c SinkConfig) (*Sink, error) {
	c.Table, c.Wait = cmp.Or(c.Table, "items"), cmp.Or(c.Wait, 30*time.Second)
	if !plainName.MatchString(c.Table) || strings.HasPrefix(strings.ToLower(c.Table), "sqlite_") {
		return nil, &tandem.Error{Op: "open the sink", On: c.Path, Kind: tandem.KindInvalid, Message: fmt.Sprintf("%q is no good name for a table", c.Table),
			Hint: "letters, digits and _, at most 64, not a digit first and not sqlite_"}
	}
	s := &Sink{cfg: c, insert: `INSERT INTO "` + c.Table + `" (` + strings.Join(columns, ",") + `) VALUES (?,?,?,?,?,?,?,?) ON CONFLICT(id) DO UPDATE SET outcome=excluded.outcome,
		value=excluded.value, error_kind=excluded.error_kind, error_message=excluded.error_message, hint=excluded.hint, attempts=excluded.attempts, seconds=excluded.seconds`}
	exists, err := readable(c.Path)
	if err != nil {
		return nil, &tandem.Error{Op: "open the sink", On: c.Path, Kind: tandem.KindSink, Message: cause(err), Hint: openHint(c.Path, err), Err: err}
	}
	if !exists {
		return s, nil
	}
	if err := s.connect("rw"); err != nil {
		return nil, err
	}
	have, err := s.table()
	if err == nil && len(have) > 0 && !slices.Equal(have, columns) {
		err = &tandem.Error{Op: "open the sink", On: c.Path, Kind: tandem.KindSink, Message: fmt.Sprintf("its table %s has other columns (%s)", c.Table, strings.Join(have, ", ")),
			Hint: "it is not emptied for a run: choose another table, or drop it"}
	}
	if err != nil {
		s.db.Close()
		return nil, err
	}
	return s, nil
}

func (s *Sink) connect(mode string) error {
	db, err := connect(s.cfg.Path, mode, "immediate")
	if err != nil {
		return s.fail("open the sink", err)
	}
	db.SetMaxOpenConns(1)
	if s.db != nil {
		s.db.Close()
	}
	s.db = db
	return nil
}

func (s *Sink) fail(op string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*tandem.Error](err); ok {
		return err
	}
	reason, msg, hint := explain(err)
	return &tandem.Error{Op: op, On: s.cfg.Path, Kind: tandem.KindSink, Reason: reason, Message: msg, Hint: hint, Err: err}
}

// table gives the names of the table's columns; none when it is not there.
func (s *Sink) table() (names []string, err error) {
	err = patient(context.Background(), s.cfg.Wait, func() error {
		names = nil
		rows, err := s.db.Query(`SELECT name FROM pragma_table_info(?)`, s.cfg.Table)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var name string
			if err := rows.Scan(&name); err != nil {
				return err
			}
			names = append(names, name)
		}
		return rows.Err()
	})
	return names, s.fail("open the sink", err)
}

// change runs f in one transaction: all of it is in the database, or nothing.
func (s *Sink) change(f func(*sql.Tx) error) error {
	return patient(context.Background(), s.cfg.Wait, func() error {
		tx, err := s.db.Begin()
		if err != nil {
			return err
		}
		if err := f(tx); err != nil {
			_ = tx.Rollback() // the first error says why
			return err
		}
		if err := tx.Commit(); err != nil {
			_ = tx.Rollback() // a commit that found a lock leaves the transaction open
			return err
		}
		return nil
	})
}

// Begin makes the table, or empties it. The engine calls it when the steps are ready.
func (s *Sink) Begin() error {
	if err := s.connect("rwc"); err != nil {
		return err
	}
	return s.fail("open the sink", s.change(func(tx *sql.Tx) error {
		_, err := tx.Exec(`CREATE TABLE IF NOT EXISTS "` + s.cfg.Table + `" (id TEXT PRIMARY KEY, outcome TEXT NOT NULL, value, error_kind TEXT, error_message TEXT, hint TEXT, attempts INTEGER NOT NULL, seconds REAL NOT NULL)`)
		if err == nil {
			_, err = tx.Exec(`DELETE FROM "` + s.cfg.Table + `"`)
		}
		return err
	}))
}

// Write is tandem.Sink's.
func (s *Sink) Write(ended []*tandem.Task) (int, error) {
	if s.broken != nil {
		return 0, s.broken
	}
	err := s.change(func(tx *sql.Tx) error {
		stmt, err := tx.Prepare(s.insert)
		if err != nil {
			return err
		}
		defer stmt.Close()
		for _, t := range ended {
			var kind, message, hint any
			if e := t.Result.Err; e != nil {
				kind, message, hint = text(e.Kind), text(e.Message), text(e.Hint)
			}
			if _, err := stmt.Exec(text(t.ID), string(t.Result.Outcome), cell(t.Result.Value), kind, message, hint, t.Attempts, t.Elapsed.Seconds()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		s.broken = s.fail("write the sink", err)
		return 0, s.broken
	}
	return len(ended), nil
}

// Position is tandem.Resumer's: always 0. Everything written is on stable storage already.
func (s *Sink) Position(bool) (int64, error) { return 0, s.broken }

// Resume is tandem.Resumer's. Rows that the run does not know of stay, and are replaced when their items end again.
func (s *Sink) Resume(position int64) error {
	gone := func(what string) error {
		return &tandem.Error{Op: "resume the sink", On: s.cfg.Path, Kind: tandem.KindSink, Message: what + " is gone, and the rows of the earlier run with it", Hint: "run again without --resume"}
	}
	if _, err := os.Stat(s.cfg.Path); errors.Is(err, os.ErrNotExist) {
		if position == tandem.End {
			return s.Begin()
		}
		return gone("it")
	}
	if err := s.connect("rw"); err != nil {
		return err
	}
	have, err := s.table()
	if err == nil && len(have) == 0 {
		err = gone("its table " + s.cfg.Table)
	}
	return err
}

// Forget is tandem.Resumer's, in one transaction.
func (s *Sink) Forget(ids func(id string) bool) error {
	return s.fail("take items out of the sink", s.change(func(tx *sql.Tx) error {
		for last, more := int64(-1), true; more; {
			var drop []int64
			var err error
			if drop, last, more, err = page(tx, s.cfg.Table, last, ids); err != nil {
				return err
			}
			for _, row := range drop {
				if _, err := tx.Exec(`DELETE FROM "`+s.cfg.Table+`" WHERE rowid = ?`, row); err != nil {
					return err
				}
			}
		}
		return nil
	}))
}

// page looks at the next thousand rows, so that a large table is never in memory.
func page(tx *sql.Tx, table string, after int64, ids func(string) bool) (drop []int64, last int64, more bool, err error) {
	rows, err := tx.Query(`SELECT rowid, id FROM "`+table+`" WHERE rowid > ? ORDER BY rowid LIMIT 1000`, after)
	if err != nil {
		return nil, after, false, err
	}
	defer rows.Close()
	last = after
	for rows.Next() {
		var id string // a BLOB is scanned into it byte for byte
		if err := rows.Scan(&last, &id); err != nil {
			return nil, last, false, err
		}
		if more = true; ids(id) {
			drop = append(drop, last)
		}
	}
	return drop, last, more, rows.Err()
}

// Close is tandem.Sink's.
func (s *Sink) Close() error {
	if s.db == nil {
		return nil
	}
	return s.fail("close the sink", s.db.Close())
}

var _ tandem.Resumer = (*Sink)(nil)
