package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// The hybrid job: images that cost processor time in Python, each followed by a POST to a slow API. It is what Tandem is for: the uploads
// of the first images can wait while the next are computed.
type hybrid struct {
	Images   int           `json:"images"`
	Spin     time.Duration `json:"spin"`      // processor time of an image, alone on a core
	Least    time.Duration `json:"least"`     // latency of a POST: from
	Most     time.Duration `json:"most"`      // to
	InFlight int           `json:"in_flight"` // POSTs at a time
}

func hybridRows() []row {
	makespan := []figure{{"makespan", "s"}}
	return []row{
		{name: "hybrid/ideal", about: "the hybrid job's bound: the larger of processor time ÷ cores and waiting ÷ in flight",
			gives: append(makespan, figure{"cpu", "s"}, figure{"wait", "s"}), measure: hybridIdeal},
		{name: "hybrid/textbook", about: "Python: Pool.map over every image, then a ThreadPoolExecutor for the uploads", gives: makespan, measure: hybridTextbook},
		{name: "hybrid/tandem", about: "tandem run: a Python step in processes and an http step, at the same time", gives: makespan, measure: hybridTandem},
	}
}

// calibrate makes the job's directory: work.py and, beside it, how many turns an image takes.
func (b *bench) calibrate(ctx context.Context) (string, error) {
	python, err := b.python()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(b.dir, "py")
	got, err := measuredBy(ctx, python, filepath.Join(dir, "work.py"), "calibrate", fmt.Sprint(b.hybrid.Spin.Seconds()*1e3))
	if err != nil {
		return "", err
	}
	return dir, writeFile(filepath.Join(dir, "spin.txt"), []byte(strconv.Itoa(int(got["turns"]))))
}

// hybridIdeal computes a quarter of the images, in one process per core at the same time, and scales up: cores that share caches, or a
// machine that is shared, slow each other down for the candidates too.
func hybridIdeal(ctx context.Context, b *bench) (figures, error) {
	dir, err := b.spin()
	if err != nil {
		return nil, err
	}
	python, err := b.python()
	if err != nil {
		return nil, err
	}
	each := max(1, b.hybrid.Images/4/b.cores)
	spent, failed := make([]figures, b.cores), make([]error, b.cores)
	var all sync.WaitGroup
	for i := range b.cores {
		all.Go(func() {
			spent[i], failed[i] = measuredBy(ctx, python, filepath.Join(dir, "work.py"), "cpu", strconv.Itoa(each))
		})
	}
	all.Wait()
	cpu := 0.0
	for i := range b.cores {
		if failed[i] != nil {
			return nil, failed[i]
		}
		cpu += spent[i]["cpu"]
	}
	cpu *= float64(b.hybrid.Images) / float64(each*b.cores)
	wait := waitOf(b.hybrid.Images, b.hybrid.Least, b.hybrid.Most).Seconds()
	return figures{"cpu": cpu, "wait": wait, "makespan": idealMakespan(cpu, b.cores, wait, b.hybrid.InFlight)}, nil
}

// idealMakespan is the shortest possible time: neither the cores nor the requests in flight can do more.
func idealMakespan(cpu float64, cores int, wait float64, inFlight int) float64 {
	return math.Max(cpu/float64(cores), wait/float64(inFlight))
}

func hybridTextbook(ctx context.Context, b *bench) (figures, error) {
	python, err := b.python()
	if err != nil {
		return nil, err
	}
	return b.hybridJob(ctx, func(dir, url string) error {
		_, err := measuredBy(ctx, python, filepath.Join(dir, "textbook.py"),
			strconv.Itoa(b.hybrid.Images), strconv.Itoa(b.cores), url, strconv.Itoa(b.hybrid.InFlight))
		return err
	})
}

func hybridTandem(ctx context.Context, b *bench) (figures, error) {
	if _, err := b.tandem(); err != nil { // built outside the clock
		return nil, err
	}
	return b.hybridJob(ctx, func(_, url string) error {
		return b.runFlow(ctx, hybridFlow(b.hybrid, b.cores, url))
	})
}

// hybridJob times a candidate from its start to its end, interpreter start included, and believes it only when the API saw every image.
func (b *bench) hybridJob(ctx context.Context, do func(dir, url string) error) (figures, error) {
	dir, err := b.spin()
	if err != nil {
		return nil, err
	}
	api, err := startAPI(ctx, b.hybrid.Least, b.hybrid.Most, 0)
	if err != nil {
		return nil, err
	}
	defer api.stop()
	start := time.Now()
	if err := do(dir, api.address); err != nil {
		return nil, err
	}
	took := time.Since(start)
	seen, err := statsOf(ctx, api)
	if err != nil {
		return nil, err
	}
	if seen.Requests != b.hybrid.Images || seen.Peak > b.hybrid.InFlight {
		return nil, fmt.Errorf("the API saw %d uploads, %d at a time; want %d, at most %d at a time",
			seen.Requests, seen.Peak, b.hybrid.Images, b.hybrid.InFlight)
	}
	return figures{"makespan": took.Seconds()}, nil
}

// flowDir makes a directory for one run of a flow with the handlers of dir beside it.
func flowDir(b *bench, handlers string) (string, error) {
	dir, err := os.MkdirTemp(b.dir, "flow-")
	if err != nil {
		return "", err
	}
	for _, name := range []string{"work.py", "spin.txt"} {
		data, err := os.ReadFile(filepath.Join(handlers, name))
		if err != nil {
			return "", err
		}
		if err := writeFile(filepath.Join(dir, name), data); err != nil {
			return "", err
		}
	}
	return dir, nil
}
