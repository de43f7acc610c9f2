package cli

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"tandem"
	"tandem/engine"
	"tandem/internal/flowfile"
	"tandem/internal/journal"
	"tandem/internal/runs"
)

// How long ended runs are kept: the newest ones, and all that are younger.
const (
	keepRuns = 50
	keepAge  = 7 * 24 * time.Hour
)

// kept is what stays of a run: its directory, and the journal from which it goes on when it was stopped. It is engine.Journal.
type kept struct {
	*journal.Journal
	*journal.State // of the earlier part; nil when the run begins
	dir            *runs.Dir
}

// Has, Before and Finished are engine.Journal's; what a run that begins had before is nothing.
func (k *kept) Has(item string) bool { return k.State.Has(item) }

func (k *kept) Before(o tandem.Outcome) int64 {
	if k.State == nil {
		return 0
	}
	return k.Counts[o]
}

func (k *kept) Finished(item string) ([]engine.Finished, error) { return k.State.Finished(item) }

var _ engine.Journal = (*kept)(nil)

// runsDir is where runs are kept.
func runsDir() (string, error) {
	if d := os.Getenv("TANDEM_HOME"); d != "" {
		return filepath.Abs(filepath.Join(d, "runs"))
	}
	if d := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, "tandem", "runs"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(home, ".local", "state", "tandem", "runs"), nil
}

// keep opens the run's directory and journal: those of the run that was stopped, with --resume, else new ones. Without a place to keep a run it goes on
// without, and says so; a run that is to be resumed does not.
func (a *app) keep(file *flowfile.File, o runOptions, say func(string)) (*kept, error) {
	root, err := runsDir()
	if err == nil {
		var k *kept
		if k, err = a.openRun(root, file, o, say); err == nil {
			return k, nil
		}
	}
	var e *tandem.Error
	if o.resume || file.Resume.File != "" || errors.As(err, &e) && e.Kind != tandem.KindFile && e.Kind != tandem.KindJournal {
		return nil, err
	}
	say(a.yellow("this run is not kept, so it could not be resumed: ") + err.Error())
	return nil, nil
}

func (a *app) openRun(root string, file *flowfile.File, o runOptions, say func(string)) (*kept, error) {
	flow, err := filepath.Abs(file.Path)
	if err != nil {
		return nil, err
	}
	if o.attach == "" {
		if err := alone(root, flow, file, o); err != nil {
			return nil, err
		}
	}
	if o.attach != "" {
		e, err := runEntry(root, o.attach)
		if err != nil {
			return nil, err
		}
		return a.reopen(root, e, file, o)
	}
	last, stopped, err := runs.Latest(root, flow)
	if err != nil {
		return nil, err
	}
	if o.retryFailed && stopped {
		return nil, &tandem.Error{Op: "retry the failed items of", On: file.Path, Kind: tandem.KindInvalid, Message: "run " + last.ID + " has not ended yet", Hint: "let it end first: tandem run " + file.Path + " --resume"}
	}
	if o.resume && stopped {
		return a.reopen(root, last, file, o)
	}
	switch {
	case o.resume:
		say(a.yellow("nothing to resume: no run of this flow was stopped; this one starts afresh"))
	case stopped:
		say(a.yellow(fmt.Sprintf("run %s of this flow was stopped before its end; this one starts afresh, --resume would go on with it", last.ID)))
	}
	if _, err := runs.Clean(root, keepRuns, keepAge); err != nil {
		say(a.yellow("old runs could not be cleaned: ") + err.Error())
	}
	path, err := file.JournalPath()
	if err != nil {
		return nil, err
	}
	params, _ := json.Marshal(file.ParamText())
	dir, err := runs.Create(root, runs.Run{Flow: flow, Name: file.Name, Fingerprint: file.Identity(), Params: params, Journal: path})
	if err != nil || o.retryFailed {
		return &kept{dir: dir}, err
	}
	if path != "" {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, &tandem.Error{Op: "make the directory of the journal", On: path, Kind: tandem.KindJournal, Message: err.Error(), Err: err}
		}
	}
	j, err := journal.Create(dir.Journal(), journal.Header{Flow: file.Name, Fingerprint: file.Identity(), Source: file.SourceState(), Params: file.ParamText(),
		Version: Version, Run: dir.Run().ID, Started: dir.Run().Started, PID: os.Getpid()}, journal.Config{Sync: file.Resume.Sync == "always"})
	if err != nil {
		_ = dir.Close()
		_ = runs.Remove(root, dir.Run().ID)
		return nil, err
	}
	return &kept{Journal: j, dir: dir}, nil
}

// alone refuses a run beside one that is going on, where the two would write into the same files.
func alone(root, flow string, file *flowfile.File, o runOptions) error {
	going, err := runs.Going(root, flow)
	if err != nil {
		return err
	}
	for _, e := range going {
		var params string
		_ = json.Unmarshal(e.Params, &params)
		same := params == file.ParamText() && file.WritesFiles()
		if same || o.resume || o.retryFailed {
			return &tandem.Error{Op: "run", On: file.Path, Kind: tandem.KindInvalid, Message: fmt.Sprintf("run %s of this flow is still going on: process %d", e.ID, e.PID),
				Hint: fmt.Sprintf("wait for it, or end it: kill %d", e.PID)}
		}
	}
	return nil
}

// reopen goes on with a run that was stopped, unless flow, parameters or source are other ones now.
func (a *app) reopen(root string, last runs.Entry, file *flowfile.File, o runOptions) (*kept, error) {
	dir, err := runs.Open(root, last.ID)
	if err != nil {
		return nil, err
	}
	j, state, err := journal.Resume(dir.Journal(), journal.Config{Sync: file.Resume.Sync == "always"})
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	h := state.Header
	changes := flowfile.Differences(h.Fingerprint, file.Identity())
	if now := file.ParamText(); now != h.Params {
		changes = append(changes, fmt.Sprintf("the parameters were %q and are %q", h.Params, now))
	}
	if now := file.SourceState(); now != h.Source {
		changes = append(changes, fmt.Sprintf("the source was %q and is %q", h.Source, now))
	}
	if len(changes) > 0 && !o.accept {
		return nil, errors.Join(&tandem.Error{Op: "resume run", On: last.ID, Kind: tandem.KindInvalid, Message: "it is not the same job any more: " + strings.Join(changes, "; "),
			Hint: "put it back as it was, run again without --resume, or add --accept-changes: items are known by their ids, steps by their places"}, j.Close(), dir.Close())
	}
	return &kept{Journal: j, State: state, dir: dir}, nil
}

// close ends the keeping. A run that ended needs no journal any more; one that was stopped keeps it.
func (k *kept) close(r engine.Report, whole bool) error {
	var err error
	if k.Journal != nil {
		err = k.Journal.Close()
	}
	totals, _ := json.Marshal(r)
	uerr := k.dir.Update(func(run *runs.Run) {
		run.Outcome, run.Totals = r.Outcome, totals
		if whole {
			run.State, run.Ended = runs.Ended, time.Now()
		}
	})
	if whole {
		_ = os.Remove(k.dir.Journal())
		_ = os.RemoveAll(k.dir.Temp())
	}
	return cmp.Or(err, uerr, k.dir.Close())
}

// abandon takes a run away that never began; one that was to go on stays as it was.
func (k *kept) abandon() error {
	var err error
	if k.Journal != nil {
		err = k.Journal.Close()
	}
	err = cmp.Or(err, k.dir.Close())
	if k.State == nil && err == nil {
		err = runs.Remove(filepath.Dir(k.dir.Path()), k.dir.Run().ID)
	}
	return err
}
