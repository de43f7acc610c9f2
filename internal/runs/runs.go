// Package runs keeps the directories of the runs on this machine: ROOT/ID/ with run.json, lock, lanes, the journal unless the flow names another
// file, and tmp/.
//
//   - A run that is going on holds a lock of the kernel on its directory, from Create or Open to Close. It is let go when the process ends, however it ends: a
//     run that is not marked as ended and whose lock is free was stopped, and can be resumed. Process ids are only shown, never believed.
//   - run.json is replaced as a whole: a reader sees the old one or the new one.
//   - A directory appears with its run.json in it, and disappears at once: what is half made or half removed has a name that begins with a dot.
//   - List reports what it cannot make sense of and goes on. Nothing removes what is not known to be a run of ours.
//   - Directories are 0700, files 0600: values and parameters may be private.
//
// Nothing here starts a goroutine. A call costs a few system calls for each run in ROOT.
package runs

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"tandem"
)

// State of a run.
type State string

const (
	Running State = "running" // its process holds the lock
	Stopped State = "stopped" // it has not ended, and nobody works on it: it can be resumed. Never in run.json
	Ended   State = "ended"
)

// Run is what run.json says.
type Run struct {
	ID          string          `json:"id"`
	Flow        string          `json:"flow"` // path of the flow file
	Name        string          `json:"name,omitempty"`
	Fingerprint string          `json:"fingerprint,omitempty"`
	Params      json.RawMessage `json:"params,omitempty"`
	Journal     string          `json:"journal,omitempty"` // empty means the one in the directory
	Started     time.Time       `json:"started"`
	Ended       time.Time       `json:"ended,omitzero"`
	PID         int             `json:"pid"`
	State       State           `json:"state"`
	Outcome     string          `json:"outcome,omitempty"` // of the run
	Totals      json.RawMessage `json:"totals,omitempty"`
}

const (
	recordName  = "run.json"
	lockName    = "lock"
	journalName = "journal"
	tempName    = "tmp"
	lanesName   = "lanes"
	maxRecord   = 64 << 20
)

// NewID is an id that nobody has: the time, so that ids sort, and 25 random bits.
func NewID(now time.Time) string {
	return now.UTC().Format("20060102-150405") + "-" + strings.ToLower(rand.Text()[:5])
}

// Dir is the directory of a run that this process is working on. It is for one goroutine.
type Dir struct {
	path string
	run  Run
	lock *os.File
}

// Create makes the directory of a new run and takes its lock. An empty ID, Started, PID is filled in; the state is Running.
func Create(root string, r Run) (*Dir, error) {
	if r.Started.IsZero() {
		r.Started = time.Now()
	}
	if r.ID == "" {
		r.ID = NewID(r.Started)
	}
	if r.PID == 0 {
		r.PID = os.Getpid()
	}
	r.State = Running
	path := filepath.Join(root, r.ID)
	if err := checkID(root, r.ID); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, failed("make the directory of runs", root, err)
	}
	d := &Dir{path: filepath.Join(root, ".new-"+r.ID+"-"+rand.Text()), run: r}
	err := d.fill()
	if err == nil {
		// Renaming would put it in place of an empty directory of somebody else's.
		if _, err = os.Lstat(path); err == nil {
			err = fs.ErrExist
		} else if errors.Is(err, fs.ErrNotExist) {
			err = os.Rename(d.path, path)
		}
	}
	if err != nil {
		_ = os.RemoveAll(d.path)
		if d.lock != nil {
			d.lock.Close()
		}
		return nil, failed("make the directory of run", path, err)
	}
	d.path = path
	return d, nil
}

func (d *Dir) fill() (err error) {
	if err = os.Mkdir(d.path, 0o700); err != nil {
		return err
	}
	if d.lock, err = take(filepath.Join(d.path, lockName)); err != nil {
		return err
	}
	if err = os.Mkdir(filepath.Join(d.path, tempName), 0o700); err != nil {
		return err
	}
	return write(d.path, d.run)
}

// Open takes the lock of a run to resume it and marks it as running in this process. What is in tmp/ stays: steps that have finished may have left files
// there for those that follow. One that is going on, or has ended, is an error.
func Open(root, id string) (*Dir, error) {
	path := filepath.Join(root, id)
	if err := checkID(root, id); err != nil {
		return nil, err
	}
	lock, err := seize(path)
	if err != nil {
		return nil, lockError("resume run", path, err)
	}
	d := &Dir{path: path, lock: lock}
	if err := d.revive(); err != nil {
		lock.Close()
		return nil, err
	}
	return d, nil
}

func (d *Dir) revive() error {
	r, err := read(d.path)
	if err != nil {
		return failed("resume run", d.path, err)
	}
	if r.State == Ended {
		return &tandem.Error{Op: "resume run", On: d.path, Kind: tandem.KindInvalid, Message: "it has ended", Hint: "run the flow again without --resume"}
	}
	d.run = r
	if err := os.MkdirAll(d.Temp(), 0o700); err != nil {
		return failed("make", d.Temp(), err)
	}
	return d.Update(func(r *Run) { r.State, r.PID = Running, os.Getpid() })
}

// Run is what run.json says now.
func (d *Dir) Run() Run { return d.run }

// Path is the directory.
func (d *Dir) Path() string { return d.path }

// Journal is the path of the run's journal.
func (d *Dir) Journal() string { return journalOf(d.path, d.run) }

// Lanes is the path of the run's picture.
func (d *Dir) Lanes() string { return filepath.Join(d.path, lanesName) }

// Temp is the directory for temporary files.
func (d *Dir) Temp() string { return filepath.Join(d.path, tempName) }

// Update changes run.json. The id stays.
func (d *Dir) Update(change func(*Run)) error {
	r := d.run
	change(&r)
	r.ID = d.run.ID
	if r.State != Running && r.State != Ended {
		r.State = Running // that it was stopped is for others to see
	}
	if err := write(d.path, r); err != nil {
		return failed("update run", d.path, err)
	}
	d.run = r
	return nil
}

// Close gives the lock back. Unless Update has said that the run has ended, it is Stopped from now on.
func (d *Dir) Close() error { return d.lock.Close() }

func journalOf(dir string, r Run) string {
	switch {
	case r.Journal == "":
		return filepath.Join(dir, journalName)
	case filepath.IsAbs(r.Journal):
		return r.Journal
	}
	return filepath.Join(dir, r.Journal)
}

// checkID keeps a run's directory inside root.
func checkID(root, id string) error {
	if id == "" || id[0] == '.' || len(id) > 200 || strings.ContainsAny(id, "/\\\x00") {
		return &tandem.Error{Op: "find run", On: id, Kind: tandem.KindInvalid, Message: "that is no id of a run", Hint: "the runs are the directories in " + root}
	}
	return nil
}
