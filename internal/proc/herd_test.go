package proc

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func openHerd(got heard) *Herd {
	return NewHerd(LoopConfig{Output: func(id, stream int, b []byte) { got[[2]int{id, stream}] += string(b) }}, Limits{}, Isolation{})
}

func herded(t *testing.T, h *Herd, n int) map[int]Ending {
	t.Helper()
	ends := map[int]Ending{}
	for deadline := time.Now().Add(20 * time.Second); len(ends) < n; {
		got, _ := h.Wait(time.Second)
		for _, e := range got {
			ends[e.ID] = e
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d ended: %v", len(ends), n, ends)
		}
	}
	return ends
}

func TestHerdTellsOutputsAndEnds(t *testing.T) {
	ended(t, false, "true")
	before := descriptorCount()
	got := heard{}
	h := openHerd(got)
	for id, script := range []string{`echo $0; echo err >&2; exit 7`, `head -c 3000000 /dev/zero; sleep 0.05; echo end`, `read x; echo "read $?"`, `kill -SEGV $$`, `sleep 60`} {
		if err := h.Start(id, "/bin/sh", []string{"sh", "-c", script}); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Start(4, "/bin/sh", []string{"sh"}); err == nil || !strings.Contains(err.Error(), "place 4 is taken") {
		t.Errorf("a place is given twice: %v", err)
	}
	if err := h.Start(9, "/no/such", []string{"such"}); !NotFound(err) {
		t.Errorf("no such program: %v", err)
	}
	ends := herded(t, h, 4)
	if e := ends[0]; e.Code != 7 || e.Signal != 0 || got[[2]int{0, 1}] != "sh\n" || got[[2]int{0, 2}] != "err\n" {
		t.Errorf("program 0: %v, %v", e.Exit, got)
	}
	if s := got[[2]int{1, 1}]; len(s) != 3000004 || !strings.HasSuffix(s, "end\n") {
		t.Errorf("program 1 wrote %d bytes", len(s))
	}
	if e := ends[1]; e.Wall < 50*time.Millisecond || e.RunQueue != -1 || e.MaxRSS < 1<<20 {
		t.Errorf("program 1: %+v", e)
	}
	if got[[2]int{2, 1}] != "read 1\n" || ends[3].Signal != unix.SIGSEGV {
		t.Errorf("program 2: %v, program 3: %v", got, ends[3].Exit)
	}
	h.Kill(4)
	if e := herded(t, h, 1)[4]; e.Signal != unix.SIGKILL {
		t.Errorf("killed: %+v", e)
	}
	h.Close()
	if after := descriptorCount(); after != before {
		t.Errorf("%d descriptors, were %d", after, before)
	}
}

// While output is held a program that writes more than its pipe takes does not end, others do, and Close ends all.
func TestHerdHolds(t *testing.T) {
	got := heard{}
	h := openHerd(got)
	h.Hold(true)
	for id, script := range []string{`head -c 1000000 /dev/zero`, `exit 3`} {
		if err := h.Start(id, "/bin/sh", []string{"sh", "-c", script}); err != nil {
			t.Fatal(err)
		}
	}
	if e := herded(t, h, 1); e[1].Code != 3 || len(got) != 0 {
		t.Errorf("held: %v, %v", e, got)
	}
	h.Wake()
	if e, _ := h.Wait(time.Minute); len(e) != 0 {
		t.Errorf("woken: %v", e)
	}
	h.Hold(false)
	if e := herded(t, h, 1); e[0].Code != 0 || len(got[[2]int{0, 1}]) != 1000000 {
		t.Errorf("let go: %v, %d bytes", e, len(got[[2]int{0, 1}]))
	}
	h.Hold(true)
	for id := range 3 {
		if err := h.Start(id, "/bin/sh", []string{"sh", "-c", `echo x; head -c 1000000 /dev/zero; sleep 60`}); err != nil {
			t.Fatal(err)
		}
	}
	closed := make(chan struct{})
	go func() { h.Close(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Fatal("Close waits for ever")
	}
}
