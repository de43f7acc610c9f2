// Package wire is the worker protocol: frames in a byte slice, and nothing of sockets, processes or memory maps.
//
// protocol/SPEC.md is the contract; this package is its Go reading. Decoding never allocates and never copies: a [Frame]'s payload is a
// part of the slice it was parsed from. Encoding appends. All functions are safe for concurrent use.
package wire

import (
	"encoding/binary"
	"fmt"

	"tandem"
)

const (
	Version    = 1
	HeaderSize = 16
	MaxFrame   = 256 << 10 // the whole frame, header included
	InlineMax  = 8 << 10   // larger values go through an arena
)

// Type is what a frame is for.
type Type uint8

const (
	Hello  Type = 1
	Ready  Type = 2
	Task   Type = 3
	Result Type = 4
	Error  Type = 5
	Cancel Type = 6
	Drain  Type = 7
	Bye    Type = 8

	Measured Type = 9 // where the time of tasks went; only from workers that were asked

	Grease Type = 240 // and above: read over
)

var typeNames = [...]string{Hello: "HELLO", Ready: "READY", Task: "TASK", Result: "RESULT", Error: "ERROR", Cancel: "CANCEL", Drain: "DRAIN", Bye: "BYE", Measured: "MEASURED"}

func (t Type) String() string {
	if t >= Grease {
		return "grease"
	}
	if int(t) < len(typeNames) && typeNames[t] != "" {
		return typeNames[t]
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// Flags of a frame: the kind of its value and three marks.
type Flags uint8

const (
	kindMask Flags = 7
	Blob     Flags = 8  // the payload is a descriptor, the bytes are in an arena
	More     Flags = 16 // another value of the same task follows
	None     Flags = 32 // no value
	unused   Flags = 64 | 128
)

// Kind is the kind of the frame's value.
func (f Flags) Kind() tandem.Kind { return tandem.Kind(f & kindMask) }

// Of is the flags of a value of kind k.
func Of(k tandem.Kind) Flags { return Flags(k) }

// Frame is one decoded frame. Payload is a part of the buffer it was parsed from.
type Frame struct {
	Type    Type
	Flags   Flags
	Method  uint16
	ID      uint64
	Payload []byte
}

// Fault is a frame that breaks the protocol. The worker that sent it cannot be trusted any further.
type Fault struct{ Reason string }

func (f *Fault) Error() string { return "worker protocol: " + f.Reason }

func fault(format string, args ...any) error { return &Fault{Reason: fmt.Sprintf(format, args...)} }

// Parse reads the first frame of b. It returns how many bytes the frame took; 0 means that b holds no whole frame yet. The error is a *Fault.
func Parse(b []byte) (f Frame, n int, err error) {
	if len(b) < HeaderSize {
		return f, 0, nil
	}
	size := binary.LittleEndian.Uint32(b)
	if size < HeaderSize || size > MaxFrame {
		return f, 0, fault("frame length %d, want %d to %d", size, HeaderSize, MaxFrame)
	}
	f.Type, f.Flags = Type(b[4]), Flags(b[5])
	if f.Type >= Grease {
		if len(b) < int(size) {
			return f, 0, nil
		}
		return f, int(size), nil
	}
	if f.Type < Hello || f.Type > Measured {
		return f, 0, fault("unknown frame %v", f.Type)
	}
	if k := f.Flags.Kind(); f.Flags&unused != 0 || k > tandem.List || k == tandem.List && f.Type != Task {
		return f, 0, fault("%v frame with flags %#x", f.Type, uint8(f.Flags))
	}
	if f.Method = binary.LittleEndian.Uint16(b[6:]); f.Method != 0 {
		return f, 0, fault("%v frame with method %d, want 0", f.Type, f.Method)
	}
	if len(b) < int(size) {
		return f, 0, nil
	}
	f.ID = binary.LittleEndian.Uint64(b[8:])
	f.Payload = b[HeaderSize:size:size]
	return f, int(size), nil
}

// AppendHeader appends the header of a frame whose payload of size bytes the caller appends next.
func AppendHeader(dst []byte, t Type, flags Flags, id uint64, size int) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(HeaderSize+size))
	dst = append(dst, byte(t), byte(flags), 0, 0)
	return binary.LittleEndian.AppendUint64(dst, id)
}

// Append appends a whole frame. The payload must fit.
func Append(dst []byte, t Type, flags Flags, id uint64, payload []byte) []byte {
	return append(AppendHeader(dst, t, flags, id, len(payload)), payload...)
}
