package cli

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"tandem"
	"tandem/engine"
)

// tables are the files of --report. They are opened before the run, so that a path that cannot be written costs no work.
type tables struct {
	items []*table
	json  []*os.File
}

// table is a file with a line per item.
type table struct {
	file *os.File
	w    *bufio.Writer
}

const tableHead = "id\toutcome\tstep\tkind\treason\tattempts\tseconds\tmessage\n"

func (r *running) tables() (*tables, error) {
	t := &tables{}
	for _, path := range r.o.reports {
		f, err := os.Create(path)
		if err != nil {
			t.close()
			return nil, &tandem.Error{Op: "open the report", On: path, Kind: tandem.KindFile, Message: err.Error(), Hint: "name a file in a directory that is there and can be written", Err: err}
		}
		if filepath.Ext(path) == ".json" {
			t.json = append(t.json, f)
			continue
		}
		w := bufio.NewWriter(f)
		_, _ = w.WriteString(tableHead) // an error stays with the writer until the end
		t.items = append(t.items, &table{f, w})
	}
	return t, nil
}

// item writes the line of an item that has ended; it is called from one goroutine.
func (t *tables) item(task *tandem.Task) {
	for _, one := range t.items {
		var e tandem.Error
		if task.Result.Err != nil {
			e = *task.Result.Err
		}
		cells := []string{task.ID, string(task.Result.Outcome), e.On, e.Kind, e.Reason, strconv.Itoa(task.Attempts), strconv.FormatFloat(task.Elapsed.Seconds(), 'f', 6, 64), e.Message}
		for i, c := range cells {
			cells[i] = strings.NewReplacer("\\", `\\`, "\t", `\t`, "\n", `\n`, "\r", `\r`).Replace(c)
		}
		_, _ = one.w.WriteString(strings.Join(cells, "\t") + "\n")
	}
}

// totals writes the documents and what is still buffered.
func (t *tables) totals(report engine.Report) error {
	for _, f := range t.json {
		enc := json.NewEncoder(f)
		enc.SetIndent("", "  ")
		if err := enc.Encode(report); err != nil {
			return reportError(f, err)
		}
	}
	for _, one := range t.items {
		if err := one.w.Flush(); err != nil {
			return reportError(one.file, err)
		}
	}
	return nil
}

func reportError(f *os.File, err error) error {
	return &tandem.Error{Op: "write the report", On: f.Name(), Kind: tandem.KindFile, Message: fmt.Sprint(err), Hint: "the run itself is not affected", Err: err}
}

func (t *tables) close() {
	for _, f := range t.json {
		f.Close()
	}
	for _, one := range t.items {
		one.file.Close()
	}
}
