package measure_test

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/internal/advise"
	"tandem/internal/measure"
	"tandem/internal/proc"
)

// profile follows a command to its end, as the command line does.
func profile(t *testing.T, argv ...string) (*advise.Measurement, advise.Verdict) {
	t.Helper()
	before := measure.OwnChildren()
	child, err := proc.StartForeground(argv)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := measure.Follow(child.PID(), time.Now(), measure.TreeConfig{Before: before})
	if err != nil {
		t.Fatal(err)
	}
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tree.Watch(stop)
	}()
	<-child.Gone()
	close(stop)
	<-ended
	tree.Look()
	_, used := child.Reap()
	m := tree.End(&used)
	return m, advise.Judge(m)
}

// Some of the corpus, real programs on this machine. A busy machine may make an answer unsure, but not surely wrong.
func TestLabelledPrograms(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten seconds")
	}
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("no python3 here")
	}
	bin := t.TempDir()
	build(t, bin, "lock_c")
	url := server(t)
	t.Chdir("testdata/corpus")
	for _, p := range programs {
		if !slices.Contains([]string{"sleep_py", "net_seq", "lock_c", "gil_2t"}, p.name) {
			continue
		}
		argv := p.fill(bin, url)
		if _, err := os.Stat(argv[0]); err != nil && strings.HasPrefix(argv[0], "/") {
			t.Logf("%s is left out: %v", p.name, err)
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			m, v := profile(t, argv...)
			if !slices.Contains(p.truth, string(v.Bound)) && v.Confidence == advise.High {
				t.Errorf("it is %s, and the answer is surely %s: %s\n%+v", p.truth, v.Bound, v.Sentence, v.Split)
			}
			if m.CPU <= 0 || m.Wall < time.Second || m.Looks < 3 || len(m.Threads) == 0 {
				t.Errorf("took %v, cpu %v, %d looks, %d threads", m.Wall, m.CPU, m.Looks, len(m.Threads))
			}
			if p.name == "net_seq" && v.Bound == advise.BoundNet && (len(m.Peers) == 0 || !strings.Contains(url, m.Peers[0].Name) || m.Peers[0].Wait > time.Second && !strings.HasPrefix(m.Peers[0].Who, "python3")) {
				t.Errorf("the peer is %s, found %+v", url, m.Peers)
			}
		})
	}
}

// Processes that are too short to be looked at are counted by what they used.
func TestShortChildrenAreNotLost(t *testing.T) {
	m, _ := profile(t, "sh", "-c", `i=0; while [ $i -lt 60 ]; do sh -c 'j=0; while [ $j -lt 3000 ]; do j=$((j+1)); done'; i=$((i+1)); done`)
	seen := time.Duration(0)
	for _, th := range m.Threads {
		seen += th.On
	}
	if m.CPU < 50*time.Millisecond || seen < m.CPU*9/10 {
		t.Errorf("the tree used %v, of which %v has a place", m.CPU, seen)
	}
}

// What a command leaves behind when it ends is counted as long as it is watched, and not waited for.
func TestOrphansAreFollowed(t *testing.T) {
	m, _ := profile(t, "sh", "-c", `sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done' & (sleep 3 & ) ; sleep 1`)
	if m.Left < 1 {
		t.Errorf("%d processes are left", m.Left)
	}
	if m.CPU < 20*time.Millisecond {
		t.Errorf("the process in the background computed, and %v was counted", m.CPU)
	}
}

func TestFollowNeedsAProcess(t *testing.T) {
	if _, err := measure.Follow(1<<22+1, time.Now(), measure.TreeConfig{}); err == nil || !strings.Contains(err.Error(), "no process") {
		t.Errorf("got %v", err)
	}
}
