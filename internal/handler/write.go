package handler

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"

	"tandem"
	"tandem/internal/proc"
)

// WriteConfig is one file per item.
type WriteConfig struct {
	Step   string
	Path   func(*tandem.Task) (string, error)
	Body   func(*tandem.Task) (tandem.Value, error) // a list is refused: it has no bytes of its own
	Dir    string                                   // where a relative path is looked up; empty means the working directory
	Within string                                   // a directory that no path may leave, also not through a link; empty means anywhere
}

// Write is the handler of a write step: it puts the body's bytes into a file and gives {"path":"…","bytes":n}.
//
// Directories are made. The file is written beside its place and renamed, so a reader sees the old one or the new one; of two items with one path the last
// wins. A file that was there gives its permissions to the new one, a link is replaced, a device is written to, a pipe or socket, which may keep
// its writer waiting for ever, is refused. Nothing is forced to stable storage. A step's timeout does not interrupt a write that has begun.
func Write(c WriteConfig) func(context.Context, *tandem.Task) tandem.Result {
	fail := func(kind, reason, msg, hint string, err error) tandem.Result {
		return tandem.Result{Outcome: tandem.Failed, Err: &tandem.Error{Op: "run", On: c.Step, Kind: kind, Reason: reason, Message: msg, Hint: hint, Err: err}}
	}
	return func(ctx context.Context, t *tandem.Task) tandem.Result {
		if ctx.Err() != nil {
			return tandem.Result{Outcome: tandem.Canceled, Err: &tandem.Error{Op: "run", On: c.Step, Kind: tandem.KindCanceled, Message: "the run was stopped", Err: ctx.Err()}}
		}
		path, err := c.Path(t)
		if err != nil {
			return fail(tandem.KindExpression, "", "the path: "+err.Error(), "", err)
		}
		if path == "" || strings.IndexByte(path, 0) >= 0 {
			return fail(tandem.KindExpression, "", "the path "+strconv.Quote(path)+" is none: it is empty or holds a zero byte", "", nil)
		}
		body, err := c.Body(t)
		if err != nil {
			return fail(tandem.KindExpression, "", "the body: "+err.Error(), "", err)
		}
		if body.Kind == tandem.List || body.Kind == tandem.Pickle {
			return fail(tandem.KindExpression, "", "a "+body.Kind.String()+" value has no bytes to write", "give bytes, text or JSON", nil)
		}
		whole, folder := path, strings.HasSuffix(path, "/") // Join drops the slash that says directory
		if !filepath.IsAbs(whole) {
			whole = filepath.Join(c.Dir, path)
		}
		err = errFolder
		if !folder {
			err = c.write(whole, body.Data)
		}
		if err != nil {
			reason, msg, hint := fileFault(err)
			return fail(tandem.KindFile, reason, path+": "+msg, hint, err)
		}
		b := append(appendPath([]byte(`{"path":`), path), `,"bytes":`...)
		return tandem.Give(tandem.Value{Kind: tandem.JSON, Data: append(strconv.AppendInt(b, int64(len(body.Data)), 10), '}')})
	}
}

// appendPath appends a path as a JSON string. Bytes that are no UTF-8 become lone surrogates, as in the lines of outcomes.
func appendPath(b []byte, path string) []byte {
	b = append(b, '"')
	for len(path) > 0 {
		r, n := utf8.DecodeRuneInString(path)
		if r == utf8.RuneError && n == 1 {
			b = fmt.Appendf(b, `\udc%02x`, path[0])
		} else {
			one, _ := json.Marshal(path[:n]) // a string always marshals
			b = append(b, one[1:len(one)-1]...)
		}
		path = path[n:]
	}
	return append(b, '"')
}

var (
	errFolder  = errors.New("is a directory")
	errPipe    = errors.New("is a pipe or socket, no file")
	errOutside = errors.New("lies outside the directory that this step may write to")
)

// fileFault says what an error of a file means.
func fileFault(err error) (reason, msg, hint string) {
	msg = err.Error()
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		msg = p.Err.Error()
	}
	if l, ok := errors.AsType[*os.LinkError](err); ok {
		msg = l.Err.Error()
	}
	switch {
	case errors.Is(err, errFolder):
		return "is_directory", msg, "name a file in it"
	case errors.Is(err, errOutside):
		return "outside", msg, "look at what the item put into the path"
	case proc.Full(err):
		return "full", msg, "free some room, or write to another disk"
	case errors.Is(err, fs.ErrPermission):
		return "permission", msg, "is the directory writable?"
	}
	return "", msg, ""
}

func (c WriteConfig) write(path string, data []byte) error {
	if c.Within != "" {
		if err := os.MkdirAll(c.Within, 0o777); err != nil {
			return err
		}
		if err := inside(c.Within, path); err != nil {
			return err
		}
	}
	mode := fs.FileMode(0)
	switch info, err := os.Stat(path); {
	case err != nil: // not there, or a link to nowhere, which the rename replaces
	case info.IsDir():
		return errFolder
	case info.Mode()&(fs.ModeNamedPipe|fs.ModeSocket) != 0:
		return errPipe
	case !info.Mode().IsRegular():
		return writeInto(path, data) // a rename would take the device away
	default:
		mode = info.Mode().Perm()
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	beside := filepath.Join(dir, ".tandem-"+rand.Text())
	err := writeNew(beside, data, mode)
	if err == nil {
		err = os.Rename(beside, path)
	}
	if err != nil {
		_ = os.Remove(beside)
	}
	return err
}

// writeNew writes a file that is not there yet; mode 0 means what the process gives new files.
func writeNew(path string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	if mode != 0 {
		err = f.Chmod(mode)
	}
	if err == nil {
		_, err = f.Write(data)
	}
	return errors.Join(err, f.Close())
}

func writeInto(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// inside says whether path stays below dir when every link on the way that is there already has been followed.
func inside(dir, path string) error {
	root, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	if root, err = filepath.Abs(root); err != nil {
		return err
	}
	if path, err = filepath.Abs(path); err != nil {
		return err
	}
	for rest := ""; ; {
		real, err := filepath.EvalSymlinks(path)
		if err == nil {
			rel, err := filepath.Rel(root, filepath.Join(real, rest))
			if err != nil || !filepath.IsLocal(rel) || rel == "." {
				return errOutside
			}
			return nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if _, lerr := os.Lstat(path); lerr == nil && rest != "" {
			return errOutside // a link to nowhere, and more behind it: where that leads cannot be said
		}
		rest = filepath.Join(filepath.Base(path), rest)
		path = filepath.Dir(path)
	}
}
