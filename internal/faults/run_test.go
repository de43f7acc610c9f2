package faults

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tandem"
)

// run is one `tandem run` with a fault.
type run struct {
	*testing.T
	row
	user    string
	dir     string
	cmd     *exec.Cmd
	watch   *watch
	out     bytes.Buffer // the document of --json
	said    tail
	ended   chan struct{}
	killed  bool      // the injection ended the application itself
	began   time.Time // its injection
	report  document
	items_  map[string]item
	crashes []tandem.Crash
}

type document struct {
	Outcome string
	Items   map[string]int
	Error   *struct{ Kind, Message, Hint string }
	Steps   []struct {
		Name                                             string
		Attempts, Retries                                int
		Errors, Crashes, Losses, Boot_failures, Recycled int
	}
}

type item struct {
	ID, Outcome string
	Value       any
	Attempts    int
	Error       struct{ Kind, Message, Reason, Trace string }
}

// tail keeps the last 64 KiB of what is written, and counts.
type tail struct {
	b []byte
	n int64
}

func (l *tail) Write(b []byte) (int, error) {
	l.n += int64(len(b))
	l.b = append(l.b, b...)
	if len(l.b) > 128<<10 {
		l.b = append(l.b[:0], l.b[len(l.b)-64<<10:]...)
	}
	return len(b), nil
}

const flowText = `tandem: v1
name: fault
%s
from: {range: 1..%d}
steps:
  - {name: monitor, python: "%s/handlers.py:gate", mode: process, workers: 1}
  - {name: work, %s}
into: {jsonl: out.jsonl}
`

// try runs a row and checks all that must hold.
func try(t *testing.T, w row, user string) {
	if w.items == 0 {
		w.items = 12
	}
	if w.long == 0 {
		w.long = time.Minute
	}
	r := &run{T: t, row: w, user: user, ended: make(chan struct{})}
	r.place(user)
	flow := w.flow
	if flow == "" {
		flow = fmt.Sprintf(flowText, w.top, w.items, place, w.step)
	}
	r.write("flow.yaml", strings.NewReplacer("HANDLERS", place+"/handlers.py", "PLACE", place, "WORKER", goWorker).Replace(flow))
	r.start(user)
	defer r.finish()
	if w.flow == "" && !r.through() {
		return
	} else if w.flow != "" && w.inject != nil {
		w.inject(r)
	}
	select {
	case <-r.ended:
	case <-time.After(w.long):
		r.Errorf("it has not ended after %v: %s", w.long, r.lines())
		_ = r.cmd.Process.Kill()
		<-r.ended
	}
	r.judge()
}

// place makes the directory of the run.
func (r *run) place(user string) {
	dir, err := os.MkdirTemp(place, "run-")
	if err == nil {
		err = os.Mkdir(dir+"/tmp", 0o777)
	}
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	for _, d := range []string{dir, dir + "/tmp"} {
		if err == nil && user == "nobody" {
			err = os.Chown(d, 65534, 65534)
		}
	}
	if err != nil {
		r.Fatal(err)
	}
	r.dir = dir
}

func (r *run) write(name, text string) {
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o644); err != nil {
		r.Fatal(err)
	}
}

func (r *run) there(name string) bool {
	_, err := os.Stat(filepath.Join(r.dir, name))
	return err == nil
}

