package journal

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strconv"
	"time"

	"tandem"
)

// A journal is a header and then frames. One write makes one frame:
//
//	length of the body  uint32
//	covered             uint64  everything before this offset was safe when the frame was written
//	checksum, body      uint32
//	checksum, the above uint32
//	body                records, one after the other
//
// All numbers are little endian, the checksums CRC-32C. They start from the journal's random salt, that of the frame's head also from its offset: bytes of
// another journal, or of another place in this one, are never taken for a frame. covered decides what damage means: a frame that covers a damaged place
// proves that the place was whole once; without such a frame it is the end that a kill or a power cut has torn.
//
// The header: magic, version uint32, length of the fields uint32, salt, checksum uint32 of all that and the fields, fields. Each field is its length as
// a varint and its bytes. Fields are added at the end.
const (
	magic      = "tandemj\n"
	version    = 1
	fixedSize  = len(magic) + 4 + 4 + saltSize + 4
	saltSize   = 16
	headSize   = 20
	maxFields  = 16 << 20
	maxBody    = 64 << 20
	maxID      = 16 << 20
	maxLimit   = 16 << 20
	splitAbove = 16 << 20 // of a transaction: it goes on in another frame
)

// Records by their first byte.
const (
	recStep  = 1 // step, id, number of values, values: kind, length, bytes
	recEnded = 2 // outcome, id
	recWhole = 3 // id
	recBegin = 5 // step, id
	recUndo  = 6 // step, id; what recBegin said is not so
	recMark  = 4 // position; what recEnded and recWhole said since the last mark is true from here on
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Header says whose journal it is. The strings may hold any bytes.
type Header struct {
	Flow        string // the flow's name
	Fingerprint string // of the flow: a run resumes only the flow it was started with
	Source      string // of the source
	Params      string
	Version     string // of Tandem
	Run         string // the run's id
	Started     time.Time
	PID         int
}

func appendHeader(b []byte, h Header, salt []byte) []byte {
	var fields []byte
	started := ""
	if !h.Started.IsZero() {
		started = h.Started.Format(time.RFC3339Nano)
	}
	for _, s := range []string{h.Flow, h.Fingerprint, h.Source, h.Params, h.Version, h.Run, started, strconv.Itoa(h.PID)} {
		fields = appendText(fields, s)
	}
	start := len(b)
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint32(b, version)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(fields)))
	b = append(b, salt...)
	sum := crc32.Update(crc32.Checksum(b[start:], castagnoli), castagnoli, fields)
	b = binary.LittleEndian.AppendUint32(b, sum)
	return append(b, fields...)
}

var errFields = errors.New("the fields of the header end too early")

func parseFields(b []byte) (h Header, err error) {
	var started, pid string
	for _, s := range []*string{&h.Flow, &h.Fingerprint, &h.Source, &h.Params, &h.Version, &h.Run, &started, &pid} {
		r := records{b: b}
		text := r.text()
		if r.bad {
			return h, errFields
		}
		*s, b = string(text), r.b
	}
	if started != "" {
		if h.Started, err = time.Parse(time.RFC3339Nano, started); err != nil {
			return h, err
		}
	}
	h.PID, err = strconv.Atoi(pid)
	return h, err
}

// head is the fixed part of a frame.
type head struct {
	length  int
	covered int64
	body    uint32 // checksum
}

// sealHead fills the first headSize bytes of frame, which stands at offset at.
func sealHead(frame []byte, salt uint32, at, covered int64) {
	binary.LittleEndian.PutUint32(frame, uint32(len(frame)-headSize))
	binary.LittleEndian.PutUint64(frame[4:], uint64(covered))
	binary.LittleEndian.PutUint32(frame[12:], crc32.Update(salt, castagnoli, frame[headSize:]))
	binary.LittleEndian.PutUint32(frame[16:], headSum(frame, salt, at))
}

