package lanes

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"time"
)

// A file is a magic, a version and then frames:
//
//	length of the body  uint32
//	checksum            uint32, CRC-32C of the length and the body
//	body                records, one after the other
//
// The first record is the header. Numbers in records are varints, times are in microseconds, texts are a length and bytes.
const (
	magic    = "tandeml\n"
	version  = 1
	preamble = len(magic) + 4
	headSize = 8
	maxBody  = 64 << 20
	maxTime  = math.MaxInt64 / 4 // sums of a few do not overflow
)

// Records by their first byte.
const (
	recHeader = 1 // JSON of Header
	recDoc    = 2 // JSON of document
	recRow    = 3
	recMark   = 4
	recFail   = 5 // a failure kept by itself
	recCount  = 6 // group, how many more
	recLost   = 7 // JSON of Lost
)

// document is a record that is rare: one of its fields.
type document struct {
	Step       *Step       `json:"step,omitempty"`
	Lane       *Lane       `json:"lane,omitempty"`
	Group      *Group      `json:"group,omitempty"`
	Note       *Note       `json:"note,omitempty"`
	Part       *Part       `json:"part,omitempty"`
	Bottleneck *Bottleneck `json:"bottleneck,omitempty"`
	End        *End        `json:"end,omitempty"`
}

// Part is a process that worked on the run; a resumed run has several.
type Part struct {
	At  time.Duration `json:"at"`
	PID int           `json:"pid"`
}