func (r *run) start(user string, args ...string) {
	token := fmt.Sprintf("%d-%d", os.Getpid(), rand.Uint64())
	argv := slices.Concat(r.under, []string{bin, "run", "flow.yaml", "-q", "--json"}, r.args, args)
	r.cmd = exec.Command(argv[0], argv[1:]...)
	r.cmd.Dir = r.dir
	r.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + r.dir, "TMPDIR=" + r.dir + "/tmp", "TANDEM_HOME=" + r.dir + "/.tandem", "TANDEM_PYTHON=" + python(), "FAULT_TOKEN=" + token, "FAULT_LAST=" + strconv.Itoa(r.items), "FAULT_OTHER=" + strconv.Itoa(os.Getpid())}, r.env...)
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if user == "nobody" {
		r.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
	}
	r.cmd.Stdout, r.cmd.Stderr = &r.out, &r.said
	r.cmd.WaitDelay = 2 * time.Second
	if err := r.cmd.Start(); err != nil {
		r.Fatal(err)
	}
	r.watch = watching(token)
	r.ended = make(chan struct{})
	go func() {
		defer close(r.ended)
		if err := r.cmd.Wait(); err == exec.ErrWaitDelay {
			r.Error("something holds the output of a run that has ended")
		}
	}()
}

// python is one that everybody may run.
func python() string {
	if _, err := os.Stat("/usr/bin/python3"); err == nil {
		return "/usr/bin/python3"
	}
	return "python3"
}

func (r *run) finish() {
	if r.cmd.ProcessState == nil {
		_ = r.cmd.Process.Kill()
		<-r.ended
	}
	left := r.watch.vanished(3 * time.Second)
	if len(left) > 0 {
		r.Errorf("left behind: %s", strings.Join(left, "; "))
	}
	r.watch.end()
	if !r.killed { // else the next run removes them
		for g := range r.watch.groups {
			for end := time.Now().Add(time.Second); ; time.Sleep(10 * time.Millisecond) {
				if _, err := os.Stat(g); err != nil {
					break
				}
				if time.Now().After(end) {
					r.Errorf("the control group %s is left", g)
					break
				}
			}
		}
	}
	if r.Failed() {
		r.Logf("%s\nsaid %d bytes: %.3000s", r.out.String(), r.said.n, r.said.b)
		for _, c := range r.crashes[:min(len(r.crashes), 3)] {
			r.Logf("%s %s/%s item %s: %s, %s %s", c.Step, c.Reason, c.Confidence, c.Item, c.What, c.Why, told(c))
		}
		return
	}
	os.RemoveAll(r.dir)
}

// through takes the run to its last item, with the fault on the way. It is false when the run ended before.
func (r *run) through() bool {
	if !r.until("gated", "the first item does not come") {
		return true
	}
	app := r.cmd.Process.Pid
	if list := r.watch.parts()["app"]; len(list) > 0 {
		app = list[0]
	}
	was := r.quiet(app)
	if r.idle != nil {
		r.idle(r)
	}
	r.write("begin", "")
	if r.inject != nil {
		r.began = time.Now()
		r.inject(r)
	}
	for end := time.Now().Add(r.long); r.count() < r.items-1; time.Sleep(5 * time.Millisecond) {
		select {
		case <-r.ended:
			return true
		default:
		}
		if time.Now().After(end) {
			r.Errorf("%d of %d items have ended after %v: %s", r.count(), r.items, r.long, r.lines())
			break
		}
	}
	if r.late != nil {
		r.late(r)
	}
	if left := r.watch.buried(2 * time.Second); len(left) > 0 {
		r.Errorf("zombies: %s", strings.Join(left, "; "))
	}
	var leaked []string
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if leaked = more(descriptors(app), was); len(leaked) == 0 {
			break
		}
	}
	if len(leaked) > 0 {
		r.Errorf("descriptors of the application: %s", strings.Join(leaked, "; "))
	}
	r.write("release", "")
	return true
}

// until waits for a file.
func (r *run) until(name, what string) bool {
	r.Helper()
	for end := time.Now().Add(r.long); !r.there(name); time.Sleep(3 * time.Millisecond) {
		select {
		case <-r.ended:
			return false
		default:
		}
		if time.Now().After(end) {
			r.Errorf("%s", what)
			return false
		}
	}
	return true
}

// quiet waits until the descriptors of the application stay as they are.
func (r *run) quiet(app int) map[string]int {
	was := descriptors(app)
	for same := 0; same < 6; time.Sleep(15 * time.Millisecond) {
		if now := descriptors(app); maps.Equal(now, was) {
			same++
		} else {
			was, same = now, 0
		}
	}
	return was
}

