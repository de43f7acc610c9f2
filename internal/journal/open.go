package journal

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"tandem"
	"tandem/internal/proc"
)

const afresh = "run again without --resume: it starts afresh"

// Create starts a journal at path. A journal that is there from an earlier run is emptied; any other file is left alone, which is an error.
func Create(path string, h Header, c Config) (*Journal, error) {
	const op = "start the journal"
	file, err := open(op, path, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, err
	}
	j, err := create(op, path, file, h, c)
	if err != nil {
		file.Close()
		return nil, err
	}
	return j, nil
}

func create(op, path string, file *os.File, h Header, c Config) (*Journal, error) {
	var begin [len(magic)]byte
	n, err := file.ReadAt(begin[:], 0)
	if err != nil && err != io.EOF {
		return nil, openError(op, path, err)
	}
	// A journal that was killed in its first write may be shorter than its magic.
	if string(begin[:n]) != magic[:n] {
		e := foreign(op, path, begin[:n])
		e.Hint = "it is left as it is: name another file for the journal, or move this one away"
		return nil, e
	}
	salt := make([]byte, saltSize)
	_, _ = rand.Read(salt) // never fails
	b := appendHeader(nil, h, salt)
	if len(b) > fixedSize+maxFields {
		return nil, &tandem.Error{Op: op, On: path, Kind: kindJournal, Message: "flow, source and parameters are longer than 16 MiB together"}
	}
	if err = file.Truncate(0); err == nil {
		_, err = file.WriteAt(b, 0)
	}
	if err == nil && c.Sync {
		if err = file.Sync(); err == nil {
			err = syncDir(filepath.Dir(path))
		}
	}
	if err != nil {
		return nil, writeError(path, err)
	}
	return start(path, file, saltSum(salt), int64(len(b)), c), nil
}

// syncDir puts the name of a new file on stable storage.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Resume opens the journal at path, reads what it says and goes on writing behind it. State reads values from the file until the journal is closed.
func Resume(path string, c Config) (*Journal, *State, error) {
	file, err := open(opResume, path, os.O_RDWR)
	if err != nil {
		return nil, nil, err
	}
	j, s, err := resume(path, file, c)
	if err != nil {
		file.Close()
		return nil, nil, err
	}
	return j, s, nil
}

const opResume = "resume from the journal"

func resume(path string, file *os.File, c Config) (*Journal, *State, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, nil, openError(opResume, path, err)
	}
	s, err := read(path, file, info.Size())
	if err != nil {
		return nil, nil, err
	}
	s.Cut = info.Size() - s.end
	if s.Cut > 0 {
		err = file.Truncate(s.end)
	}
	if err == nil && c.Sync {
		err = file.Sync() // the next frame says that it covers all this
	}
	if err != nil {
		return nil, nil, writeError(path, err)
	}
	return start(path, file, s.salt, s.end, c), s, nil
}

// open opens a file that only we write.
func open(op, path string, flags int) (*os.File, error) {
	// First, because opening a pipe or a device may wait or do something.
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return nil, notRegular(op, path, info)
	}
	file, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return nil, openError(op, path, err)
	}
	holder, err := proc.Lock(file)
	if err == nil {
		return file, nil
	}
	file.Close()
	e := &tandem.Error{Op: op, On: path, Kind: kindJournal, Message: "it cannot be locked: " + cause(err), Err: err,
		Hint: "keep the journal on a disk of this machine: name its file with resume:"}
	if errors.Is(err, proc.ErrLocked) {
		e.Message, e.Hint = "another run is writing it", "wait for that run, or end it"
		if holder != 0 {
			pid := strconv.Itoa(holder)
			e.Message, e.Hint = "process "+pid+" is writing it: that run is still going on", "wait for that run, or end it: kill "+pid
		}
	}
	return nil, e
}

func notRegular(op, path string, info fs.FileInfo) error {
	what := "not a regular file"
	if info.IsDir() {
		what = "it is a directory"
	}
	return &tandem.Error{Op: op, On: path, Kind: kindJournal, Message: what, Hint: "give the path of a file"}
}

func openError(op, path string, err error) error {
	e := &tandem.Error{Op: op, On: path, Kind: kindJournal, Message: cause(err), Err: err}
	switch {
	case errors.Is(err, fs.ErrNotExist) && op == opResume:
		e.Message, e.Hint = "there is no such file", "nothing was kept of an earlier run: "+afresh
	case errors.Is(err, fs.ErrNotExist):
		e.Hint = "make its directory first: mkdir -p " + filepath.Dir(path)
	case errors.Is(err, fs.ErrPermission):
		e.Hint = "it must be readable and writable for the user of the run: see ls -ld " + path + " " + filepath.Dir(path)
	case errors.Is(err, proc.ErrReadOnly):
		e.Hint = "copy it to a file system that can be written, and name that file with resume:"
	}
	return e
}

func foreign(op, path string, begin []byte) *tandem.Error {
	return &tandem.Error{Op: op, On: path, Kind: kindJournal,
		Message: fmt.Sprintf("it is no journal: it begins with %q, a journal with %q", begin, magic), Hint: "give the path of a journal"}
}

// readHeader reads the header of a file of that size. end is where frames begin.
func readHeader(path string, file io.ReaderAt, size int64) (h Header, salt uint32, end int64, err error) {
	bad := func(at int64, message string) error {
		return &tandem.Error{Op: opResume, On: path, Kind: kindJournal, Message: fmt.Sprintf("at byte %d: %s", at, message), Hint: afresh}
	}
	b := make([]byte, min(size, int64(fixedSize)))
	if _, err := file.ReadAt(b, 0); err != nil && err != io.EOF {
		return h, 0, 0, openError(opResume, path, err)
	}
	begin := b[:min(len(b), len(magic))]
	switch {
	case len(b) == 0:
		return h, 0, 0, bad(0, "the file is empty: the run ended before it wrote anything")
	case !bytes.HasPrefix([]byte(magic), begin):
		return h, 0, 0, foreign(opResume, path, begin)
	case len(b) < fixedSize:
		return h, 0, 0, bad(size, "the file ends inside its header: the run ended before it wrote anything")
	}
	if v := binary.LittleEndian.Uint32(b[len(magic):]); v != version {
		e := &tandem.Error{Op: opResume, On: path, Kind: kindJournal, Hint: "resume with the version of tandem that began the run, or " + afresh,
			Message: fmt.Sprintf("its format is version %d, this tandem reads version %d", v, version)}
		return h, 0, 0, e
	}
	n := int64(binary.LittleEndian.Uint32(b[len(magic)+4:]))
	if n > maxFields {
		return h, 0, 0, bad(int64(len(magic)+4), "the header is damaged: its length is impossible")
	}
	end = int64(fixedSize) + n
	if end > size {
		return h, 0, 0, bad(size, "the file ends inside its header: the run ended before it wrote anything")
	}
	fields := make([]byte, n)
	if _, err := file.ReadAt(fields, int64(fixedSize)); err != nil {
		return h, 0, 0, openError(opResume, path, err)
	}
	sum := crc32.Update(crc32.Checksum(b[:fixedSize-4], castagnoli), castagnoli, fields)
	if want := binary.LittleEndian.Uint32(b[fixedSize-4:]); sum != want {
		return h, 0, 0, bad(0, fmt.Sprintf("the header is damaged: its checksum is %08x, expected %08x", sum, want))
	}
	if h, err = parseFields(fields); err != nil {
		return h, 0, 0, bad(int64(fixedSize), "the header cannot be read: "+err.Error())
	}
	return h, saltSum(b[fixedSize-4-saltSize : fixedSize-4]), end, nil
}
