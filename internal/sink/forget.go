package sink

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"tandem"
	"tandem/internal/proc"
)

// forget writes the file again without the records of some items: beside it, with the same permissions, and in its place by one rename, so that a
// crash leaves the old file or the new one. It holds one record at a time. A link to the file stays a link; its owner becomes the user who runs Tandem.
//
// With quoted, a record is a CSV one and may hold line ends in quotes. idOf gives a record's id, and false for one that belongs to no item.
func (s *records) forget(ids func(string) bool, quoted bool, idOf func(n int, record []byte) (string, bool, error)) (err error) {
	if !s.regular {
		return &tandem.Error{Op: "resume the sink", On: s.name, Kind: tandem.KindSink, Message: "what was written to it cannot be taken back", Hint: "write to a file to be able to resume"}
	}
	if _, err := s.flush(); err != nil {
		return err
	}
	path, err := filepath.EvalSymlinks(s.path)
	if err != nil {
		return s.forgetError(err)
	}
	old, err := os.Open(path)
	if err != nil {
		return s.forgetError(err)
	}
	defer old.Close()
	info, err := old.Stat()
	if err != nil {
		return s.forgetError(err)
	}
	beside := filepath.Join(filepath.Dir(path), ".tandem-forget")
	_ = os.Remove(beside) // of a run that died just here
	f, err := os.OpenFile(beside, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return s.forgetError(err)
	}
	dropped, size, err := copyOthers(f, io.LimitReader(old, s.size), ids, quoted, idOf)
	if err == nil && dropped > 0 {
		err = errors.Join(f.Chmod(info.Mode().Perm()), f.Sync())
		if err == nil {
			err = os.Rename(beside, path)
		}
	}
	if err != nil || dropped == 0 {
		f.Close()
		_ = os.Remove(beside)
		if err != nil {
			return s.forgetError(err)
		}
		return nil
	}
	s.file.Close() // the file that has no name any more
	s.w, s.file, s.size, s.synced = f, f, size, false
	if err := syncDir(filepath.Dir(path)); err != nil {
		return s.forgetError(err)
	}
	return nil
}

func (s *records) forgetError(err error) error {
	hint := ""
	if proc.Full(err) {
		hint = "the file is written once more beside itself: free as much room as it takes"
	}
	return &tandem.Error{Op: "take items out of the sink", On: s.name, Kind: tandem.KindSink, Message: cause(err), Hint: hint, Err: err}
}

func copyOthers(to io.Writer, from io.Reader, ids func(string) bool, quoted bool, idOf func(int, []byte) (string, bool, error)) (dropped int, size int64, err error) {
	r, w := bufio.NewReaderSize(from, 256<<10), bufio.NewWriterSize(to, 256<<10)
	var record []byte
	for n := 0; ; n++ {
		record, err = readRecord(r, record[:0], quoted)
		if errors.Is(err, io.EOF) && len(record) == 0 {
			return dropped, size, w.Flush()
		}
		var id string
		item := false
		if err == nil {
			id, item, err = idOf(n, record)
		}
		if err != nil {
			return dropped, size, errors.New("record " + strconv.Itoa(n+1) + ": " + err.Error())
		}
		if item && ids(id) {
			dropped++
			continue
		}
		if _, err := w.Write(record); err != nil {
			return dropped, size, err
		}
		size += int64(len(record))
	}
}

// readRecord appends the next record, with its line end, to b. In a CSV file a line end ends the record when all quotes before it are paired.
func readRecord(r *bufio.Reader, b []byte, quoted bool) ([]byte, error) {
	quotes := 0
	for {
		part, err := r.ReadSlice('\n')
		b = append(b, part...)
		if quoted {
			quotes += bytes.Count(part, []byte{'"'})
		}
		switch {
		case err == nil && quotes%2 == 0:
			return b, nil
		case err == nil, errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(b) > 0:
			return b, errors.New("the file ends inside it")
		default:
			return b, err
		}
	}
}
