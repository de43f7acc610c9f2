package main

import (
	"os"
	"slices"
	"testing"
	"time"
)

// The rows that look at what a run leaves behind are worth nothing with a stand-in: they run the program.
func TestKeptRows(t *testing.T) {
	b := &bench{pythonName: "python3", seconds: 0.02, limit: time.Minute, flow: flowSizes{million: 5000}, hybrid: hybrid{Spin: 5 * time.Millisecond}}
	if err := b.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(b.dir)
	for _, r := range slices.Concat(keptRows(), limitsRows(), clusterRows()) {
		got, err := r.measure(t.Context(), b)
		if reason, ok := asLeftOut(err); ok {
			t.Skip(reason)
		}
		if err == nil {
			err = r.check(got)
		}
		if err != nil {
			t.Errorf("%s: %v", r.name, err)
		}
		t.Log(r.name, got)
	}
}
