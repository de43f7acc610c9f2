package cli

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	trials    = flag.Int("trials", 4, "how many faults TestTrials does: each of its kinds in turn, in an order that the seed says")
	trialSeed = flag.Uint64("trialseed", 0, "seed of TestTrials; zero means another each time")
)

// Kills of nodes, of the leader's node and of the submitter, and partitions, mixed, on three machines with addresses of their own and three copies of each message.
// After each the run must go on, and when it ends every item has one line.
func TestTrials(t *testing.T) {
	t.Parallel() // it waits more than it computes
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("NOT TESTED: python3 is not here")
	}
	isle := newIsland(t)
	seed := *trialSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("go test ./internal/cli -run TestTrials -count 1 -v -trials %d -trialseed %d", *trials, seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	pick := func(from []string) string { return from[rng.IntN(len(from))] }
	kinds := []string{"node", "leader", "submitter", "partition"}
	faults := map[string]func(p *party){
		"node": func(p *party) {
			n := pick(isle.nodes)
			p.kill(n)
			p.node(n)
		},
		"leader": func(p *party) {
			n := isle.leader(p)
			p.kill(n)
			p.node(n)
		},
		"submitter": func(p *party) {
			p.kill("submit")
			p.submit()
		},
		"partition": func(p *party) {
			link := isle.link(pick(isle.nodes))
			isle.must(t, ip("link", "set", link, "down"))
			time.Sleep(time.Duration(500+rng.IntN(7500)) * time.Millisecond) // a lease lasts 6 s
			isle.must(t, ip("link", "set", link, "up"))
		},
	}
	begun := time.Now()
	done, runs, lines, lost := map[string]int{}, 0, 0, 0
	var order []string
	for n := 0; n < *trials; runs++ {
		ok := t.Run(fmt.Sprint("run ", runs+1), func(t *testing.T) {
			p := isle.party(t, nil)
			for n < *trials && p.advance(1+rng.IntN(40), 2*time.Minute) {
				if len(order) == 0 {
					order = slices.Clone(kinds)
					rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
				}
				kind := order[0]
				order = order[1:]
				at := time.Now()
				faults[kind](p)
				n++
				done[kind]++
				t.Logf("trial %d, %s, %v", n, kind, time.Since(at).Round(time.Millisecond))
			}
			lost += p.finish(4 * time.Minute)
			lines += p.lines()
		})
		if !ok {
			t.Fatalf("after %d trials, seed %d", n, seed)
		}
	}
	var each []string
	for _, kind := range slices.Sorted(maps.Keys(done)) {
		each = append(each, fmt.Sprintf("%s %d", kind, done[kind]))
	}
	t.Logf("%d trials (%s), seed %d, %d runs, %d lines in %v: 0 lost, 0 twice; %d items ended as crashed because their lease lapsed more than ten times",
		*trials, strings.Join(each, ", "), seed, runs, lines, time.Since(begun).Round(time.Second), lost)
}
