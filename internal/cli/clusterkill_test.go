package cli

import (
	"bufio"
	"cmp"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var clusterKills = flag.Int("clusterkills", 10, "how often TestClusterKill kills a node, the submitter or everything")

const clusterItems = 400

// clusterFlow has a step in worker processes that makes up to three items of one, and a step that waits on an event loop and refuses some.
const clusterFlow = `
tandem: v1
name: kill
from: {range: 1..400}
steps:
  - {name: fan, python: "h.py:fan", mode: process, workers: 2}
  - {name: ask, python: "h.py:ask", concurrency: 8}
into: {jsonl: out.jsonl}
`

const clusterHandlers = `
import asyncio, os, time
def note(what):
    f = os.open(os.environ["KILL_LOG"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(f, f"{time.time():.3f} {os.environ['KILL_NODE']} {what}\n".encode())
    os.close(f)
def fan(n):
    note(f"start {n}")
    time.sleep(float(os.environ.get("KILL_PAUSE", "0.004")))
    note(f"end {n}")
    for k in range(1 + n % 3): yield f"{n}.{k + 1}"
async def ask(s):
    note(f"start {s}")
    await asyncio.sleep(0.02)
    if s.endswith("7.1"): raise ValueError("seven")
    return "=" + s
`

// clusterExpected is every id with its outcome and value.
func clusterExpected() map[string]string {
	want := map[string]string{}
	for n := 1; n <= clusterItems; n++ {
		for k := 1; k <= 1+n%3; k++ {
			id := fmt.Sprint(n)
			if n%3 > 0 {
				id = fmt.Sprintf("%d/%d", n, k)
			}
			if want[id] = fmt.Sprintf("ok =%d.%d", n, k); n%10 == 7 && k == 1 {
				want[id] = "failed"
			}
		}
	}
	return want
}

// party is a directory with a flow, the nodes that run it, and the submitter.
type party struct {
	t    *testing.T
	dir  string
	nats string                            // servers for --nats; empty means the nodes' own, through the socket
	wrap func(name string) []string        // a command in front of a node's; may be nil
	args func(name string) (args []string) // more arguments of a node; may be nil
	from map[string]string                 // programs that are not the one under test, by name
	env  map[string]string                 // one more variable of the environment, by name
	runs map[string]*exec.Cmd              // by name; "submit" is the submitter
	done map[string]chan error             // told when one has ended

	mu   sync.Mutex
	most map[string]int64 // bytes of memory that each has had, by name
}

func newParty(t *testing.T) *party {
	t.Helper()
	p := &party{t: t, dir: t.TempDir(), runs: map[string]*exec.Cmd{}, done: map[string]chan error{}, from: map[string]string{}, env: map[string]string{}, most: map[string]int64{}}
	p.watch()
	for name, text := range map[string]string{"flow.yaml": clusterFlow, "h.py": clusterHandlers} {
		if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		for name := range p.runs {
			p.kill(name)
		}
		if left := leftover(p.dir); len(left) > 0 {
			t.Errorf("still running: %v", left)
		}
	})
	return p
}

func (p *party) start(name string, args ...string) {
	p.t.Helper()
	words := append([]string{cmp.Or(p.from[name], "tandem")}, args...)
	if p.wrap != nil {
		words = append(p.wrap(name), words...)
	}
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Dir = p.dir
	home := ".tandem" // the nodes of one machine find each other there
	if p.nats != "" {
		home = filepath.Join("homes", name)
	}
	cmd.Env = append(os.Environ(), "TANDEM_HOME="+filepath.Join(p.dir, home), "XDG_CACHE_HOME="+filepath.Join(p.dir, "cache"),
		"KILL_LOG="+filepath.Join(p.dir, "work.log"), "KILL_NODE="+name, "TANDEM_NATS=", p.env[name])
	log, err := os.OpenFile(filepath.Join(p.dir, name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	p.mu.Lock()
	p.runs[name] = cmd
	p.mu.Unlock()
	p.done[name] = done
}

// partyMemory is what a node or a submitter of a party may have: its queues hold 50 items, so what it has does not depend on the run. The race detector multiplies it.
const partyMemory = 1 << 30

// watch looks at the memory of everyone until the test ends.
func (p *party) watch() {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			p.mu.Lock()
			for name, cmd := range p.runs {
				p.most[name] = max(p.most[name], residentOf(cmd.Process.Pid))
			}
			p.mu.Unlock()
		}
	}()
	p.t.Cleanup(func() {
		close(stop)
		<-stopped
		var all []string
		for name, n := range p.most {
			all = append(all, fmt.Sprintf("%s %d MB", name, n>>20))
			if n > partyMemory {
				p.t.Errorf("%s had %d MB of memory", name, n>>20)
			}
		}
		slices.Sort(all)
		p.t.Logf("memory, at most: %s", strings.Join(all, ", "))
	})
}

