package main

import (
	"context"
	"fmt"
	"io"
	"time"
)

// A result is what became of one row over all rounds.
type result struct {
	row
	rounds   []figures // one per round; nil where it was not measured or failed
	leftOut  string
	failures []string
}

// run measures every row once a round. Each round starts one row later than the one before, so that no row always follows the same
// state of the machine by its place alone; candidates that are compared are close in time, which is what makes their ratio fair.
//
// A row that is left out once is not tried again. When ctx is done the results so far are returned.
func run(ctx context.Context, b *bench, all []row, rounds int, log io.Writer) []*result {
	results := make([]*result, len(all))
	for i, r := range all {
		results[i] = &result{row: r, rounds: make([]figures, rounds)}
	}
	for round := range rounds {
		start := time.Now()
		for i := range results {
			if ctx.Err() != nil {
				return results
			}
			results[(i+round*shift(len(all)))%len(all)].take(ctx, b, round, log)
		}
		fmt.Fprintf(log, "round %d of %d: %.0f s\n", round+1, rounds, time.Since(start).Seconds())
	}
	return results
}

// shift is how far the order turns each round: about a third of it, and never a whole turn.
func shift(n int) int { return max(1, n/3) }

func (r *result) take(ctx context.Context, b *bench, round int, log io.Writer) {
	if r.leftOut != "" || round%max(1, r.every) != 0 {
		return
	}
	limit := b.limit * time.Duration(max(1, r.minutes))
	bounded, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no result within %v", limit))
	defer cancel()
	got, err := r.measure(bounded, b)
	if err == nil {
		err = r.check(got)
	}
	if left := b.sweep(); err == nil && len(left) > 0 {
		err = fmt.Errorf("left processes behind: %v", left)
	}
	if ctx.Err() != nil {
		return // interrupted from outside: not the row's fault
	}
	if reason, ok := asLeftOut(err); ok {
		r.leftOut = reason
		fmt.Fprintf(log, "%s left out: %s\n", r.name, reason)
		return
	}
	if err != nil {
		if cause := context.Cause(bounded); cause != nil {
			err = fmt.Errorf("%w (%w)", err, cause)
		}
		r.failures = append(r.failures, err.Error())
		fmt.Fprintf(log, "%s failed in round %d: %v\n", r.name, round+1, err)
		return
	}
	r.rounds[round] = got
}

// values are the measured values of one figure, in the order of the rounds.
func (r *result) values(name string) []float64 {
	var v []float64
	for _, f := range r.rounds {
		if f != nil {
			v = append(v, f[name])
		}
	}
	return v
}
