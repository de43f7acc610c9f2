package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// This file measures nodes: how much of its share each has when there are several, and how soon a submitter that was killed goes on.

const (
	eachInFlight = 20 // of the step that waits 0.1 s, on each node
	waitsWindow  = 10_000
)

func clusterRows() []row {
	share := []figure{{"share", "1/s"}}
	return []row{
		{name: "tandem/nodes-one", about: "one node, a step that waits 0.1 s, 20 in flight: items a second", gives: share, every: 2, measure: nodesShare(1)},
		{name: "tandem/nodes-three", about: "three nodes on this machine, 20 in flight on each: items a second ÷ 3", gives: share, every: 2, measure: nodesShare(3)},
		{name: "tandem/attach-million", about: "tandem attach after the submitter was killed behind a million lines: until the first new line, until 10,000 more",
			gives: []figure{{"first", "s"}, {"caught", "s"}}, every: 4, minutes: 6, measure: attachMillion},
		{name: "tandem/attach-waiting", about: "tandem attach to a run of a million items all of whose results wait: first line, all lines; processor time of feeding, of the step, of the attach",
			gives: []figure{{"first", "s"}, {"all", "s"}, {"rss", "MB"}, {"feed", "µs/item"}, {"step", "µs/item"}, {"attach", "µs/item"}}, every: 4, minutes: 6, measure: attachWaiting},
	}
}

// nodes starts so many nodes, and waits until each is there. end ends them.
func (p *place) nodes(ctx context.Context, n int) (end func(), err error) {
	var all []*tandemRun
	end = func() {
		for i := range all { // the one with the server last
			all[len(all)-1-i].kill()
		}
	}
	for i := range n {
		r, err := p.begin(ctx, "node", "--name", fmt.Sprint("n", i), "--grace", "1s")
		if err != nil {
			end()
			return nil, err
		}
		all = append(all, r)
		for there := false; !there; time.Sleep(20 * time.Millisecond) {
			ls, err := p.begin(ctx, "nodes", "ls", "--json")
			if err != nil {
				end()
				return nil, err
			}
			<-ls.ended
			there = bytes.Count(ls.out.Bytes(), []byte("\n")) > i
			select {
			case <-r.ended:
				end()
				return nil, fmt.Errorf("a node ended: %s", tail(r.errs.String()))
			default:
			}
			if ctx.Err() != nil {
				end()
				return nil, context.Cause(ctx)
			}
		}
	}
	return end, nil
}

func nodesShare(n int) func(context.Context, *bench) (figures, error) {
	return func(ctx context.Context, b *bench) (figures, error) {
		items := int(10*eachInFlight*(4+4*b.duration().Seconds())) * n // seconds
		p, err := b.prepare(fmt.Sprintf(`tandem: v1
name: nodes
from: {range: 1..%d}
steps: [{name: ask, python: work.py:answer, mode: async, workers: 1, concurrency: %d}]
into: {jsonl: out.jsonl}
`, items, eachInFlight)) // what an event loop has in flight is its own; only limits of an API are one for all nodes together
		if err != nil {
			return nil, err
		}
		defer p.remove()
		end, err := p.nodes(ctx, n)
		if err != nil {
			return nil, err
		}
		defer end()
		r, err := p.begin(ctx, "submit", "flow.yaml", "--progress", "none")
		if err != nil {
			return nil, err
		}
		var from, to time.Time
		var first, last int
		r.watch(5*time.Millisecond, func() bool {
			switch got := p.lines(); {
			case first == 0 && got >= items/3:
				from, first = time.Now(), got
			case first > 0 && got >= items*9/10:
				to, last = time.Now(), got
				return true
			}
			return false
		})
		if err := r.wait(); err != nil {
			return nil, err
		}
		if got := p.lines(); got != items || last <= first {
			return nil, fmt.Errorf("%d lines for %d items, counted from %d to %d", got, items, first, last)
		}
		return figures{"share": float64(last-first) / to.Sub(from).Seconds() / float64(n)}, nil
	}
}

func (p *place) lines() int {
	b, err := os.ReadFile(p.out())
	if err != nil {
		return 0
	}
	return bytes.Count(b, []byte("\n"))
}

func attachMillion(ctx context.Context, b *bench) (figures, error) {
	p, err := b.prepare(fmt.Sprintf(`tandem: v1
name: attach
from: {range: 1..%d}
steps: [{name: all, keep: "${{ item.value > 0 }}"}]
into: {jsonl: out.jsonl}
`, 10*max(b.flow.million, waitsWindow))) // enough that it cannot end before it is killed
	if err != nil {
		return nil, err
	}
	defer p.remove()
	end, err := p.nodes(ctx, 1)
	if err != nil {
		return nil, err
	}
	defer end()
	r, err := p.begin(ctx, "submit", "flow.yaml", "--progress", "none", "--window", fmt.Sprint(waitsWindow))
	if err != nil {
		return nil, err
	}
	if ended, seen := r.countTo(p.out(), b.flow.million+2000); ended { // the last lines are not in the journal yet
		return nil, errors.Join(fmt.Errorf("the run ended after %d lines", seen), r.wait())
	}
	r.kill()
	before := p.lines()
	kept, err := filepath.Glob(filepath.Join(p.dir, "state", "tandem", "runs", "*", "cluster.json"))
	if err != nil || len(kept) != 1 {
		return nil, fmt.Errorf("find the run that was submitted: %v %w", kept, err)
	}
	begin := time.Now()
	if r, err = p.begin(ctx, "attach", filepath.Base(filepath.Dir(kept[0])), "--progress", "none"); err != nil {
		return nil, err
	}
	defer r.kill()
	got := figures{}
	for _, want := range []struct {
		figure string
		lines  int
	}{{"first", 1}, {"caught", waitsWindow}} {
		if ended, _ := r.countTo(p.out(), before+want.lines); ended {
			return nil, errors.Join(errors.New("the attached run ended before it had caught up"), r.wait())
		}
		got[want.figure] = time.Since(begin).Seconds()
	}
	return got, nil
}

// countTo waits until a file has so many lines. ended says that the run ended before.
func (r *tandemRun) countTo(path string, lines int) (ended bool, seen int) {
	var out *os.File
	defer func() { out.Close() }() // of no file too
	block := make([]byte, 1<<20)
	ended = r.watch(5*time.Millisecond, func() bool {
		var err error
		if out == nil {
			if out, err = os.Open(path); err != nil {
				out = nil // not yet
				return false
			}
		}
		for {
			n, err := out.Read(block)
			if seen += bytes.Count(block[:n], []byte("\n")); err != nil || seen >= lines {
				return seen >= lines
			}
		}
	})
	return ended, seen
}
