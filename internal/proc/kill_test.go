package proc

import (
	"flag"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

var kills = flag.Int("kills", 100, "runs of TestRandomKills for each kind of user")

var parts = []string{"app", "warden", "shim", "worker"}

// Every combination of what can be killed, once the tree stands.
func TestNothingIsLeftBehind(t *testing.T) {
	for _, w := range everybody {
		t.Run(w.name, func(t *testing.T) {
			for set := 1; set < 1<<len(parts); set++ {
				var victims []string
				for i, part := range parts {
					if set>>i&1 == 1 {
						victims = append(victims, part)
					}
				}
				name := strings.Join(victims, "+")
				a := w.run(t, "")
				if a.ready(w) == SingleFault && strings.Contains(name, "warden+shim") { // what the level does not promise
					a.kill()
					continue
				}
				a.line("started")
				a.settle(4)
				found := a.parts()
				for _, v := range victims {
					if found[v] == 0 {
						t.Fatalf("there is no %s", v)
					}
					_ = syscall.Kill(found[v], syscall.SIGKILL)
				}
				switch {
				case set&1 == 1: // the application
				case name == "warden": // harms nobody
					time.Sleep(20 * time.Millisecond)
					a.settle(4)
				default:
					if reason := a.line("ended"); reason != "SIGKILL" {
						t.Errorf("%s killed: the worker ended with %s", name, reason)
					}
					a.settle(0)
				}
				a.kill()
				if left := a.vanished(); left != nil {
					t.Errorf("%s killed: left behind\n%s", name, strings.Join(left, "\n"))
				}
			}
		})
	}
}

// The same at random moments while it is being started. -kills 1000 for the full count.
func TestRandomKills(t *testing.T) {
	n := *kills
	if testing.Short() {
		n = min(n, 20)
	}
	for _, w := range everybody {
		if w.level == SingleFault {
			continue // it promises nothing for a tree that is being built
		}
		t.Run(w.name, func(t *testing.T) {
			seed := rand.Uint64()
			random := rand.New(rand.NewPCG(seed, 0))
			t.Logf("seed %d", seed)
			killed := map[string]int{}
			for i := range n {
				a := w.run(t, "")
				if i%2 == 0 { // else the warden is being started, too
					if level := a.ready(w); level != Kernel {
						a.kill()
						t.Skipf("SKIPPED, NOT TESTED: the level here is %s", level)
					}
				}
				time.Sleep(time.Duration(random.IntN(40000)) * time.Microsecond)
				set := 1 + random.IntN(1<<len(parts)-1)
				order := random.Perm(len(parts))
				found := a.parts()
				for _, k := range order {
					if pid := found[parts[k]]; set>>k&1 == 1 && pid > 0 {
						killed[parts[k]]++
						_ = syscall.Kill(pid, syscall.SIGKILL)
					}
				}
				if set&1 == 0 {
					time.Sleep(time.Duration(random.IntN(20000)) * time.Microsecond)
				}
				a.kill()
				if left := a.vanished(); left != nil {
					t.Errorf("run %d, set %04b: left behind\n%s", i, set, strings.Join(left, "\n"))
				}
			}
			t.Logf("%d runs, killed %v", n, killed)
			for _, part := range parts {
				if killed[part] == 0 && n >= 100 {
					t.Errorf("%s was never killed", part)
				}
			}
		})
	}
}

// What a program leaves behind ends with it, however it ends.
func TestDaemonsEndWithTheirProgram(t *testing.T) {
	for _, w := range everybody {
		t.Run(w.name, func(t *testing.T) {
			a := w.run(t, `setsid sleep 300 & (setsid sh -c "sleep 300 & exit" &) ; sleep 0.1; exit 3`)
			a.ready(w)
			a.line("started")
			if reason := a.line("ended"); reason != "exit 3" {
				t.Errorf("it ended with %s", reason)
			}
			if list := a.living(false); len(list) > 0 {
				t.Errorf("left behind: %v", describe(list))
			}
			a.kill()
			if left := a.vanished(); left != nil {
				t.Error(left)
			}
		})
	}
}

// A stopped shim can carry out no order; the application's end and Kill do without it.
func TestStoppedShim(t *testing.T) {
	for _, w := range everybody {
		t.Run(w.name, func(t *testing.T) {
			a := w.run(t, "")
			a.ready(w)
			a.line("started")
			a.settle(4)
			_ = syscall.Kill(a.parts()["shim"], syscall.SIGSTOP)
			a.kill()
			if left := a.vanished(); left != nil {
				t.Error(left)
			}
		})
	}
}

// What the level does not promise, the next run makes up for, and nobody else's processes are touched.
func TestTheNextRunEndsWhatIsLeft(t *testing.T) {
	w := everybody[2]
	a := w.run(t, "")
	a.ready(w)
	if first := a.line("notice"); !strings.Contains(first, "single-fault") || !strings.Contains(first, "ENOSPC") {
		t.Errorf("the run says %q", first)
	}
	a.line("started")
	a.settle(4)
	other := w.run(t, "exec sleep 300")
	other.ready(w)
	other.line("started")
	found := a.parts()
	_ = syscall.Kill(found["warden"], syscall.SIGSTOP) // or it may be the quicker one
	_ = syscall.Kill(found["shim"], syscall.SIGKILL)
	_ = syscall.Kill(found["warden"], syscall.SIGKILL)
	a.kill()
	a.settle(3)
	// The kernel shows the processes of one user namespace to its owner, but not to those of a third: so here the next run is this process.
	var next janitor
	if err := next.begin(filepath.Join(filepath.Dir(copied), "tmp", "tandem-owners-0")); err != nil {
		t.Fatal(err)
	}
	defer next.lock.Close()
	if len(next.killed) != 3 {
		t.Errorf("killed %q, want three", next.killed)
	}
	a.settle(0)
	if n := len(other.living(false)); n != 1 {
		t.Errorf("%d processes of another run that is going on, want 1", n)
	}
	other.kill()
	if left := a.vanished(); left != nil {
		t.Error(left)
	}
}

// The same for Kill.
func TestKillDoesNotNeedTheShim(t *testing.T) {
	p, err := Start(Spec{Argv: []string{"sh", "-c", tree}})
	if err != nil {
		t.Fatal(err)
	}
	if p.held == nil || p.held.pidfd == nil {
		p.Kill()
		t.Skip("SKIPPED, NOT TESTED: no shim here, or no descriptor of it")
	}
	_ = syscall.Kill(p.held.shim, syscall.SIGSTOP)
	p.Kill()
	select {
	case <-p.Done():
	case <-time.After(5 * time.Second):
		t.Fatal("it lives")
	}
	if x := p.Exit(); x.Reason() != "SIGKILL" {
		t.Error(x)
	}
}

// The parent dies between a fork and the child's parent-death signal: strace makes that moment long. With a PID namespace the child could not even kill itself.
func TestDeathBetweenForkAndDeathSignal(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("SKIPPED, NOT TESTED: there is no strace")
	}
	if level := Containment().Level; level != Kernel {
		t.Skip("SKIPPED, NOT TESTED: the level here is ", level)
	}
	for _, victim := range [][]string{{"app"}, {"shim"}, {"warden", "shim", "app"}} {
		slow := everybody[0]
		slow.under = []string{strace, "-f", "-qq", "-o", "/dev/null", "-e", "trace=prctl", "-e", "inject=prctl:delay_enter=150000"}
		a := slow.run(t, "")
		found := a.parts()
		for end := time.Now().Add(10 * time.Second); found["shim"] == 0 || found["worker"] == 0; found = a.parts() {
			if time.Now().After(end) {
				a.kill()
				t.Skipf("SKIPPED, NOT TESTED: strace cannot follow: %v", found)
			}
			time.Sleep(5 * time.Millisecond)
		}
		for _, v := range victim {
			_ = syscall.Kill(found[v], syscall.SIGKILL)
		}
		_ = syscall.Kill(found["app"], syscall.SIGKILL)
		if left := a.vanished(); left != nil {
			t.Errorf("%v killed: left behind\n%s", victim, strings.Join(left, "\n"))
		}
		a.kill()
	}
}

// A large program takes a while to die; its account is not lost over that.
func TestKillWaitsForTheAccount(t *testing.T) {
	for range 3 {
		ready := make(chan struct{}, 100)
		p, err := Start(Spec{Argv: []string{copyOfUs(t)}, Extra: []string{"PROC_TEST=large"}, Output: func(int, []byte) { ready <- struct{}{} }})
		if err != nil {
			t.Fatal(err)
		}
		<-ready
		p.Kill()
		<-p.Done()
		if x := p.Exit(); x.Reason() != "SIGKILL" || x.MaxRSS < 500<<20 {
			t.Errorf("%+v", x)
		}
	}
}