func residentOf(pid int) (bytes int64) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if _, after, ok := strings.Cut(string(b), "VmRSS:"); ok {
		_, _ = fmt.Sscan(after, &bytes)
	}
	return bytes << 10
}

func (p *party) node(name string) {
	args := []string{"node", "--name", name, "--grace", "1s"}
	if p.args != nil {
		args = append(args, p.args(name)...)
	}
	p.start(name, args...)
}

// submit begins the run, or goes on with it.
func (p *party) submit() {
	args := []string{"submit", "flow.yaml", "--progress", "none", "--window", "50"}
	if p.nats != "" {
		args = append(args, "--nats", p.nats)
	}
	if id := p.submitted(); id != "" {
		args = []string{"attach", id, "--progress", "none"}
	}
	p.start("submit", args...)
}

// submitted is the run that attach can go on with.
func (p *party) submitted() string {
	for _, home := range []string{".tandem", "homes/submit"} {
		if all, _ := filepath.Glob(filepath.Join(p.dir, home, "runs", "*", submittedName)); len(all) > 0 {
			return filepath.Base(filepath.Dir(all[0]))
		}
	}
	return ""
}

func (p *party) kill(name string) {
	cmd := p.runs[name]
	if cmd == nil {
		return
	}
	_ = cmd.Process.Signal(syscall.SIGKILL)
	<-p.done[name]
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.runs, name)
}

// lines is how many lines the sink has.
func (p *party) lines() int {
	b, _ := os.ReadFile(filepath.Join(p.dir, "out.jsonl"))
	return strings.Count(string(b), "\n")
}

// advance waits for so many more lines; it is false when the run ended before.
func (p *party) advance(more int, within time.Duration) bool {
	p.t.Helper()
	from := p.lines()
	for deadline := time.Now().Add(within); p.lines() < from+more; time.Sleep(10 * time.Millisecond) {
		select {
		case err := <-p.done["submit"]:
			p.done["submit"] <- err
			return false
		default:
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("no %d more lines within %v, it has %d\n%s", more, within, p.lines(), p.logs())
		}
	}
	return true
}

func (p *party) logs() string {
	var all strings.Builder
	if p.nats != "" {
		all.WriteString(p.queues())
	}
	all.WriteString(p.missing())
	files, _ := filepath.Glob(filepath.Join(p.dir, "*.log"))
	for _, f := range files {
		if filepath.Base(f) == "work.log" {
			continue
		}
		b, _ := os.ReadFile(f)
		fmt.Fprintf(&all, "== %s\n%s", filepath.Base(f), b[max(0, len(b)-4000):])
	}
	return all.String()
}

// missing says which items have no line, and what the handlers noted of them.
func (p *party) missing() string {
	_, got, err := killJSONL("out.jsonl")(p.dir)
	if err != nil {
		return err.Error() + "\n"
	}
	work, _ := os.ReadFile(filepath.Join(p.dir, "work.log"))
	var all strings.Builder
	for id, want := range clusterExpected() {
		if got[id] != "" {
			continue
		}
		root, part, split := strings.Cut(id, "/")
		if !split {
			part = "1"
		}
		fmt.Fprintf(&all, "%s has no line, want %q\n", id, want)
		for line := range strings.Lines(string(work)) {
			if w := strings.Fields(line); len(w) == 4 && (w[3] == root || w[3] == root+"."+part) {
				all.WriteString("   " + line)
			}
		}
		if all.Len() > 8000 {
			return all.String() + "and more\n"
		}
	}
	return all.String()
}

