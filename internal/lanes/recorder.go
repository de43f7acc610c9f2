package lanes

import (
	"encoding/binary"
	"encoding/json"
	"os"
	"strings"
	"sync"
	"time"

	"tandem"
)

const (
	flushEvery = 500 * time.Millisecond
	flushAbove = 256 << 10
)

// Recorder writes the picture of a run. Make one with Create or Resume.
type Recorder struct {
	header Header
	base   time.Time // when offset was
	offset time.Duration

	out   sync.Mutex // taken before mu; held while the file is written, which may take long on a busy disk
	file  *os.File
	spare []byte // to gather the next frame in; guarded by out

	mu      sync.Mutex // nothing slow is done under it: steps that have something to say wait for it
	err     error
	b       []byte // the next frame, its head included
	flushed time.Duration
	end     time.Duration // of the last row
	last    [][States]uint8
	lanes   map[Lane]int
	groups  map[Group]int // by all but message and count
	more    []int64       // by group: failures since the last flush
	kept    struct{ marks, failures, notes int }
	lost    Lost
	said    Lost // what the file says of it
}

// Create makes the file at path.
func Create(path string, h Header) (*Recorder, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, failed("make the lanes file", path, err)
	}
	r := newRecorder(f, h)
	b := binary.LittleEndian.AppendUint32([]byte(magic), version)
	if _, err := f.Write(b); err != nil {
		f.Close()
		return nil, failed("write the lanes file", path, err)
	}
	r.record(recHeader, h)
	return r, r.begin(path)
}

// Resume goes on behind what an earlier part of the run has written.
func Resume(path string) (*Recorder, error) {
	rec, err := Read(path)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0o600)
	if err == nil {
		if err = f.Truncate(rec.size); err == nil {
			_, err = f.Seek(rec.size, 0)
		}
		if err != nil {
			f.Close()
		}
	}
	if err != nil {
		return nil, failed("go on with the lanes file", path, err)
	}
	r := newRecorder(f, rec.Header)
	r.end, r.last, r.lost, r.said = rec.End(), rec.last, rec.Lost, rec.Lost
	for i, l := range rec.Lanes {
		r.lanes[l] = i
	}
	for i, g := range rec.Groups {
		r.groups[key(g)] = i
	}
	r.more = make([]int64, len(rec.Groups))
	r.kept.marks, r.kept.failures, r.kept.notes = len(rec.Marks), len(rec.Failures), len(rec.Notes)
	r.offset = max(r.offset, r.end)
	return r, r.begin(path)
}

func newRecorder(f *os.File, h Header) *Recorder {
	now := time.Now()
	return &Recorder{header: h, base: now, offset: max(now.Sub(h.Started), 0), file: f, b: make([]byte, headSize, 64<<10), lanes: map[Lane]int{}, groups: map[Group]int{}}
}

// begin writes down that a process has taken the run on.
func (r *Recorder) begin(path string) error {
	r.record(recDoc, document{Part: &Part{At: r.Now(), PID: os.Getpid()}})
	r.write(r.cut())
	if r.err != nil {
		r.file.Close()
		return failed("write the lanes file", path, r.err)
	}
	return nil
}

func failed(op, path string, err error) error {
	return &tandem.Error{Op: op, On: path, Kind: tandem.KindFile, Message: err.Error(), Err: err}
}

// Now is the time since the run began, also over a pause between two parts of it.
func (r *Recorder) Now() time.Duration { return r.offset + time.Since(r.base) }

// At is t as the file counts time.
func (r *Recorder) At(t time.Time) time.Duration { return max(r.offset+t.Sub(r.base), 0) }

// record adds a record that is JSON.
func (r *Recorder) record(kind byte, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		if r.err == nil {
			r.err = err
		}
		return
	}
	r.b = append(r.b, kind)
	r.b = append(binary.AppendUvarint(r.b, uint64(len(text))), text...)
}

// Step tells what a step is.
func (r *Recorder) Step(s Step) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.record(recDoc, document{Step: &s})
}

// Lane is the number of a lane. It is false when there are [MaxLanes] others.
func (r *Recorder) Lane(l Lane) (int, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n, ok := r.lanes[l]; ok {
		return n, n >= 0
	}
	n := len(r.lanes) - int(r.lost.Lanes)
	if n >= MaxLanes {
		r.lanes[l] = -1
		r.lost.Lanes++
		return -1, false
	}
	r.lanes[l] = n
	r.record(recDoc, document{Lane: &l})
	return n, true
}

