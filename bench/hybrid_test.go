package main

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestIdealMakespan(t *testing.T) {
	if got := idealMakespan(12, 2, 48, 64); got != 6 {
		t.Errorf("12 s of computing on 2 cores: %v, want 6", got)
	}
	if got := idealMakespan(1, 2, 64, 16); got != 4 {
		t.Errorf("64 s of waiting, 16 at a time: %v, want 4", got)
	}
}

func TestHybridFlow(t *testing.T) {
	got := hybridFlow(hybrid{Images: 200, InFlight: 64}, 2, "http://127.0.0.1:1/")
	for _, line := range []string{
		"tandem: v1", "name: hybrid", "from: {range: 1..200}", "    python: work.py:thumb", "    mode: process", "    workers: 2",
		`    http: {post: "http://127.0.0.1:1/", body: "${{ prev }}"}`, "    concurrency: 64", "into: {jsonl: out.jsonl}",
	} {
		if !strings.Contains(got, line+"\n") {
			t.Errorf("no line %q in\n%s", line, got)
		}
	}
}

// The bound and the textbook on a small job, with the real Python and API: the textbook uploads everything and is never faster than the bound.
func TestHybridPeers(t *testing.T) {
	b := &bench{pythonName: "python3", hybrid: hybrid{Images: 8, Spin: 20 * time.Millisecond, Least: 5 * time.Millisecond, Most: 50 * time.Millisecond, InFlight: 4}}
	if err := b.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(b.dir)
	ideal, err := hybridIdeal(t.Context(), b)
	if reason, ok := asLeftOut(err); ok {
		t.Skip(reason)
	}
	if err != nil {
		t.Fatal(err)
	}
	if ideal["cpu"] < 0.08 || ideal["cpu"] > 3 {
		t.Errorf("8 images of 20 ms took %v s of processor time", ideal["cpu"])
	}
	textbook, err := hybridTextbook(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	if textbook["makespan"] < ideal["wait"]/4 {
		t.Errorf("the textbook took %v s, less than its waiting of %v s at 4 in flight", textbook["makespan"], ideal["wait"])
	}
}
