// Package journal is the log from which a run goes on after it was killed: one file, only ever appended to, every byte under a checksum.
//
//   - Steps notes what steps gave. It copies into a buffer, from any number of goroutines; the buffer is written after 20 ms, at 64 KiB, or with the next
//     transaction. While 2 MiB wait for the disk it blocks. Of values above Config.Limit it notes only that there were some: the step runs again if they are needed.
//   - Begins notes that items begin in a step that must not run them twice, and returns when that is in the file: one write of 1 µs or so.
//   - Ended notes outcomes and the position of the sink in one transaction: after a kill all of it holds or nothing. What Steps was told before is in
//     the file before it.
//   - What was written survives the end of the process, kill -9 too. With Config.Sync each transaction waits for the disk, and survives a power cut.
//     Without it a power cut may leave a journal that Resume refuses.
//   - Resume reads the file once, cuts off an end that a kill has torn, and holds about 19 bytes for each item that has ended and some 100 for each
//     that has not. Damage anywhere else is an error that names the place.
//   - An ended item is known by 123 bits of a keyed SHA-256 of its id. If two ids of one journal ever met there, the second would be skipped as if it had
//     ended. Among a thousand million items that happens once in 10^19 runs, and nobody can choose ids that meet, since every Resume draws a key of its own.
//   - One process writes a journal at a time; a lock of the kernel sees to it, and the error names the process that holds it.
//   - The first error of writing is kept: Ended and Close return it from then on, and Steps notes nothing more.
//
// A record of 100 bytes costs about 0.1 µs and no allocation, a transaction one write of 1 µs or so. A Journal has one goroutine, which Close ends. Values of
// items that have ended stay in the file until the run is removed.
package journal

import (
	"cmp"
	"errors"
	"hash/crc32"
	"os"
	"sync"
	"time"

	"tandem"
)

const (
	flushEvery = 20 * time.Millisecond
	flushBytes = 64 << 10
	holdBytes  = 2 << 20 // buffered; then Steps waits
	keepBytes  = 4 << 20 // a buffer that grew larger is not kept
)

// kindJournal is the kind of every error of this package.
const kindJournal = tandem.KindJournal

// Config of a journal.
type Config struct {
	Sync  bool // each transaction is on stable storage before Ended returns
	Limit int  // bytes of the values of one step for one item; more are left out. Zero means 1 MiB, 16 MiB is the most
}

// Finished is what one step gave for one item; no values are there when they were above the limit. It is an alias, so that packages that do not import this one can speak of the same type.
type Finished = struct {
	Item   string
	Step   int // index in the flow
	Values []tandem.Value
	Begun  bool // it has begun there, and that is all that is known
}

// Journal is an open journal. Steps may be called from many goroutines, also while Ended runs.
type Journal struct {
	path  string
	file  *os.File
	sync  bool
	limit int
	salt  uint32 // the checksum that all others start from

	mu      sync.Mutex // guards the buffer
	room    sync.Cond
	buf     []byte // a frame in the making: room for its head, and records
	spare   []byte
	closed  bool
	skipped int64
	err     error // the first error of writing

	writing sync.Mutex // held while the file is written; taken before mu
	end     int64      // of the file
	covered int64      // what is safe

	some, full chan struct{} // there is something in the buffer; there is much
	stop       chan struct{}
	owner      sync.WaitGroup
	once       sync.Once
}

func start(path string, file *os.File, salt uint32, end int64, c Config) *Journal {
	j := &Journal{path: path, file: file, sync: c.Sync, limit: min(cmp.Or(c.Limit, 1<<20), maxLimit), salt: salt, end: end, covered: end,
		some: make(chan struct{}, 1), full: make(chan struct{}, 1), stop: make(chan struct{})}
	j.room.L = &j.mu
	j.buf, j.spare = make([]byte, headSize, 2*flushBytes), make([]byte, headSize, 2*flushBytes)
	j.owner.Go(j.flusher)
	return j
}

