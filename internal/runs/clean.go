package runs

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Remove removes a run, ended or stopped, with everything in its directory; a journal elsewhere stays. A run that is going on is an error.
func Remove(root, id string) error {
	path := filepath.Join(root, id)
	if err := checkID(root, id); err != nil {
		return err
	}
	lock, err := seize(path)
	if err != nil {
		return lockError("remove run", path, err)
	}
	defer lock.Close()
	away := filepath.Join(root, ".removed-"+id+"-"+rand.Text())
	if err := os.Rename(path, away); err != nil {
		return failed("remove run", path, err)
	}
	if err := os.RemoveAll(away); err != nil {
		return failed("remove what is left of run", away, err)
	}
	return nil
}

// Cleaned is what Clean has done.
type Cleaned struct {
	Removed []Entry   // gone; State says whether one was unfinished
	Kept    []Entry   // unfinished runs, which could be resumed and are still there
	Strange []Strange // not known as runs, and left alone
	Failed  []error   // runs that were to go and could not be removed
}

// unfinishedFactor is how much longer a run is kept that can still be resumed.
const unfinishedFactor = 10

// Clean removes the ended runs beyond the keep newest that have not been written to for longer than age. Unfinished ones must be ten times as old, and are
// counted on their own. Runs that are going on stay. What killed processes left half made or half removed goes after an hour.
func Clean(root string, keep int, age time.Duration) (Cleaned, error) {
	var c Cleaned
	all, strange, err := List(root)
	if err != nil {
		return c, err
	}
	c.Strange = strange
	now := time.Now()
	ended, unfinished := 0, 0
	for _, e := range all {
		rank, limit := &ended, age
		switch e.State {
		case Running:
			continue
		case Stopped:
			rank, limit = &unfinished, times(age, unfinishedFactor)
		}
		*rank++
		if *rank > keep && now.Sub(e.Active) > limit {
			err := Remove(root, e.ID)
			if err == nil {
				c.Removed = append(c.Removed, e)
				continue
			}
			if _, resumed := errors.AsType[live](err); resumed || errors.Is(err, fs.ErrNotExist) { // or removed by somebody else
				continue
			}
			c.Failed = append(c.Failed, err)
		}
		if e.State == Stopped {
			c.Kept = append(c.Kept, e)
		}
	}
	c.Failed = append(c.Failed, sweep(root, now)...)
	return c, nil
}

func times(d time.Duration, n int64) time.Duration {
	if d > time.Duration(1<<63-1)/time.Duration(n) {
		return 1<<63 - 1
	}
	return d * time.Duration(n)
}

// sweep removes what killed processes left.
func sweep(root string, now time.Time) (failures []error) {
	names, err := os.ReadDir(root)
	if err != nil {
		return []error{failed("clean up", root, err)}
	}
	for _, n := range names {
		info, err := n.Info()
		if err != nil || !n.IsDir() || !hidden(n.Name()) || now.Sub(info.ModTime()) < time.Hour {
			continue
		}
		path := filepath.Join(root, n.Name())
		if strings.HasPrefix(n.Name(), ".new-") {
			if _, held, err := holder(path); held || err != nil {
				continue
			}
		}
		if err := os.RemoveAll(path); err != nil {
			failures = append(failures, failed("clean up", path, err))
		}
	}
	return failures
}
