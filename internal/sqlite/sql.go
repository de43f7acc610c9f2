package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"tandem"
)

// maxRows bounds what one query may give, in bytes of JSON.
const maxRows = 64 << 20

// SQLConfig is one statement per item.
type SQLConfig struct {
	Step   string
	Open   string // "sqlite:PATH"
	Dir    string // where a relative path is looked up; empty means the working directory
	Setup  string // run once at the start, for example CREATE TABLE IF NOT EXISTS …; the file is made when it is not there. Empty means nothing
	Exec   string // a statement that changes something, or
	Query  string // one that gives rows
	Values []func(*tandem.Task) (any, error)

	// Tasks gives a task for each element of a batch, for Values to look at. It is called for tasks whose value is a list. Nil means that a list is
	// one value like any other.
	Tasks func(*tandem.Task) ([]*tandem.Task, error)

	Concurrency int           // connections of a query; zero means 4. What changes something goes through one, for SQLite has one writer at a time
	Wait        time.Duration // how long to wait for a lock of another program; zero means 5s
}

// SQL is the handler of an sql step; close its connections with the second result. The statement is compiled against the database at once, so that a
// missing file or table, a wrong word and a wrong number of values are errors here and not the first item's; no data is touched. It must be one statement.
//
// A statement to Exec gives {"rows":n}, a Query the list of its rows as objects; a column that is no text in UTF-8 is {"base64":…}. All elements
// of a batch run in one transaction: it gives a value for each of them, or fails and leaves nothing. A database that stays locked for longer than Wait
// is a failure where another attempt may help; a broken constraint is one with the reason "constraint".
func SQL(c SQLConfig) (do func(context.Context, *tandem.Task) tandem.Result, stop func(), err error) {
	c.Wait, c.Concurrency = cmp.Or(c.Wait, 5*time.Second), cmp.Or(c.Concurrency, 4)
	s := &statement{c: c, text: cmp.Or(c.Exec, c.Query)}
	if err := s.open(); err != nil {
		s.close()
		return nil, nil, err
	}
	return s.do, s.close, nil
}

type statement struct {
	c    SQLConfig
	text string
	db   *sql.DB
	stmt *sql.Stmt
}

func (s *statement) open() error {
	fail := func(kind, msg, hint string, err error) error {
		return &tandem.Error{Op: "prepare the statement of step", On: s.c.Step, Kind: kind, Message: msg, Hint: hint, Err: err}
	}
	path, ok := strings.CutPrefix(s.c.Open, "sqlite:")
	switch {
	case !ok || path == "":
		return fail(tandem.KindInvalid, fmt.Sprintf("%q is no database known here", s.c.Open), "want sqlite:PATH", nil)
	case (s.c.Exec == "") == (s.c.Query == ""):
		return fail(tandem.KindInvalid, "want either a statement to execute or a query", "", nil)
	case single(s.text) == "":
		return fail(tandem.KindInvalid, "want one statement, got none or several", "make a step of each; a trigger can do the rest", nil)
	}
	s.text = single(s.text)
	if !filepath.IsAbs(path) {
		path = filepath.Join(s.c.Dir, path)
	}
	if info, err := os.Stat(path); (err != nil || info.IsDir()) && (s.c.Setup == "" || !errors.Is(err, os.ErrNotExist)) {
		msg, hint := "it is a directory", "name the database's file"
		if err != nil {
			msg, hint = cause(err), "make it first: sqlite3 "+filepath.Base(path)+" < schema.sql, or give the step setup: CREATE TABLE IF NOT EXISTS …"
			if _, derr := os.Stat(filepath.Dir(path)); derr != nil {
				hint = "its directory is not there either: is the path right?"
			}
		}
		return fail(tandem.KindDatabase, path+": "+msg, hint, err)
	}
	lock, most := "immediate", 1
	if s.c.Query != "" {
		lock, most = "deferred", s.c.Concurrency
	}
	if err := s.setup(path); err != nil {
		reason, msg, hint := explain(err)
		return &tandem.Error{Op: "run the setup of step", On: s.c.Step, Kind: tandem.KindDatabase, Reason: reason, Message: path + ": " + msg, Hint: hint, Err: err}
	}
	var err error
	if s.db, err = connect(path, "rw", lock); err == nil {
		s.db.SetMaxOpenConns(most)
		s.db.SetMaxIdleConns(most)
		err = patient(context.Background(), s.c.Wait, s.compile)
	}
	if _, ok := errors.AsType[*tandem.Error](err); ok || err == nil {
		return err
	}
	if code(err) == 1 { // what SQLite says of the statement itself
		return fail(tandem.KindInvalid, strings.TrimSuffix(strings.TrimPrefix(err.Error(), "SQL logic error: "), " (1)"), "try it: sqlite3 "+filepath.Base(path), err)
	}
	reason, msg, hint := explain(err)
	e := fail(tandem.KindDatabase, path+": "+msg, hint, err).(*tandem.Error)
	e.Reason = reason
	return e
}

