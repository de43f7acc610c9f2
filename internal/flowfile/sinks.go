package flowfile

import (
	"os"
	"strings"

	"tandem"
	"tandem/engine"
	"tandem/internal/sink"
	"tandem/internal/sqlite"
)

// sinks opens the flow's sink and the file for failed items.
func (f *File) sinks(flow *engine.Flow, s Surroundings) error {
	if s.Items != nil {
		var err error
		flow.Sink, err = sink.Open("-", s.Stdout)
		return err
	}
	main, err := f.sink(s)
	if err != nil {
		return err
	}
	var save tandem.Resumer
	if f.Failures.Save != "" {
		path, err := f.fixedPath(f.Failures.Save, "failures", "save")
		if err != nil {
			return err
		}
		if s.Again != nil {
			path = s.Again.beside()
		}
		failed, err := sink.OpenFailed(path)
		if err != nil {
			return err
		}
		save = failed
		if s.Retried != nil {
			save = &goesOn{Resumer: parts{failed}, position: tandem.End, forget: s.Retried}
		}
	}
	switch {
	case s.Again != nil && main != nil:
		main = &goesOn{Resumer: main, position: tandem.End, forget: s.Again.Has}
	case s.Retried != nil && main != nil:
		main = &goesOn{Resumer: main, position: tandem.End, forget: s.Retried}
	case s.Resume && main != nil:
		main = &goesOn{Resumer: main, position: s.Position}
	}
	if s.Resume && save != nil {
		// Lines of items that had not ended for good are dropped; they will be written again.
		save = &goesOn{Resumer: save, position: tandem.End, forget: func(id string) bool { return !s.Ended(id) }}
	}
	if main != nil {
		flow.Sink = main
	}
	if save != nil {
		flow.Failures.Save = save
	}
	return nil
}

func (f *File) sink(s Surroundings) (tandem.Resumer, error) {
	into := f.Into
	if into == nil {
		return nil, nil
	}
	kind := into.kind()
	path, err := f.fixedPath(into.path(), "into", kind)
	if err != nil {
		return nil, err
	}
	switch kind {
	case "jsonl":
		return sink.Open(path, s.Stdout)
	case "csv":
		var c sink.CSVConfig
		for i, name := range into.order {
			column := sink.Column{Name: name, Make: into.columns[i].Text}
			if isItemID(into.Columns[name]) {
				column.Make = nil // the sink finds an item's record by this column
			}
			c.Columns = append(c.Columns, column)
		}
		return sink.OpenCSV(path, s.Stdout, c)
	case "dir":
		var c sink.DirConfig
		if into.name != nil {
			c.Name = into.name.Text
		}
		return sink.OpenDir(path, c)
	}
	return sqlite.Open(sqlite.SinkConfig{Path: path, Table: into.Table})
}

// isItemID says whether a template is ${{ item.id }} and nothing else.
func isItemID(template string) bool {
	code, ok := strings.CutPrefix(template, "${{")
	code, end := strings.CutSuffix(code, "}}")
	return ok && end && strings.TrimSpace(code) == "item.id"
}

// parts is the file of failed items, known by what they became.
type parts struct{ *sink.Failed }

func (p parts) Forget(ids func(string) bool) error { return p.ForgetParts(ids) }

// goesOn is a sink that goes on behind what an earlier run wrote, in place of starting afresh.
type goesOn struct {
	tandem.Resumer
	position int64                // or tandem.End
	forget   func(id string) bool // items that run again; may be nil
}

// Begin is called when every step is ready.
func (g *goesOn) Begin() error {
	if err := g.Resume(g.position); err != nil || g.forget == nil {
		return err
	}
	return g.Forget(g.forget)
}

// Flush passes on what not every sink has.
func (g *goesOn) Flush() (lost int, err error) {
	if f, ok := g.Resumer.(interface{ Flush() (int, error) }); ok {
		return f.Flush()
	}
	return 0, nil
}

// Again is the failed items of an earlier run, to be run again. Those that fail again are kept in a file beside, which takes the old one's place when all have
// been tried: a run that is killed leaves the old one as it was.
type Again struct {
	*sink.FailedItems
	path string
}

// ReadFailed reads the file that failures.save names.
func (f *File) ReadFailed() (*Again, error) {
	if f.Failures.Save == "" {
		return nil, &tandem.Error{Op: "retry the failed items of", On: f.Path, Kind: tandem.KindInvalid, Message: "the flow does not keep them",
			Hint: "add failures: {save: out/failed.jsonl} and run it once"}
	}
	path, err := f.fixedPath(f.Failures.Save, "failures", "save")
	if err != nil {
		return nil, err
	}
	items, err := sink.ReadFailed(path)
	return &Again{items, path}, err
}

func (a *Again) beside() string { return a.path + ".again" }

// Tried puts the file with what failed again in the place of the old one.
func (a *Again) Tried() error {
	if err := os.Rename(a.beside(), a.path); err != nil {
		return &tandem.Error{Op: "keep the failed items in", On: a.path, Kind: tandem.KindSink, Message: reason(err), Hint: "they are in " + a.beside(), Err: err}
	}
	return nil
}

// JournalPath is where the flow wants its journal; empty means with the run.
func (f *File) JournalPath() (string, error) {
	if f.Resume.File == "" {
		return "", nil
	}
	return f.fixedPath(f.Resume.File, "resume", "file")
}
