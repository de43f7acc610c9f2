// Package faults is the matrix of faults: each is done to a real `tandem run`, and what comes of it is what a user sees. It has no code but tests.
//
//   - A row has a flow, a handler and an injection, and says what must come of it: the outcome of every item, the reason in the crash report and how sure it is, the exit code.
//   - Around each row the same must hold: every item has exactly one outcome, the step beside it lost nothing, no process of the run is left, none is a zombie, no control
//     group is left, and before the run ends Tandem has no more descriptors than before the fault.
//   - `go test ./internal/faults` runs a share of them, `make faults` all, and prints the table.
package faults

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var (
	all   = flag.Bool("faults", false, "run every fault, not only the quick ones")
	kills = flag.Int("kills", 20, "random kills of a real run, for each kind of user")
	only  = flag.Int("only", 0, "run one fault, by its number")
	built = flag.String("built", "", "where the programs are that the faults are done to; built anew unless told otherwise")
	harm  = flag.Bool("harm", false, "do also what harms the machine it runs on: make vm runs these in a virtual one")
)

// row is one fault, done in one language.
type row struct {
	n     int
	fault string
	lang  string
	step  string            // keys of the step that is hit
	top   string            // more lines at the top of the flow
	flow  string            // the whole flow, in place of all that
	items int               // 12 unless told otherwise
	bad   map[string]string // id: outcome; those that are not named end ok
	lost  bool              // lines may be missing, and the totals say how many
	free  bool              // any outcome will do, one for each item
	why   string            // reason/confidence of every crash report of the step; none when it is empty
	says  string            // in what happened, place and evidence of a report
	exit  int               // 1 when something ended badly, unless told otherwise
	quick bool              // in every `go test`
	long  time.Duration     // the run may take; a minute unless told otherwise
	needs string
	as    string // root or nobody; both unless told otherwise
	under []string
	args  []string
	env   []string

	idle   func(*run) // when every worker has started and none has an item
	inject func(*run) // when the items go on
	late   func(*run) // when all but the last item have ended
	check  func(*run) // when the run has ended
}

type result struct {
	row
	user    string
	seconds float64
	said    string
}

var table struct {
	sync.Mutex
	rows []result
}

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(func() int {
		dir, err := os.MkdirTemp("/tmp", "tandem-faults-")
		if err == nil {
			err = build(dir)
		}
		if err != nil {
			fmt.Println(err)
			return 1
		}
		defer os.RemoveAll(dir)
		defer os.Remove(dir + ".secret")
		code := m.Run()
		show()
		return code
	}())
}

var place, bin, goWorker, embed string

// build makes the command and a Go worker where everybody may run them.
func build(dir string) error {
	place, bin, goWorker = dir, filepath.Join(dir, "tandem"), filepath.Join(dir, "worker")
	embed = filepath.Join(dir, "embed")
	for what, from := range map[string]string{bin: "tandem/cmd/tandem", goWorker: "./testdata/worker", embed: "./testdata/embed"} {
		if *built != "" {
			b, err := os.ReadFile(filepath.Join(*built, filepath.Base(what)))
			if err == nil {
				err = os.WriteFile(what, b, 0o755)
			}
			if err != nil {
				return err
			}
			continue
		}
		if out, err := exec.Command("go", "build", "-o", what, from).CombinedOutput(); err != nil {
			return fmt.Errorf("go build %s: %w\n%s", from, err, out)
		}
	}
	for _, name := range []string{"handlers.py", "Fault.java", "fault.js"} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), b, 0o644)
		}
		if err != nil {
			return err
		}
	}
	for name, text := range map[string]string{"bad.sh": "#!/no/such/interpreter\n", "dies.py": "import os\nos._exit(3)\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			return err
		}
	}
	for name, text := range map[string]string{"own/bin/sh": "", "own/shims/tool": "#!/usr/bin/env sh\nexec " + dir + "/own/libexec/tool \"$@\"\n", "own/libexec/tool": "#!/bin/sh\necho $2\n", "interpreted": "#!" + dir + "/own/bin/sh\necho $2\n"} {
		b, err := []byte(text), error(nil)
		if text == "" {
			b, err = os.ReadFile("/bin/sh")
		}
		if err == nil {
			err = os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), b, 0o755)
		}
		if err != nil {
			return err
		}
	}
	if err := os.WriteFile(dir+".secret", []byte("secret"), 0o644); err != nil {
		return err
	}
	return os.Chmod(dir, 0o755)
}

// harmful are faults that would harm the machine on which they are tested.
func harmful() []row {
	return []row{
		{n: 15, fault: "the machine is out of memory", lang: "python", as: "root", long: 4 * time.Minute, step: py("hog_machine", once), bad: five("crashed"), why: "oom_global/probable"},
		{n: 15, fault: "the machine is out of memory, a limit stands", lang: "python", as: "root", needs: "memory group", long: 4 * time.Minute, step: py("hog_machine", "memory: 64GiB", once), bad: five("crashed"), why: "oom_global/probable"},
		{n: 50, fault: "the clock is set, an hour on and a day back", lang: "python", as: "root", items: 12, step: py("slow", "timeout: 2s", "hang: 1s", once), inject: clock, check: counts(0, 0, 0)},
		{n: 50, fault: "the clock is set, an hour on and a day back", lang: "go", as: "root", items: 12, step: golang("slow", "timeout: 2s", "hang: 1s", once), inject: clock, check: counts(0, 0, 0)},
		{n: 52, fault: "a core is asked for, and the kernel pipes cores", lang: "python", as: "root", step: py("segv", "core: 64MiB", once), idle: pipeCores, bad: five("crashed"), why: "signal/proven", check: noCore},
	}
}

