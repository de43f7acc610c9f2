package main

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// The test binary also stands in for tandem: `run flow.yaml --json` sends what the flow's http step asks for.
func init() { roles["run"] = standIn }

var (
	rangeKey       = regexp.MustCompile(`range: 1\.\.(\d+)`)
	postKey        = regexp.MustCompile(`post: "([^"]+)"`)
	concurrencyKey = regexp.MustCompile(`concurrency: (\d+)`)
)

func standIn([]string) error {
	flow, err := os.ReadFile("flow.yaml")
	if err != nil {
		return err
	}
	if _, err := os.Stat("work.py"); err != nil {
		return err
	}
	items, err := strconv.Atoi(string(rangeKey.FindSubmatch(flow)[1]))
	if err != nil {
		return err
	}
	if post := postKey.FindSubmatch(flow); post != nil {
		concurrency, err := strconv.Atoi(string(concurrencyKey.FindSubmatch(flow)[1]))
		if err != nil {
			return err
		}
		if err := postAll(items-skipped(), concurrency, string(post[1])); err != nil {
			return err
		}
	}
	time.Sleep(100 * time.Millisecond)
	fmt.Println(`{"ok": true}`)
	return nil
}

// skipped is how many items the stand-in loses, set by a test.
func skipped() int {
	n, _ := strconv.Atoi(os.Getenv("BENCH_TEST_SKIP")) // unset is 0
	return n
}

func postAll(n, concurrency int, url string) error {
	places, errs := make(chan struct{}, concurrency), make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			errs[i] = post(context.Background(), url)
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func TestFlowRows(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{
		pythonName: "python3", tandemPath: self, flow: flowSizes{million: 100, requests: 40},
		hybrid: hybrid{Images: 10, Spin: time.Millisecond, Least: time.Millisecond, Most: 20 * time.Millisecond, InFlight: 4},
	}
	if err := b.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(b.dir)
	for _, r := range append(tandemRows(nil), hybridRows()...) {
		if !slices.Contains([]string{"tandem/rss-million", "tandem/rss-requests", "hybrid/tandem"}, r.name) {
			continue
		}
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
	}
	t.Setenv("BENCH_TEST_SKIP", "1")
	if got, err := hybridTandem(t.Context(), b); err == nil {
		t.Errorf("a run that lost an image passed with %v", got)
	}
}
