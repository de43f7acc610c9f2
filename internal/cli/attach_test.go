package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"tandem/internal/cluster"
)

const waitingFlow = `
tandem: v1
name: waiting
from: {range: 1..20000}
steps: [{name: all, keep: "${{ item.value > 0 }}", labels: [late]}]
into: {jsonl: out.jsonl}
`

// A run ends without its submitter, who was killed behind the source: attach says how many lines there were, writes those that wait, and one that is killed on the way
// is gone on with. No line is missing, none is there twice.
func TestAttachToResultsThatWait(t *testing.T) {
	const items = 20_000
	p := newParty(t)
	writeFiles(t, p.dir, map[string]string{"flow.yaml": waitingFlow})
	wait := func(what string, is func() bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("waiting until %s\n%s", what, p.logs())
			}
		}
	}
	p.node("a") // it has the queue, and not the label
	wait("the node is there", func() bool {
		said, err := p.ask("nodes", "ls", "--json")
		return err == nil && said != ""
	})
	p.start("submit", "submit", "flow.yaml", "--progress", "none", "--window", strconv.Itoa(items))
	wait("the source is fed", func() bool {
		b, _ := os.ReadFile(filepath.Join(p.dir, ".tandem", "runs", p.submitted(), "fed.json"))
		return bytes.Contains(b, []byte(`"whole":true`))
	})
	p.kill("submit")
	p.args = func(string) []string { return []string{"--labels", "late"} }
	p.node("b")
	wait("all have ended", func() bool {
		said, err := p.ask("nodes", "ls", "--json")
		var done int64
		for line := range strings.Lines(said) {
			var n cluster.Info
			if json.Unmarshal([]byte(line), &n) == nil {
				for _, s := range n.Steps {
					done += s.Done - int64(s.Running)
				}
			}
		}
		return err == nil && done == items
	})
	if n := p.lines(); n != 0 {
		t.Fatalf("%d lines before anybody attached", n)
	}
	p.submit()
	p.advance(items/10, time.Minute)
	p.kill("submit")
	before := p.lines()
	p.submit()
	if err := <-p.done["submit"]; err != nil {
		t.Fatalf("attach: %v\n%s", err, p.logs())
	}
	p.mu.Lock()
	delete(p.runs, "submit")
	p.mu.Unlock()
	b, err := os.ReadFile(filepath.Join(p.dir, "out.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for line := range bytes.Lines(b) {
		var l struct{ ID string }
		if err := json.Unmarshal(line, &l); err != nil || ids[l.ID] {
			t.Fatalf("%s: %v, there already: %v", line, err, ids[l.ID])
		}
		ids[l.ID] = true
	}
	if len(ids) != items {
		t.Errorf("%d lines for %d items", len(ids), items)
	}
	log, err := os.ReadFile(filepath.Join(p.dir, "submit.log"))
	if err != nil {
		t.Fatal(err)
	}
	said := regexp.MustCompile(`going on with run \S+: ([0-9  ]+) items had ended`).FindAllStringSubmatch(string(log), -1)
	if len(said) != 2 {
		t.Fatalf("two attaches said %q\n%s", said, log)
	}
	had, err := strconv.Atoi(strings.NewReplacer(" ", "", " ", "").Replace(said[1][1]))
	if err != nil || had == 0 || had > before {
		t.Errorf("the second attach says %q had ended, and there were %d lines", said[1][1], before)
	}
}

// ask is what a command answers on the machine of a party.
func (p *party) ask(args ...string) (string, error) {
	cmd := exec.Command("tandem", args...)
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), "TANDEM_HOME="+filepath.Join(p.dir, ".tandem"), "XDG_CACHE_HOME="+filepath.Join(p.dir, "cache"), "TANDEM_NATS=")
	out, err := cmd.Output()
	return string(out), err
}