// clock sets the clock of the machine while items run, and puts it right again.
func clock(r *run) {
	r.until("culprit", "no culprit")
	begun, now := time.Now(), time.Now()
	for _, by := range []time.Duration{time.Hour, -24 * time.Hour, 0} {
		tv := syscall.NsecToTimeval(now.Add(time.Since(begun) + by).UnixNano())
		if err := syscall.Settimeofday(&tv); err != nil {
			r.Fatal(err)
		}
		time.Sleep(1500 * time.Millisecond)
	}
}

func noCore(r *run) {
	for _, c := range r.crashes {
		if want := "core not available: piped to /bin/true"; c.Core != "" || c.NoCore != want {
			r.Errorf("core %q, missing for %q, want %q", c.Core, c.NoCore, want)
		}
	}
}

func pipeCores(r *run) {
	const file = "/proc/sys/kernel/core_pattern"
	was, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, []byte("|/bin/true"), 0)
	}
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { _ = os.WriteFile(file, was, 0) })
}

func TestFaults(t *testing.T) {
	long := 0
	t.Run("rows", func(t *testing.T) {
		list := rows()
		if *harm {
			list = harmful()
		}
		for _, r := range list {
			for _, user := range users(r) {
				if *only > 0 && r.n != *only {
					continue
				}
				if !*all && (!r.quick || testing.Short()) {
					long++
					continue
				}
				t.Run(fmt.Sprintf("%02d %s %s %s", r.n, r.fault, r.lang, user), func(t *testing.T) {
					if !*harm {
						t.Parallel()
					}
					begun := time.Now()
					defer func() {
						said := "as expected"
						switch {
						case t.Failed():
							said = "FAILED"
						case t.Skipped():
							said = "not here: " + r.needs
						}
						table.Lock()
						defer table.Unlock()
						table.rows = append(table.rows, result{r, user, time.Since(begun).Seconds(), said})
					}()
					if r.needs != "" && !has(r.needs) {
						t.Skip("SKIPPED, NOT TESTED: needs ", r.needs)
					}
					try(t, r, user)
				})
			}
		}
	})
	if long > 0 {
		t.Run("the others", func(t *testing.T) { t.Skipf("%d more runs of rows take long: make faults", long) })
	}
}

// users are those as whom a row is run: nobody only where we may become nobody.
func users(r row) (list []string) {
	if os.Getuid() != 0 {
		if r.as == "root" && !strings.HasSuffix(r.needs, " group") { // which may be delegated to us
			return nil
		}
		return []string{"user"}
	}
	for _, u := range []string{"root", "nobody"} {
		if r.as == "" || r.as == u {
			list = append(list, u)
		}
	}
	return list
}

// has tells whether the machine has something, by trying it.
func has(what string) bool {
	switch what {
	case "freezer":
		return groupHas("/sys/fs/cgroup/freezer", "freezer.state")
	case "freezer v2":
		return groupHas(freezer2, "cgroup.freeze")
	case "memory group", "pids group":
		out, err := exec.Command(bin, "doctor").Output()
		return err == nil && strings.Contains(string(out), strings.Fields(what)[0]+strings.Repeat(" ", 15-len(strings.Fields(what)[0]))+"control group")
	case "userns":
		return exec.Command("unshare", "-U", "-r", "true").Run() == nil
	}
	_, err := exec.LookPath(what)
	return err == nil
}

// groupHas tries whether a control group can be made that has a file.
func groupHas(root, file string) bool {
	dir, err := os.MkdirTemp(root, "tandem-faults-try-")
	if err != nil {
		return false
	}
	defer os.Remove(dir)
	_, err = os.Stat(filepath.Join(dir, file))
	return err == nil
}

// show prints what came of each fault, and which were not done.
func show() {
	table.Lock()
	defer table.Unlock()
	if len(table.rows) == 0 || !testing.Verbose() {
		return
	}
	slices.SortStableFunc(table.rows, func(a, b result) int { return a.n - b.n })
	fmt.Printf("%2s  %-52s %-8s %-7s %8s  %s\n", "n", "fault", "language", "as", "seconds", "result")
	done := map[int]bool{}
	for _, r := range table.rows {
		done[r.n] = true
		fmt.Printf("%2d  %-52s %-8s %-7s %8.1f  %s\n", r.n, r.fault, r.lang, r.user, r.seconds, r.said)
	}
	for _, r := range harmful() {
		if !done[r.n] && *only == 0 && *all && !*harm {
			done[r.n] = true
			fmt.Printf("%2d  %s: not run here, it harms the machine: make vm\n", r.n, r.fault)
		}
	}
	for n := 1; n <= 52; n++ {
		if !*harm && !done[n] && *all && *only == 0 {
			fmt.Printf("%2d  NOT RUN\n", n)
		}
	}
}