// setup runs what the flow wants to be there.
func (s *statement) setup(path string) error {
	if s.c.Setup == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	db, err := connect(path, "rwc", "immediate")
	if err != nil {
		return err
	}
	defer db.Close()
	return patient(context.Background(), s.c.Wait, func() error {
		_, err := db.Exec(s.c.Setup)
		return err
	})
}

// compile prepares the statement and holds its parameters against the values. EXPLAIN binds them and runs nothing.
func (s *statement) compile() (err error) {
	wrong := func(msg, hint string) error {
		return &tandem.Error{Op: "prepare the statement of step", On: s.c.Step, Kind: tandem.KindInvalid, Message: msg, Hint: hint}
	}
	none := make([]any, len(s.c.Values))
	bound := func(n int) (missing bool, err error) {
		rows, err := s.db.Query("EXPLAIN "+s.text, none[:n]...)
		if err == nil {
			return false, rows.Close()
		}
		return strings.Contains(err.Error(), "missing "), err
	}
	if missing, err := bound(len(none)); missing {
		return wrong(fmt.Sprintf("it has parameters for which there is no value (%d given): %v", len(none), err), "write one value for each ?, or ?1, ?2 and so on")
	} else if err != nil {
		return err
	}
	if n := len(none); n > 0 {
		if missing, err := bound(n - 1); !missing {
			return cmp.Or(err, wrong(fmt.Sprintf("there are %d values and fewer parameters", n), "write a ? in the statement for each value"))
		}
	}
	if s.c.Query != "" {
		if s.text, err = s.plain(none); err != nil {
			return err
		}
	}
	if s.stmt != nil {
		s.stmt.Close()
	}
	s.stmt, err = s.db.Prepare(s.text)
	return err
}

