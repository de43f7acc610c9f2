package proc

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The turns of a process's threads are short while it is to go ahead, and then as long as before.
func TestBriskTurns(t *testing.T) {
	p, err := Start(Spec{Argv: []string{"sleep", "60"}})
	if err != nil {
		t.Fatal(err)
	}
	turn := func() uint64 {
		a, err := unix.SchedGetAttr(p.PID(), 0)
		if err != nil {
			t.Fatal(err)
		}
		return a.Runtime
	}
	usual := turn()
	if usual == 0 {
		t.Log("SKIPPED, NOT TESTED: this kernel knows no turns")
	}
	p.Brisk(true)
	if got := turn(); usual > 0 && got != briskTurn {
		t.Errorf("brisk: turns of %v", time.Duration(got))
	}
	p.Brisk(false)
	if got := turn(); got != usual {
		t.Errorf("not brisk any more: turns of %v, before %v", time.Duration(got), time.Duration(usual))
	}
	p.Kill()
	<-p.Done()
	p.Brisk(true) // nobody's, or somebody else's
}
