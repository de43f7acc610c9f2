package runs

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"unicode/utf8"

	"tandem"
)

// write replaces run.json. A temporary file that a killed process leaves is overlooked, and goes with the run.
func write(dir string, r Run) error {
	if !utf8.ValidString(r.Journal) {
		return errors.New("the path of its journal is no UTF-8, and would be another when it is read again")
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	temp := filepath.Join(dir, "."+recordName+"-"+rand.Text())
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	if err == nil {
		err = f.Sync() // else a power cut may leave the new name with nothing in it
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(temp, filepath.Join(dir, recordName))
	}
	if err != nil {
		_ = os.Remove(temp)
	}
	return err
}

// read reads the run.json of a directory, and sees to it that it is one.
func read(dir string) (r Run, err error) {
	path := filepath.Join(dir, recordName)
	info, err := os.Lstat(path)
	if err != nil {
		return r, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxRecord {
		return r, fmt.Errorf("%s is not a file of at most 64 MiB", recordName)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("%s cannot be read: %w", recordName, err)
	}
	if r.ID != filepath.Base(dir) {
		return r, fmt.Errorf("%s is that of run %q", recordName, r.ID)
	}
	if r.State != Running && r.State != Ended {
		return r, fmt.Errorf("%s says that the state is %q, which this tandem does not know", recordName, r.State)
	}
	return r, nil
}

// kindJournal is the kind of errors that the disk has made; wrong usage is tandem.KindInvalid.
const kindJournal = tandem.KindJournal

func failed(op, path string, err error) error {
	e := &tandem.Error{Op: op, On: path, Kind: kindJournal, Message: cause(err), Err: err}
	switch {
	case errors.Is(err, fs.ErrPermission):
		e.Hint = "it must be writable for the user of the run: see ls -ld " + filepath.Dir(path)
	case errors.Is(err, fs.ErrExist):
		e.Message, e.Hint = "it is there already", "choose another id"
	case errors.Is(err, fs.ErrNotExist):
		e.Message, e.Hint = "there is no such run", "the runs are the directories in "+filepath.Dir(path)
	case e.Message == err.Error(): // no call of the system failed
		e.Hint = "look into it; when nobody needs it, remove it by hand"
	default:
		e.Hint = "runs need a directory that can be written, on a disk with room"
	}
	return e
}

func cause(err error) string {
	if p, ok := errors.AsType[*os.PathError](err); ok {
		return p.Err.Error()
	}
	if l, ok := errors.AsType[*os.LinkError](err); ok {
		return l.Err.Error()
	}
	return err.Error()
}
