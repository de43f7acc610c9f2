package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"tandem"
	"tandem/engine"
	"tandem/internal/journal"
)

// This file measures what it costs to keep a run so that it can be resumed, and how soon it is.

const fiveMS = 5 * time.Millisecond

func keptRows() []row {
	var all []row
	for _, work := range []struct{ name, about string }{
		{"wait", "64 waits of 5 ms at a time in one Python event loop"},
		{"compute", "5 ms of processor time an item, 2 Python workers"},
	} {
		all = append(all,
			row{name: "tandem/" + work.name + "-kept", about: "tandem run: " + work.about + ", then keep", gives: rate, measure: keptRun(work.name, false)},
			row{name: "tandem/" + work.name + "-unkept", about: "the same with nowhere to keep the run: no journal", gives: rate, measure: keptRun(work.name, true)})
	}
	return append(all,
		row{name: "tandem/flow-kept", about: "flow-two-steps with a journal", gives: rate, measure: twoStepsKept},
		row{name: "tandem/resume-million", about: "tandem run --resume after a kill behind a million items: until the first new line; most memory until then",
			gives: []figure{{"first", "s"}, {"rss", "MB"}}, every: 4, minutes: 2, measure: resumeMillion},
		row{name: "tandem/flat-million", about: "memory of the engine while a million items went through five steps, kept: up to 200,000, beyond 800,000, the most",
			gives: []figure{{"early", "MB"}, {"late", "MB"}, {"rss", "MB"}}, every: 4, minutes: 4, measure: flatMillion},
	)
}

// keptFlow has two steps, because what the first gives is noted in the journal, and what the last gives is in the sink.
func keptFlow(work string, items, turns int) string {
	step := fmt.Sprintf("{name: work, python: work.py:turn, args: {n: %d}, mode: process, workers: 2}", turns)
	if work == "wait" {
		step = "{name: work, python: work.py:wait, mode: async, workers: 1, concurrency: 64}"
	}
	return fmt.Sprintf(`tandem: v1
name: kept
from: {range: 1..%d}
steps:
  - %s
  - {name: all, keep: "${{ item.value > 0 }}"}
into: {jsonl: out.jsonl}
`, items, step)
}

// keptRun runs items of five milliseconds for about four times as long as another row would take, since workers start in that time.
func keptRun(work string, unkept bool) func(context.Context, *bench) (figures, error) {
	return func(ctx context.Context, b *bench) (figures, error) {
		turns, err := b.turns(fiveMS)
		if err != nil {
			return nil, err
		}
		atATime := map[string]int{"wait": 64, "compute": 2}[work]
		items := int(4 * b.duration() / fiveMS * time.Duration(atATime))
		p, err := b.prepare(keptFlow(work, items, turns))
		if err != nil {
			return nil, err
		}
		defer p.remove()
		p.unkept = unkept
		r, err := p.start(ctx)
		if err != nil {
			return nil, err
		}
		if err := r.wait(); err != nil {
			return nil, err
		}
		if said := strings.Contains(r.errs.String(), "not kept"); said != unkept {
			return nil, fmt.Errorf("the run said that it is not kept: %v, want %v", said, unkept)
		}
		var report engine.Report
		if err := json.Unmarshal(r.out.Bytes(), &report); err != nil {
			return nil, fmt.Errorf("read the report of tandem run: %w", err)
		}
		if report.Items.OK != int64(items) {
			return nil, fmt.Errorf("%d of %d items are ok", report.Items.OK, items)
		}
		return figures{"rate": float64(items) / report.Seconds / 1e3}, nil
	}
}

// turns is how many turns of the hybrid job's loop take so long.
func (b *bench) turns(d time.Duration) (int, error) {
	dir, err := b.spin()
	if err != nil {
		return 0, err
	}
	text, err := os.ReadFile(filepath.Join(dir, "spin.txt"))
	if err != nil {
		return 0, fmt.Errorf("read the turns of an image: %w", err)
	}
	n, err := strconv.Atoi(string(text))
	if err != nil {
		return 0, fmt.Errorf("read the turns of an image: %w", err)
	}
	return max(1, int(float64(n)*d.Seconds()/b.hybrid.Spin.Seconds())), nil
}

// begun is the journal of a run that begins.
type begun struct {
	*journal.Journal
	*journal.State
}

func (begun) Before(tandem.Outcome) int64 { return 0 }

