package profile

import (
	"bufio"
	"cmp"
	"io"

	"google.golang.org/protobuf/encoding/protowire"

	"tandem/internal/advise"
)

// Field numbers of perfetto.protos, as far as they are used here.
const (
	tracePacket      = 1
	packetTime       = 8
	packetSequence   = 10
	packetEvent      = 11
	packetFlags      = 13
	packetDescriptor = 60
	trackUUID        = 1
	trackProcess     = 3
	trackThread      = 4
	processPID       = 1
	processName      = 6
	threadPID        = 1
	threadTID        = 2
	threadName       = 5
	eventNote        = 4
	eventType        = 9
	eventTrack       = 11
	eventName        = 23
	noteText         = 6
	noteName         = 10
	sliceBegin       = 1
	sliceEnd         = 2
)

// perfetto writes a track for each thread, with a slice for each stretch in which it was mostly in one state, named by the state.
func (p *Profile) perfetto(w io.Writer) error {
	out := bufio.NewWriter(w)
	first := true
	packet := func(body []byte) {
		body = number(body, packetSequence, 1)
		if first { // nothing earlier in the sequence is needed
			body, first = number(body, packetFlags, 1), false
		}
		_, _ = out.Write(message(nil, tracePacket, body)) // the flush tells
	}
	last := uint64(0)
	track := func(field protowire.Number, about []byte) uint64 {
		last++
		packet(message(nil, packetDescriptor, message(number(nil, trackUUID, last), field, about)))
		return last
	}
	event := func(at int64, kind, on uint64, s advise.Span) {
		e := number(number(nil, eventType, kind), eventTrack, on)
		if kind == sliceBegin {
			e = text(e, eventName, s.State)
			if s.Where != "" {
				e = message(e, eventNote, text(text(nil, noteName, "for"), noteText, s.Where))
			}
		}
		packet(message(number(nil, packetTime, uint64(max(at, 0))), packetEvent, e))
	}
	processes := map[int]bool{}
	for _, t := range p.Measurement.Threads {
		if len(t.Lane) == 0 {
			continue
		}
		pid := uint64(t.PID)
		if !processes[t.PID] {
			processes[t.PID] = true
			track(trackProcess, text(number(nil, processPID, pid), processName, cmp.Or(t.Program, p.Command)))
		}
		on := track(trackThread, text(number(number(nil, threadPID, pid), threadTID, uint64(t.TID)), threadName, t.Name))
		for _, s := range t.Lane {
			event(s.From.Nanoseconds(), sliceBegin, on, s)
			event(s.To.Nanoseconds(), sliceEnd, on, s)
		}
	}
	return out.Flush()
}

func number(b []byte, field protowire.Number, n uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), n)
}

func text(b []byte, field protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), s)
}

func message(b []byte, field protowire.Number, body []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), body)
}