// Steps notes what steps have given.
func (j *Journal) Steps(done []Finished) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i := range done {
		f := done[i]
		size := 0
		for v := range f.Values {
			size += len(f.Values[v].Data)
		}
		if len(f.Item) > maxID || f.Step < 0 {
			j.skipped++
			continue
		}
		if size > j.limit || len(f.Values) > maxLimit/4 {
			j.skipped++
			f.Values = nil
		}
		for len(j.buf) >= holdBytes && j.err == nil && !j.closed {
			j.room.Wait()
		}
		if j.err != nil || j.closed {
			j.skipped += int64(len(done) - i)
			return
		}
		had := len(j.buf)
		j.buf = appendStep(j.buf, &f)
		if had == headSize {
			wake(j.some)
		}
		if had < flushBytes && len(j.buf) >= flushBytes {
			wake(j.full)
		}
	}
}

// Begins notes that items begin in a step that must not run them twice. When it returns the note is in the file, and with Config.Sync on the disk.
func (j *Journal) Begins(step int, items []string) error { return j.mark(recBegin, step, items) }

// Withdraws takes back what Begins noted, of items that did not begin after all. It is written soon, like the results of steps.
func (j *Journal) Withdraws(step int, items []string) { _ = j.mark(recUndo, step, items) }

func (j *Journal) mark(kind byte, step int, items []string) error {
	j.mu.Lock()
	for len(j.buf) >= holdBytes && j.err == nil && !j.closed {
		j.room.Wait()
	}
	if j.err != nil || j.closed {
		defer j.mu.Unlock()
		return cmp.Or(j.err, tandem.ErrClosed)
	}
	if len(j.buf) == headSize {
		wake(j.some)
	}
	for _, id := range items {
		if len(id) > maxID {
			j.mu.Unlock()
			return &tandem.Error{Op: "write the journal", On: j.path, Kind: kindJournal, Message: "the id " + short(id) + " is longer than 16 MiB"}
		}
		j.buf = appendBegin(j.buf, kind, step, id)
	}
	j.mu.Unlock()
	if kind == recUndo {
		return nil
	}
	j.flush()
	if j.sync {
		j.writing.Lock()
		j.settle()
		j.writing.Unlock()
	}
	return j.failure()
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Skipped is how many step results were not noted, or without their values, because they were above the limit or the journal could not be written.
func (j *Journal) Skipped() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.skipped
}

// Ended notes that items have ended, and that the sink holds them up to position. whole are items of the source of which everything has ended. A canceled
// item has not ended, and runs again: it is an error here.
func (j *Journal) Ended(items []*tandem.Task, whole []string, position int64) error {
	if err := j.check(items, whole, position); err != nil {
		return err
	}
	j.writing.Lock()
	defer j.writing.Unlock()
	b, err := j.take()
	if err != nil {
		return err
	}
	if b == nil {
		return tandem.ErrClosed
	}
	for _, t := range items {
		b = j.split(appendEnded(b, t.Result.Outcome, t.ID))
	}
	for _, id := range whole {
		b = j.split(appendWhole(b, id))
	}
	b = appendMark(b, position)
	j.write(b)
	if j.sync {
		j.settle()
	}
	return j.failure()
}

func (j *Journal) check(items []*tandem.Task, whole []string, position int64) error {
	wrong := ""
	if position < 0 {
		wrong = "a sink cannot end before its beginning"
	}
	for _, t := range items {
		switch {
		case t.Result.Outcome == tandem.Canceled || t.Result.Outcome == "":
			wrong = "item " + short(t.ID) + " has not ended"
		case len(t.Result.Outcome) > 64:
			wrong = "no outcome has a name as long as that of item " + short(t.ID)
		case len(t.ID) > maxID:
			wrong = "the id " + short(t.ID) + " is longer than 16 MiB"
		}
	}
	for _, id := range whole {
		if len(id) > maxID {
			wrong = "the id " + short(id) + " is longer than 16 MiB"
		}
	}
	if wrong == "" {
		return nil
	}
	return &tandem.Error{Op: "write the journal", On: j.path, Kind: kindJournal, Message: wrong}
}