func twoStepsKept(ctx context.Context, b *bench) (figures, error) {
	path := filepath.Join(b.dir, "journal")
	j, err := journal.Create(path, journal.Header{}, journal.Config{})
	if err != nil {
		return nil, err
	}
	defer os.Remove(path)
	got, err := twoStepsWith(ctx, b, begun{Journal: j})
	return got, errors.Join(err, j.Close())
}

// resumeMillion kills a run when a million lines are written, and resumes it.
func resumeMillion(ctx context.Context, b *bench) (figures, error) {
	p, err := b.prepare(fmt.Sprintf(`tandem: v1
name: resume
from: {range: 1..%d}
steps:
  - {name: one, keep: "${{ item.value > 0 }}"}
  - {name: two, keep: "${{ item.value > 0 }}"}
into: {jsonl: out.jsonl}
`, 10*b.flow.million)) // enough that it cannot end before it is killed
	if err != nil {
		return nil, err
	}
	defer p.remove()
	if err := p.killAfter(ctx, b.flow.million+2000); err != nil { // the last lines are not in the journal yet
		return nil, err
	}
	before, err := os.Stat(p.out())
	if err != nil {
		return nil, fmt.Errorf("resume a run: %w", err)
	}
	begin := time.Now()
	r, err := p.start(ctx, "--resume")
	if err != nil {
		return nil, err
	}
	got := figures{}
	ended := r.watch(time.Millisecond, func() bool {
		now, err := os.Stat(p.out())
		if err != nil || now.Size() <= before.Size() {
			return false
		}
		got["first"], got["rss"] = time.Since(begin).Seconds(), r.rss("VmHWM")
		return true
	})
	if ended {
		return nil, errors.Join(errors.New("the resumed run ended before it wrote a line"), r.wait())
	}
	r.kill()
	if !strings.Contains(r.errs.String(), "going on with run") {
		return nil, fmt.Errorf("the second run does not say that it went on: %s", tail(r.errs.String()))
	}
	return got, nil
}

// killAfter runs the flow and kills it when so many lines are in its file.
func (p *place) killAfter(ctx context.Context, lines int) error {
	r, err := p.start(ctx)
	if err != nil {
		return err
	}
	ended, seen := r.countTo(p.out(), lines)
	if ended {
		return errors.Join(fmt.Errorf("the run ended after %d lines; want %d", seen, lines), r.wait())
	}
	r.kill()
	return nil
}

// flatMillion tells by the length of the file how far the run has come; all lines are about equally long.
func flatMillion(ctx context.Context, b *bench) (figures, error) {
	p, err := b.prepare(fmt.Sprintf(`tandem: v1
name: flat
from: {range: 1..%d}
steps:
  - {name: keep, keep: "${{ item.value > 0 }}"}
  - {name: most, when: "${{ item.value %% 10 != 0 }}", python: work.py:same, mode: process, workers: 2}
  - {name: again, keep: "${{ prev > 0 }}"}
  - {name: query, sql: {open: "sqlite:db", setup: "create table if not exists t (n)", query: "select ? as n", values: [item.value]}, retry: {attempts: 3}}
  - {name: batch, python: work.py:same, batch: {size: 100}, mode: process, workers: 1}
into: {jsonl: out.jsonl}
`, b.flow.million))
	if err != nil {
		return nil, err
	}
	defer p.remove()
	r, err := p.start(ctx)
	if err != nil {
		return nil, err
	}
	type sample struct {
		size int64
		rss  float64
	}
	var samples []sample
	most := 0.0
	r.watch(10*time.Millisecond, func() bool {
		most = max(most, r.rss("VmHWM"))
		if now, err := os.Stat(p.out()); err == nil {
			samples = append(samples, sample{now.Size(), r.rss("VmRSS")})
		}
		return false
	})
	if err := r.wait(); err != nil {
		return nil, err
	}
	whole, err := os.Stat(p.out())
	if err != nil {
		return nil, fmt.Errorf("see how far a run has come: %w", err)
	}
	got := figures{"rss": most, "early": 0, "late": 0}
	for _, s := range samples {
		switch {
		case s.size <= whole.Size()/5:
			got["early"] = max(got["early"], s.rss)
		case s.size > whole.Size()/5*4:
			got["late"] = max(got["late"], s.rss)
		}
	}
	return got, nil
}
