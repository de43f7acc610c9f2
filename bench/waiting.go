package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// attachWaiting is the attach to a run all of whose results wait: nobody has taken any. On the way there it has the three parts of such a run one after the other, so each can be
// measured by itself: the submitter feeds, a node runs the step, the attached submitter writes.
func attachWaiting(ctx context.Context, b *bench) (figures, error) {
	items := b.flow.million
	p, err := b.prepare(fmt.Sprintf(`tandem: v1
name: waiting
from: {range: 1..%d}
steps: [{name: all, keep: "${{ item.value > 0 }}", labels: [late]}]
into: {jsonl: out.jsonl}
`, items))
	if err != nil {
		return nil, err
	}
	defer p.remove()
	server, err := p.begin(ctx, "node", "--name", "server", "--grace", "1s") // without the label
	if err != nil {
		return nil, err
	}
	defer server.kill()
	if err := p.until(ctx, server, func() bool { return p.answers(ctx, "nodes", "ls", "--json") != nil }); err != nil {
		return nil, err
	}
	got := figures{}
	each := func(figure string, seconds float64) { got[figure] = seconds * 1e6 / float64(items) }

	begun := server.cpu()
	submitter, err := p.begin(ctx, "submit", "flow.yaml", "--progress", "none", "--window", fmt.Sprint(items))
	if err != nil {
		return nil, err
	}
	err = p.until(ctx, submitter, func() bool { return bytes.Contains(p.kept("fed.json"), []byte(`"whole":true`)) })
	each("feed", submitter.cpu()+server.cpu()-begun)
	submitter.kill()
	if err != nil {
		return nil, err
	}
	begun = server.cpu()
	node, err := p.begin(ctx, "node", "--name", "late", "--labels", "late", "--grace", "1s")
	if err != nil {
		return nil, err
	}
	defer node.kill()
	if err := p.until(ctx, node, func() bool { return p.done(ctx) == items }); err != nil {
		return nil, err
	}
	each("step", node.cpu()+server.cpu()-begun)

	var run struct{ Run string }
	if err := json.Unmarshal(p.kept("cluster.json"), &run); err != nil {
		return nil, fmt.Errorf("find the run that was submitted: %w", err)
	}
	begun = server.cpu()
	begin := time.Now()
	attached, err := p.begin(ctx, "attach", run.Run, "--progress", "none")
	if err != nil {
		return nil, err
	}
	defer attached.kill()
	if ended, _ := attached.countTo(p.out(), 1); ended {
		return nil, errors.Join(errors.New("the attached run ended before its first line was seen"), attached.wait())
	}
	got["first"] = time.Since(begin).Seconds()
	attached.watch(10*time.Millisecond, func() bool {
		got["rss"] = max(got["rss"], attached.rss("VmHWM"))
		return false
	})
	got["all"] = time.Since(begin).Seconds()
	if err := attached.wait(); err != nil {
		return nil, err
	}
	state := attached.cmd.ProcessState
	each("attach", (state.UserTime()+state.SystemTime()).Seconds()+server.cpu()-begun)
	if n := p.lines(); n != items {
		return nil, fmt.Errorf("%d lines for %d items", n, items)
	}
	return got, nil
}

// until waits for something while a command runs that it depends on.
func (p *place) until(ctx context.Context, r *tandemRun, is func() bool) error {
	if r.watch(50*time.Millisecond, func() bool { return ctx.Err() != nil || is() }) {
		return fmt.Errorf("tandem %s ended: %v: %s", r.cmd.Args[1], r.err, tail(r.errs.String()))
	}
	return context.Cause(ctx)
}

// answers is what a command prints; nil when it fails.
func (p *place) answers(ctx context.Context, words ...string) []byte {
	r, err := p.begin(ctx, words...)
	if err != nil {
		return nil
	}
	if <-r.ended; r.err != nil {
		return nil
	}
	return r.out.Bytes()
}

// done is how many items have ended on the nodes; what ended last may not be stored yet, and the submitter waits for it.
func (p *place) done(ctx context.Context) (n int) {
	for line := range bytes.Lines(p.answers(ctx, "nodes", "ls", "--json")) {
		var node struct{ Steps []struct{ Done, Running int } }
		if json.Unmarshal(line, &node) == nil {
			for _, s := range node.Steps {
				n += s.Done - s.Running
			}
		}
	}
	return n
}

// kept is a file of the one run that was kept; nil when there is none yet.
func (p *place) kept(name string) []byte {
	paths, err := filepath.Glob(filepath.Join(p.dir, "state", "tandem", "runs", "*", name))
	if err != nil || len(paths) != 1 {
		return nil
	}
	b, err := os.ReadFile(paths[0])
	if err != nil {
		return nil
	}
	return b
}

// cpu is the processor time of a process so far in seconds; 0 when it has ended. The kernel counts in hundredths.
func (r *tandemRun) cpu() float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", r.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	words := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	user, err1 := strconv.ParseFloat(words[11], 64)
	system, err2 := strconv.ParseFloat(words[12], 64)
	if errors.Join(err1, err2) != nil {
		return 0
	}
	return (user + system) / 100
}
