package wire

import (
	"encoding/binary"
	"math"
	"time"

	"tandem"
)

// measuredSize is the payload of MEASURED; what a later version adds behind it is passed over.
const measuredSize = 9 * 8

// AppendMeasured appends a MEASURED about one task, or with id 0 about several or about those that still run.
func AppendMeasured(dst []byte, id uint64, u tandem.Usage) []byte {
	dst = AppendHeader(dst, Measured, 0, id, measuredSize)
	for _, n := range [...]int64{u.Tasks, int64(u.Wall), int64(u.CPU), int64(u.Queue), u.Voluntary, u.Involuntary, u.Looks, u.Held, int64(u.Late)} {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(max(n, 0)))
	}
	return dst
}

// Usage reads the payload of a MEASURED.
func (f Frame) Usage() (u tandem.Usage, err error) {
	if len(f.Payload) < measuredSize {
		return u, fault("%v of %d bytes, want %d or more", f.Type, len(f.Payload), measuredSize)
	}
	var n [9]int64
	for i := range n {
		x := binary.LittleEndian.Uint64(f.Payload[8*i:])
		if x > math.MaxInt64>>8 { // two years of nanoseconds: nothing that could be added up
			return u, fault("%v whose figure %d is %d", f.Type, i+1, x)
		}
		n[i] = int64(x)
	}
	return tandem.Usage{Tasks: n[0], Wall: time.Duration(n[1]), CPU: time.Duration(n[2]), Queue: time.Duration(n[3]), Voluntary: n[4], Involuntary: n[5],
		Looks: n[6], Held: n[7], Late: time.Duration(n[8])}, nil
}
