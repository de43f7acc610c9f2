package runs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"tandem"
	"tandem/internal/proc"
)

// live is the error of a run that is going on.
type live struct{ pid int }

func (l live) Error() string {
	if l.pid == 0 {
		return "it is going on in another process"
	}
	return fmt.Sprintf("it is going on in process %d", l.pid)
}

// take opens a lock file and takes its lock. Somebody who lists the runs shares the lock for a moment, and is not named as its holder: then it tries again,
// for a tenth of a second.
func take(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for try := 0; ; try++ {
		holder, err := proc.Lock(f)
		if err == nil {
			return f, nil
		}
		if errors.Is(err, proc.ErrLocked) && holder == 0 && try < 20 {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		f.Close()
		if errors.Is(err, proc.ErrLocked) {
			err = live{holder}
		}
		return nil, err
	}
}

// seize takes the lock of the run in dir. Between opening and locking the run may have been removed: then the lock is worth nothing.
func seize(dir string) (*os.File, error) {
	if info, err := os.Lstat(dir); err != nil {
		return nil, err
	} else if !info.IsDir() {
		return nil, errNoDirectory
	}
	if _, err := read(dir); err != nil { // nothing is made in what is not a run
		return nil, err
	}
	path := filepath.Join(dir, lockName)
	f, err := take(path)
	if err != nil {
		return nil, err
	}
	mine, err := f.Stat()
	if err == nil {
		var there os.FileInfo
		if there, err = os.Lstat(path); err == nil && !os.SameFile(mine, there) {
			err = os.ErrNotExist
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// holder tells whether somebody works on the run in dir.
func holder(dir string) (pid int, held bool, err error) {
	f, err := os.Open(filepath.Join(dir, lockName))
	if errors.Is(err, os.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	defer f.Close()
	return proc.Locked(f)
}

func lockError(op, path string, err error) error {
	l, ok := errors.AsType[live](err)
	if !ok {
		return failed(op, path, err)
	}
	e := &tandem.Error{Op: op, On: path, Kind: tandem.KindInvalid, Message: l.Error(), Hint: "wait for it, or end it", Err: err}
	if l.pid != 0 {
		e.Hint = fmt.Sprintf("wait for it, or end it: kill %d", l.pid)
	}
	return e
}
