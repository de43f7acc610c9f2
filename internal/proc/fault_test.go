package proc

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What cannot fork is left behind by nobody, without namespaces: not when warden and shim are killed at once, and not while it is being started.
func TestNoForkLeavesNothingBehind(t *testing.T) {
	t.Setenv("PROC_TEST_NOFORK", "1")
	w := everybody[2]
	for set := 1; set < 1<<len(parts); set++ {
		a := w.run(t, "exec sleep 300")
		a.ready(w)
		a.line("started")
		a.settle(1)
		found := a.parts()
		for i, part := range parts {
			if set>>i&1 == 1 {
				_ = syscall.Kill(found[part], syscall.SIGKILL)
			}
		}
		if set&1 == 0 && set != 2 { // not the application, and not the warden alone, which harms nobody
			a.settle(0)
		}
		a.kill()
		if left := a.vanished(); left != nil {
			t.Errorf("set %04b killed: left behind\n%s", set, strings.Join(left, "\n"))
		}
	}
	random := rand.New(rand.NewPCG(rand.Uint64(), 0))
	n := *kills
	if testing.Short() {
		n = min(n, 20)
	}
	for i := range n {
		a := w.run(t, "exec sleep 300")
		a.ready(w)
		time.Sleep(time.Duration(random.IntN(20000)) * time.Microsecond)
		found := a.parts()
		for _, k := range random.Perm(len(parts))[:1+random.IntN(len(parts))] {
			if pid := found[parts[k]]; pid > 0 {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		a.kill()
		if left := a.vanished(); left != nil {
			t.Errorf("run %d: left behind\n%s", i, strings.Join(left, "\n"))
		}
	}
}

// Each system call that shuts the cage is made to fail: what is reported to hold does hold, or nothing starts.
func TestFaultsNeverOpenTheCage(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("SKIPPED, NOT TESTED: there is no strace")
	}
	dir := place(t)
	// By what holds: an attempt, and what must come of it.
	proofs := []struct{ what, in, try, want string }{
		{"files", "", "read " + dir + "/file", "EACCES"}, {"network", "", "loopback", "EACCES|ENETUNREACH|EADDRNOTAVAIL"}, {"rights", "seccomp", "bpf", "EPERM"},
		{"rights", "no capabilities", "caps 0000000000000000 0000000000000000", "done"}, {"rights", "none to be had", "nonew 1", "done"},
		{"fork", "", "fork", "EPERM"}, {"user", "uid", "is 65534:65534", "done"},
	}
	var argv []string
	for _, p := range proofs {
		argv = append(argv, p.try)
	}
	faults := []string{"unshare:error=EPERM", "unshare:error=ENOSPC", "capset:error=EPERM", "landlock_create_ruleset:error=EOPNOTSUPP", "landlock_add_rule:error=EINVAL", "landlock_restrict_self:error=EPERM",
		"seccomp:error=EINVAL", "setgroups:error=EPERM", "setresgid:error=EPERM", "setresuid:error=EAGAIN", "mount:error=EPERM", "prctl:error=EPERM", "clone:error=EPERM:when=2+", "mkdirat:error=EROFS", "pidfd_open:error=ENOSYS"}
	for _, when := range []int{1, 2, 20, 43, 44, 45, 46, 47, 48} { // the first death signal, capabilities, the second, no_new_privs
		faults = append(faults, fmt.Sprintf("prctl:error=EINVAL:when=%d", when))
	}
	if testing.Short() {
		faults = faults[:4]
	}
	for _, w := range cagers[:2] {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			for _, fault := range faults {
				call, _, _ := strings.Cut(fault, ":")
				slow := w
				slow.under = []string{strace, "-f", "-qq", "-o", "/dev/null", "-e", "trace=" + call, "-e", "fault=" + fault}
				r, err := slow.try(t, caging{Argv: argv, Isolation: Isolation{Sandbox: true, NoFork: true, User: "65534"}, Limits: Limits{Memory: 1 << 30}})
				if err != nil {
					t.Logf("%s: nothing starts: %v", fault, err)
					continue
				}
				if r.Error != nil {
					t.Logf("%s: refused: %s", fault, r.Error.Message)
					continue
				}
				lines := strings.Split(strings.TrimSuffix(r.Output, "\n"), "\n")
				if len(lines) != len(proofs) {
					t.Logf("%s: it ran, and ended with %v: %q", fault, r.Exit, r.Output)
					continue
				}
				for i, p := range proofs {
					if how := r.Isolation.Has(p.what); how != "" && strings.Contains(how, p.in) && !strings.Contains("|"+p.want+"|", "|"+lines[i]+"|") {
						t.Errorf("%s: %s is reported (%s), and %s: %s", fault, p.what, how, p.try, lines[i])
					}
				}
				t.Logf("%s: missing %v", fault, r.Isolation.Missing)
			}
		})
	}
}
