package main

import "fmt"

// A goal is a ratio of two figures of the same round, or a figure by itself, and, where the design set one, the bound that it must keep. The bounds come from
// a prototype measured the same way, with a quarter or more left for deadlines, tracing and the journal.
type goal struct {
	over, under       string // rows; without under it is the figure itself that is held against the bound
	overFig, underFig string // their figures
	bound             float64
	sense             string // "≥", "≤", or "" for a ratio that is only shown
}

func atLeast(bound float64, over, overFig, under, underFig string) goal {
	return goal{over, under, overFig, underFig, bound, "≥"}
}

func atMost(bound float64, over, overFig, under, underFig string) goal {
	return goal{over, under, overFig, underFig, bound, "≤"}
}

// within is about what no other row can be compared with.
func within(bound float64, row, fig string) goal { return goal{row, "", fig, "", bound, "≤"} }

func shown(over, overFig, under, underFig string) goal {
	return goal{over, under, overFig, underFig, 0, ""}
}

// goals lists every ratio, first to the raw limits, then to the peers.
func goals(sizes []int) []goal {
	all := []goal{
		atMost(1.7, "tandem/sync-go", "p50", "limit/c-roundtrip", "p50"),
		atMost(2.0, "tandem/sync-python", "p50", "limit/c-roundtrip", "p50"),
		atLeast(0.35, "tandem/callers-go", "rate", "limit/chan-call", "rate"),
		atLeast(0.25, "tandem/callers-python", "rate", "limit/chan-call", "rate"),
		atLeast(0.5, "tandem/submit-go", "rate", "limit/c-batched", "rate"),
		atLeast(0.5, "tandem/submit-go", "rate", "limit/chan-stream", "rate"),
		shown("tandem/submit-python", "rate", "limit/c-batched", "rate"),
		atLeast(0.5, "tandem/flow-two-steps", "rate", "tandem/submit-python", "rate"),
	}
	for _, mb := range sizes {
		bound := 0.9
		if mb < 16 { // memcpy stays in the cache, a hand-over between two processes cannot
			bound = 0.25
		}
		all = append(all, atLeast(bound, sized("tandem/view", mb), "rate", sized("limit/memcpy", mb), "rate"),
			shown(sized("tandem/bytes", mb), "rate", sized("limit/memcpy", mb), "rate"))
	}
	all = append(all,
		atMost(0.25, "tandem/sync-go", "p50", "peer/grpc-sync", "p50"),
		atLeast(20, "tandem/callers-go", "rate", "peer/grpc-callers", "rate"),
		atMost(0.95, "tandem/sync-python", "p50", "peer/pool-sync", "p50"),
		atMost(0.45, "tandem/sync-python", "p50", "peer/executor-sync", "p50"),
		atLeast(50, "tandem/callers-python", "rate", "peer/executor-submit", "rate"),
		atLeast(100, "tandem/submit-python", "rate", "peer/executor-submit", "rate"),
		shown("tandem/callers-python", "rate", "peer/pool-async", "rate"),
		shown("tandem/submit-python", "rate", "peer/pool-async", "rate"),
	)
	for _, mb := range sizes {
		for _, peer := range []struct {
			name  string
			bound float64 // set for 16 MB
		}{{"peer/pool-bytes", 25}, {"peer/shm-fresh", 12}, {"peer/shm-reused", 1.5}} {
			g := shown(sized("tandem/view", mb), "rate", sized(peer.name, mb), "rate")
			if mb == 16 {
				g.bound, g.sense = peer.bound, "≥"
			}
			all = append(all, g)
		}
		all = append(all, shown(sized("tandem/bytes", mb), "rate", sized("peer/pool-bytes", mb), "rate"))
	}
	for _, work := range []string{"wait", "compute"} {
		all = append(all, atLeast(0.9, "tandem/"+work+"-kept", "rate", "tandem/"+work+"-unkept", "rate"))
	}
	return append(all,
		within(1, "tandem/killer", "lost"),
		atLeast(0.97, "tandem/lanes", "rate", "tandem/no-lanes", "rate"),
		atMost(1.03, "tandem/lanes", "cpu", "tandem/no-lanes", "cpu"),
		atMost(1.02, "tandem/profiled", "took", "tandem/unprofiled", "took"),
		atMost(1.02, "tandem/profiled", "cpu", "tandem/unprofiled", "cpu"),
		within(1, "tandem/sampler", "share"),
		atLeast(0.95, "tandem/sandboxed", "rate", "tandem/unsandboxed", "rate"),
		atLeast(1, "tandem/map", "rate", "peer/xargs", "rate"),
		atLeast(3, "tandem/map", "rate", "peer/parallel", "rate"),
		atMost(0.05, "tandem/replace-python", "first", "tandem/replace-python-cold", "first"),
		atMost(0.05, "tandem/replace-python-fork", "first", "tandem/replace-python-cold", "first"),
		within(1, "tandem/replace-go", "first"),
		shown("tandem/replace-go", "first", "tandem/replace-go-cold", "first"),
		atMost(2, "tandem/spawn", "start", "limit/os-exec-spawn", "start"),
		shown("tandem/spawn", "ended", "limit/os-exec-spawn", "ended"),
		atMost(2, "tandem/spawn-2GB", "start", "limit/os-exec-spawn-2GB", "start"),
		within(10, "tandem/spawn-sandboxed", "start"),
		shown("tandem/spawn-burst", "rate", "limit/os-exec-burst", "rate"),
		atMost(0.05, "tandem/death-1GB", "notice", "tandem/death-1GB", "eof"),
		within(5000, "tandem/echo-beside-cpu", "p99"),
		shown("tandem/echo-beside-cpu", "p99", "limit/echo-beside-cpu", "p99"),
		shown("tandem/echo-beside-cpu", "p99", "limit/echo-idle", "p99"),
		shown("tandem/flow-kept", "rate", "tandem/flow-two-steps", "rate"),
		within(5, "tandem/resume-million", "first"),
		within(150, "tandem/flat-million", "rss"),
		atMost(1.2, "tandem/flat-million", "late", "tandem/flat-million", "early"),
		atLeast(0.95, "tandem/in-flight-auto", "rate", "tandem/in-flight-fixed", "rate"),
		atLeast(0.4, "tandem/queue-memory", "rate", "limit/chan-pipe", "rate"),
		atLeast(0.9, "tandem/queue-process", "rate", "peer/nats-loop", "rate"),
		atLeast(4, "tandem/queue-process", "rate", "peer/river", "rate"),
		atLeast(9, "tandem/queue-process", "rate", "peer/asynq", "rate"),
		atLeast(10, "tandem/queue-power", "rate", "peer/nats-always", "rate"),
		atLeast(2, "tandem/queue-power", "rate", "peer/river", "rate"),
		atLeast(4, "tandem/queue-cluster", "rate", "peer/nats-always-tcp", "rate"),
		shown("tandem/queue-redis", "rate", "peer/asynq", "rate"),
		within(1, "tandem/queue-wake", "p50"),
		within(10, "tandem/queue-start", "p50"),
		within(11, "tandem/queue-size", "size"),
		atLeast(0.9, "tandem/nodes-three", "share", "tandem/nodes-one", "share"),
		within(10, "tandem/attach-million", "first"),
		within(10, "tandem/attach-waiting", "all"),
		atMost(1.15, "hybrid/tandem", "makespan", "hybrid/ideal", "makespan"),
		shown("hybrid/textbook", "makespan", "hybrid/tandem", "makespan"),
	)
}

