package wire

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"time"
	"unicode/utf8"

	"tandem"
)

// HelloBody is the payload of HELLO: what the worker is to be.
type HelloBody struct {
	Protocol    int         `json:"protocol"`
	Step        string      `json:"step"`
	Handler     string      `json:"handler"`
	Dir         string      `json:"dir"`
	Mode        tandem.Mode `json:"mode"`
	Threads     int         `json:"threads"`
	Concurrency int         `json:"concurrency"`
	Output      string      `json:"output"` // "json" or "pickle"
	Kwargs      bool        `json:"kwargs"` // the value is an object of named arguments
	Batch       bool        `json:"batch"`  // the handler takes a list and gives a value for each element
	Control     int64       `json:"control"`
	InArena     int64       `json:"in_arena"`
	OutArena    int64       `json:"out_arena"`
	Measure     bool        `json:"measure,omitempty"` // it may send MEASURED
}

// ReadyBody is the payload of READY.
type ReadyBody struct {
	Protocol int         `json:"protocol"`
	PID      int         `json:"pid"`
	Mode     tandem.Mode `json:"mode"`
	Language string      `json:"language"`
	Halt     bool        `json:"halt,omitempty"`    // it looks at the control page's halt before it starts a task
	Measure  bool        `json:"measure,omitempty"` // it sends MEASURED
	AtOnce   int         `json:"at_once,omitempty"` // it looks at the control page for how many tasks to run at a time, up to so many; 0 when it does not
	Dump     int         `json:"dump,omitempty"`    // the signal that makes it write the stacks of its threads to standard error; 0 for none
}

// ErrorBody is the JSON of ERROR.
type ErrorBody struct {
	Kind    string `json:"kind"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message"`
	Trace   string `json:"trace,omitempty"`
	Hint    string `json:"hint,omitempty"`
	Again   string `json:"again,omitempty"`    // "yes", "never"; anything else says nothing
	AfterMS int64  `json:"after_ms,omitempty"` // with "yes": not before so many milliseconds have passed
}

// Words of ErrorBody.Again.
const (
	againYes   = "yes"
	againNever = "never"
)

// BodyOf is what of e travels in an ERROR.
func BodyOf(e *tandem.Error) ErrorBody {
	b := ErrorBody{Kind: e.Kind, Reason: e.Reason, Message: e.Message, Trace: e.Trace, Hint: e.Hint}
	switch e.Again {
	case tandem.AgainYes:
		b.Again = againYes
		if e.After > 0 {
			b.AfterMS = max(e.After.Milliseconds(), 1)
		}
	case tandem.AgainNever:
		b.Again = againNever
	}
	return b
}

// Error is the error that b tells of.
func (b ErrorBody) Error(op string) *tandem.Error {
	e := &tandem.Error{Op: op, Kind: b.Kind, Reason: b.Reason, Message: b.Message, Trace: b.Trace, Hint: b.Hint}
	switch b.Again {
	case againYes:
		e.Again = tandem.AgainYes
		e.After = time.Duration(min(max(b.AfterMS, 0), math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
	case againNever:
		e.Again = tandem.AgainNever
	}
	return e
}

// AppendJSON appends a frame whose payload is v as JSON.
func AppendJSON(dst []byte, t Type, id uint64, v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return dst, err
	}
	return Append(dst, t, 0, id, b), nil
}

// Span is where a large value lies in an arena. End is the ring's cursor after it, in results only.
type Span struct{ Offset, Length, End uint64 }

// AppendTask appends a TASK whose value is inline.
func AppendTask(dst []byte, id uint64, v tandem.Value) []byte {
	return Append(dst, Task, Of(v.Kind), id, v.Data)
}

// AppendTaskBlob appends a TASK whose value lies in the in-arena.
func AppendTaskBlob(dst []byte, id uint64, k tandem.Kind, s Span) []byte {
	dst = AppendHeader(dst, Task, Of(k)|Blob, id, 16)
	dst = binary.LittleEndian.AppendUint64(dst, s.Offset)
	return binary.LittleEndian.AppendUint64(dst, s.Length)
}

// AppendResult appends a RESULT whose value is inline; mark is 0, More or None.
func AppendResult(dst []byte, id uint64, mark Flags, service time.Duration, v tandem.Value) []byte {
	dst = AppendHeader(dst, Result, Of(v.Kind)|mark, id, 8+len(v.Data))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(service))
	return append(dst, v.Data...)
}

// AppendResultBlob appends a RESULT whose value lies in the out-arena.
func AppendResultBlob(dst []byte, id uint64, mark Flags, service time.Duration, k tandem.Kind, s Span) []byte {
	dst = AppendHeader(dst, Result, Of(k)|mark|Blob, id, 32)
	for _, n := range [...]uint64{uint64(service), s.Offset, s.Length, s.End} {
		dst = binary.LittleEndian.AppendUint64(dst, n)
	}
	return dst
}

// maxTrace keeps an ERROR inside one frame, whatever JSON escaping does to it.
const maxTrace = 32 << 10

// AppendError appends an ERROR; long texts are cut in the middle.
func AppendError(dst []byte, id uint64, service time.Duration, e ErrorBody) []byte {
	e.Kind, e.Reason = cut(e.Kind, 1<<10), cut(e.Reason, 1<<10)
	e.Message, e.Trace, e.Hint = cut(e.Message, 4<<10), cut(e.Trace, maxTrace), cut(e.Hint, 4<<10)
	body, err := json.Marshal(e)
	if err != nil || len(body) > MaxFrame-HeaderSize-8 {
		body, _ = json.Marshal(ErrorBody{Kind: e.Kind, Message: "error text could not be encoded", Again: e.Again, AfterMS: e.AfterMS})
	}
	dst = AppendHeader(dst, Error, 0, id, 8+len(body))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(service))
	return append(dst, body...)
}

func cut(s string, max int) string {
	if len(s) <= max {
		return s
	}
	head, tail := s[:max/2], s[len(s)-max/2:]
	for len(head) > 0 && !utf8.ValidString(head[max/2-min(max/2, 4):]) {
		head = head[:len(head)-1]
		if len(head) < max/2-4 {
			break
		}
	}
	return head + "\n… cut …\n" + tail
}

// Service reads the service time at the head of a RESULT or ERROR and returns the rest of its payload.
func (f Frame) Service() (time.Duration, []byte, error) {
	if len(f.Payload) < 8 {
		return 0, nil, fault("%v of %d bytes, want 8 or more", f.Type, len(f.Payload))
	}
	ns := binary.LittleEndian.Uint64(f.Payload)
	if ns > uint64(1<<62) {
		return 0, nil, fault("%v with service time %d ns", f.Type, ns)
	}
	return time.Duration(ns), f.Payload[8:], nil
}

// ReadSpan reads the descriptor of a BLOB: the payload of a TASK, or what follows the service time of a RESULT.
func (f Frame) ReadSpan(b []byte) (s Span, err error) {
	want := 16
	if f.Type == Result {
		want = 24
	}
	if len(b) != want {
		return s, fault("%v descriptor of %d bytes, want %d", f.Type, len(b), want)
	}
	s.Offset, s.Length = binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
	if f.Type == Result {
		s.End = binary.LittleEndian.Uint64(b[16:])
	}
	return s, nil
}

// Within reports whether the span lies inside an arena of size bytes.
func (s Span) Within(size uint64) bool { return s.Length <= size && s.Offset <= size-s.Length }
