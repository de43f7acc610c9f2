package compare

import (
	"context"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"tandem/internal/advise"
	"tandem/internal/measure"
	"tandem/internal/proc"
)

// Command is a candidate that runs a program to its end. What it prints is thrown away, but for the last lines when it fails; it has nothing to read.
// The first run is watched, to say what it is bound by, and does not count.
func Command(name string, argv []string) *Candidate {
	k := &Candidate{Name: name}
	k.Do = func(ctx context.Context) (Sample, error) { return k.run(ctx, argv, false) }
	return k
}

// Watch runs a command once, watched from outside, and keeps what it is bound by. A command that fails is left out.
func Watch(ctx context.Context, k *Candidate, argv []string) error {
	s, err := k.run(ctx, argv, true)
	if err == nil && s.Bad > 0 {
		k.Left = "it fails: " + s.Why
	}
	return err
}

func (k *Candidate) run(ctx context.Context, argv []string, watch bool) (Sample, error) {
	own, before := measure.KinCPU(), measure.OwnChildren()
	begun := time.Now()
	p, err := proc.Start(proc.Spec{Argv: argv, Output: func(int, []byte) {}})
	if err != nil {
		return Sample{}, err
	}
	stop := context.AfterFunc(ctx, p.Kill)
	defer stop()
	var tree *measure.Tree
	var watching sync.WaitGroup
	quit := make(chan struct{})
	if watch {
		started(p.PID())
		if tree, err = measure.Follow(p.PID(), begun, measure.TreeConfig{Before: before}); err == nil {
			watching.Go(func() { tree.Watch(quit) })
		}
	}
	<-p.Gone()
	s := Sample{Seconds: time.Since(begun).Seconds(), Items: 1}
	close(quit)
	watching.Wait()
	<-p.Done()
	x := p.Exit()
	s.CPU = measure.KinCPU() - own
	if x.Code != 0 || x.Signal != 0 {
		s.Bad, s.Why = 1, x.String()
		if lines := strings.Split(strings.TrimSpace(x.Tail), "\n"); lines[len(lines)-1] != "" {
			s.Why += ": " + lines[len(lines)-1]
		}
	}
	if tree != nil {
		m := tree.End(nil)
		v := advise.Judge(m)
		k.Verdict = &v
	}
	return s, nil
}

// started waits until the process is its program and no longer ours: what it waited for before says nothing about it.
func started(pid int) {
	ours, err := os.Readlink("/proc/self/exe")
	for end := time.Now().Add(20 * time.Millisecond); err == nil && time.Now().Before(end); time.Sleep(200 * time.Microsecond) {
		if exe, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/exe"); err != nil || exe != ours {
			return
		}
	}
}
