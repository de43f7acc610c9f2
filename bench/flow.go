package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// Flow files for the rows that run `tandem run`.

func hybridFlow(h hybrid, workers int, url string) string {
	return fmt.Sprintf(`tandem: v1
name: hybrid
from: {range: 1..%d}
steps:
  - name: thumb
    python: work.py:thumb
    mode: process
    workers: %d
  - name: upload
    http: {post: %q, body: "${{ prev }}"}
    concurrency: %d
into: {jsonl: out.jsonl}
`, h.Images, workers, url, h.InFlight)
}

func oneStepFlow(items int) string {
	return fmt.Sprintf(`tandem: v1
name: million
from: {range: 1..%d}
steps:
  - name: same
    python: work.py:same
    mode: process
    workers: 2
into: {jsonl: out.jsonl}
`, items)
}

func requestFlow(requests int, url string) string {
	return fmt.Sprintf(`tandem: v1
name: requests
from: {range: 1..%d}
steps:
  - name: call
    http: {post: %q, body: "${{ item }}"}
    concurrency: %d
into: {jsonl: out.jsonl}
`, requests, url, requests)
}

// A place is a directory with a flow, its handlers and everything that its runs leave: what tandem keeps of them too.
type place struct {
	dir     string
	program string
	env     []string
	unkept  bool // there is nowhere to keep runs, so they have no journal
}

// prepare makes a place for a flow. The real Python is first in its PATH.
func (b *bench) prepare(flow string) (*place, error) {
	program, err := b.tandem()
	if err != nil {
		return nil, err
	}
	handlers, err := b.spin()
	if err != nil {
		return nil, err
	}
	python, err := b.python()
	if err != nil {
		return nil, err
	}
	dir, err := flowDir(b, handlers)
	if err == nil {
		err = writeFile(filepath.Join(dir, "flow.yaml"), []byte(flow))
	}
	if err != nil {
		return nil, fmt.Errorf("prepare a flow: %w", err)
	}
	return &place{dir: dir, program: program, env: append(os.Environ(), "TANDEM_HOME=", "XDG_CACHE_HOME="+filepath.Join(b.dir, "cache"),
		"PATH="+filepath.Dir(python)+string(os.PathListSeparator)+os.Getenv("PATH"))}, nil
}

func (p *place) out() string { return filepath.Join(p.dir, "out.jsonl") }

func (p *place) remove() { os.RemoveAll(p.dir) }

// start starts `tandem run flow.yaml --json`.
func (p *place) start(ctx context.Context, more ...string) (*tandemRun, error) {
	return p.begin(ctx, append([]string{"run", "flow.yaml", "--json"}, more...)...)
}

// begin starts any command of tandem.
func (p *place) begin(ctx context.Context, words ...string) (*tandemRun, error) {
	state := filepath.Join(p.dir, "state")
	if p.unkept {
		state = filepath.Join(p.dir, "flow.yaml") // no directory: nothing can be kept in it, by root neither
	}
	r := &tandemRun{ended: make(chan struct{}), cmd: command(ctx, p.program, words...)}
	r.cmd.Dir = p.dir
	r.cmd.Env = append(p.env, "XDG_STATE_HOME="+state)
	r.cmd.Stdout, r.cmd.Stderr = &r.out, &r.errs
	if err := r.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start tandem %s: %w", words[0], err)
	}
	go func() {
		r.err = r.cmd.Wait()
		close(r.ended)
	}()
	return r, nil
}

type tandemRun struct {
	cmd       *exec.Cmd
	out, errs bytes.Buffer
	ended     chan struct{}
	err       error // how it ended; after ended
}

// wait waits for the end.
func (r *tandemRun) wait() error {
	<-r.ended
	if r.err != nil {
		return fmt.Errorf("tandem run: %w: %s", r.err, tail(r.errs.String()))
	}
	if out := bytes.TrimSpace(r.out.Bytes()); len(out) > 0 && !json.Valid(lastLine(out)) && !json.Valid(out) {
		return fmt.Errorf("tandem run --json printed what is not JSON: %s", tail(string(out)))
	}
	return nil
}

// kill ends the run without a word, and waits for it.
func (r *tandemRun) kill() {
	_ = r.cmd.Cancel() // an error: it has ended by itself, which is as good
	<-r.ended
}

// watch looks every so often until it has seen enough or the run has ended. ended tells which; in the first case the run goes on.
func (r *tandemRun) watch(every time.Duration, enough func() bool) (ended bool) {
	for {
		select {
		case <-r.ended:
			return true
		case <-time.After(every):
			if enough() {
				return false
			}
		}
	}
}

// rss is one line of the process's memory in MB; 0 when it is ending.
func (r *tandemRun) rss(line string) float64 {
	mb, err := statusMB(r.cmd.Process.Pid, line)
	if err != nil {
		return 0
	}
	return mb
}

func lastLine(b []byte) []byte { return b[bytes.LastIndexByte(b, '\n')+1:] }

func (b *bench) runFlow(ctx context.Context, flow string) error {
	p, err := b.prepare(flow)
	if err != nil {
		return err
	}
	defer p.remove()
	r, err := p.start(ctx)
	if err != nil {
		return err
	}
	return r.wait()
}

// rssMillion is the most memory that the engine's own process held while a million items went through it.
func rssMillion(ctx context.Context, b *bench) (figures, error) {
	p, err := b.prepare(oneStepFlow(b.flow.million))
	if err != nil {
		return nil, err
	}
	defer p.remove()
	r, err := p.start(ctx)
	if err != nil {
		return nil, err
	}
	most := 0.0
	r.watch(10*time.Millisecond, func() bool {
		most = max(most, r.rss("VmHWM"))
		return false
	})
	return figures{"rss": most}, r.wait()
}

// rssRequests is the memory of the engine's own process while 10,000 HTTP requests are in flight. The API holds every answer back until
// all are, and each then for 400 ms, in which the memory is read.
func rssRequests(ctx context.Context, b *bench) (figures, error) {
	if err := roomForFiles(b.flow.requests); err != nil {
		return nil, err
	}
	api, err := startAPI(ctx, 400*time.Millisecond, 400*time.Millisecond, b.flow.requests)
	if err != nil {
		return nil, err
	}
	defer api.stop()
	p, err := b.prepare(requestFlow(b.flow.requests, api.address))
	if err != nil {
		return nil, err
	}
	defer p.remove()
	r, err := p.start(ctx)
	if err != nil {
		return nil, err
	}
	rss := 0.0
	r.watch(20*time.Millisecond, func() bool {
		if rss == 0 {
			if seen, err := statsOf(ctx, api); err == nil && seen.Peak >= b.flow.requests {
				rss = r.rss("VmRSS")
			}
		}
		return false
	})
	if err := r.wait(); err != nil {
		return nil, err
	}
	if rss == 0 {
		return nil, errors.New("the run ended before all requests were in flight")
	}
	return figures{"rss": rss, "per": rss * 1024 / float64(b.flow.requests)}, nil
}