// End is the last word of a part.
type End struct {
	At      time.Duration `json:"at"`
	Outcome string        `json:"outcome"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal fills the head of frame, which begins with room for it.
func seal(frame []byte) {
	binary.LittleEndian.PutUint32(frame, uint32(len(frame)-headSize))
	binary.LittleEndian.PutUint32(frame[4:], sum(frame))
}

func sum(frame []byte) uint32 {
	return crc32.Update(crc32.Checksum(frame[:4], castagnoli), castagnoli, frame[headSize:])
}

func appendTime(b []byte, d time.Duration) []byte {
	return binary.AppendUvarint(b, uint64(max(d, 0)/time.Microsecond))
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendMark(b []byte, m Mark) []byte {
	b = appendTime(append(b, recMark), m.At)
	b = append(b, byte(m.Kind))
	b = binary.AppendUvarint(b, uint64(m.Step))
	b = binary.AppendVarint(b, int64(m.Lane))
	return appendText(appendText(b, m.Item), m.Reason)
}

func appendFail(b []byte, f Failure) []byte {
	b = appendTime(append(b, recFail), f.At)
	return appendText(binary.AppendUvarint(b, uint64(f.Group)), f.Item)
}

// appendRow writes a row. last holds the shares of the row before, by lane, and is brought up to date: a lane that goes on as it was costs a byte.
func appendRow(b []byte, r *Row, end time.Duration, last *[][States]uint8) []byte {
	b = appendTime(append(b, recRow), r.From-end)
	b = appendTime(b, r.Width)
	for _, n := range r.Items.all() {
		b = binary.AppendUvarint(b, uint64(max(*n, 0)))
	}
	b = binary.AppendUvarint(b, uint64(len(r.Steps)))
	for i := range r.Steps {
		s := &r.Steps[i]
		for _, n := range []int64{int64(math.Round(s.InFlight * 10)), int64(s.Most), int64(s.Limit), int64(s.Queue), int64(s.Waiting), s.Ended, s.Bad, s.Retried} {
			b = binary.AppendUvarint(b, uint64(max(n, 0)))
		}
	}
	b = binary.AppendUvarint(b, uint64(len(r.Lanes)))
	for len(*last) < len(r.Lanes) {
		*last = append(*last, [States]uint8{})
	}
	for i := range r.Lanes {
		c := &r.Lanes[i]
		b = appendShares(b, c.Shares, (*last)[i])
		b = binary.AppendUvarint(b, uint64(max(c.Ended, 0)))
		(*last)[i] = c.Shares
	}
	return b
}

// The first byte of shares: as before, one state alone, or how many states follow with their shares.
const (
	sharesSame = 0x00
	sharesOne  = 0x10
	sharesMany = 0x20
	whole      = 255
)

func appendShares(b []byte, s, last [States]uint8) []byte {
	if s == last {
		return append(b, sharesSame)
	}
	n := 0
	for state, share := range s {
		if share == whole {
			return append(b, sharesOne|byte(state))
		}
		if share > 0 {
			n++
		}
	}
	b = append(b, sharesMany|byte(n))
	for state, share := range s {
		if share > 0 {
			b = append(b, byte(state), share)
		}
	}
	return b
}

var errRecord = errors.New("a record ends too early, or is of a kind that nobody knows")

// cursor reads records. After the first that makes no sense bad is set and all it gives is zero.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) byte() byte {
	if c.bad || len(c.b) == 0 {
		c.bad = true
		return 0
	}
	x := c.b[0]
	c.b = c.b[1:]
	return x
}

func (c *cursor) uint() uint64 {
	n, size := binary.Uvarint(c.b)
	if c.bad || size <= 0 || n > math.MaxInt64 {
		c.bad = true
		return 0
	}
	c.b = c.b[size:]
	return n
}

// count is a number of things of which each takes at least size bytes.
func (c *cursor) count(size int) int {
	n := c.uint()
	if n > uint64(len(c.b)/size) {
		c.bad = true
		return 0
	}
	return int(n)
}

func (c *cursor) int() int64 {
	n, size := binary.Varint(c.b)
	if c.bad || size <= 0 {
		c.bad = true
		return 0
	}
	c.b = c.b[size:]
	return n
}

func (c *cursor) time() time.Duration {
	n := c.uint()
	if n > uint64(maxTime/time.Microsecond) {
		c.bad = true
		return 0
	}
	return time.Duration(n) * time.Microsecond
}

func (c *cursor) text() []byte {
	n := c.count(1)
	s := c.b[:n:n]
	c.b = c.b[n:]
	return s
}

func (c *cursor) mark() Mark {
	m := Mark{At: c.time(), Kind: Kind(c.byte()), Step: int(c.uint()), Lane: int(c.int())}
	m.Item, m.Reason = string(c.text()), string(c.text())
	return m
}

func (c *cursor) row(end time.Duration, last *[][States]uint8) Row {
	r := Row{From: end + c.time(), Width: c.time()}
	for _, n := range r.Items.all() {
		*n = int64(c.uint())
	}
	r.Steps = make([]StepRow, c.count(8))
	for i := range r.Steps {
		s := &r.Steps[i]
		s.InFlight = float64(c.uint()) / 10
		s.Most, s.Limit, s.Queue, s.Waiting = int(c.uint()), int(c.uint()), int(c.uint()), int(c.uint())
		s.Ended, s.Bad, s.Retried = int64(c.uint()), int64(c.uint()), int64(c.uint())
	}
	r.Lanes = make([]Cell, c.count(2))
	for len(*last) < len(r.Lanes) {
		*last = append(*last, [States]uint8{})
	}
	for i := range r.Lanes {
		r.Lanes[i].Shares = c.shares((*last)[i])
		r.Lanes[i].Ended = int64(c.uint())
		(*last)[i] = r.Lanes[i].Shares
	}
	return r
}

func (c *cursor) shares(last [States]uint8) (s [States]uint8) {
	switch first := c.byte(); {
	case c.bad || first == sharesSame:
		return last
	case first&0xf0 == sharesOne && State(first&0x0f) < States:
		s[first&0x0f] = whole
	case first&0xf0 == sharesMany:
		for range first & 0x0f {
			state, share := c.byte(), c.byte()
			if State(state) >= States {
				c.bad = true
				return s
			}
			s[state] = share
		}
	default:
		c.bad = true
	}
	return s
}