// finish waits for the run to end and checks that every item has one line. It returns how many ended as lost: nodes died under them more often than is allowed.
func (p *party) finish(within time.Duration) (lost int) {
	p.t.Helper()
	select {
	case err := <-p.done["submit"]:
		p.done["submit"] <- err
		// The exit code is that of the last part, in which perhaps no item has failed. What all of them came to is looked at below.
		said, _ := os.ReadFile(filepath.Join(p.dir, "submit.log"))
		want, last := 0, said[max(0, strings.LastIndex(string(said), "going on with run ")):]
		if strings.Contains(string(last), "\nfailed ") || strings.Contains(string(last), "\ncrashed ") {
			want = exitItems
		}
		if code := p.runs["submit"].ProcessState.ExitCode(); code != want {
			p.t.Fatalf("the submitter ended with exit code %d\n%s", code, p.logs())
		}
	case <-time.After(within):
		p.t.Fatalf("the run does not end within %v: %d lines\n%s", within, p.lines(), p.logs())
	}
	ids, got, err := killJSONL("out.jsonl")(p.dir)
	if err != nil {
		p.t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, id := range ids {
		if seen[id] {
			p.t.Errorf("%s has two lines", id)
		}
		seen[id] = true
	}
	want := clusterExpected()
	gone := map[string]bool{} // items that were lost before they became several
	for id, o := range got {
		if o == "crashed" {
			lost++
			gone[id] = true
		}
	}
	for id, w := range want {
		root, _, _ := strings.Cut(id, "/")
		if got[id] != w && !gone[id] && !gone[root] {
			p.t.Errorf("%s: %q, want %q", id, got[id], w)
		}
	}
	for id := range got {
		if want[id] == "" && !gone[id] {
			p.t.Errorf("%s is no item of the run", id)
		}
	}
	if p.t.Failed() {
		p.t.Fatal(p.logs())
	}
	return lost
}

// elsewhere is how long it took, after a node was killed, until the last of the items that it had begun was begun by another.
func (p *party) elsewhere(node string, killed time.Time) (longest time.Duration, items int) {
	f, err := os.Open(filepath.Join(p.dir, "work.log"))
	if err != nil {
		p.t.Fatal(err)
	}
	defer f.Close()
	open := map[string]bool{}
	at := float64(killed.UnixMicro()) / 1e6
	for s := bufio.NewScanner(f); s.Scan(); {
		w := strings.Fields(s.Text())
		if len(w) != 4 {
			continue
		}
		when, _ := strconv.ParseFloat(w[0], 64)
		switch {
		case w[2] == "start" && w[1] == node && when <= at:
			open[w[3]] = true
		case w[2] == "start" && open[w[3]] && when > at:
			items++
			longest = max(longest, time.Duration((when-at)*1e9))
			delete(open, w[3])
		}
	}
	return longest, items
}

// Nodes, the submitter and everything at once are killed at random moments; what is left goes on, and attach ends the run: every item has one line.
func TestClusterKill(t *testing.T) {
	t.Parallel() // it waits more than it computes
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("NOT TESTED: python3 is not here")
	}
	killed, lost := map[string]int{}, 0
	for done := 0; done < *clusterKills; {
		p := newParty(t)
		p.node("a")
		p.node("b")
		p.submitWhenServed()
		for round := 0; done < *clusterKills && round < 10 && p.advance(1+rand.IntN(40), 90*time.Second); round++ {
			victims := [][]string{{"a"}, {"b"}, {"submit"}, {"a", "b", "submit"}}[rand.IntN(4)]
			for _, v := range victims {
				p.kill(v)
				killed[v]++
			}
			done++
			for _, v := range victims {
				if v != "submit" {
					p.node(v)
				}
			}
			if p.runs["submit"] == nil {
				p.submitWhenServed()
			}
		}
		lost += p.finish(3 * time.Minute)
		for name := range p.runs {
			p.kill(name)
		}
	}
	t.Logf("killed %v; 0 lines lost, 0 twice, %d items ended as crashed because their lease lapsed more than ten times", killed, lost)
}

// submitWhenServed submits or attaches, once a node serves.
func (p *party) submitWhenServed() {
	p.t.Helper()
	socket := filepath.Join(p.dir, ".tandem", "queue", "socket")
	for deadline := time.Now().Add(time.Minute); p.nats == ""; time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("unix", socket); err == nil {
			_ = c.Close()
			break
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("no node serves\n%s", p.logs())
		}
	}
	p.submit()
}
