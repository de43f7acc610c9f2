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

// startFlow starts `tandem run flow.yaml --json` in a directory of its own, with the real Python first in PATH.
func (b *bench) startFlow(ctx context.Context, flow string) (*tandemRun, error) {
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
	r := &tandemRun{dir: dir, cmd: command(ctx, program, "run", "flow.yaml", "--json")}
	r.cmd.Dir = dir
	r.cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(python)+string(os.PathListSeparator)+os.Getenv("PATH"))
	r.cmd.Stdout, r.cmd.Stderr = &r.out, &r.errs
	if err := r.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start tandem run: %w", err)
	}
	return r, nil
}

type tandemRun struct {
	cmd       *exec.Cmd
	dir       string
	out, errs bytes.Buffer
}

// wait waits for the end and removes the directory.
func (r *tandemRun) wait() error {
	defer os.RemoveAll(r.dir)
	if err := r.cmd.Wait(); err != nil {
		return fmt.Errorf("tandem run: %w: %s", err, tail(r.errs.String()))
	}
	if out := bytes.TrimSpace(r.out.Bytes()); len(out) > 0 && !json.Valid(lastLine(out)) && !json.Valid(out) {
		return fmt.Errorf("tandem run --json printed what is not JSON: %s", tail(string(out)))
	}
	return nil
}

func lastLine(b []byte) []byte { return b[bytes.LastIndexByte(b, '\n')+1:] }

func (b *bench) runFlow(ctx context.Context, flow string) error {
	r, err := b.startFlow(ctx, flow)
	if err != nil {
		return err
	}
	return r.wait()
}

// rssMillion is the most memory that the engine's own process held while a million items went through it.
func rssMillion(ctx context.Context, b *bench) (figures, error) {
	r, err := b.startFlow(ctx, oneStepFlow(b.flow.million))
	if err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- r.wait() }()
	most := 0.0
	for {
		select {
		case err := <-ended:
			return figures{"rss": most}, err
		case <-time.After(10 * time.Millisecond):
			if mb, err := statusMB(r.cmd.Process.Pid, "VmHWM"); err == nil { // an error: it is ending
				most = max(most, mb)
			}
		}
	}
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
	r, err := b.startFlow(ctx, requestFlow(b.flow.requests, api.address))
	if err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- r.wait() }()
	rss := 0.0
	for {
		select {
		case err := <-ended:
			if err == nil && rss == 0 {
				err = errors.New("the run ended before all requests were in flight")
			}
			return figures{"rss": rss, "per": rss * 1024 / float64(b.flow.requests)}, err
		case <-time.After(20 * time.Millisecond):
			if rss > 0 {
				continue
			}
			if seen, err := statsOf(ctx, api); err == nil && seen.Peak >= b.flow.requests {
				if rss, err = statusMB(r.cmd.Process.Pid, "VmRSS"); err != nil {
					return nil, errors.Join(err, <-ended)
				}
			}
		}
	}
}
