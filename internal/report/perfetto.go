package report

import (
	"bufio"
	"io"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"tandem/internal/lanes"
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
	ourPID  = 1 // of the run, as the trace shows it
)

// Perfetto writes the run as a trace for ui.perfetto.dev: a track for each lane with a slice for each stretch in one state, named by the state, so that each has
// one colour; counters of what is in flight, limited and queued; crashes, timeouts and kills as instants. Of a row the state counts that took most of it.
func (d *Document) Perfetto(w io.Writer) error {
	t := &trace{w: bufio.NewWriter(w)}
	run := t.track(func(b []byte) []byte {
		p := number(nil, processPID, ourPID)
		return message(b, trackProcess, words(p, processName, "tandem "+d.Run.Name+" "+d.Run.ID))
	})
	var of []uint64 // the tracks of lanes
	for i, l := range d.Lanes {
		of = append(of, t.track(func(b []byte) []byte {
			p := number(number(nil, threadPID, ourPID), threadTID, uint64(i)+2)
			return message(b, trackThread, words(p, threadName, l.Name))
		}))
	}
	type counters struct{ inflight, limit, queue uint64 }
	steps := make([]counters, len(d.Steps))
	for i, s := range d.Steps {
		for name, to := range map[string]*uint64{" in flight": &steps[i].inflight, " limit": &steps[i].limit, " queue": &steps[i].queue} {
			*to = t.track(func(b []byte) []byte {
				b = number(words(b, trackName, s.Name+name), trackParent, run)
				return message(b, trackCounter, nil)
			})
		}
	}
	d.slices(t, of)
	if d.record != nil {
		for _, r := range d.record.Rows {
			for i, s := range r.Steps {
				if i >= len(steps) {
					break
				}
				at := r.From.Nanoseconds()
				t.count(at, steps[i].inflight, s.InFlight)
				t.count(at, steps[i].queue, float64(s.Queue))
				if s.Limit > 0 {
					t.count(at, steps[i].limit, float64(s.Limit))
				}
			}
		}
	}
	for _, m := range d.Marks {
		on := run
		if m.Lane >= 0 {
			on = of[m.Lane]
		}
		t.event(since(m.At).Nanoseconds(), instant, on, m.Kind, [2]string{"step", m.Step}, [2]string{"item", m.Item}, [2]string{"reason", m.Reason})
	}
	for _, n := range d.Notes {
		if n.What != "worker" {
			t.event(since(n.At).Nanoseconds(), instant, run, n.What, [2]string{"of", n.ID}, [2]string{"from", n.From}, [2]string{"to", n.To}, [2]string{"because", n.Reason})
		}
	}
	return t.w.Flush()
}

// slices writes each stretch in which a lane was mostly in one state.
func (d *Document) slices(t *trace, of []uint64) {
	if d.record == nil {
		return
	}
	for i := range d.Lanes {
		state, end := lanes.Off, int64(0)
		for r := range d.record.Rows {
			row := &d.record.Rows[r]
			now := lanes.Off
			if i < len(row.Lanes) {
				now = row.Lanes[i].Main()
			}
			from := row.From.Nanoseconds()
			if now == state && from == end {
				end = row.End().Nanoseconds()
				continue
			}
			if state != lanes.Off {
				t.event(end, sliceEnd, of[i], "")
			}
			if now != lanes.Off {
				t.event(from, sliceBegin, of[i], now.String())
			}
			state, end = now, row.End().Nanoseconds()
		}
		if state != lanes.Off {
			t.event(end, sliceEnd, of[i], "")
		}
	}
}

// trace writes packets.
type trace struct {
	w     *bufio.Writer
	last  uint64 // track
	begun bool
	b     []byte
}

// packet writes one; what failed is told by the last flush.
func (t *trace) packet(body []byte) {
	body = number(body, packetSequence, 1)
	if !t.begun {
		body, t.begun = number(body, packetFlags, cleared), true
	}
	t.b = message(t.b[:0], tracePacket, body)
	_, _ = t.w.Write(t.b)
}

func (t *trace) track(fill func([]byte) []byte) uint64 {
	t.last++
	t.packet(message(nil, packetDescriptor, fill(number(nil, trackUUID, t.last))))
	return t.last
}

func (t *trace) event(at int64, kind, track uint64, name string, notes ...[2]string) {
	e := number(number(nil, eventType, kind), eventTrack, track)
	if name != "" {
		e = words(e, eventName, name)
	}
	for _, n := range notes {
		if n[1] != "" {
			e = message(e, eventNote, words(words(nil, noteName, n[0]), noteText, n[1]))
		}
	}
	t.packet(message(number(nil, packetTime, uint64(at)), packetEvent, e))
}

func (t *trace) count(at int64, track uint64, value float64) {
	e := number(number(nil, eventType, counter), eventTrack, track)
	e = protowire.AppendFixed64(protowire.AppendTag(e, eventCounter, protowire.Fixed64Type), math.Float64bits(value))
	t.packet(message(number(nil, packetTime, uint64(at)), packetEvent, e))
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
