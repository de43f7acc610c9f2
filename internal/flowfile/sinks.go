package flowfile

import (
	"tandem"
	"tandem/engine"
	"tandem/internal/sink"
	"tandem/internal/source"
	"tandem/internal/sqlite"
)

// sinks opens the flow's sink and the file for failed items.
func (f *File) sinks(flow *engine.Flow, s Surroundings) error {
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
			path = s.Again.next(path)
		}
		if save, err = sink.OpenFailed(path); err != nil {
			return err
		}
	}
	switch {
	case s.Again != nil && main != nil:
		main = &goesOn{Resumer: main, position: -1, forget: s.Again.has}
	case s.Resume && main != nil:
		main = &goesOn{Resumer: main, position: s.Position}
	}
	if s.Resume && save != nil {
		// Lines of items that had not ended for good are dropped; they will be written again.
		save = &goesOn{Resumer: save, position: -1, forget: func(id string) bool { return !s.Ended(id) }}
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
	kind := map[string]string{into.JSONL: "jsonl", into.CSV: "csv", into.Dir: "dir", into.SQLite: "sqlite"}[into.path()]
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
			c.Columns = append(c.Columns, sink.Column{Name: name, Make: into.columns[i].Text})
		}
		return sink.OpenCSV(path, s.Stdout, c)
	case "dir":
		var c sink.DirConfig
		if into.name != nil {
			c.Name = into.name.Text
		}
		return sink.OpenDir(path, c)
	}
	return sqlite.Open(path, sqlite.SinkConfig{Table: into.Table})
}

// goesOn is a sink that goes on behind what an earlier run wrote, in place of starting afresh.
type goesOn struct {
	tandem.Resumer
	position int64                // -1 means the end
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

// Again is the failed items of an earlier run, to be run again.
type Again struct {
	path  string
	roots map[string]bool // ids of the source's items
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
	a := &Again{path: path}
	a.roots, err = source.FailedIDs(path)
	return a, err
}

// Len is how many items of the source there are to retry.
func (a *Again) Len() int { return len(a.roots) }

func (a *Again) source() (tandem.Source, error) { return source.Failed(a.path), nil }
