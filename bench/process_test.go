package main

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// The test binary is also the second process of servers.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && roles[os.Args[1]] != nil {
		if err := start(os.Args[1:]); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func TestMeasuredBy(t *testing.T) {
	got, err := measuredBy(t.Context(), "sh", "-c", `echo '{"figures": {"rate": 2.5}}'`)
	if err != nil || got["rate"] != 2.5 {
		t.Errorf("%v, %v", got, err)
	}
	_, err = measuredBy(t.Context(), "sh", "-c", `echo '{"left_out": "no room"}'`)
	if reason, ok := asLeftOut(err); !ok || reason != "no room" {
		t.Errorf("%v, want it left out: no room", err)
	}
	for _, script := range []string{"echo first >&2; echo why >&2; exit 3", "echo nonsense"} {
		_, err = measuredBy(t.Context(), "sh", "-c", script)
		if err == nil {
			t.Errorf("sh -c %q passed", script)
		}
	}
	if _, err = measuredBy(t.Context(), "sh", "-c", "echo why >&2; exit 3"); !strings.Contains(err.Error(), "why") {
		t.Errorf("%v: the child's own words are missing", err)
	}
}

// A cancelled child takes its children with it.
func TestCommandEndsTheWholeGroup(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	if err := command(ctx, "sh", "-c", "sleep 100 & sleep 100").Run(); err == nil {
		t.Error("a cancelled child ended well")
	}
	if took := time.Since(start); took > 1500*time.Millisecond {
		t.Errorf("it took %v: the grandchild kept the output open, so it was not killed", took)
	}
}

// A process that a row leaves behind is found, killed and named. Orphans come to this process for the rest of the test run.
func TestSweepFindsOrphans(t *testing.T) {
	if err := adopt(); err != nil {
		t.Skip(err)
	}
	b := &bench{adopting: true}
	if left := b.sweep(); left != nil {
		t.Fatalf("before: %v", left)
	}
	if err := exec.Command("sh", "-c", "sleep 101 >/dev/null 2>&1 &").Run(); err != nil {
		t.Fatal(err)
	}
	left := b.sweep()
	if len(left) != 1 || !strings.HasPrefix(left[0], "sleep (") {
		t.Errorf("sweep gives %v, want the sleep", left)
	}
	if rest := childrenOf(os.Getpid()); len(rest) != 0 {
		t.Errorf("still there: %v", rest)
	}
}

func TestStatusMB(t *testing.T) {
	if mb, err := statusMB(os.Getpid(), "VmRSS"); err != nil || mb < 1 || mb > 10_000 {
		t.Errorf("this process has %v MB, %v", mb, err)
	}
	if _, err := statusMB(os.Getpid(), "VmNothing"); err == nil {
		t.Error("a line that is not there was read")
	}
}
