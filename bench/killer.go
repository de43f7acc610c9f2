package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"tandem/engine"
)

// This file counts what one item in a hundred costs that ends its own process.

var lost = []figure{{"lost", "items"}}

func killerRows() []row {
	return []row{
		{name: "tandem/killer", about: "tandem run: 100 items in 2 Python workers, number 17 kills its process: how many are not ok", gives: lost, every: 2, measure: killerRun},
		{name: "peer/killer-executor", about: "the same 100 through ProcessPoolExecutor", gives: lost, every: 2, measure: inPython("killer_executor")},
		{name: "peer/killer-pool", about: "the same 100 through multiprocessing.Pool.apply_async, waited for 5 s: what never comes is lost", gives: lost, every: 2, measure: inPython("killer_pool")},
	}
}

func killerRun(ctx context.Context, b *bench) (figures, error) {
	p, err := b.prepare("tandem: v1\nname: killer\nfrom: {range: 1..100}\nsteps: [{name: work, python: work.py:killer, mode: process, workers: 2}]\n")
	if err != nil {
		return nil, err
	}
	defer p.remove()
	r, err := p.start(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.wait(); err != nil && !strings.Contains(err.Error(), "exit status 1") { // 1 says that an item did not end well
		return nil, err
	}
	var report engine.Report
	if err := json.Unmarshal(r.out.Bytes(), &report); err != nil {
		return nil, fmt.Errorf("read the report of tandem run: %w", err)
	}
	if report.Items.In != 100 {
		return nil, fmt.Errorf("%d of 100 items were read", report.Items.In)
	}
	return figures{"lost": float64(100 - report.Items.OK)}, nil
}
