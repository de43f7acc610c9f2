package cli

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// unsteady makes another number of each item each time it runs, and says in each how many there are and which time it was.
const unsteady = `
import os, random, time
def fan(n):
    time.sleep(0.004)
    run, count = os.urandom(4).hex(), random.randint(1, 6)
    for k in range(count):
        time.sleep(0.001)
        yield f"{n} {count} {run}"
async def ask(s):
    return s
`

// A step makes another number of pieces each time it runs, and nodes, the submitter and everything are killed: the run ends, and what is in the sink of each item is
// all that one run of the step made of it, and nothing else.
func TestClusterKillWhileItemsAreSplit(t *testing.T) {
	t.Parallel() // it waits more than it computes
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("NOT TESTED: python3 is not here")
	}
	p := newParty(t)
	if err := os.WriteFile(filepath.Join(p.dir, "h.py"), []byte(unsteady), 0o644); err != nil {
		t.Fatal(err)
	}
	p.node("a")
	p.node("b")
	p.submitWhenServed()
	killed := map[string]int{}
	for round := 0; round < max(4, *clusterKills/2) && p.advance(1+rand.IntN(60), 90*time.Second); round++ {
		victims := [][]string{{"a"}, {"b"}, {"submit"}, {"a", "b", "submit"}}[rand.IntN(4)]
		for _, v := range victims {
			p.kill(v)
			killed[v]++
		}
		for _, v := range victims {
			if v != "submit" {
				p.node(v)
			}
		}
		if p.runs["submit"] == nil {
			p.submitWhenServed()
		}
	}
	select {
	case err := <-p.done["submit"]:
		p.done["submit"] <- err
		if err != nil {
			t.Fatalf("the submitter ended with %v\n%s", err, p.logs())
		}
	case <-time.After(3 * time.Minute):
		t.Fatalf("the run has no end: %d lines\n%s", p.lines(), p.logs())
	}
	ids, got, err := killJSONL("out.jsonl")(p.dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(ids) != len(got) {
		t.Errorf("%d lines for %d items", len(ids), len(got))
	}
	roots := map[string][]string{}
	for id, v := range got {
		root, _, _ := strings.Cut(id, "/")
		roots[root] = append(roots[root], v)
	}
	for n := 1; n <= clusterItems; n++ {
		all := roots[fmt.Sprint(n)]
		for _, v := range all {
			if want := fmt.Sprintf("ok %d %d ", n, len(all)); v != all[0] || !strings.HasPrefix(v, want) {
				t.Errorf("item %d became %q", n, all)
				break
			}
		}
		if len(all) == 0 {
			t.Errorf("item %d has no line", n)
		}
	}
	t.Logf("killed %v; %d lines of %d items", killed, len(ids), len(roots))
}
