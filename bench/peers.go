package main

import (
	"context"
	"path/filepath"
	"strconv"
)

// peerRows are Python's own process pools, measured by py/peers.py.
func peerRows(sizes []int) []row {
	all := []row{
		{name: "peer/executor-submit", about: "Python: ProcessPoolExecutor.submit of 64 B, 2 workers, 256 in flight", gives: rate, measure: inPython("executor_submit")},
		{name: "peer/executor-sync", about: "Python: ProcessPoolExecutor.submit().result(), one in flight", gives: latency, measure: inPython("executor_sync")},
		{name: "peer/pool-async", about: "Python: multiprocessing.Pool.apply_async of 64 B, 2 workers, 256 in flight", gives: rate, measure: inPython("pool_async")},
		{name: "peer/pool-sync", about: "Python: multiprocessing.Pool.apply, one in flight", gives: latency, measure: inPython("pool_sync")},
	}
	for _, mb := range sizes {
		size := strconv.Itoa(mb)
		all = append(all,
			row{name: sized("peer/pool-bytes", mb), about: "Python: Pool.apply with bytes; the worker touches every page", gives: handed,
				measure: inPython("pool_bytes", size)},
			row{name: sized("peer/shm-fresh", mb), about: "Python: the same through a new shared_memory block for every call", gives: handed,
				measure: inPython("shm_fresh", size)},
			row{name: sized("peer/shm-reused", mb), about: "Python: the same through one shared_memory block for all calls", gives: handed,
				measure: inPython("shm_reused", size)},
		)
	}
	return all
}

func inPython(name string, args ...string) func(context.Context, *bench) (figures, error) {
	return func(ctx context.Context, b *bench) (figures, error) {
		python, err := b.python()
		if err != nil {
			return nil, err
		}
		return measuredBy(ctx, python, append([]string{filepath.Join(b.dir, "py", "peers.py"), name, b.howLong()}, args...)...)
	}
}
