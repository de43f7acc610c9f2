package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tandem"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const schema = `CREATE TABLE p (id INTEGER PRIMARY KEY, name TEXT UNIQUE, born DATETIME, raw, n REAL CHECK (n < 100));
	INSERT INTO p VALUES (1, 'Ada', '1815-12-10 00:00', x'00ff', 1.5), (2, 'Grace "<&>"', NULL, NULL, 2)`

// database is a directory with a file db.
func database(t *testing.T) (dir string, db *sql.DB) {
	t.Helper()
	dir = t.TempDir()
	db, err := sql.Open("sqlite", filepath.Join(dir, "db"))
	if err == nil {
		_, err = db.Exec(schema)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return dir, db
}

func give(x any) func(*tandem.Task) (any, error) {
	return func(*tandem.Task) (any, error) { return x, nil }
}

// whole is the item's text.
func whole(t *tandem.Task) (any, error) {
	if string(t.Value.Data) == "no value" {
		return nil, errors.New("no field name")
	}
	return string(t.Value.Data), nil
}

func handle(t *testing.T, c SQLConfig) func(context.Context, *tandem.Task) tandem.Result {
	t.Helper()
	c.Step = "s"
	if c.Open == "" {
		c.Open = "sqlite:db"
	}
	do, stop, err := SQL(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return do
}

func TestSQL(t *testing.T) {
	type values = []func(*tandem.Task) (any, error)
	for _, c := range []struct {
		name    string
		cfg     SQLConfig
		value   string
		outcome tandem.Outcome
		want    string // the value, or in the message
		kind    string
		reason  string
	}{
		{"insert", SQLConfig{Exec: "INSERT INTO p (name) VALUES (?);", Values: values{whole}}, "Robert'); DROP TABLE p; --", tandem.OK, `{"rows":1}`, "", ""},
		{"update several", SQLConfig{Exec: "UPDATE p SET n = ?1 WHERE n < ?1", Values: values{give(int64(50))}}, "", tandem.OK, `{"rows":2}`, "", ""},
		{"no row", SQLConfig{Exec: "DELETE FROM p WHERE name = ?", Values: values{whole}}, "nobody", tandem.OK, `{"rows":0}`, "", ""},
		{"query", SQLConfig{Query: "SELECT * FROM p ORDER BY id -- all\n;", Values: nil}, "", tandem.OK,
			`[{"id":1,"name":"Ada","born":"1815-12-10 00:00","raw":{"base64":"AP8="},"n":1.5},{"id":2,"name":"Grace \"<&>\"","born":null,"raw":null,"n":2}]`, "", ""},
		{"query of none", SQLConfig{Query: "SELECT * FROM p WHERE name = ?", Values: values{whole}}, "x", tandem.OK, `[]`, "", ""},
		{"with", SQLConfig{Query: "WITH a AS (SELECT ? AS v) SELECT v, typeof(v) AS t FROM a", Values: values{give(map[string]any{"a": []any{int64(1), "<"}})}}, "", tandem.OK, `[{"v":"{\"a\":[1,\"<\"]}","t":"text"}]`, "", ""},
		{"kinds of values", SQLConfig{Query: "SELECT typeof(?) AS a, typeof(?) AS b, typeof(?) AS c, typeof(?) AS d, typeof(?) AS e, typeof(?) AS f, typeof(?) AS g",
			Values: values{give(nil), give(true), give(1.5), give([]byte(nil)), give("\xff"), give(tandem.Value{}), give("x")}}, "", tandem.OK, `[{"a":"null","b":"integer","c":"real","d":"blob","e":"blob","f":"null","g":"text"}]`, "", ""},
		{"returning", SQLConfig{Query: "INSERT INTO p (name) VALUES (?) RETURNING id, name", Values: values{whole}}, "Lin", tandem.OK, `[{"id":3,"name":"Lin"}]`, "", ""},
		{"unique", SQLConfig{Exec: "INSERT INTO p (name) VALUES (?)", Values: values{whole}}, "Ada", tandem.Failed, "UNIQUE constraint failed: p.name", tandem.KindDatabase, "constraint"},
		{"check", SQLConfig{Exec: "INSERT INTO p (n) VALUES (?)", Values: values{give(int64(100))}}, "", tandem.Failed, "CHECK constraint failed", tandem.KindDatabase, "constraint"},
		{"template", SQLConfig{Exec: "INSERT INTO p (name) VALUES (?)", Values: values{whole}}, "no value", tandem.Failed, "value 1: no field name", tandem.KindExpression, ""},
		{"pickle", SQLConfig{Exec: "INSERT INTO p (raw) VALUES (?)", Values: values{give(tandem.Value{Kind: tandem.Pickle})}}, "", tandem.Failed, "Python object", tandem.KindExpression, ""},
		{"infinite", SQLConfig{Query: "SELECT 9e999 AS big"}, "", tandem.Failed, "column big: +Inf has no form in JSON", tandem.KindUnserialisable, ""},
		{"two of a name, seen late", SQLConfig{Query: "INSERT INTO p (name) VALUES ('z') RETURNING id AS a, name AS a"}, "", tandem.Failed, `two columns named "a"`, tandem.KindInvalid, ""},
		{"too much", SQLConfig{Query: "SELECT hex(zeroblob(20000000)) AS a UNION ALL SELECT hex(zeroblob(20000000))"}, "", tandem.Failed, "more than 64 MiB", tandem.KindTooLarge, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.cfg.Dir, _ = database(t)
			r := handle(t, c.cfg)(t.Context(), &tandem.Task{ID: "i", Value: tandem.TextValue(c.value)})
			switch {
			case r.Outcome != c.outcome:
				t.Errorf("%s %v", r.Outcome, r.Err)
			case c.outcome == tandem.OK && (string(r.Value.Data) != c.want || r.Value.Kind != tandem.JSON || r.Count != 1):
				t.Errorf("got %s", r.Value.Data)
			case c.outcome != tandem.OK && (!strings.Contains(r.Err.Message, c.want) || r.Err.Kind != c.kind || r.Err.Reason != c.reason || r.Err.On != "s"):
				t.Errorf("got %#v", r.Err)
			}
		})
	}
}

func TestAStatementIsCheckedAtOnce(t *testing.T) {
	dir, db := database(t)
	if err := os.WriteFile(filepath.Join(dir, "text"), []byte(strings.Repeat("no database ", 200)), 0o644); err != nil {
		t.Fatal(err)
	}
	one := []func(*tandem.Task) (any, error){give("x")}
	for _, c := range []struct {
		cfg           SQLConfig
		kind, message string
	}{
		{SQLConfig{Open: "postgres:x", Exec: "SELECT 1"}, tandem.KindInvalid, `"postgres:x" is no database known here`},
		{SQLConfig{}, tandem.KindInvalid, "either a statement to execute or a query"},
		{SQLConfig{Exec: " ; -- nothing"}, tandem.KindInvalid, "want one statement"},
		{SQLConfig{Exec: "DELETE FROM p; DELETE FROM p"}, tandem.KindInvalid, "want one statement"},
		{SQLConfig{Exec: "INSRT INTO p VALUES (1)"}, tandem.KindInvalid, `near "INSRT": syntax error`},
		{SQLConfig{Query: "SELECT * FROM q"}, tandem.KindInvalid, "no such table: q"},
		{SQLConfig{Query: "SELECT colour FROM p"}, tandem.KindInvalid, "no such column: colour"},
		{SQLConfig{Query: "SELECT ?, ?", Values: one}, tandem.KindInvalid, "parameters for which there is no value (1 given)"},
		{SQLConfig{Query: "SELECT :name", Values: one}, tandem.KindInvalid, "parameters for which there is no value"},
		{SQLConfig{Query: "SELECT 'a?'", Values: one}, tandem.KindInvalid, "1 values and fewer parameters"},
		{SQLConfig{Query: "SELECT id AS a, name AS a FROM p"}, tandem.KindInvalid, `two columns named "a"`},
		{SQLConfig{Open: "sqlite:gone", Query: "SELECT 1"}, tandem.KindDatabase, "gone: no such file"},
		{SQLConfig{Open: "sqlite:no/such", Query: "SELECT 1"}, tandem.KindDatabase, "no such file"},
		{SQLConfig{Open: "sqlite:.", Query: "SELECT 1"}, tandem.KindDatabase, "is a directory"},
		{SQLConfig{Open: "sqlite:text", Query: "SELECT 1 FROM p"}, tandem.KindDatabase, "no SQLite database"},
	} {
		c.cfg.Step, c.cfg.Dir = "s", dir
		if c.cfg.Open == "" {
			c.cfg.Open = "sqlite:db"
		}
		_, stop, err := SQL(c.cfg)
		e, ok := errors.AsType[*tandem.Error](err)
		if !ok || e.Kind != c.kind || !strings.Contains(e.Message, c.message) || e.On != "s" {
			t.Errorf("%+v: %#v", c.cfg, err)
		}
		if err == nil {
			stop()
		}
	}
	var n int
	if err := db.QueryRow("SELECT count(*) FROM p").Scan(&n); err != nil || n != 2 {
		t.Errorf("the checks changed the data: %d rows, %v", n, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "gone")); err == nil {
		t.Error("a missing database was made")
	}
}

func TestSingle(t *testing.T) {
	for in, want := range map[string]string{
		"SELECT 1": "SELECT 1", " SELECT ';' ; ;\n": "SELECT ';'", "a--;\nb": "a--;\nb", "a/*;*/;--x": "a/*;*/", `a "x;""y" [;] ` + "`;`;": `a "x;""y" [;] ` + "`;`",
		"a;b": "", ";": "", "": "", "--a": "", "a;'b'": "", "'a;b": "'a;b", "a /* open;": "a /* open;",
	} {
		if got := single(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// elements makes a task of each element, as a flow would.
func elements(t *tandem.Task) ([]*tandem.Task, error) {
	values, err := t.Value.Values()
	var list []*tandem.Task
	for i, v := range values {
		list = append(list, &tandem.Task{ID: fmt.Sprint(t.ID, "/", i), Value: v})
	}
	return list, err
}

func batch(texts ...string) *tandem.Task {
	var values []tandem.Value
	for _, s := range texts {
		values = append(values, tandem.TextValue(s))
	}
	return &tandem.Task{ID: "b", Value: tandem.ListOf(values)}
}

func TestABatchIsOneTransaction(t *testing.T) {
	dir, db := database(t)
	names := func() (n int) {
		if err := db.QueryRow("SELECT count(*) FROM p").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	insert := SQLConfig{Dir: dir, Exec: "INSERT INTO p (name) VALUES (?)", Values: []func(*tandem.Task) (any, error){whole}, Tasks: elements}
	do := handle(t, insert)
	r := do(t.Context(), batch("a", "b", "c"))
	if r.Outcome != tandem.OK || r.Count != 3 || len(r.Rest) != 2 || string(r.Rest[1].Data) != `{"rows":1}` || names() != 5 {
		t.Errorf("%+v %v, %d rows", r, r.Err, names())
	}
	r = do(t.Context(), batch("d", "e", "Ada", "f"))
	if r.Outcome != tandem.Failed || r.Err.Reason != "constraint" || !strings.HasPrefix(r.Err.Message, `element 3 of 4, item "b/2": `) || !strings.Contains(r.Err.Hint, "nothing of this batch") || names() != 5 {
		t.Errorf("%+v %v, %d rows", r, r.Err, names())
	}
	if r = do(t.Context(), batch("d", "no value")); r.Outcome != tandem.Failed || !strings.HasPrefix(r.Err.Message, `element 2 of 2, item "b/1": value 1: `) || names() != 5 {
		t.Errorf("%+v %v", r, r.Err)
	}
	if r = do(t.Context(), batch()); r.Outcome != tandem.OK || r.Count != 0 {
		t.Errorf("an empty batch: %+v %v", r, r.Err)
	}
	if r = do(t.Context(), batch("after")); r.Outcome != tandem.OK || names() != 6 {
		t.Errorf("%+v %v", r, r.Err)
	}
	query := handle(t, SQLConfig{Dir: dir, Query: "SELECT id FROM p WHERE name = ?", Values: insert.Values, Tasks: elements})
	if r = query(t.Context(), batch("Ada", "nobody")); r.Outcome != tandem.OK || r.Count != 2 || string(r.Value.Data) != `[{"id":1}]` || string(r.Rest[0].Data) != `[]` {
		t.Errorf("%+v %v", r, r.Err)
	}
	alone := handle(t, SQLConfig{Dir: dir, Query: "SELECT ? AS v", Values: []func(*tandem.Task) (any, error){func(t *tandem.Task) (any, error) { return t.Value, nil }}})
	if r = alone(t.Context(), batch("a", "b")); r.Outcome != tandem.OK || string(r.Value.Data) != `[{"v":"[\"a\",\"b\"]"}]` {
		t.Errorf("a list without Tasks: %s %v", r.Value.Data, r.Err)
	}
}

func TestManyAtOnce(t *testing.T) {
	dir, db := database(t)
	exec := handle(t, SQLConfig{Dir: dir, Exec: "INSERT INTO p (name) VALUES (?)", Values: []func(*tandem.Task) (any, error){whole}, Tasks: elements, Wait: time.Minute})
	query := handle(t, SQLConfig{Dir: dir, Query: "SELECT name FROM p WHERE id = 1", Wait: time.Minute})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 10 {
				task := &tandem.Task{Value: tandem.TextValue(fmt.Sprint(i, " ", n))}
				if n%2 == 0 {
					task = batch(fmt.Sprint(i, " ", n), fmt.Sprint(i, " ", n, " more"))
				}
				if r := exec(t.Context(), task); r.Outcome != tandem.OK {
					t.Errorf("%v", r.Err)
				}
				if r := query(t.Context(), &tandem.Task{}); string(r.Value.Data) != `[{"name":"Ada"}]` {
					t.Errorf("%s %v", r.Value.Data, r.Err)
				}
			}
		})
	}
	wg.Wait()
	var n int
	if err := db.QueryRow("SELECT count(*) FROM p").Scan(&n); err != nil || n != 2+8*15 {
		t.Errorf("%d rows, %v", n, err)
	}
}

func TestALockOfAnotherProgram(t *testing.T) {
	dir, _ := database(t)
	insert := SQLConfig{Dir: dir, Exec: "INSERT INTO p (name) VALUES (?)", Values: []func(*tandem.Task) (any, error){whole}, Tasks: elements, Wait: 300 * time.Millisecond}
	short := handle(t, insert)
	insert.Wait = time.Hour
	long := handle(t, insert)
	other, _ := connect(filepath.Join(dir, "db"), "rw", "immediate")
	defer other.Close()
	tx, err := other.Begin()
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range []*tandem.Task{{Value: tandem.TextValue("x")}, batch("x", "y")} {
		if r := short(t.Context(), task); r.Outcome != tandem.Failed || r.Err.Reason != "busy" || r.Err.Again != tandem.AgainYes || r.Err.Hint == "" {
			t.Errorf("%+v %#v", r, r.Err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		begun := time.Now()
		if r := long(ctx, task); r.Outcome != tandem.TimedOut || r.Err.Kind != tandem.KindTimeout || time.Since(begun) > 20*time.Second {
			t.Errorf("%+v %#v after %v", r, r.Err, time.Since(begun))
		}
		cancel()
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := long(ctx, batch("x")); r.Outcome != tandem.Canceled || r.Err.Kind != tandem.KindCanceled {
		t.Errorf("%+v %#v", r, r.Err)
	}
	_ = tx.Rollback()
	if r := long(t.Context(), batch("x", "y")); r.Outcome != tandem.OK {
		t.Errorf("after the lock: %v", r.Err)
	}
}

// A query that would never end is ended by the step's timeout.
func TestAnEndlessQuery(t *testing.T) {
	dir, _ := database(t)
	do := handle(t, SQLConfig{Dir: dir, Query: "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT max(x) AS m FROM c"})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if r := do(ctx, &tandem.Task{}); r.Outcome != tandem.TimedOut {
		t.Errorf("%+v %v", r, r.Err)
	}
}

func TestAFullDiskCostsTheItem(t *testing.T) {
	dir := small(t)
	if dir == "" {
		t.Skip("needs the right to mount")
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, "db"))
	if err == nil {
		_, err = db.Exec(schema)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	do := handle(t, SQLConfig{Dir: dir, Exec: "INSERT INTO p (raw) VALUES (?)", Values: []func(*tandem.Task) (any, error){func(t *tandem.Task) (any, error) { return t.Value, nil }}})
	if r := do(t.Context(), &tandem.Task{Value: tandem.Value{Kind: tandem.Bytes, Data: make([]byte, 2<<20)}}); r.Outcome != tandem.Failed || r.Err.Reason != "full" || !strings.Contains(r.Err.Hint, "room") {
		t.Errorf("%+v %#v", r, r.Err)
	}
	if r := do(t.Context(), &tandem.Task{Value: tandem.TextValue("small")}); r.Outcome != tandem.OK {
		t.Errorf("afterwards: %v", r.Err)
	}
}