// count is how many items have ended.
func (r *run) count() int {
	b, _ := os.ReadFile(filepath.Join(r.dir, "out.jsonl"))
	return bytes.Count(b, []byte("\n"))
}

func (r *run) lines() string {
	b, _ := os.ReadFile(filepath.Join(r.dir, "out.jsonl"))
	return string(b)
}

// worker is the process of a place of the step that is hit: the n-th, or with 0 the one that has the culprit.
func (r *run) worker(part string, n int) int {
	r.Helper()
	if n == 0 {
		if !r.until("culprit", "the culprit does not begin") {
			r.Fatal("the run ended before the culprit began: ", string(r.said.b))
		}
		for end := time.Now().Add(time.Second); n == 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
			b, _ := os.ReadFile(filepath.Join(r.dir, "culprit"))
			n, _ = strconv.Atoi(string(b))
		}
	}
	if r.lang == "command" || r.lang == "java" || r.lang == "node" {
		for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
			if list := r.watch.parts()[part+":work/"]; len(list) > 0 {
				return list[0]
			}
		}
		r.Fatalf("there is no %s: %v", part, r.watch.parts())
	}
	pid := r.shown(n)
	if part == "shim" {
		for p, s := range r.watch.look() {
			if p.pid == pid {
				return s.parent
			}
		}
	}
	return pid
}

// command is the process that runs the culprit's command, once it says that it is there.
func (r *run) command() int {
	r.Helper()
	if !r.until("culprit", "the culprit does not begin") {
		r.Fatal("the run ended before the culprit began: ", string(r.said.b))
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		for p, s := range r.watch.look() {
			if s.env["TANDEM_ITEM_ID"] == "5" && (s.name == "sleep" || s.name == "java" || s.name == "node") && s.zombie.IsZero() {
				return p.pid
			}
		}
	}
	r.Fatal("the culprit's command is not there")
	return 0
}

// parent is the process that began pid.
func (r *run) parent(pid int) int {
	for p, s := range r.watch.look() {
		if p.pid == pid {
			return s.parent
		}
	}
	r.Fatalf("process %d is gone", pid)
	return 0
}

// shown is the process of a worker as tandem ps tells it: one that was forked from a template has the template's environment.
func (r *run) shown(n int) int {
	r.Helper()
	name := fmt.Sprintf("work/%d", n)
	var out []byte
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		c := exec.Command(bin, "ps", "--json")
		c.Env = append(os.Environ(), "TANDEM_HOME="+r.dir+"/.tandem")
		out, _ = c.Output()
		for d := json.NewDecoder(bytes.NewReader(out)); ; {
			var doc struct { // root is shown the runs of everybody
				Dir       string
				Processes []struct {
					PID          int
					Role, Worker string
				}
			}
			if d.Decode(&doc) != nil {
				break
			}
			for _, p := range doc.Processes {
				if strings.HasPrefix(doc.Dir, r.dir+"/") && p.Role == "worker" && p.Worker == name && p.PID > 0 {
					return p.PID
				}
			}
		}
	}
	r.Fatalf("tandem ps shows no worker %s: %s", name, out)
	return 0
}

func (r *run) signal(pid int, s syscall.Signal) {
	cmd, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	r.Logf("%s to %.40s", s, cmd)
	if err := syscall.Kill(pid, s); err != nil {
		r.Errorf("%s to %d: %v", s, pid, err)
	}
}

// part is the only process of a part: app, warden.
func (r *run) part(name string) int {
	list := r.watch.parts()[name]
	for end := time.Now().Add(3 * time.Second); len(list) != 1 && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		list = r.watch.parts()[name]
	}
	if len(list) != 1 {
		r.Fatalf("%d processes are %s: %v", len(list), name, r.watch.parts())
	}
	return list[0]
}

