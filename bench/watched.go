package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"
	"time"
)

// This file measures what tandem profile costs the program that it looks at, and itself.

func watchedRows() []row {
	spent := []figure{{"took", "s"}, {"cpu", "s"}}
	return []row{
		{name: "tandem/profiled", about: "a fixed second of computing in Python under tandem profile, by its own clocks", gives: spent, measure: watchedCompute(true)},
		{name: "tandem/unprofiled", about: "the same by itself", gives: spent, measure: watchedCompute(false)},
		{name: "tandem/sampler", about: "what looking at eight threads twenty times a second takes of one processor", gives: []figure{{"share", "%"}}, measure: sampler},
	}
}

func watchedCompute(under bool) func(context.Context, *bench) (figures, error) {
	return func(ctx context.Context, b *bench) (figures, error) {
		turns, err := b.turns(2 * b.duration())
		if err != nil {
			return nil, err
		}
		said, _, err := watched(ctx, b, under, "compute", strconv.Itoa(turns))
		return said, err
	}
}

func sampler(ctx context.Context, b *bench) (figures, error) {
	_, profile, err := watched(ctx, b, true, "threads", fmt.Sprint((6 * b.duration()).Seconds()))
	if err != nil {
		return nil, err
	}
	var said struct {
		Sampler struct {
			Looks int     `json:"looks"`
			Core  float64 `json:"share_of_one_core"`
		} `json:"sampler"`
	}
	if err := json.Unmarshal(profile, &said); err != nil {
		return nil, fmt.Errorf("read what tandem profile found: %w", err)
	}
	if least := int(10 * (6 * b.duration()).Seconds()); said.Sampler.Looks < least {
		return nil, fmt.Errorf("tandem profile looked %d times, fewer than %d", said.Sampler.Looks, least)
	}
	return figures{"share": 100 * said.Sampler.Core}, nil
}

// watched runs the job, and gives what it says of itself and what tandem profile says of it.
func watched(ctx context.Context, b *bench, under bool, job, much string) (said figures, profile []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	python, err := b.python()
	if err != nil {
		return nil, nil, err
	}
	line := []string{python, filepath.Join(b.dir, "py", "watched.py"), job, much}
	if under {
		tandem, err := b.tandem()
		if err != nil {
			return nil, nil, err
		}
		line = append([]string{tandem, "profile", "--json", "--"}, line...)
	}
	c := command(ctx, line[0], line[1:]...)
	var errs bytes.Buffer
	c.Stderr = &errs
	out, err := c.Output()
	if err != nil {
		return nil, nil, fmt.Errorf("run %s: %w: %s", filepath.Base(line[0]), err, tail(errs.String()))
	}
	first, rest, _ := bytes.Cut(out, []byte("\n"))
	var of struct {
		Figures figures `json:"figures"`
	}
	if err := json.Unmarshal(first, &of); err != nil {
		return nil, nil, fmt.Errorf("read what watched.py printed: %w: %q", err, tail(string(out)))
	}
	return of.Figures, rest, nil
}
