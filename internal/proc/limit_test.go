package proc

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tandem"
)

// A memory limit that is held proves what it did; one that is not held is told.
func TestMemoryLimit(t *testing.T) {
	eachCager(t, func(t *testing.T, w by) {
		r := w.cage(t, caging{Argv: []string{"memory 200"}, Limits: Limits{Memory: 64 << 20}})
		if r.Error != nil {
			t.Fatal(r.Error)
		}
		x := r.Exit
		if r.Isolation.Memory != "kernel" {
			if len(r.Isolation.Missing) == 0 || r.Isolation.Has("memory") != "" || x.Group.MemoryKills != 0 {
				t.Errorf("%v, %+v", r.Isolation, x)
			}
			t.Skip("SKIPPED, NOT TESTED: no control group of memory: ", r.Isolation)
		}
		const forced = 16 << 10 // the kernel lets a process that it kills go over the limit, page by page, by what it touches on its way out: one page as a rule
		if x.Reason() != "SIGKILL" || x.Group.MemoryKills < 1 || x.Group.MemoryLimit != 64<<20 || x.Group.MemoryPeak < 60<<20 || x.Group.MemoryPeak > 64<<20+forced {
			t.Errorf("%v, %+v", x, x.Group)
		}
		if r := w.cage(t, caging{Argv: []string{"memory 10"}, Limits: Limits{Memory: 64 << 20}}); r.Exit.Code != 0 || r.Exit.Group.MemoryKills != 0 || r.Exit.Group.MemoryPeak < 10<<20 {
			t.Errorf("within its limit: %+v", r.Exit)
		}
	})
}

func TestProcessLimit(t *testing.T) {
	eachCager(t, func(t *testing.T, w by) {
		list := []attempt{{"processes 60", "EAGAIN"}}
		r := w.cage(t, caging{Argv: tries(list), Isolation: Isolation{PIDs: 40}})
		if r.Isolation.Has("pids") == "" {
			t.Skip("SKIPPED, NOT TESTED: ", r.Isolation)
		}
		t.Log(r.Isolation.Has("pids"))
		expect(t, r, list)
		if strings.HasPrefix(r.Isolation.Has("pids"), "control group") && r.Exit.Group.PIDsRefused == 0 {
			t.Errorf("%+v", r.Exit)
		}
		list[0] = attempt{"processes 10", "done"}
		expect(t, w.cage(t, caging{Argv: tries(list), Isolation: Isolation{PIDs: 40}}), list)
	})
}

// Half a processor takes at least twice the time, and runtimes are told how many they have.
func TestProcessorLimit(t *testing.T) {
	begun := time.Now()
	p, err := Start(Spec{Argv: []string{"sh", "-c", `i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done; echo $TANDEM_CPUS $GOMAXPROCS`}, Isolation: Isolation{CPU: 0.5}})
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	wall, x := time.Since(begun), p.Exit()
	if x.Tail != "0.5 1\n" {
		t.Errorf("told %q", x.Tail)
	}
	if p.Isolation().Has("cpu") == "" {
		t.Skip("SKIPPED, NOT TESTED: ", p.Isolation())
	}
	if x.Group.Throttled == 0 && x.CPU > wall*6/10 {
		t.Errorf("%v of processor time in %v, held back for %v", x.CPU, wall, x.Group.Throttled)
	}
}

func TestUser(t *testing.T) {
	list := []attempt{{"is 65534:65534", "done"}, {"groups []", "done"}, {"caps 0000000000000000 0000000000000000", "done"}, {"nonew 1", "done"}, {"setuid", "EPERM"}, {"list /root", "EACCES"}, {"pdeath", "done"}}
	eachCager(t, func(t *testing.T, w by) {
		for _, box := range []bool{false, true} {
			r := w.cage(t, caging{Argv: tries(list), Isolation: Isolation{Sandbox: box, User: "nobody"}})
			if r.Isolation.Has("user") == "" {
				if m := r.Isolation.Missing; len(m) == 0 || r.Error != nil {
					t.Errorf("%v, %v", r.Isolation, r.Error)
				}
				continue
			}
			if r.Isolation.Has("user") == "it is ours" {
				continue
			}
			expect(t, r, list)
		}
	})
}

