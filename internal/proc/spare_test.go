package proc

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// spareOf waits for the shim that waits for an order.
func spareOf(t *testing.T) int {
	t.Helper()
	if !sharesMemory || Containment().Level == BestEffort {
		t.Skip("SKIPPED, NOT TESTED: there are no spares here")
	}
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		for _, pid := range children(wardenPID()) {
			fds, _ := os.ReadDir("/proc/" + itoa(pid) + "/fd") // it has closed all but the line
			if len(children(pid)) == 0 && len(fds) == 1 {
				return pid
			}
		}
		if time.Now().After(end) {
			t.Fatal("the warden makes no spare")
		}
	}
}

// A program that starts in a spare is what any other is, and the spare is its shim.
func TestASpareIsUsed(t *testing.T) {
	ended(t, false, "true")
	dir := t.TempDir()
	for _, c := range []struct {
		spec  Spec
		wants bool
	}{
		{Spec{}, true},
		{Spec{Limits: Limits{Memory: 1 << 30}, Isolation: Isolation{Sandbox: true, CPU: 1, PIDs: 100, Read: []string{dir}}}, true},
		{Spec{Isolation: Isolation{Network: "loopback"}}, true},
		{Spec{Isolation: Isolation{Open: true}}, false},
		{Spec{Extra: []string{"LONG=" + strings.Repeat("x", 100_000)}}, false},
	} {
		waits := spareOf(t)
		third, err := os.Open("/proc/self/stat")
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		s := c.spec
		s.Argv, s.Dir, s.Files, s.Output = []string{"sh", "-c", `echo $HERE; pwd; ls /proc/self/fd; sleep 60`}, dir, []*os.File{third}, func(_ int, b []byte) { out.Write(b) }
		s.Extra = append(s.Extra, "HERE=there")
		p, err := Start(s)
		third.Close()
		if err != nil {
			t.Fatal(err)
		}
		if got := p.held.shim == waits; got != c.wants {
			t.Errorf("%+v: started by the spare: %v, want %v", c.spec.Isolation, got, c.wants)
		}
		for end := time.Now().Add(5 * time.Second); strings.Count(p.Tail(), "\n") < 7 && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		p.Kill()
		<-p.Done()
		if want := "there\n" + dir + "\n0\n1\n2\n3\n4\n"; out.String() != want { // 4 is the list itself
			t.Errorf("%+v: %q, want %q", c.spec.Isolation, &out, want)
		}
		if x := p.Exit(); x.Reason() != "SIGKILL" || x.Lost {
			t.Errorf("%+v: %+v", c.spec.Isolation, x)
		}
	}
}

// A spare that is killed costs nobody a start.
func TestASpareThatIsLost(t *testing.T) {
	ended(t, false, "true")
	for name, harm := range map[string]func(pid int){
		"killed": func(pid int) { _ = syscall.Kill(pid, syscall.SIGKILL) },
		"killed and buried": func(pid int) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			for end := time.Now().Add(time.Second); syscall.Kill(pid, 0) == nil && time.Now().Before(end); {
				time.Sleep(time.Millisecond)
			}
		},
	} {
		for range 20 {
			pid := spareOf(t)
			harm(pid)
			p, err := Start(Spec{Argv: []string{"sh", "-c", "exit 3"}})
			if err != nil {
				t.Fatal(name, ": ", err)
			}
			<-p.Done()
			if x := p.Exit(); x.Code != 3 || p.held.shim == pid {
				t.Errorf("%s: %+v", name, x)
			}
		}
	}
}

// A spare that something holds before it is ready is waited for briefly, and then done without.
func TestASpareThatIsNeverReady(t *testing.T) {
	w := &warden{forked: make(chan struct{}, 1), shims: map[int]*block{}, mounts: -1}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[1])
	_ = unix.SetsockoptTimeval(fds[0], unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: spareWait})
	b, err := w.take(0)
	if err != nil {
		t.Fatal(err)
	}
	w.spare = &spare{pid: -1, block: b, line: fds[0]}
	for i := range spareLate {
		if w.hand(wish{}, nil) {
			t.Fatal("an order was given")
		}
		if gone := w.spare == nil; gone != (i == spareLate-1) {
			t.Fatalf("after %d starts it is given up: %v", i+1, gone)
		}
	}
}

// Where mounts are private, a program sees what was mounted before it was started, and not what was before its shim was made.
func TestASpareIsNotOutOfDate(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED, NOT TESTED: only root can mount")
	}
	ended(t, false, "true")
	former := spareOf(t)
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, ""); err != nil {
		t.Skip("SKIPPED, NOT TESTED: ", err)
	}
	defer func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	if err := os.WriteFile(dir+"/here", []byte("yes"), 0o644); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	p, err := Start(Spec{Argv: []string{"cat", dir + "/here"}, Output: func(_ int, b []byte) { out.Write(b) }})
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if out.String() != "yes" || p.held.shim == former {
		t.Errorf("%q, by the former spare: %v", &out, p.held.shim == former)
	}
}

// The spare of an application ends with it.
func TestASpareEndsWithTheApplication(t *testing.T) {
	for _, w := range everybody {
		t.Run(w.name, func(t *testing.T) {
			for _, victims := range [][]string{{"app"}, {"warden", "app"}} {
				a := w.run(t, "")
				a.ready(w)
				a.line("started")
				a.settle(4)
				found := a.parts()
				for end := time.Now().Add(3 * time.Second); sharesMemory && len(children(found["warden"])) < 2; time.Sleep(time.Millisecond) {
					if time.Now().After(end) {
						t.Fatal("there is no spare")
					}
				}
				for _, v := range victims {
					_ = syscall.Kill(found[v], syscall.SIGKILL)
				}
				a.kill()
				if left := a.vanished(); left != nil && !(w.level == SingleFault && len(victims) > 1) {
					t.Errorf("%v killed: left behind %v", victims, left)
				}
			}
		})
	}
}

// A warden that is killed is buried without anybody starting anything.
func TestAKilledWardenIsBuried(t *testing.T) {
	ended(t, false, "true")
	pid := wardenPID()
	if pid == 0 {
		t.Skip("SKIPPED, NOT TESTED: there is no warden here")
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
	for end := time.Now().Add(5 * time.Second); syscall.Kill(pid, 0) == nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it is a zombie still")
		}
	}
	if x := ended(t, false, "sh", "-c", "exit 3"); x.Code != 3 {
		t.Error(x)
	}
}
