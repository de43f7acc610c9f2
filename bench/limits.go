package main

import (
	"context"
	"strconv"
)

// limitRows are the raw limits: what the machine does when nothing but the kernel, the memory or the Go scheduler is in the way.
func limitRows(sizes []int) []row {
	all := []row{
		{name: "limit/c-roundtrip", about: "C: 64 B to another process and back over a unix stream socket, one in flight", gives: latency,
			measure: inC("c/pingpong.c", "roundtrip")},
		{name: "limit/c-batched", about: "C: the same with 256 in flight, as many as fit in one write", gives: rate,
			measure: inC("c/pingpong.c", "batched")},
		{name: "limit/chan-sync", about: "Go: a call to another goroutine over channels, one in flight", gives: latency, measure: chanSync},
		{name: "limit/chan-call", about: "Go: 256 callers, 2 server goroutines, a buffered channel, a reply channel each", gives: rate, measure: chanCall},
		{name: "limit/chan-stream", about: "Go: 64 B messages through 2 server goroutines and two buffered channels", gives: rate, measure: chanStream},
	}
	for _, mb := range sizes {
		all = append(all, row{name: sized("limit/memcpy", mb), about: "C: memcpy between two blocks that are there already", gives: handed,
			measure: inC("c/memcpy.c", strconv.Itoa(mb))})
	}
	return all
}

// inC compiles a C program once and runs it with its argument and the time it may take.
func inC(source, arg string) func(context.Context, *bench) (figures, error) {
	return func(ctx context.Context, b *bench) (figures, error) {
		program, err := b.cc(source)
		if err != nil {
			return nil, err
		}
		return measuredBy(ctx, program, arg, b.howLong())
	}
}

// howLong is the length of a measurement as an argument.
func (b *bench) howLong() string { return strconv.FormatFloat(b.seconds, 'f', -1, 64) }