func TestNetworks(t *testing.T) {
	for _, c := range []struct {
		word string
		list []attempt
	}{
		{"none", []attempt{{"loopback", "ENETUNREACH|EADDRNOTAVAIL|EACCES"}, {"socket 1", "EACCES"}}},
		{"loopback", []attempt{{"loopback", "done"}, {"socket 1", "EACCES"}, {"connect 192.0.2.1:80", "ENETUNREACH"}}},
		{"host", []attempt{{"loopback", "done"}, {"socket 1", "done"}}},
	} {
		eachCager(t, func(t *testing.T, w by) {
			for _, box := range []bool{false, true} {
				r := w.cage(t, caging{Argv: tries(c.list), Isolation: Isolation{Sandbox: box, Network: c.word}})
				if c.word == "loopback" && slices.ContainsFunc(r.Isolation.Missing, func(m tandem.Missing) bool { return m.What == "network" }) {
					t.Log(r.Isolation)
					continue
				}
				expect(t, r, c.list)
			}
		})
	}
}

// What may not fork may start threads, and is held by the kernel without namespaces.
func TestNoFork(t *testing.T) {
	list := []attempt{{"fork", "EPERM"}, {"thread", "done"}, {"pdeath", "EPERM"}, {"clone3", "ENOSYS"}}
	eachCager(t, func(t *testing.T, w by) {
		for _, box := range []bool{false, true} {
			r := w.cage(t, caging{Argv: tries(list), Isolation: Isolation{Sandbox: box, NoFork: true}})
			expect(t, r, list)
			if r.Isolation.Containment != string(Kernel) || r.Isolation.Has("fork") == "" {
				t.Error(r.Isolation)
			}
		}
	})
}

// Whatever the machine refuses is told, the rest holds, and require refuses the start with property, reason and advice.
func TestWhatIsMissingIsTold(t *testing.T) {
	everything := Isolation{Sandbox: true, CPU: 1, PIDs: 100, NoFork: true, User: "nobody"}
	if _, err := abi(); err != nil {
		t.Skip("SKIPPED, NOT TESTED: no Landlock: ", err)
	}
	full := caging{Argv: []string{"thread"}, Isolation: everything, Limits: Limits{Memory: 1 << 30}}
	for _, w := range cagers[:2] {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			base := w.cage(t, full)
			if base.Error != nil {
				t.Fatal(base.Error)
			}
			for mechanism, what := range map[string]string{"cgroup:memory": "memory", "cgroup:cpu": "cpu", "cgroup:pids": "pids", "landlock": "files", "netns": "", "user": "user", "caps": "rights: capabilities",
				"nonew": "rights: new privileges", "ipc": "rights: System V memory", "seccomp": "rights: system calls"} {
				c := full
				c.Pretend = map[string]syscall.Errno{mechanism: syscall.EPERM}
				r := w.cage(t, c)
				if r.Error != nil || r.Exit.Code != 0 {
					t.Errorf("%s: %v %v %s", mechanism, r.Error, r.Exit, r.Output)
					continue
				}
				property, _, _ := strings.Cut(what, ":")
				told := slices.ContainsFunc(r.Isolation.Missing, func(m tandem.Missing) bool { return m.What == what && m.Why == "EPERM" && m.Effect != "" })
				inPlace := what == "pids" && (w.attr != nil || os.Geteuid() != 0) && strings.Contains(r.Isolation.Has(what), "RLIMIT_NPROC") // which does not hold root
				if what != "" && !told && !inPlace && r.Isolation.Has(property) != base.Isolation.Has(property) {
					t.Errorf("%s: %v", mechanism, r.Isolation)
				}
				if what == "" || base.Isolation.Has(property) == "it is ours" || !told {
					continue
				}
				c.Isolation.Require = []string{property}
				if r = w.cage(t, c); r.Error == nil || r.Error.On != property || r.Error.Hint == "" || !strings.Contains(r.Error.Message, "EPERM") {
					t.Errorf("%s is required and %s is missing: %v", property, mechanism, r.Error)
				}
				c.Isolation.Require = []string{"all"}
				if r = w.cage(t, c); r.Error == nil {
					t.Errorf("all is required and %s is missing", mechanism)
				}
			}
		})
	}
	// Without namespaces, and without a filter, nothing keeps it from the network.
	r := caging{Argv: []string{copyOfUs(t), "loopback"}, Isolation: Isolation{Network: "none"}, Pretend: map[string]syscall.Errno{"netns": syscall.EPERM, "seccomp": syscall.EINVAL}}.run()
	if r.Isolation.Has("network") != "" || len(r.Isolation.Missing) != 1 || r.Output != "done\n" {
		t.Errorf("%v, %s", r.Isolation, r.Output)
	}
}