// read reads what the run has left.
func (r *run) read() {
	r.items_, r.crashes = map[string]item{}, nil
	for line := range strings.Lines(r.lines()) {
		var i item
		if err := json.Unmarshal([]byte(line), &i); err != nil {
			r.Errorf("%q: %v", line, err)
			continue
		}
		if r.items_[i.ID].ID != "" {
			r.Errorf("item %s has two outcomes", i.ID)
		}
		r.items_[i.ID] = i
	}
	files, _ := filepath.Glob(r.dir + "/.tandem/runs/*/crashes/*.json")
	for _, f := range files {
		b, err := os.ReadFile(f)
		var c tandem.Crash
		if err == nil {
			err = json.Unmarshal(b, &c)
		}
		if err != nil {
			r.Error(err)
		}
		if c.Step != "monitor" {
			r.crashes = append(r.crashes, c)
		} else {
			r.Errorf("a neighbour died: %s %s/%s: %s", c.Step, c.Reason, c.Confidence, c.What)
		}
	}
}

// judge checks outcomes, reports, exit code and counters.
func (r *run) judge() {
	r.read()
	code := r.cmd.ProcessState.ExitCode()
	if !r.killed {
		want := r.exit
		if want == 0 && len(r.bad) > 0 {
			want = 1
		}
		if code != want {
			r.Errorf("exit code %d, want %d", code, want)
		}
		if err := json.NewDecoder(io.MultiReader(strings.NewReader(r.out.String()))).Decode(&r.report); err != nil && want < 2 {
			r.Errorf("%v: %q", err, r.out.String())
		}
	}
	sum := 0
	for k, n := range r.report.Items {
		if k != "in" && k != "made" && k != "unwritten" {
			sum += n
		}
	}
	if in := r.report.Items["in"] + r.report.Items["made"]; sum != in || !r.killed && !r.lost && len(r.items_) != in && r.exit < 2 {
		r.Errorf("%d items came, %d ended, %d lines", in, sum, len(r.items_))
	}
	if !r.free && !r.killed && r.exit < 2 {
		for n := 1; n <= r.items; n++ {
			id := strconv.Itoa(n)
			want := r.bad[id]
			if want == "" {
				want = "ok"
			}
			if got := r.items_[id]; got.Outcome != want {
				r.Errorf("item %s: %q, want %s: %s %s", id, got.Outcome, want, got.Error.Kind, got.Error.Message)
			}
		}
	}
	for _, s := range r.report.Steps {
		if s.Name == "monitor" && r.exit != 2 && (s.Crashes+s.Losses+s.Boot_failures+s.Errors > 0 || r.exit == 0 && s.Attempts != r.items) {
			r.Errorf("the neighbour is not as it was: %+v", s)
		}
	}
	r.judgeReports()
	if r.row.check != nil {
		r.row.check(r)
	}
}

func (r *run) judgeReports() {
	if r.why == "any" {
		return
	}
	if (len(r.crashes) > 0) != (r.why != "") {
		r.Errorf("%d crash reports, want %q", len(r.crashes), r.why)
	}
	for _, c := range r.crashes {
		if got := fmt.Sprintf("%s/%s", c.Reason, c.Confidence); got != r.why {
			r.Errorf("a report says %s, want %s", got, r.why)
		}
		if !strings.Contains(told(c), r.says) {
			r.Errorf("a report does not say %q: %s", r.says, told(c))
		}
	}
}

// told is all that a report says.
func told(c tandem.Crash) string {
	all := c.What + "; " + c.Why
	for _, e := range c.Evidence {
		all += "; " + e.From + ": " + e.Says
	}
	if c.Stack != nil {
		all += "; in " + c.Stack.Function
	}
	return all
}

// work are the counters of the step that is hit.
func (r *run) work() (attempts, errors, crashes, losses, recycled int) {
	for _, s := range r.report.Steps {
		if s.Name == "work" {
			return s.Attempts, s.Errors, s.Crashes, s.Losses, s.Recycled
		}
	}
	return
}
