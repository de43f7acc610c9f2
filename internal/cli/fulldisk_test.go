package cli

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const smallDisk = 64 << 20

// small makes dir a disk of its own, with little room.
func small(t *testing.T, dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: a small disk needs root")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=64m", "tandem-test", dir).CombinedOutput(); err != nil {
		t.Skipf("NOT TESTED: this machine does not let us mount a small disk: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
}

// fill writes a file until the disk has no room. The returned function removes it.
func fill(t *testing.T, dir string) (empty func()) {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	written := 0
	for err == nil {
		var n int
		n, err = f.Write(make([]byte, 64<<10))
		if written += n; written > 2*smallDisk {
			t.Fatal("the disk does not get full")
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
}

// hears waits until one of the party has printed something.
func (p *party) hears(name, what string, within time.Duration) {
	p.t.Helper()
	for deadline := time.Now().Add(within); ; time.Sleep(20 * time.Millisecond) {
		if b, _ := os.ReadFile(filepath.Join(p.dir, name+".log")); strings.Contains(string(b), what) {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s does not say %q within %v\n%s", name, what, within, p.logs())
		}
	}
}

// The disk of the only server is full in the middle of a run: the node says so, the submitter waits and says for what, and when there is room it goes on by itself.
func TestFullDisk(t *testing.T) {
	t.Parallel() // it waits more than it computes
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("NOT TESTED: python3 is not here")
	}
	p := newParty(t)
	disk := filepath.Join(p.dir, ".tandem", "queue")
	small(t, disk)
	p.node("a")
	p.submitWhenServed()
	if !p.advance(100, time.Minute) {
		t.Fatalf("the run ended before the disk was full\n%s", p.logs())
	}
	empty := fill(t, disk)
	p.hears("a", "no space left on device", time.Minute)
	p.hears("submit", "or its disk is full", time.Minute)
	at := p.lines()
	empty()
	p.hears("a", "stores again", time.Minute)
	if lost := p.finish(3 * time.Minute); lost != 0 {
		t.Errorf("%d items ended as lost", lost)
	}
	t.Logf("%d lines when the disk was full, %d at the end, each item one", at, p.lines())
}
