package main

import (
	"context"
	"errors"
	"fmt"
)

// A row is one thing that is measured. Its measure func takes one short measurement, about a second, and leaves nothing behind.
type row struct {
	name    string
	about   string // one line for the reader
	gives   []figure
	every   int // measured in each every-th round; 0 = 1. For what is slow and needs no pairs, such as memory
	minutes int // it may take; 0 = 1
	measure func(ctx context.Context, b *bench) (figures, error)
}

type figure struct{ name, unit string }

// figures are the named numbers of one measurement.
type figures map[string]float64

// leftOut is the error of a row that cannot be measured on this machine or in this build: not a fault, but never silent.
type leftOut string

func (reason leftOut) Error() string { return string(reason) }

// Figures that several rows give.
var (
	latency = []figure{{"p50", "µs"}, {"p99", "µs"}}
	rate    = []figure{{"rate", "k/s"}}
	handed  = []figure{{"call", "ms"}, {"rate", "GB/s"}}
)

// rows lists every row, in the order in which the table shows them.
func rows(sizes []int) []row {
	var all []row
	for _, part := range [][]row{limitRows(sizes), peerRows(sizes), grpcRows(), tandemRows(sizes), keptRows(), replaceRows(), spawnRows(), optionRows(), watchedRows(), killerRows(), limitsRows(), mapRows(), queueRows(), clusterRows(), hybridRows()} {
		all = append(all, part...)
	}
	return all
}

// check holds measure to what the row says it gives.
func (r *row) check(got figures) error {
	for _, f := range r.gives {
		v, ok := got[f.name]
		if !ok {
			return fmt.Errorf("measure %s: no figure %q came back", r.name, f.name)
		}
		if !(v > 0) { // NaN too
			return fmt.Errorf("measure %s: %s is %v; a measurement is above zero", r.name, f.name, v)
		}
	}
	return nil
}

// asLeftOut is the reason when err, or an error below it, is a leftOut.
func asLeftOut(err error) (string, bool) {
	var reason leftOut
	ok := errors.As(err, &reason)
	return string(reason), ok
}
