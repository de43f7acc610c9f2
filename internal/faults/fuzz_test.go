package faults

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const fuzzFlow = `tandem: v1
name: fuzz
from: {range: 1..2000}
steps:
  - {name: go, worker: [WORKER], handler: brief, workers: 2, mode: process}
  - {name: py, python: "HANDLERS:brief", workers: 2, mode: process}
  - {name: sh, run: [sleep, "0.02"], concurrency: 2}
into: {jsonl: out.jsonl}
`

// What is hit may be any of Tandem, its warden, shims, workers and what workers have started, Python's template among them, in any combination and at any moment, also while the run
// starts: when Tandem is gone nothing is left. -kills 1000 for the full count.
func TestRandomKills(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	for _, user := range users(row{}) {
		t.Run(user, func(t *testing.T) {
			t.Parallel()
			begun := time.Now()
			seed := rand.Uint64()
			random := rand.New(rand.NewPCG(seed, 0))
			t.Logf("seed %d", seed)
			killed := map[string]int{}
			var total atomic.Int64
			for round := 0; total.Load() < int64(*kills) && !t.Failed(); round++ {
				r := &run{T: t, row: row{items: 2000, flow: fuzzFlow}, user: user}
				r.place(user)
				r.write("flow.yaml", strings.NewReplacer("HANDLERS", place+"/handlers.py", "WORKER", goWorker).Replace(fuzzFlow))
				r.start(user)
				time.Sleep(time.Duration(random.IntN(500)) * time.Millisecond)
				names := []string{"app", "warden", "shim", "worker", "child"}
				set, story := 1+random.IntN(1<<len(names)-1), ""
				found := r.watch.parts()
				for _, k := range random.Perm(len(names)) {
					list := found[names[k]]
					if set>>k&1 == 0 || len(list) == 0 {
						continue
					}
					pid := list[random.IntN(len(list))]
					if syscall.Kill(pid, syscall.SIGKILL) == nil {
						story += fmt.Sprintf(" %s %d", names[k], pid)
						killed[names[k]]++
						total.Add(1)
					}
				}
				if set&1 == 0 {
					time.Sleep(time.Duration(random.IntN(200)) * time.Millisecond)
					_ = r.cmd.Process.Kill()
				}
				r.killed = true
				<-r.ended
				if left := r.watch.vanished(3 * time.Second); len(left) > 0 {
					t.Errorf("round %d, killed%s: left behind %s", round, story, strings.Join(left, "; "))
				}
				r.finish()
			}
			t.Logf("killed %v", killed)
			said := "nothing was left"
			if t.Failed() {
				said = "FAILED"
			}
			table.Lock()
			defer table.Unlock()
			table.rows = append(table.rows, result{row{n: 30, fault: fmt.Sprintf("%d random kills", total.Load()), lang: "all"}, user, time.Since(begun).Seconds(), said})
		})
	}
}