// Row adds a row; it begins no earlier than the one before has ended. Twice a second it writes to the file.
func (r *Recorder) Row(row *Row) {
	r.out.Lock()
	defer r.out.Unlock()
	r.write(r.row(row))
}

// row adds a row, and gives the frame to write when it is time to.
func (r *Recorder) row(row *Row) (frame []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	row.From = max(row.From, r.end)
	r.b = appendRow(r.b, row, r.end, &r.last)
	// The file has microseconds: what the reader will make of it is what the next row must go on from.
	from := r.end + (row.From-r.end)/time.Microsecond*time.Microsecond
	r.end = from + row.Width/time.Microsecond*time.Microsecond
	if r.end-r.flushed >= flushEvery || len(r.b) >= flushAbove {
		return r.cut()
	}
	return nil
}

// Mark keeps a crash, a kill or a timeout.
func (r *Recorder) Mark(m Mark) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.kept.marks >= maxMarks {
		r.lost.Marks++
		return
	}
	if r.kept.marks++; r.kept.marks > maxWorded {
		m.Item, m.Reason = "", ""
	}
	m.Item, m.Reason = short(m.Item), short(m.Reason)
	r.b = appendMark(r.b, m)
}

// Fail counts an item that failed. The words of g are those of its group; message is shown of the first.
func (r *Recorder) Fail(g Group, item string) {
	at := r.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	g.Reason = short(g.Reason)
	k := key(g)
	n, ok := r.groups[k]
	if !ok {
		if len(r.groups) >= maxGroups {
			r.lost.Groups++
			return
		}
		n = len(r.groups)
		r.groups[k] = n
		r.more = append(r.more, 0)
		g.Message, g.Count = short(g.Message), 0
		r.record(recDoc, document{Group: &g})
	}
	r.more[n]++
	if r.kept.failures >= maxFailures {
		r.lost.Failures++
		return
	}
	r.kept.failures++
	r.b = appendFail(r.b, Failure{At: at, Group: n, Item: short(item)})
}

func key(g Group) Group {
	g.Message, g.Count = "", 0
	return g
}

// Note keeps a fact in words.
func (r *Recorder) Note(n Note) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.kept.notes >= maxNotes {
		r.lost.Notes++
		return
	}
	r.kept.notes++
	n.Reason = short(n.Reason)
	r.record(recDoc, document{Note: &n})
}

// Bottleneck tells what holds the run up, as far as is known.
func (r *Recorder) Bottleneck(b Bottleneck) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.record(recDoc, document{Bottleneck: &b})
}

// cut gives what has gathered as one frame, or nil. Both mutexes are held, or nobody else knows r.
func (r *Recorder) cut() []byte {
	for n, more := range r.more {
		if more > 0 {
			r.b = append(r.b, recCount)
			r.b = binary.AppendUvarint(binary.AppendUvarint(r.b, uint64(n)), uint64(more))
			r.more[n] = 0
		}
	}
	if r.lost != r.said {
		r.record(recLost, r.lost)
		r.said = r.lost
	}
	r.flushed = r.end
	frame := r.b
	if len(frame) == headSize {
		return nil
	}
	if cap(r.spare) == 0 || cap(r.spare) > 1<<20 {
		r.spare = make([]byte, headSize, 64<<10)
	}
	r.b, r.spare = r.spare[:headSize], nil
	return frame
}

// write writes a frame; after the first that fails none. out is held, or nobody else knows r.
func (r *Recorder) write(frame []byte) {
	if frame == nil {
		return
	}
	r.mu.Lock()
	err := r.err
	r.mu.Unlock()
	if err == nil {
		seal(frame)
		if _, err = r.file.Write(frame); err != nil {
			r.mu.Lock()
			r.err = err
			r.mu.Unlock()
		}
	}
	r.spare = frame
}

// Close writes how this part of the run ended and closes the file. The error is the first that writing met.
func (r *Recorder) Close(outcome string) error {
	r.out.Lock()
	defer r.out.Unlock()
	r.mu.Lock()
	r.record(recDoc, document{End: &End{At: r.Now(), Outcome: outcome}})
	frame := r.cut()
	r.mu.Unlock()
	r.write(frame)
	err := r.file.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
	if r.err != nil {
		return failed("write the lanes file", r.file.Name(), r.err)
	}
	return nil
}

// short is s, or its beginning.
func short(s string) string {
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "") + "…"
}