// headSum covers the offset too, as a part of what the sum starts from.
func headSum(frame []byte, salt uint32, at int64) uint32 {
	place := uint32(uint64(at) * 0x9e3779b97f4a7c15 >> 32)
	return crc32.Update(salt^place, castagnoli, frame[:16])
}

func parseHead(b []byte, salt uint32, at int64) (h head, ok bool) {
	if binary.LittleEndian.Uint32(b[16:]) != headSum(b, salt, at) {
		return h, false
	}
	n := binary.LittleEndian.Uint32(b)
	h.length, h.covered, h.body = int(n), int64(binary.LittleEndian.Uint64(b[4:])), binary.LittleEndian.Uint32(b[12:])
	return h, n <= maxBody
}

func appendText[T ~string | ~[]byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendStep(b []byte, f *Finished) []byte {
	b = append(b, recStep)
	b = binary.AppendUvarint(b, uint64(f.Step))
	b = appendText(b, f.Item)
	b = binary.AppendUvarint(b, uint64(len(f.Values)))
	for i := range f.Values {
		b = append(b, byte(f.Values[i].Kind))
		b = appendText(b, f.Values[i].Data)
	}
	return b
}

func appendBegin(b []byte, kind byte, step int, id string) []byte {
	return appendText(binary.AppendUvarint(append(b, kind), uint64(step)), id)
}

func appendEnded(b []byte, o tandem.Outcome, id string) []byte {
	return appendText(appendText(append(b, recEnded), o), id)
}

func appendWhole(b []byte, id string) []byte { return appendText(append(b, recWhole), id) }

func appendMark(b []byte, position int64) []byte {
	return binary.AppendUvarint(append(b, recMark), uint64(position))
}

// records reads the body of a frame. What it gives shares the body's memory. bad says that the body ended inside a record or has one nobody knows.
type records struct {
	b   []byte
	bad bool

	kind     byte
	step     int
	id       []byte
	outcome  []byte
	count    int // of values, which follow; next skips them
	position int64
}

// next reads one record up to its values.
func (r *records) next() bool {
	for range r.count {
		r.value()
	}
	r.count = 0
	if r.bad || len(r.b) == 0 {
		return false
	}
	r.kind, r.b = r.b[0], r.b[1:]
	switch r.kind {
	case recStep:
		step := r.uint()
		r.bad = r.bad || step > 1<<31-1
		r.step, r.id = int(step), r.text()
		n := r.uint()
		if n > uint64(len(r.b)) { // each value takes two bytes at least
			r.bad = true
		} else {
			r.count = int(n)
		}
	case recBegin, recUndo:
		step := r.uint()
		r.bad = r.bad || step > 1<<31-1
		r.step, r.id = int(step), r.text()
	case recEnded:
		r.outcome, r.id = r.text(), r.text()
	case recWhole:
		r.id = r.text()
	case recMark:
		r.position = int64(r.uint())
		r.bad = r.bad || r.position < 0
	default:
		r.bad = true
	}
	return !r.bad
}

func (r *records) value() tandem.Value {
	if r.bad || len(r.b) == 0 {
		r.bad = true
		return tandem.Value{}
	}
	kind := tandem.Kind(r.b[0])
	r.b = r.b[1:]
	return tandem.Value{Kind: kind, Data: r.text()}
}

// values reads the values of the record that next has read, as copies.
func (r *records) values() []tandem.Value {
	list := make([]tandem.Value, 0, r.count)
	for ; r.count > 0; r.count-- {
		v := r.value()
		v.Data = append([]byte(nil), v.Data...)
		list = append(list, v)
	}
	return list
}

func (r *records) uint() uint64 {
	n, size := binary.Uvarint(r.b)
	if r.bad || size <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *records) text() []byte {
	n := r.uint()
	if r.bad || n > uint64(len(r.b)) {
		r.bad = true
		return nil
	}
	s := r.b[:n:n]
	r.b = r.b[n:]
	return s
}