// sized is the name of the row of one payload size.
func sized(name string, mb int) string { return fmt.Sprintf("%s-%dMB", name, mb) }

const leftOutVerdict = "left out"

// reach is a goal held against what was measured.
type reach struct {
	Name    string    `json:"name"`
	Ratio   spread    `json:"ratio"`
	Rounds  []float64 `json:"rounds"`
	Goal    string    `json:"goal"`
	Verdict string    `json:"verdict"` // ok, short, left out; empty without a goal
	Why     string    `json:"why,omitempty"`
}

// reaches holds the goals against the results. Goals about rows that were not asked for (-only) are dropped.
func reaches(all []goal, results []*result) []reach {
	by := make(map[string]*result, len(results))
	for _, r := range results {
		by[r.name] = r
	}
	var reached []reach
	for _, g := range all {
		if over, under := by[g.over], by[g.under]; over != nil && (under != nil || g.under == "") {
			reached = append(reached, g.hold(over, under))
		}
	}
	return reached
}

func (g goal) hold(over, under *result) reach {
	r := reach{Name: g.over + " " + g.overFig, Goal: "–"}
	sides := []*result{over}
	if g.under == "" {
		r.Rounds = over.values(g.overFig)
	} else {
		r.Name += " ÷ " + g.under + " " + g.underFig
		r.Rounds = paired(over.rounds, under.rounds, g.overFig, g.underFig)
		sides = append(sides, under)
	}
	if g.sense != "" {
		r.Goal = fmt.Sprintf("%s %s", g.sense, number(g.bound))
	}
	if len(r.Rounds) == 0 {
		r.Verdict, r.Why = leftOutVerdict, "no round has both"
		for _, side := range sides {
			if side.leftOut != "" || len(side.failures) > 0 {
				r.Why = side.name + " has no figure"
				break
			}
		}
		return r
	}
	r.Ratio = spreadOf(r.Rounds)
	switch {
	case g.sense == "≥" && r.Ratio.Median < g.bound, g.sense == "≤" && r.Ratio.Median > g.bound:
		r.Verdict = "short"
	case g.sense != "":
		r.Verdict = "ok"
	}
	return r
}
