package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// This file is about a server that works on 40 requests at a time, which its client does not know: how much of its throughput does
// concurrency: auto reach, against the best that somebody finds who tries?

const (
	serverSlots = 40
	serverTime  = 50 * time.Millisecond
)

// handTuned are the settings that are tried: too few, just enough, and enough to keep a queue at the server.
var handTuned = []int{serverSlots / 2, serverSlots, 2 * serverSlots}

func limitsRows() []row {
	gives := []figure{{"rate", "1/s"}, {"in-flight", "requests"}}
	return []row{
		{name: "tandem/in-flight-auto", about: "requests to a server with 40 slots of 50 ms, concurrency: auto; after the search (5 s)", gives: gives, every: 2, measure: inFlightAuto},
		{name: "tandem/in-flight-fixed", about: "the same with the best of concurrency: 20, 40 and 80", gives: gives, every: 2, measure: inFlightFixed},
	}
}

func inFlightAuto(ctx context.Context, b *bench) (figures, error) {
	return askedFor(ctx, b, "auto", 10*b.duration(), 6*b.duration())
}

func inFlightFixed(ctx context.Context, b *bench) (best figures, err error) {
	for _, n := range handTuned {
		got, err := askedFor(ctx, b, strconv.Itoa(n), 2*b.duration(), 6*b.duration())
		if err != nil {
			return nil, err
		}
		if got["rate"] > best["rate"] {
			best = got
		}
	}
	return best, nil
}

// askedFor counts what the server answers in a while, after a warm-up, and how many it had before it at the end.
func askedFor(ctx context.Context, b *bench, concurrency string, warm, long time.Duration) (figures, error) {
	api, err := startServer(ctx, "serve-api", "-least", serverTime.String(), "-most", serverTime.String(), "-slots", strconv.Itoa(serverSlots))
	if err != nil {
		return nil, err
	}
	defer api.stop()
	p, err := b.prepare(fmt.Sprintf(`tandem: v1
name: in-flight
from: {range: 1..10000000}
steps:
  - {name: call, http: {post: %q, body: "${{ item }}"}, concurrency: %s}
into: {jsonl: out.jsonl}
`, api.address, concurrency))
	if err != nil {
		return nil, err
	}
	defer p.remove()
	r, err := p.start(ctx)
	if err != nil {
		return nil, err
	}
	var start time.Time // of the first request, of the count
	var before, after apiStats
	counting := false
	ended := r.watch(5*time.Millisecond, func() bool {
		pause := warm
		if counting {
			pause = long
		}
		if !start.IsZero() && time.Since(start) < pause {
			return false
		}
		var now apiStats
		if now, err = statsOf(ctx, api); err != nil || counting {
			after = now
			long = time.Since(start)
			return true
		}
		if now.Requests > 0 {
			counting = !start.IsZero()
			before, start = now, time.Now()
		}
		return false
	})
	if ended {
		return nil, errors.Join(errors.New("the run ended by itself"), r.wait())
	}
	r.kill()
	return figures{"rate": float64(after.Answered-before.Answered) / long.Seconds(), "in-flight": float64(after.InFlight)}, err
}
