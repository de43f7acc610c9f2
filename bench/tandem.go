package main

import (
	"context"
	"strconv"
)

// tandemRows are Tandem itself, with the same loads as the limits and the peers.
//
// The dispatch and payload rows call a worker pool in this process, flow-two-steps runs the engine in it; the others run `tandem run` as a user does.
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
		all = append(all,
			row{name: sized("tandem/bytes", mb), about: "bytes to a Python worker; the worker touches every page", gives: handed, measure: payload(mb, "touch")},
			row{name: sized("tandem/view", mb), about: "the same to a handler that takes a memoryview", gives: handed, measure: payload(mb, "touch_view")})
	}
	return append(all,
		row{name: "tandem/flow-two-steps", about: "64 B items through the engine: a no-op in 2 Python workers, then one in goroutines", gives: rate, measure: twoSteps},
		row{name: "tandem/rss-million", about: "most memory of the engine while a million items went through a no-op step",
			gives: []figure{{"rss", "MB"}}, every: 4, measure: rssMillion},
		row{name: "tandem/rss-requests", about: "memory of the engine with 10,000 HTTP requests in flight",
			gives: []figure{{"rss", "MB"}, {"per", "kB/request"}}, every: 4, measure: rssRequests},
	)
}

// withPool measures with a fresh pool.
func withPool(ctx context.Context, b *bench, language, handler string, workers int, measure func(caller) (figures, error)) (got figures, err error) {
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

func payload(mb int, handler string) func(context.Context, *bench) (figures, error) {
	return func(ctx context.Context, b *bench) (figures, error) {
		data := make([]byte, mb<<20)
		for i := range data {
			data[i] = byte(i) // pages that exist, as those of the peers do
		}
		return withPool(ctx, b, "python", handler, 2, func(pool caller) (figures, error) {
			return handOver(ctx, b, pool, data, strconv.Itoa(len(data)))
		})
	}
}