func TestIsolationCheck(t *testing.T) {
	for _, c := range []struct {
		i  Isolation
		on string
	}{
		{Isolation{}, ""}, {Isolation{Sandbox: true, Read: []string{"/etc"}, User: "0", Network: "none", Require: []string{"all"}}, ""},
		{Isolation{Network: "some"}, "network"}, {Isolation{User: "no such user"}, "user"}, {Isolation{User: "-1"}, "user"}, {Isolation{Require: []string{"speed"}}, "require"},
		{Isolation{Read: []string{"/no/such"}}, "read"}, {Isolation{Write: []string{"/no/such"}}, "write"}, {Isolation{Open: true, Sandbox: true}, "level"},
	} {
		err := c.i.Check()
		e, _ := err.(*tandem.Error)
		if c.on == "" && err != nil || c.on != "" && (e == nil || e.On != c.on || e.Hint == "") {
			t.Errorf("%+v: %v", c.i, err)
		}
		if _, serr := Start(Spec{Argv: []string{"true"}, Isolation: c.i}); c.on != "" && serr == nil {
			t.Errorf("%+v starts", c.i)
		}
	}
}

// A dead run's control groups are ended and removed by the warden, and when that dies with it by the next run; those of the living are left alone.
func TestGroupsOfTheDead(t *testing.T) {
	if _, err := treeOf("memory"); err != nil {
		t.Skip("SKIPPED, NOT TESTED: no control groups: ", err)
	}
	p, err := Start(Spec{Argv: []string{"sleep", "60"}, Limits: Limits{Memory: 1 << 30}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { p.Kill(); <-p.Done() }()
	if p.Isolation().Memory != "kernel" {
		t.Skip("SKIPPED, NOT TESTED: ", p.Isolation())
	}
	ours := filepath.Dir(p.cage.group.parts[0].dir)
	parent := filepath.Dir(ours)
	for _, victims := range [][]string{{"app"}, {"warden", "app"}} {
		a := everybody[0].limited(t)
		a.line("level")
		a.line("started")
		a.settle(4)
		found := a.parts()
		theirs := runGroupOf(parent, found["worker"]) // others may test beside us, with groups of their own
		if theirs == "" || theirs == ours {
			t.Fatalf("the worker is in group %q, ours is %q", theirs, ours)
		}
		for _, v := range victims {
			_ = syscall.Kill(found[v], syscall.SIGKILL)
		}
		a.kill()
		a.settle(0)
		if len(victims) == 2 {
			if got := sweepGroups(parent); !slices.Contains(got, theirs) {
				t.Errorf("found %q, want %q among them", got, theirs)
			}
		}
		for end := time.Now().Add(5 * time.Second); ; time.Sleep(2 * time.Millisecond) {
			if _, err := os.Stat(theirs); err != nil {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%v killed: %q is left", victims, theirs)
			}
		}
		if _, err := os.Stat(ours); err != nil {
			t.Fatal("ours is gone: ", err)
		}
	}
}

// limited runs an application whose program has a limit.
func (w who) limited(t *testing.T) *app {
	t.Setenv("PROC_TEST_MEMORY", "1")
	return w.run(t, "")
}

// runGroupOf is the run's group that a process is in, at any depth.
func runGroupOf(parent string, pid int) (group string) {
	list, _ := filepath.Glob(filepath.Join(parent, groupPrefix+"*"))
	for _, dir := range list {
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Name() == "cgroup.procs" {
				b, _ := os.ReadFile(path)
				if slices.Contains(strings.Fields(string(b)), strconv.Itoa(pid)) {
					group = dir
				}
			}
			return nil
		})
	}
	return group
}
