package main

import (
	"context"
	"strconv"
)

// tandemRows are Tandem itself, with the same loads as the limits and the peers.
//
// The dispatch and payload rows call a worker pool in this process through openPool; the others run `tandem run` as a user does.
func tandemRows(sizes []int) []row {
	var all []row
	for _, language := range []string{"go", "python"} {
		all = append(all,
			row{name: "tandem/sync-" + language, about: "a 64 B call to one worker, one in flight", gives: latency,
				measure: dispatch(language, 1, syncCalls)},
			row{name: "tandem/callers-" + language, about: "256 callers that wait, 2 workers", gives: rate,
				measure: dispatch(language, 2, waitingCallers)},
			row{name: "tandem/submit-" + language, about: "64 B tasks submitted 256 at a time, 2 workers, results taken as they come", gives: rate,
				measure: dispatch(language, 2, submitted)},
		)
	}
	for _, mb := range sizes {
		all = append(all, row{name: sized("tandem/bytes", mb), about: "bytes to a Python worker; the worker touches every page", gives: handed,
			measure: payload(mb)})
	}
	return append(all,
		row{name: "tandem/flow-two-steps", about: "tandem run: items through two no-op Python steps and a journal, start to end", gives: rate, measure: flowRate},
		row{name: "tandem/rss-million", about: "most memory of the engine while a million items went through a no-op step",
			gives: []figure{{"rss", "MB"}}, every: 4, measure: rssMillion},
		row{name: "tandem/rss-requests", about: "memory of the engine with 10,000 HTTP requests in flight",
			gives: []figure{{"rss", "MB"}, {"per", "kB/request"}}, every: 4, measure: rssRequests},
	)
}

// openPool starts a pool of worker processes whose handler is "same" (gives back its argument) or "touch" (reads a byte of every page
// and gives the length), in "go" or "python". stop ends it and waits until no worker is left.
//
// It is set by the part of this package that is built with the tag tandemrows.
var openPool func(ctx context.Context, b *bench, language, handler string, workers int) (pool caller, stop func() error, err error)

// withPool measures with a fresh pool.
func withPool(ctx context.Context, b *bench, language, handler string, workers int, measure func(caller) (figures, error)) (got figures, err error) {
	if openPool == nil {
		return nil, leftOut("built without the tag tandemrows")
	}
	pool, stop, err := openPool(ctx, b, language, handler, workers)
	if err != nil {
		return nil, err
	}
	defer func() {
		if e := stop(); err == nil {
			err = e
		}
	}()
	return measure(pool)
}

type load func(ctx context.Context, b *bench, pool caller) (figures, error)

func dispatch(language string, workers int, load load) func(context.Context, *bench) (figures, error) {
	return func(ctx context.Context, b *bench) (figures, error) {
		return withPool(ctx, b, language, "same", workers, func(pool caller) (figures, error) { return load(ctx, b, pool) })
	}
}

func payload(mb int) func(context.Context, *bench) (figures, error) {
	return func(ctx context.Context, b *bench) (figures, error) {
		data := make([]byte, mb<<20)
		for i := range data {
			data[i] = byte(i) // pages that exist, as those of the peers do
		}
		return withPool(ctx, b, "python", "touch", 2, func(pool caller) (figures, error) {
			return handOver(ctx, b, pool, data, strconv.Itoa(len(data)))
		})
	}
}
