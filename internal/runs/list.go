package runs

import (
	"cmp"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"tandem/internal/proc"
)

// Entry is a run that List has found. Its State may be Stopped.
type Entry struct {
	Run
	Path   string
	Size   int64     // on disk, of the directory; a journal elsewhere does not count
	Active time.Time // when run.json or the journal was last written
}

// JournalPath is where the run's journal is.
func (e Entry) JournalPath() string { return journalOf(e.Path, e.Run) }

// LanesPath is where the run's picture is, if it has one.
func (e Entry) LanesPath() string { return filepath.Join(e.Path, lanesName) }

// Strange is something in the directory of runs that is not a run, or a damaged one.
type Strange struct {
	Path string
	Why  string
}

// List is the runs in root, the newest first, and whatever else is there. A root that does not exist has none.
func List(root string) ([]Entry, []Strange, error) {
	names, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, failed("list the runs in", root, err)
	}
	var all []Entry
	var strange []Strange
	for _, n := range names {
		if hidden(n.Name()) {
			continue
		}
		path := filepath.Join(root, n.Name())
		e, err := look(path, n)
		switch {
		case err == nil:
			all = append(all, e)
		case gone(path): // removed while we looked
		default:
			strange = append(strange, Strange{path, cause(err)})
		}
	}
	slices.SortFunc(all, func(a, b Entry) int { return cmp.Or(b.Started.Compare(a.Started), cmp.Compare(b.ID, a.ID)) })
	return all, strange, nil
}

// hidden are the names of runs that are half made or half removed.
func hidden(name string) bool {
	return strings.HasPrefix(name, ".new-") || strings.HasPrefix(name, ".removed-")
}

func gone(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}

var (
	errNoDirectory = errors.New("it is no directory")
	errNoRecord    = errors.New("there is no " + recordName + " in it")
)

func look(path string, n fs.DirEntry) (Entry, error) {
	if !n.IsDir() {
		return Entry{}, errNoDirectory
	}
	// The lock first: a run that ends in between is seen as ended, not as stopped.
	pid, held, err := holder(path)
	if err != nil {
		return Entry{}, err
	}
	r, err := read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Entry{}, errNoRecord
	}
	if err != nil {
		return Entry{}, err
	}
	e := Entry{Run: r, Path: path, Active: r.Started}
	switch {
	case held && r.State == Running:
		e.PID = cmp.Or(pid, r.PID)
	case r.State == Running:
		e.State = Stopped
	}
	for _, name := range []string{filepath.Join(path, recordName), e.JournalPath()} {
		if info, err := os.Stat(name); err == nil && info.ModTime().After(e.Active) {
			e.Active = info.ModTime()
		}
	}
	e.Size = size(path)
	return e, nil
}

// size is what a directory takes on disk. What vanishes meanwhile, or may not be looked at, does not count.
func size(path string) (total int64) {
	_ = filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if info, err := d.Info(); err == nil {
			total += proc.OnDisk(info)
		}
		return nil
	})
	return total
}

// Latest is the newest run of a flow that was stopped; ok is false when there is none.
func Latest(root, flow string) (e Entry, ok bool, err error) {
	all, err := of(root, flow, Stopped)
	if len(all) > 0 {
		return all[0], true, nil
	}
	return Entry{}, false, err
}

// Going are the runs of a flow that are going on.
func Going(root, flow string) ([]Entry, error) { return of(root, flow, Running) }

// of are the runs of a flow that are in a state, the newest first.
func of(root, flow string, s State) ([]Entry, error) {
	all, _, err := List(root)
	if b, err := json.Marshal(flow); err == nil { // a path that is no UTF-8 looks different in run.json
		_ = json.Unmarshal(b, &flow)
	}
	return slices.DeleteFunc(all, func(e Entry) bool { return e.Flow != flow || e.State != s }), err
}
