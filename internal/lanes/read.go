package lanes

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"tandem"
)

// Record is what a file says.
type Record struct {
	Header     Header
	Parts      []Part
	Steps      []Step
	Lanes      []Lane
	Rows       []Row
	Marks      []Mark
	Groups     []Group
	Failures   []Failure
	Notes      []Note
	Bottleneck *Bottleneck
	Ended      *End // of the last part; nil when it goes on, or was killed
	Lost       Lost
	Torn       int64 // bytes behind the last whole frame

	size int64
	last [][States]uint8
}

// Read reads a file, also one that is being written. Nothing it says is believed that its checksum does not cover.
func Read(path string) (*Record, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		e := &tandem.Error{Op: "read the lanes file", On: path, Kind: tandem.KindFile, Message: err.Error(), Err: err}
		if errors.Is(err, fs.ErrNotExist) {
			e.Message, e.Hint = "there is none", "the run was made with --lanes off, or by an older tandem"
		}
		return nil, e
	}
	return parse(path, b)
}

func parse(path string, b []byte) (*Record, error) {
	wrong := func(message, hint string) (*Record, error) {
		return nil, &tandem.Error{Op: "read the lanes file", On: path, Kind: tandem.KindInvalid, Message: message, Hint: hint}
	}
	if len(b) < preamble || string(b[:len(magic)]) != magic {
		return wrong("it is no lanes file of Tandem", "a run's own is named lanes, in its directory: tandem runs ls")
	}
	if v := binary.LittleEndian.Uint32(b[len(magic):]); v != version {
		return wrong(fmt.Sprintf("it is of version %d, this tandem reads version %d", v, version), "read it with the tandem that wrote it")
	}
	r := &Record{size: int64(preamble)}
	first := true
	for rest := b[preamble:]; ; first = false {
		frame, ok := cut(rest)
		if !ok {
			r.Torn = int64(len(rest))
			break
		}
		c := cursor{b: frame[headSize:]}
		for len(c.b) > 0 && !c.bad {
			r.take(&c, first)
			first = false
		}
		if c.bad {
			return wrong(fmt.Sprintf("the frame at byte %d is whole and makes no sense: %v", r.size, errRecord), "it was written by another tandem, or by something else")
		}
		rest = rest[len(frame):]
		r.size += int64(len(frame))
	}
	if first {
		return wrong("it ends before its header", "the run was killed as it began; it has nothing to show")
	}
	return r, nil
}

// cut is the whole frame at the head of b.
func cut(b []byte) ([]byte, bool) {
	if len(b) < headSize {
		return nil, false
	}
	n := binary.LittleEndian.Uint32(b)
	if n > maxBody || int64(n) > int64(len(b)-headSize) {
		return nil, false
	}
	frame := b[:headSize+int(n)]
	return frame, binary.LittleEndian.Uint32(frame[4:]) == sum(frame)
}

// take reads one record. The first of a file must be the header.
func (r *Record) take(c *cursor, first bool) {
	kind := c.byte()
	if first != (kind == recHeader) {
		c.bad = true
		return
	}
	switch kind {
	case recHeader:
		c.json(&r.Header)
	case recDoc:
		var d document
		c.json(&d)
		r.document(&d, c)
	case recRow:
		row := c.row(r.End(), &r.last)
		if c.bad || len(row.Lanes) > len(r.Lanes) || row.End() > maxTime {
			c.bad = true
			return
		}
		r.Rows, r.Ended = append(r.Rows, row), nil
	case recMark:
		m := c.mark()
		m.Lane = min(m.Lane, len(r.Lanes)-1)
		r.Marks = append(r.Marks, m)
	case recFail:
		f := Failure{At: c.time(), Group: int(c.uint()), Item: string(c.text())}
		if f.Group >= len(r.Groups) {
			c.bad = true
			return
		}
		r.Failures = append(r.Failures, f)
	case recCount:
		n, more := c.uint(), c.uint()
		if n >= uint64(len(r.Groups)) {
			c.bad = true
			return
		}
		r.Groups[n].Count += int64(more)
	case recLost:
		c.json(&r.Lost)
	default:
		c.bad = true
	}
}

func (c *cursor) json(v any) {
	if text := c.text(); !c.bad && json.Unmarshal(text, v) != nil {
		c.bad = true
	}
}

func (r *Record) document(d *document, c *cursor) {
	switch {
	case d.Step != nil:
		for len(r.Steps) <= d.Step.Index && len(r.Steps) < 1<<12 {
			r.Steps = append(r.Steps, Step{Index: len(r.Steps)})
		}
		if d.Step.Index < 0 || d.Step.Index >= len(r.Steps) {
			c.bad = true
			return
		}
		r.Steps[d.Step.Index] = *d.Step
	case d.Lane != nil:
		r.Lanes = append(r.Lanes, *d.Lane)
	case d.Group != nil:
		r.Groups = append(r.Groups, *d.Group)
	case d.Note != nil:
		r.Notes = append(r.Notes, *d.Note)
	case d.Part != nil:
		r.Parts, r.Ended = append(r.Parts, *d.Part), nil
	case d.Bottleneck != nil:
		r.Bottleneck = d.Bottleneck
	case d.End != nil:
		r.Ended = d.End
	}
}

// End is the end of the last row.
func (r *Record) End() time.Duration {
	if n := len(r.Rows); n > 0 {
		return r.Rows[n-1].End()
	}
	return 0
}

// Items counts all the rows.
func (r *Record) Items() (sum Items) {
	for i := range r.Rows {
		sum.Add(r.Rows[i].Items)
	}
	return sum
}