// plain is the query in a form whose columns come as they are stored: the driver would read texts of columns that are declared as times, and give
// something else for them. A column that went through + has no declared type. What is no plain SELECT stays as it is.
func (s *statement) plain(none []any) (string, error) {
	rows, err := s.db.Query("SELECT * FROM (\n"+s.text+"\n) LIMIT 0", none...)
	if err != nil {
		return s.text, nil // RETURNING and PRAGMA cannot stand in a SELECT; what else is wrong, the statement itself will say
	}
	defer rows.Close()
	types, err := rows.ColumnTypes()
	if err != nil {
		return "", err
	}
	var names, list []string
	timed := false
	for _, t := range types {
		name := t.Name()
		// Of two columns with one name SQLite calls the second name:1.
		if i := strings.LastIndexByte(name, ':'); i > 0 && slices.Contains(names, name[:i]) {
			return "", s.twice(name[:i])
		}
		names = append(names, name)
		quoted := `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
		list = append(list, "+"+quoted+" AS "+quoted)
		timed = timed || slices.Contains([]string{"DATE", "DATETIME", "TIMESTAMP"}, t.DatabaseTypeName())
	}
	if !timed {
		return s.text, nil
	}
	return "SELECT " + strings.Join(list, ", ") + " FROM (\n" + s.text + "\n)", nil
}

func (s *statement) twice(name string) error {
	return &tandem.Error{Op: "run", On: s.c.Step, Kind: tandem.KindInvalid, Message: fmt.Sprintf("the query has two columns named %q", name), Hint: "give one another name with AS"}
}

func (s *statement) close() {
	if s.stmt != nil {
		s.stmt.Close()
	}
	if s.db != nil {
		s.db.Close()
	}
}

func (s *statement) do(ctx context.Context, t *tandem.Task) tandem.Result {
	tasks, batch := []*tandem.Task{t}, false
	if s.c.Tasks != nil && t.Value.Kind == tandem.List {
		var err error
		if tasks, err = s.c.Tasks(t); err != nil {
			return s.failed(tandem.KindExpression, "", err.Error(), "", err)
		}
		batch = true
	}
	args := make([][]any, len(tasks))
	for i, e := range tasks {
		for n, value := range s.c.Values {
			x, err := value(e)
			if err == nil {
				x, err = argument(x)
			}
			if err != nil {
				return s.failed(tandem.KindExpression, "", of(tasks, i, batch)+"value "+strconv.Itoa(n+1)+": "+err.Error(), "", err)
			}
			args[i] = append(args[i], x)
		}
	}
	var values []tandem.Value
	at := 0
	err := patient(ctx, s.c.Wait, func() error {
		values = values[:0]
		at = 0
		if !batch {
			v, err := s.run(ctx, s.stmt, args[0])
			values = append(values, v)
			return err
		}
		tx, err := s.db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback() // does nothing after a commit
		stmt := tx.StmtContext(ctx, s.stmt)
		for at = range args {
			v, err := s.run(ctx, stmt, args[at])
			if err != nil {
				return err
			}
			values = append(values, v)
		}
		return tx.Commit()
	})
	if err != nil {
		return s.refused(ctx, err, of(tasks, at, batch), batch)
	}
	r := tandem.Result{Outcome: tandem.OK, Count: len(values)}
	if len(values) > 0 {
		r.Value, r.Rest = values[0], values[1:]
	}
	return r
}

// of names the element of a batch that is at fault.
func of(tasks []*tandem.Task, i int, batch bool) string {
	if !batch || i >= len(tasks) {
		return ""
	}
	return fmt.Sprintf("element %d of %d, item %s: ", i+1, len(tasks), strconv.Quote(tasks[i].ID))
}

func (s *statement) run(ctx context.Context, stmt *sql.Stmt, args []any) (tandem.Value, error) {
	if s.c.Exec != "" {
		r, err := stmt.ExecContext(ctx, args...)
		if err != nil {
			return tandem.Value{}, err
		}
		n, err := r.RowsAffected()
		return tandem.Value{Kind: tandem.JSON, Data: append(strconv.AppendInt([]byte(`{"rows":`), n, 10), '}')}, err
	}
	rows, err := stmt.QueryContext(ctx, args...)
	if err != nil {
		return tandem.Value{}, err
	}
	defer rows.Close()
	return s.list(rows)
}

// list is the rows as a JSON array of objects.
func (s *statement) list(rows *sql.Rows) (tandem.Value, error) {
	names, err := rows.Columns()
	if err != nil {
		return tandem.Value{}, err
	}
	keys := make([][]byte, len(names))
	cells, into := make([]any, len(names)), make([]any, len(names))
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			return tandem.Value{}, s.twice(name)
		}
		keys[i] = append(appendString([]byte{','}, name), ':')
		into[i] = &cells[i]
	}
	b := []byte{'['}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return tandem.Value{}, err
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(b, '{')
		for i, key := range keys {
			if i == 0 {
				key = key[1:]
			}
			if b, err = appendCell(append(b, key...), cells[i]); err != nil {
				return tandem.Value{}, &tandem.Error{Kind: tandem.KindUnserialisable, Message: fmt.Sprintf("column %s: %v", names[i], err)}
			}
		}
		if b = append(b, '}'); len(b) > maxRows {
			return tandem.Value{}, &tandem.Error{Kind: tandem.KindTooLarge, Message: fmt.Sprintf("the query gave more than %d MiB", maxRows>>20), Hint: "ask for fewer rows or columns: LIMIT, or a WHERE for each item"}
		}
	}
	return tandem.Value{Kind: tandem.JSON, Data: append(b, ']')}, rows.Err()
}

func (s *statement) failed(kind, reason, msg, hint string, err error) tandem.Result {
	return tandem.Result{Outcome: tandem.Failed, Err: &tandem.Error{Op: "run", On: s.c.Step, Kind: kind, Reason: reason, Message: msg, Hint: hint, Err: err}}
}

func (s *statement) refused(ctx context.Context, err error, element string, batch bool) tandem.Result {
	if ctx.Err() != nil {
		r := s.failed(tandem.KindCanceled, "", "the run was stopped", "", err)
		r.Outcome = tandem.Canceled
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			r.Outcome, r.Err.Kind, r.Err.Message, r.Err.Hint = tandem.TimedOut, tandem.KindTimeout, "not done in time", "raise the step's timeout; is the database locked, or does the query need an index?"
		}
		return r
	}
	if e, ok := errors.AsType[*tandem.Error](err); ok {
		return s.failed(e.Kind, e.Reason, element+e.Message, e.Hint, err)
	}
	reason, msg, hint := explain(err)
	if batch && hint == "" {
		hint = "nothing of this batch was stored"
	}
	r := s.failed(tandem.KindDatabase, reason, element+msg, hint, err)
	if reason == "busy" {
		r.Err.Again = tandem.AgainYes
	}
	return r
}