func short(id string) string {
	if len(id) > 80 {
		return id[:80] + "…"
	}
	return id
}

// split writes a transaction that has grown too long for one frame up to here. Without its mark it says nothing yet.
func (j *Journal) split(b []byte) []byte {
	if len(b) < splitAbove {
		return b
	}
	j.write(b)
	return make([]byte, headSize, flushBytes)
}

// take takes the buffer away for writing; after Close there is none. The caller holds writing.
func (j *Journal) take() ([]byte, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil {
		return nil, j.err
	}
	b := j.buf
	if b == nil {
		return nil, nil
	}
	j.buf, j.spare = j.spare, nil
	if j.buf == nil && !j.closed {
		j.buf = make([]byte, headSize, flushBytes)
	}
	j.room.Broadcast()
	return b, nil
}

// write appends b as a frame and gives its memory back. The caller holds writing.
func (j *Journal) write(b []byte) {
	if j.failure() != nil {
		return
	}
	sealHead(b, j.salt, j.end, j.covered)
	if _, err := j.file.WriteAt(b, j.end); err != nil {
		_ = j.file.Truncate(j.end) // a shorter file needs no room; if it fails, Resume cuts it
		j.fail(writeError(j.path, err))
		return
	}
	j.end += int64(len(b))
	if !j.sync {
		j.covered = j.end
	}
	if cap(b) <= keepBytes {
		j.mu.Lock()
		j.spare = b[:headSize]
		j.mu.Unlock()
	}
}

// settle waits until all that was written is on stable storage. The caller holds writing.
func (j *Journal) settle() {
	if j.failure() != nil || j.covered == j.end {
		return
	}
	if err := j.file.Sync(); err != nil {
		j.fail(writeError(j.path, err))
		return
	}
	j.covered = j.end
}

func (j *Journal) fail(err error) {
	j.mu.Lock()
	j.err = err
	j.room.Broadcast()
	j.mu.Unlock()
}

func (j *Journal) failure() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err
}

// flusher writes what Steps has left in the buffer for a while.
func (j *Journal) flusher() {
	pause := time.NewTimer(flushEvery)
	for {
		select {
		case <-j.some:
		case <-j.stop:
			return
		}
		pause.Reset(flushEvery)
		select {
		case <-pause.C:
		case <-j.full:
		case <-j.stop:
			return
		}
		j.flush()
	}
}

func (j *Journal) flush() {
	j.writing.Lock()
	defer j.writing.Unlock()
	b, err := j.take()
	if err != nil {
		return
	}
	if len(b) > headSize {
		j.write(b)
		return
	}
	j.mu.Lock()
	j.spare = b
	j.mu.Unlock()
}

// Close writes what is left, ends the goroutine, and gives the file and its lock back. It returns the error that stopped the journal, if one did.
func (j *Journal) Close() error {
	j.once.Do(func() {
		close(j.stop)
		j.owner.Wait()
		j.mu.Lock()
		j.closed, j.spare = true, nil
		j.mu.Unlock()
		j.flush()
		j.writing.Lock()
		defer j.writing.Unlock()
		if j.sync {
			j.settle()
		}
		if err := j.file.Close(); err != nil && j.failure() == nil {
			j.fail(writeError(j.path, err))
		}
	})
	return j.failure()
}

func writeError(path string, err error) error {
	return &tandem.Error{Op: "write the journal", On: path, Kind: kindJournal, Message: cause(err),
		Hint: "free some room, or name another file with resume:; then go on with --resume", Err: err}
}

func cause(err error) string {
	if p, ok := errors.AsType[*os.PathError](err); ok {
		return p.Err.Error()
	}
	if s, ok := errors.AsType[*os.SyscallError](err); ok {
		return s.Err.Error()
	}
	return err.Error()
}

func saltSum(salt []byte) uint32 { return crc32.Checksum(salt, castagnoli) }
