package runs

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tandem"
)

func TestMain(m *testing.M) {
	if id := os.Getenv("TANDEM_TEST_RUN"); id != "" {
		child(os.Args[1], id)
		return
	}
	goleak.VerifyTestMain(m)
}

// child is another process that works on a run until it is killed.
func child(root, id string) {
	d, err := Open(root, id)
	if errors.Is(err, fs.ErrNotExist) {
		d, err = Create(root, Run{ID: id, Flow: "/flows/a.yaml"})
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("ready")
	for i := 0; ; i++ {
		_ = d.Update(func(r *Run) { r.Totals = json.RawMessage(fmt.Sprintf(`{"items":%d}`, i)) })
	}
}

func process(t *testing.T, root, id string) (kill func(), pid int) {
	t.Helper()
	cmd := exec.Command(os.Args[0], root)
	cmd.Env = append(os.Environ(), "TANDEM_TEST_RUN="+id)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() { cmd.Process.Kill(); cmd.Wait() })
	t.Cleanup(kill)
	if lines := bufio.NewScanner(out); !lines.Scan() || lines.Text() != "ready" {
		t.Fatalf("the child says %q", lines.Text())
	}
	return kill, cmd.Process.Pid
}

func made(t *testing.T, root string, r Run) *Dir {
	t.Helper()
	d, err := Create(root, r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// old makes a run that was started and last written to so long ago.
func old(t *testing.T, root, id string, s State, age time.Duration) {
	t.Helper()
	then := time.Now().Add(-age)
	d := made(t, root, Run{ID: id, Flow: "/flows/a.yaml", Started: then})
	if err := os.WriteFile(d.Journal(), make([]byte, 100_000), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.Update(func(r *Run) { r.State = s }); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{d.Journal(), filepath.Join(d.Path(), recordName)} {
		if err := os.Chtimes(path, then, then); err != nil {
			t.Fatal(err)
		}
	}
	d.Close()
}

func states(t *testing.T, root string) string {
	t.Helper()
	all, strange, err := List(root)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range all {
		list = append(list, e.ID+" "+string(e.State))
	}
	for _, s := range strange {
		list = append(list, filepath.Base(s.Path)+": "+s.Why)
	}
	return strings.Join(list, "\n")
}

func is(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func fails(t *testing.T, err error, parts ...string) {
	t.Helper()
	e, ok := errors.AsType[*tandem.Error](err)
	if !ok || e.Hint == "" {
		t.Errorf("%v is no error with a hint", err)
		return
	}
	for _, p := range parts {
		if !strings.Contains(e.Error()+"\n"+e.Hint, p) {
			t.Errorf("%v (%s) does not say %q", e, e.Hint, p)
		}
	}
}

func TestARunFromBeginToEnd(t *testing.T) {
	root := filepath.Join(t.TempDir(), "state", "runs")
	is(t, states(t, root), "")
	flow := "/flows/\xff.yaml"
	d := made(t, root, Run{Flow: flow, Name: "photos", Fingerprint: "f", Params: json.RawMessage(`{"n":1}`)})
	r := d.Run()
	if r.PID != os.Getpid() || r.State != Running || r.Started.IsZero() || r.ID == "" || r.ID == NewID(r.Started) {
		t.Errorf("%+v", r)
	}
	is(t, states(t, root), r.ID+" running")
	if _, ok, err := Latest(root, flow); ok || err != nil {
		t.Errorf("a running run is not to be resumed: %v", err)
	}
	_, err := Open(root, r.ID)
	fails(t, err, r.ID, fmt.Sprintf("process %d", os.Getpid()))
	fails(t, Remove(root, r.ID), fmt.Sprintf("kill %d", os.Getpid()))
	if err := os.WriteFile(filepath.Join(d.Temp(), "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{root: 0o700, d.Path(): 0o700, d.Temp(): 0o700, filepath.Join(d.Path(), recordName): 0o600, filepath.Join(d.Path(), lockName): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v %v", path, info.Mode(), err)
		}
	}
	d.Close()

	is(t, states(t, root), r.ID+" stopped")
	e, ok, err := Latest(root, flow)
	if err != nil || !ok || e.ID != r.ID || e.JournalPath() != d.Journal() || e.Size < 4096 {
		t.Fatalf("%+v %v %v", e, ok, err)
	}
	if _, ok, _ := Latest(root, "/flows/b.yaml"); ok {
		t.Error("another flow's run was found")
	}
	d, err = Open(root, r.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if left, err := os.ReadDir(d.Temp()); err != nil || len(left) != 1 { // steps that have finished may have left it for others
		t.Errorf("tmp holds %v, %v", left, err)
	}
	err = d.Update(func(r *Run) {
		r.ID, r.State, r.Outcome, r.Totals = "x", Ended, "ok", json.RawMessage(`{"ok":3}`)
		r.Ended = time.Now()
	})
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	all, _, err := List(root)
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	var totals map[string]int
	if err := json.Unmarshal(all[0].Totals, &totals); err != nil || totals["ok"] != 3 || all[0].State != Ended || all[0].Outcome != "ok" || all[0].ID != r.ID {
		t.Errorf("%+v", all[0])
	}
	_, err = Open(root, r.ID)
	fails(t, err, "it has ended")
	if err := Remove(root, r.ID); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(root)
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	fails(t, Remove(root, r.ID), "no such run")
}

func TestIDsStayInside(t *testing.T) {
	root := t.TempDir()
	for _, id := range []string{"", ".", "..", "../x", "a/b", ".new-x", "a\x00", strings.Repeat("x", 300)} {
		_, err := Open(root, id)
		fails(t, err, "no id of a run")
		fails(t, Remove(root, id), "no id of a run")
		if id != "" { // Create fills in an empty one
			_, err = Create(root, Run{ID: id})
			fails(t, err, "no id of a run")
		}
	}
	made(t, root, Run{ID: "a"})
	_, err := Create(root, Run{ID: "a"})
	fails(t, err, "there already")
	if err := os.Mkdir(filepath.Join(root, "b"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err = Create(root, Run{ID: "b"})
	fails(t, err, "there already")
	_, err = Create(root, Run{ID: "c", Journal: "\xff"})
	if err == nil {
		t.Error("a path was kept that JSON cannot hold")
	}
	is(t, states(t, root), "a running\nb: there is no run.json in it")
	if left, _ := filepath.Glob(filepath.Join(root, ".*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestTwoProcesses(t *testing.T) {
	root := t.TempDir()
	kill, pid := process(t, root, "one")
	_, err := Open(root, "one")
	fails(t, err, fmt.Sprintf("process %d", pid), fmt.Sprintf("kill %d", pid))
	fails(t, Remove(root, "one"), fmt.Sprintf("process %d", pid))
	// It rewrites run.json all the time; each look sees a whole one.
	for range 200 {
		all, strange, err := List(root)
		if err != nil || len(all) != 1 || len(strange) > 0 || all[0].State != Running || all[0].PID != pid {
			t.Fatal(all, strange, err)
		}
	}
	c, err := Clean(root, 0, 0)
	if err != nil || len(c.Removed)+len(c.Kept)+len(c.Failed)+len(c.Strange) > 0 {
		t.Errorf("%+v %v", c, err)
	}
	kill()
	is(t, states(t, root), "one stopped")
	kill, pid = process(t, root, "one") // resumes
	if all, _, _ := List(root); len(all) != 1 || all[0].State != Running || all[0].PID != pid {
		t.Errorf("%+v", all)
	}
	kill()
	for range 10 {
		kill, _ := process(t, root, "many")
		kill()
	}
	is(t, states(t, root), "many stopped\none stopped")
	// A pid that is alive means nothing.
	d, err := Open(root, "one")
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	is(t, states(t, root), "many stopped\none stopped")
	if err := Remove(root, "one"); err != nil {
		t.Fatal(err)
	}
	if err := Remove(root, "many"); err != nil {
		t.Fatal(err)
	}
}

// Those who look share the lock for a moment; whoever takes the run waits for that moment.
func TestListsDoNotDisturb(t *testing.T) {
	root := t.TempDir()
	made(t, root, Run{ID: "a"}).Close()
	looking, err := os.Open(filepath.Join(root, "a", lockName))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(looking.Fd()), syscall.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	is(t, states(t, root), "a stopped") // two may look
	var looker sync.WaitGroup
	defer looker.Wait()
	looker.Go(func() {
		time.Sleep(20 * time.Millisecond)
		looking.Close()
	})
	d, err := Open(root, "a")
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
}

func TestClean(t *testing.T) {
	const day = 24 * time.Hour
	root := t.TempDir()
	for id, age := range map[string]time.Duration{"e1": day, "e5": 5 * day, "e9": 9 * day, "e90": 90 * day} {
		old(t, root, id, Ended, age)
	}
	for id, age := range map[string]time.Duration{"s2": 2 * day, "s20": 20 * day, "s30": 30 * day, "s80": 80 * day} {
		old(t, root, id, Running, age)
	}
	live := made(t, root, Run{ID: "live", Started: time.Now().Add(-900 * day)})
	then := time.Now().Add(-900 * day)
	for _, name := range []string{".new-x", ".removed-x", ".removed-young", "foreign", ".other"} {
		if err := os.MkdirAll(filepath.Join(root, name, "tmp"), 0o700); err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(name, "young") {
			if err := os.Chtimes(filepath.Join(root, name), then, then); err != nil {
				t.Fatal(err)
			}
		}
	}
	// Another process is making this one, and takes its time.
	slow, err := take(filepath.Join(root, ".new-x", lockName))
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	if err := os.Chtimes(filepath.Join(root, ".new-x"), then, then); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(root, ".new-dead"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(filepath.Join(root, ".new-dead"), then, then); err != nil {
		t.Fatal(err)
	}
	ids := func(list []Entry) string {
		var s []string
		for _, e := range list {
			if e.Size < 100_000 {
				t.Errorf("%s takes %d bytes", e.ID, e.Size)
			}
			s = append(s, e.ID)
		}
		return strings.Join(s, " ")
	}
	for _, c := range []struct {
		keep          int
		age           time.Duration
		removed, kept string
	}{
		{5, 0, "", "s2 s20 s30 s80"},
		{0, 1<<63 - 1, "", "s2 s20 s30 s80"},
		{1, 7 * day, "s80 e9 e90", "s2 s20 s30"},
		{1, 7 * day, "", "s2 s20 s30"},
		{1, day / 2, "e5 s20 s30", "s2"},
		{0, 0, "e1 s2", ""},
	} {
		got, err := Clean(root, c.keep, c.age)
		if err != nil || len(got.Failed) > 0 {
			t.Fatal(err, got.Failed)
		}
		slices.SortStableFunc(got.Removed, func(a, b Entry) int { return b.Started.Compare(a.Started) })
		want := strings.Fields(c.removed)
		slices.Sort(want)
		have := strings.Fields(ids(got.Removed))
		slices.Sort(have)
		if !slices.Equal(want, have) || ids(got.Kept) != c.kept {
			t.Errorf("Clean(%d, %v) removed %v and kept %v", c.keep, c.age, have, ids(got.Kept))
		}
		if len(got.Strange) != 2 {
			t.Errorf("strange: %v", got.Strange)
		}
	}
	is(t, states(t, root), "live running\n.other: there is no run.json in it\nforeign: there is no run.json in it")
	if left, _ := filepath.Glob(filepath.Join(root, ".*")); len(left) != 3 { // the young one, the one that is held, and the other
		t.Errorf("left: %v", left)
	}
	live.Close()
}

func TestStrangeThings(t *testing.T) {
	root, elsewhere := t.TempDir(), t.TempDir()
	made(t, root, Run{ID: "good", Flow: "f", Journal: "../elsewhere"}).Close()
	made(t, elsewhere, Run{ID: "linked"}).Close()
	for name, record := range map[string]string{
		"torn": `{"id":"to`, "other": `{"id":"good","state":"ended"}`, "future": `{"id":"future","state":"paused"}`, "list": `[1]`, "empty": ``, "stopped": `{"id":"stopped","state":"stopped"}`,
	} {
		if err := os.Mkdir(filepath.Join(root, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name, recordName), []byte(record), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(elsewhere, "linked"), filepath.Join(root, "linked")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(root, "dirs", recordName), 0o700); err != nil {
		t.Fatal(err)
	}
	want := `good stopped
dirs: run.json is not a file of at most 64 MiB
empty: run.json cannot be read: unexpected end of JSON input
file: it is no directory
future: run.json says that the state is "paused", which this tandem does not know
linked: it is no directory
list: run.json cannot be read: json: cannot unmarshal array into Go value of type runs.Run
other: run.json is that of run "good"
stopped: run.json says that the state is "stopped", which this tandem does not know
torn: run.json cannot be read: unexpected end of JSON input`
	is(t, states(t, root), want)
	for _, s := range strings.Split(want, "\n")[1:] {
		id, _, _ := strings.Cut(s, ":")
		if err := Remove(root, id); err == nil {
			t.Errorf("%s was removed", id)
		}
		if _, err := Open(root, id); err == nil {
			t.Errorf("%s was opened", id)
		}
		if _, err := os.Lstat(filepath.Join(root, id, lockName)); err == nil && id != "linked" {
			t.Errorf("a lock was made in %s", id)
		}
	}
	if c, err := Clean(root, 0, 0); err != nil || len(c.Strange) != 9 || len(c.Removed) != 1 {
		t.Errorf("%+v %v", c, err)
	}
	is(t, states(t, root), strings.Join(strings.Split(want, "\n")[1:], "\n"))
	if _, err := os.Stat(filepath.Join(elsewhere, "linked", recordName)); err != nil {
		t.Error(err)
	}
	_, _, err := List(filepath.Join(root, "file"))
	fails(t, err, "not a directory")
}
