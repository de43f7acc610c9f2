package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
)

// spread is a median and the ends.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	N      int     `json:"n"`
}

// spreadOf is the spread of v; the zero spread for none. v is not changed.
func spreadOf(v []float64) spread {
	if len(v) == 0 {
		return spread{}
	}
	s := slices.Sorted(slices.Values(v))
	return spread{Median: quantile(s, 0.5), Min: s[0], Max: s[len(s)-1], N: len(s)}
}

// quantile of sorted values, the mean of the two nearest where it falls between them.
func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	below := math.Floor(at)
	low, high := sorted[int(below)], sorted[int(math.Ceil(at))]
	return low + (high-low)*(at-below)
}

// median of v, NaN for none.
func median(v []float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	return spreadOf(v).Median
}

// paired divides round by round: what the machine did in one round, it did to both. Rounds in which one is missing are skipped.
func paired(over, under []figures, overName, underName string) []float64 {
	var r []float64
	for i := range min(len(over), len(under)) {
		a, okA := over[i][overName]
		b, okB := under[i][underName]
		if okA && okB && b > 0 {
			r = append(r, a/b)
		}
	}
	return r
}

// number writes v with three significant digits and no exponent.
func number(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "–"
	}
	if v == 0 {
		return "0"
	}
	decimals := 2 - int(math.Floor(math.Log10(math.Abs(v))))
	if decimals <= 0 {
		p := math.Pow10(-decimals)
		return strconv.FormatFloat(math.Round(v/p)*p, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'f', min(decimals, 4), 64)
}

func (s spread) String() string { return fmt.Sprintf("%s..%s", number(s.Min), number(s.Max)) }
