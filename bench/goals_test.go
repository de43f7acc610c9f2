package main

import (
	"slices"
	"testing"
)

// A goal that names a row or figure that does not exist would silently never be checked.
func TestGoalsNameRowsAndFigures(t *testing.T) {
	sizes := []int{1, 16, 256}
	gives := make(map[string][]figure)
	for _, r := range rows(sizes) {
		if gives[r.name] != nil {
			t.Errorf("two rows are called %s", r.name)
		}
		if len(r.gives) == 0 || r.about == "" {
			t.Errorf("row %s says not what it gives or what it is", r.name)
		}
		gives[r.name] = r.gives
	}
	for _, g := range goals(sizes) {
		for _, side := range [][2]string{{g.over, g.overFig}, {g.under, g.underFig}} {
			if side != [2]string{} && !slices.ContainsFunc(gives[side[0]], func(f figure) bool { return f.name == side[1] }) {
				t.Errorf("goal %s %s ÷ %s %s: no row %q with a figure %q", g.over, g.overFig, g.under, g.underFig, side[0], side[1])
			}
		}
	}
}

func TestReach(t *testing.T) {
	fast := &result{row: row{name: "fast"}, rounds: []figures{{"rate": 10}, {"rate": 30}, {"rate": 90}}}
	slow := &result{row: row{name: "slow"}, rounds: []figures{{"rate": 10}, {"rate": 10}, {"rate": 10}}}
	gone := &result{row: row{name: "gone"}, rounds: []figures{nil, nil, nil}, leftOut: "no Python"}
	all := []*result{fast, slow, gone}
	for _, c := range []struct {
		goal    goal
		verdict string
		median  float64
	}{
		{atLeast(3, "fast", "rate", "slow", "rate"), "ok", 3},
		{atLeast(3.1, "fast", "rate", "slow", "rate"), "short", 3},
		{atMost(3, "fast", "rate", "slow", "rate"), "ok", 3},
		{atMost(2.9, "fast", "rate", "slow", "rate"), "short", 3},
		{within(30, "fast", "rate"), "ok", 30},
		{within(29, "fast", "rate"), "short", 30},
		{within(29, "gone", "rate"), leftOutVerdict, 0},
		{shown("fast", "rate", "slow", "rate"), "", 3},
		{atLeast(1, "fast", "rate", "gone", "rate"), leftOutVerdict, 0},
	} {
		got := reaches([]goal{c.goal}, all)
		if len(got) != 1 || got[0].Verdict != c.verdict || got[0].Ratio.Median != c.median {
			t.Errorf("%s: %+v, want %q at %v", c.goal.sense, got, c.verdict, c.median)
		}
		if c.verdict == leftOutVerdict && got[0].Why != "gone has no figure" {
			t.Errorf("left out because %q", got[0].Why)
		}
	}
	if got := reaches([]goal{shown("fast", "rate", "unasked", "rate")}, all); got != nil {
		t.Errorf("a goal about a row that was not chosen gives %+v", got)
	}
}
