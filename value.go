package tandem

import (
	"encoding/binary"
	"errors"
)

// Size is what v counts for in a queue's byte bound.
func (v Value) Size() int64 { return int64(len(v.Data)) }

// Size is what t counts for in a queue's byte bound: its value and those of earlier steps that it carries.
func (t *Task) Size() int64 {
	n := t.Value.Size()
	for _, v := range t.Earlier {
		n += v.Size()
	}
	return n
}

// ListOf packs values into one of kind List: for each a byte of kind, four of length (little endian) and the bytes.
func ListOf(values []Value) Value {
	size := 0
	for _, v := range values {
		size += 5 + len(v.Data)
	}
	b := make([]byte, 0, size)
	for _, v := range values {
		b = append(b, byte(v.Kind))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(v.Data)))
		b = append(b, v.Data...)
	}
	return Value{Kind: List, Data: b}
}

var errList = errors.New("the bytes of a list end inside a value")

// Values unpacks a value of kind List. The parts share its memory.
func (v Value) Values() ([]Value, error) {
	if v.Kind != List {
		return nil, errors.New("a " + v.Kind.String() + " value is no list")
	}
	var values []Value
	for b := v.Data; len(b) > 0; {
		if len(b) < 5 {
			return nil, errList
		}
		n := binary.LittleEndian.Uint32(b[1:])
		if uint64(n) > uint64(len(b)-5) || Kind(b[0]) >= List {
			return nil, errList
		}
		values = append(values, Value{Kind: Kind(b[0]), Data: b[5 : 5+n : 5+n]})
		b = b[5+n:]
	}
	return values, nil
}
