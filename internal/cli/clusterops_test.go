package cli

import (
	"bytes"
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tandem/internal/cluster"
)

// evenOnly fails for odd numbers, until it is mended.
const evenFlow = `
tandem: v1
name: even
from: {range: 1..20}
steps:
  - {name: check, python: "h.py:check", mode: process, workers: 1}
into: {jsonl: out.jsonl}
`

const evenOnly = `
def check(n):
    if n % 2: raise ValueError(f"{n} is odd")
    return n
`

// at runs a command against the node of a party, in a directory and with runs of its own.
func (p *party) at(dir string, args ...string) (said string, err error) {
	p.t.Helper()
	cmd := exec.Command("tandem", append(args, "--store", filepath.Join(p.dir, ".tandem", "queue"), "--tenant", "team")...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TANDEM_HOME="+filepath.Join(dir, "home"), "XDG_CACHE_HOME="+filepath.Join(dir, "cache"), "TANDEM_NATS=")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	return out.String(), err
}

func writeFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// Two nodes of a tenant are started at once on one machine; a run of the tenant has dead items, which are tried again from a directory that knows nothing of the run:
// first as it was submitted, then mended. A node rests and takes work again.
func TestRunsOfATenant(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("NOT TESTED: python3 is not here")
	}
	p := newParty(t)
	p.args = func(string) []string { return []string{"--tenant", "team"} }
	writeFiles(t, p.dir, map[string]string{"flow.yaml": evenFlow, "h.py": evenOnly})
	p.node("a")
	p.node("b") // it finds the store taken, and not yet served
	deadline := time.Now().Add(time.Minute)
	for {
		if said, err := p.at(p.dir, "nodes", "ls"); err == nil && strings.Count(said, "serving") == 2 {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("two nodes are not there: %v\n%s\n%s", err, said, p.logs())
		}
		time.Sleep(50 * time.Millisecond)
	}
	said, err := p.at(p.dir, "submit", "flow.yaml", "--name", "nightly", "--progress", "none")
	if e, ok := err.(*exec.ExitError); !ok || e.ExitCode() != exitItems {
		t.Fatalf("%v\n%s\n%s", err, said, p.logs())
	}
	before, err := os.ReadFile(filepath.Join(p.dir, "out.jsonl"))
	if err != nil || bytes.Count(before, []byte("\n")) != 20 {
		t.Fatalf("%v: %s", err, before)
	}

	other := t.TempDir()
	if said, err := p.at(other, "dlq", "retry", "nightly"); err == nil || !strings.Contains(said, "--into") {
		t.Errorf("a retry without the sink: %v\n%s", err, said)
	}
	for _, c := range []struct {
		mended bool
		ok     int
		dead   string
	}{{false, 0, "10 items"}, {true, 10, "0 items"}} {
		args := []string{"dlq", "retry", "nightly", "--into", "again.jsonl", "--progress", "none"}
		if c.mended {
			writeFiles(t, other, map[string]string{"mended.yaml": evenFlow, "h.py": "def check(n): return n\n"})
			args = append(args, "--flow", "mended.yaml")
		}
		said, err := p.at(other, args...)
		if (err == nil) != c.mended {
			t.Fatalf("%v: %v\n%s\n%s", args, err, said, p.logs())
		}
		again, err := os.ReadFile(filepath.Join(other, "again.jsonl"))
		if err != nil || bytes.Count(again, []byte("\n")) != 10 || bytes.Count(again, []byte(`"ok"`)) != c.ok {
			t.Errorf("mended: %v; %v, lines of the 10 dead items: %s", c.mended, err, again)
		}
		if said, err := p.at(other, "dlq", "ls", "nightly"); err != nil || !strings.Contains(said, c.dead) {
			t.Errorf("%v, want %s: %s", err, c.dead, said)
		}
	}
	if after, _ := os.ReadFile(filepath.Join(p.dir, "out.jsonl")); !bytes.Equal(before, after) {
		t.Errorf("the sink of the run became %s", after)
	}

	if said, err := p.at(p.dir, "submit", "flow.yaml", "--name", "nightly", "--progress", "none"); err == nil || !strings.Contains(said, "there is a run of this name already") {
		t.Errorf("a second run of the same name: %v\n%s", err, said)
	}

	if said, err := p.at(other, "nodes", "drain", "a", "b", "--stay"); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	if said, _ := p.at(other, "nodes", "ls"); strings.Count(said, "drained") != 2 {
		t.Errorf("two nodes rest: %s", said)
	}
	done := make(chan error, 1)
	go func() {
		_, err := p.at(other, "submit", "mended.yaml", "--name", "later", "--progress", "none")
		done <- err
	}()
	select {
	case err := <-done:
		t.Errorf("a run ended while all nodes rest: %v", err)
	case <-time.After(3 * time.Second):
	}
	if said, err := p.at(other, "nodes", "resume", "b"); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatalf("the run does not go on\n%s", p.logs())
	}
}

// The directory of a flow packs to more than may travel: that is said with the largest file, and no run is made.
func TestBundleOverTheLimit(t *testing.T) {
	p := newParty(t)
	p.args = func(string) []string { return []string{"--tenant", "team"} }
	p.node("a")
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{"flow.yaml": evenFlow, "h.py": evenOnly})
	large := make([]byte, cluster.MaxBundle+1<<20)
	if _, err := rand.Read(large); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "weights.bin"), large, 0o600); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if said, err := p.at(dir, "nodes", "ls"); err == nil && strings.Contains(said, "serving") {
			break
		} else if time.Now().After(end) {
			t.Fatalf("no node: %v\n%s\n%s", err, said, p.logs())
		}
	}
	said, err := p.at(dir, "submit", "flow.yaml", "--name", "large", "--progress", "none")
	if err == nil || !strings.Contains(said, "more than 64 MiB") || !strings.Contains(said, "weights.bin") || !strings.Contains(said, ".tandemignore") {
		t.Errorf("%v\n%s", err, said)
	}
	if said, err := p.at(dir, "runs", "ls", "--cluster"); err != nil || strings.Contains(said, "large") {
		t.Errorf("%v; runs: %s", err, said)
	}
}

// A node that lacks the interpreter of a step does not take its items, and the submitter says so until another comes that has it.
func TestANodeWithoutTheInterpreter(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("NOT TESTED: python3 is not here")
	}
	p := newParty(t)
	p.wrap = func(name string) []string {
		if name == "poor" {
			return []string{"env", "TANDEM_PYTHON=/nowhere/python3"}
		}
		return nil
	}
	p.node("poor")
	p.submitWhenServed()
	said := ""
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		b, _ := os.ReadFile(filepath.Join(p.dir, "submit.log"))
		if said = string(b); strings.Contains(said, "no node can run step fan") {
			break
		} else if time.Now().After(end) {
			t.Fatalf("the submitter does not say what it waits for\n%s", p.logs())
		}
	}
	if !strings.Contains(said, "poor: ") || !strings.Contains(said, "/nowhere/python3") {
		t.Errorf("the submitter says %s", said)
	}
	p.node("rich")
	p.finish(time.Minute)
	work, _ := os.ReadFile(filepath.Join(p.dir, "work.log"))
	if strings.Contains(string(work), " poor ") || !strings.Contains(string(work), " rich ") {
		t.Errorf("who ran what: %.300s", work)
	}
}
