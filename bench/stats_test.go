package main

import (
	"math"
	"strings"
	"testing"
)

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want spread
	}{
		{nil, spread{}},
		{[]float64{4}, spread{4, 4, 4, 1}},
		{[]float64{3, 1, 2}, spread{2, 1, 3, 3}},
		{[]float64{4, 1, 3, 2}, spread{2.5, 1, 4, 4}},
	} {
		if got := spreadOf(c.in); got != c.want {
			t.Errorf("spreadOf(%v) = %+v, want %+v", c.in, got, c.want)
		}
	}
	in := []float64{3, 1, 2}
	spreadOf(in)
	if in[0] != 3 {
		t.Error("spreadOf sorted its argument: the rounds would lose their order")
	}
	if !math.IsNaN(median(nil)) {
		t.Error("the median of nothing is a number")
	}
}

func TestQuantile(t *testing.T) {
	v := []float64{10, 20, 30, 40, 50}
	for q, want := range map[float64]float64{0: 10, 0.5: 30, 0.75: 40, 0.875: 45, 1: 50} {
		if got := quantile(v, q); got != want {
			t.Errorf("quantile %v = %v, want %v", q, got, want)
		}
	}
}

// The machine was twice as slow in the second round. The medians of the two rows would give 150 ÷ 30; each round says 10 or 2.
func TestPairedDividesRoundByRound(t *testing.T) {
	over := []figures{{"rate": 200}, {"rate": 100}, nil, {"rate": 7}, {"rate": 1}}
	under := []figures{{"rate": 20}, {"rate": 50}, {"rate": 1}, nil, {"rate": 0}}
	got := paired(over, under, "rate", "rate")
	if len(got) != 2 || got[0] != 10 || got[1] != 2 {
		t.Errorf("paired = %v, want [10 2]: rounds without both sides are skipped", got)
	}
	if got := paired(over, under, "rate", "p50"); got != nil {
		t.Errorf("paired with a figure that is not there = %v", got)
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 1: "1.00", 0.1234: "0.123", 12.34: "12.3", 123.4: "123", 1234: "1230", 987654: "988000", 0.00012345: "0.0001", 99.96: "100.0", math.NaN(): "–",
	} {
		if got := number(v); got != want {
			t.Errorf("number(%v) = %q, want %q", v, got, want)
		}
	}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	table(&b, []string{"row", "µs"}, map[int]bool{1: true}, [][]string{{"a", "1.5"}, {"longer", "10"}})
	want := "row      µs\n──────  ───\na       1.5\nlonger   10\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

func TestRowTableNamesWhatIsMissing(t *testing.T) {
	var b strings.Builder
	rowTable(&b, []*result{
		{row: row{name: "ran", gives: latency}, rounds: []figures{{"p50": 1, "p99": 2}, {"p50": 3, "p99": 4}}},
		{row: row{name: "gone", gives: latency}, leftOut: "no C compiler"},
		{row: row{name: "broken", gives: latency}, failures: []string{"it fell over"}},
		{row: row{name: "late", gives: latency}, rounds: []figures{nil}},
	})
	for _, want := range []string{"1.00..3.00", "left out: no C compiler", "failed in 1 rounds: it fell over", "not measured"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}
