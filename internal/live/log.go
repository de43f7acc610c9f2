package live

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// The log of a run is the newest records in logName and those before them in olderName.
const (
	logName   = "output.jsonl"
	olderName = "output.old.jsonl"
	logSize   = 8 << 20
	perSecond = 4 << 20
	flushLate = 10 * time.Millisecond // a record is in the file after so long, and at once when few come: then little is missing of a run that is killed
)

// Log keeps what a run printed and what happened. Safe for many callers; none of them waits for the disk but for a write into the page cache.
type Log struct {
	dir string
	max int64 // bytes in a file

	mu      sync.Mutex
	file    *os.File
	w       *bufio.Writer
	size    int64
	n       int64 // records in the file
	older   int64 // and in the one before
	lost    int64 // records that fell out, or came too fast, and have not been told of
	flushed time.Time
	second  time.Time
	room    int64 // bytes left in this second
	late    *time.Timer
	err     error
}

// OpenLog begins the log of the run in dir, or goes on with it.
func OpenLog(dir string) (*Log, error) {
	l := &Log{dir: dir, max: logSize}
	f, err := os.OpenFile(filepath.Join(dir, logName), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	l.size, l.n, err = count(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	if old, err := os.Open(filepath.Join(dir, olderName)); err == nil {
		_, l.older, _ = count(old)
		old.Close()
	}
	l.file, l.w = f, bufio.NewWriterSize(f, 64<<10)
	l.late = time.AfterFunc(time.Hour, l.Flush)
	l.late.Stop()
	return l, nil
}

// count cuts off what a killed run has left half written, and counts the rest.
func count(f *os.File) (size, records int64, err error) {
	b, err := io.ReadAll(f)
	if err != nil {
		return 0, 0, err
	}
	size = int64(bytes.LastIndexByte(b, '\n') + 1)
	if size < int64(len(b)) {
		err = f.Truncate(size)
	}
	return size, int64(bytes.Count(b, []byte{'\n'})), err
}

// Add writes a record. An error stays with the log and is told by Close.
func (l *Log) Add(r Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil || l.file == nil {
		return
	}
	if now := time.Now(); now.Sub(l.second) > time.Second {
		l.second, l.room = now, perSecond
	}
	if l.room <= 0 {
		l.lost++
		return
	}
	r.Cut += l.lost
	b, err := json.Marshal(r)
	if err != nil {
		l.lost++ // a time that JSON cannot write
		return
	}
	l.lost = 0
	l.room -= int64(len(b))
	if l.size+int64(len(b)) > l.max {
		if l.err = l.turn(); l.err != nil {
			return
		}
		r.Cut += l.lost
		if b, l.err = json.Marshal(r); l.err != nil {
			return
		}
		l.lost = 0
	}
	before := l.w.Buffered()
	n, err := l.w.Write(append(b, '\n'))
	l.size, l.n, l.err = l.size+int64(n), l.n+1, err
	switch now := time.Now(); {
	case err != nil:
	case now.Sub(l.flushed) > flushLate:
		l.flushed, l.err = now, l.w.Flush()
	case before == 0:
		l.late.Reset(flushLate)
	}
}

// turn begins a new file; the oldest goes.
func (l *Log) turn() error {
	if err := l.w.Flush(); err != nil {
		return err
	}
	path := filepath.Join(l.dir, logName)
	if err := os.Rename(path, filepath.Join(l.dir, olderName)); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	l.file.Close()
	l.lost += l.older
	l.older, l.n, l.size, l.file = l.n, 0, 0, f
	l.w.Reset(f)
	return nil
}

// Flush puts what is buffered into the file.
func (l *Log) Flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil && l.file != nil {
		l.flushed, l.err = time.Now(), l.w.Flush()
	}
}

// Close ends the log. The error is the first that came.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.late.Stop()
	if l.err == nil && l.lost > 0 {
		b, _ := json.Marshal(Record{Time: time.Now(), Cut: l.lost})
		_, l.err = l.w.Write(append(b, '\n'))
	}
	if l.err == nil {
		l.err = l.w.Flush()
	}
	if err := l.file.Close(); l.err == nil {
		l.err = err
	}
	l.file = nil
	return l.err
}

// Reader reads a log, also one that is being written.
type Reader struct {
	dir  string
	file *os.File
	r    *bufio.Reader
	part []byte
}

// ReadLog opens the log of the run in dir at its beginning. A run without one is fs.ErrNotExist.
func ReadLog(dir string) (*Reader, error) {
	r := &Reader{dir: dir}
	f, err := os.Open(filepath.Join(dir, olderName))
	if err != nil {
		if f, err = os.Open(filepath.Join(dir, logName)); err != nil {
			return nil, err
		}
	}
	r.file, r.r = f, bufio.NewReader(f)
	return r, nil
}

// Next is the next record; io.EOF when there is none, as yet.
func (r *Reader) Next() (rec Record, err error) {
	for {
		b, err := r.r.ReadBytes('\n')
		r.part = append(r.part, b...)
		if err == io.EOF {
			if !r.advance() {
				return rec, io.EOF
			}
			continue
		}
		if err != nil {
			return rec, err
		}
		line := r.part
		r.part = nil
		if json.Unmarshal(line, &rec) == nil {
			return rec, nil
		}
		rec = Record{}
	}
}

// advance goes on to the next newer file when there is one and the one at hand has been read to its end.
func (r *Reader) advance() bool {
	mine, err := r.file.Stat()
	if err != nil {
		return false
	}
	next, err := r.newer(mine)
	if next == nil || err != nil {
		return false
	}
	// It was renamed after its last record had been written: what is behind us is read once more before it is left.
	if at, err := r.file.Seek(0, io.SeekCurrent); err == nil {
		if info, err := r.file.Stat(); err == nil && info.Size() > at {
			next.Close()
			return true
		}
	}
	r.file.Close()
	r.file, r.part = next, nil
	r.r.Reset(next)
	return true
}

// newer opens the file that follows the one at hand: the older of the two when ours is neither of them, because it has been replaced since.
func (r *Reader) newer(mine os.FileInfo) (*os.File, error) {
	f, err := os.Open(filepath.Join(r.dir, logName))
	if err != nil {
		return nil, err
	}
	if now, err := f.Stat(); err != nil || os.SameFile(mine, now) {
		f.Close()
		return nil, err
	}
	old, err := os.Open(filepath.Join(r.dir, olderName))
	if err != nil {
		return f, nil
	}
	if info, err := old.Stat(); err == nil && !os.SameFile(mine, info) {
		f.Close()
		return old, nil
	}
	old.Close()
	return f, nil
}

// Close ends reading.
func (r *Reader) Close() error { return r.file.Close() }
