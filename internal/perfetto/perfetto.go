// Package perfetto writes traces for ui.perfetto.dev: tracks with slices, counters and instants on them.
//
// A [Trace] writes as it goes and keeps nothing; what writing met is told by Flush. Times are in nanoseconds. It knows the few messages of perfetto.protos that
// it needs by their numbers, so that no generated code comes with it.
package perfetto

import (
	"bufio"
	"io"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of perfetto.protos, as far as they are used here.
const (
	tracePacket = 1

	packetTime       = 8
	packetSequence   = 10
	packetEvent      = 11
	packetFlags      = 13
	packetDescriptor = 60

	trackUUID    = 1
	trackName    = 2
	trackProcess = 3
	trackThread  = 4
	trackParent  = 5
	trackCounter = 8

	processPID  = 1
	processName = 6
	threadPID   = 1
	threadTID   = 2
	threadName  = 5

	eventNote    = 4
	eventType    = 9
	eventTrack   = 11
	eventName    = 23
	eventCounter = 44

	noteText = 6
	noteName = 10

	sliceBegin = 1
	sliceEnd   = 2
	instant    = 3
	counter    = 4

	cleared = 1 // of packetFlags: nothing earlier in the sequence is needed
)

// Track is a line of the picture.
type Track uint64

// Note is said of a slice or an instant: a name and a text. One without a text is left out.
type Note [2]string

// Trace writes packets.
type Trace struct {
	w     *bufio.Writer
	last  Track
	begun bool
	b     []byte
}

// New is a trace that is written to w.
func New(w io.Writer) *Trace { return &Trace{w: bufio.NewWriter(w)} }

// Flush ends the trace. The error is the first that writing met.
func (t *Trace) Flush() error { return t.w.Flush() }

// Process is the track of a process.
func (t *Trace) Process(pid int, name string) Track {
	return t.track(trackProcess, words(number(nil, processPID, uint64(pid)), processName, name), nil)
}

// Thread is the track of a thread of a process.
func (t *Trace) Thread(pid, tid int, name string) Track {
	return t.track(trackThread, words(number(number(nil, threadPID, uint64(pid)), threadTID, uint64(tid)), threadName, name), nil)
}

// Counter is a track of numbers, below another track.
func (t *Trace) Counter(below Track, name string) Track {
	return t.track(trackCounter, nil, number(words(nil, trackName, name), trackParent, uint64(below)))
}

// Begin begins a slice.
func (t *Trace) Begin(at int64, on Track, name string, notes ...Note) {
	t.event(at, sliceBegin, on, name, notes)
}

// End ends the slice that was begun last.
func (t *Trace) End(at int64, on Track) { t.event(at, sliceEnd, on, "", nil) }

// Instant is a moment.
func (t *Trace) Instant(at int64, on Track, name string, notes ...Note) {
	t.event(at, instant, on, name, notes)
}

// Count is the value of a counter from at on.
func (t *Trace) Count(at int64, on Track, value float64) {
	e := number(number(nil, eventType, counter), eventTrack, uint64(on))
	e = protowire.AppendFixed64(protowire.AppendTag(e, eventCounter, protowire.Fixed64Type), math.Float64bits(value))
	t.at(at, e)
}

func (t *Trace) track(field protowire.Number, about, more []byte) Track {
	t.last++
	b := append(number(nil, trackUUID, uint64(t.last)), more...)
	t.packet(message(nil, packetDescriptor, message(b, field, about)))
	return t.last
}

func (t *Trace) event(at int64, kind uint64, on Track, name string, notes []Note) {
	e := number(number(nil, eventType, kind), eventTrack, uint64(on))
	if name != "" {
		e = words(e, eventName, name)
	}
	for _, n := range notes {
		if n[1] != "" {
			e = message(e, eventNote, words(words(nil, noteName, n[0]), noteText, n[1]))
		}
	}
	t.at(at, e)
}

func (t *Trace) at(at int64, event []byte) {
	t.packet(message(number(nil, packetTime, uint64(max(at, 0))), packetEvent, event))
}

// packet writes one; what failed is told by the last flush.
func (t *Trace) packet(body []byte) {
	body = number(body, packetSequence, 1)
	if !t.begun {
		body, t.begun = number(body, packetFlags, cleared), true
	}
	t.b = message(t.b[:0], tracePacket, body)
	_, _ = t.w.Write(t.b)
}

func number(b []byte, field protowire.Number, n uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), n)
}

func words(b []byte, field protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), s)
}

func message(b []byte, field protowire.Number, body []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), body)
}
