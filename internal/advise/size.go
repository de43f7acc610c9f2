package advise

import (
	"fmt"
	"math"
	"slices"

	"tandem"
)

// most is the largest number in flight that is ever advised: beyond it other things than processors are the limit.
const most = 250

// effective is how many processors the program can count on: what it may use without what others took, but at least half, because others come and go.
func effective(m *Measurement) float64 {
	return max(m.Cores-m.Foreign, m.Cores/2, math.Min(1, m.Cores))
}

// workers is a whole number of processes for so many processors.
func workers(processors float64) int { return max(1, int(math.Round(processors))) }

// Predict says how many times faster n at a time are than k at a time, for work that computes the share s of its time on one of e processors and waits the rest:
// what queueing for the processors gives where times are as random as can be, and the bound that nothing exceeds.
func Predict(s, e float64, k, n float64) [2]float64 {
	s, e, k, n = min(max(s, 1e-4), 1), max(e, 1), max(k, 1), max(n, 1)
	round := func(x float64) float64 { return math.Round(x*100) / 100 }
	bound := func(n float64) float64 { return min(n, e/s) }
	low, high := throughput(s, e, n)/throughput(s, e, k), bound(n)/throughput(s, e, k)
	return [2]float64{round(low), round(max(low, high))}
}

// throughput is that of n at a time, in units of one alone on an empty machine: the machine repairman's model, in which each of n computes the share s of its
// time on one of e processors and waits the rest by itself. One at a time never waits for a processor, nor do as many as there are processors.
func throughput(s, e, n float64) float64 {
	if s >= 1 {
		return min(n, e) / s
	}
	// p is how likely it is, but for a factor, that k of them compute or want to.
	p, sum, busy := 1.0, 1.0, 0.0
	for k := 1.0; k <= n; k++ {
		p *= (n - k + 1) / (1 - s) * s / min(k, e)
		sum += p
		busy += p * min(k, e)
		if sum > 1e200 {
			p, sum, busy = p/sum, 1, busy/sum
		}
	}
	return busy / sum / s
}

// size is the mode and the number at a time that fit, and why.
func size(m *Measurement, f *figures, b, also Bound) Advice {
	if m.Wall < tooShort {
		return Advice{tandem.Auto, 0, [2]float64{}, "it ended too soon to advise anything; measure a longer run"}
	}
	e := effective(m)
	procs := workers(e)
	used := f.cores
	k := max(1, f.life/max(m.Wall.Seconds(), 1e-6)) // threads at work
	switch b {
	case BoundCPU:
		if used >= .85*e {
			return Advice{tandem.Process, procs, [2]float64{1, 1}, fmt.Sprintf("it computes, and keeps the %s it can have busy already", cores(e))}
		}
		up := Predict(1, e, max(1, used), float64(procs))
		if procs == 1 {
			why := "it computes, and there is one processor for it"
			if m.Cores >= 2 {
				why = fmt.Sprintf("it computes, and others leave about one of the %s", cores(m.Cores))
			}
			return Advice{tandem.Process, 1, up, why}
		}
		return Advice{tandem.Process, procs, up, fmt.Sprintf("it computes on %.1f of the %s it can have; a process for each uses them all", used, cores(e))}
	case BoundGIL:
		return Advice{tandem.Process, procs, Predict(1, e, max(1, used), float64(procs)),
			"its threads take turns with Python's interpreter lock, so that more threads compute no more; processes have a lock each"}
	case BoundRunQueue:
		return Advice{tandem.Process, procs, [2]float64{1, 1}, fmt.Sprintf("%.1f threads want the %s; more than one each only take turns", f.demand, cores(m.Cores))}
	case BoundThrottled:
		return Advice{tandem.Process, workers(m.Cores), [2]float64{1, 1}, fmt.Sprintf("its control group may use %s; more workers are held back more", cores(m.Cores))}
	case BoundMem:
		return Advice{tandem.Process, procs, [2]float64{1, round2(max(1, e/max(used, .5)))},
			"the kernel is busy giving it memory; processes have address spaces of their own, but using memory again helps more"}
	case BoundSpin:
		return Advice{tandem.Auto, 0, [2]float64{}, "it asks again and again for what is not there; let it block or sleep in between, then measure again"}
	case BoundLock:
		return Advice{tandem.Process, procs, [2]float64{}, "one thread holds the lock and the others wait, so more threads do not help; hold it shorter, or give each worker its own"}
	case BoundDisk:
		return Advice{tandem.Goroutine, 4, [2]float64{1, 4}, "it waits for a disk, which does a few things at a time; try 2 to 8 and keep what helps"}
	case BoundOpaque:
		return Advice{tandem.Auto, 0, [2]float64{}, "what it waits for cannot be seen from outside"}
	}
	return inFlight(m, f, b, also, e, k)
}

// inFlight is for work that waits most of its time for somebody else, or half of it.
func inFlight(m *Measurement, f *figures, b, also Bound, e, k float64) Advice {
	python := slices.Contains(m.Runtimes, "python")
	s := max(f.CPU+f.Spin, 0)
	if b == BoundMixed {
		n := max(procsFor(s, e), workers(e))
		because := "it computes and waits by turns; processes do both, and more of them than processors fill the waits"
		if also == BoundLock || also == BoundGIL {
			n, because = workers(e), "it computes and waits for itself by turns; processes share no lock"
		}
		return Advice{tandem.Process, n, Predict(s, e, k, float64(n)), because}
	}
	if f.Input > f.Network+f.Sleep-f.Input && b == BoundSleep {
		return Advice{tandem.Auto, 0, [2]float64{}, "it waits for a person"}
	}
	if f.idle {
		return Advice{tandem.Auto, 0, [2]float64{}, "nobody asked it for anything"}
	}
	if b == BoundNet && len(m.Peers) > 0 && m.Peers[0].Name == PipePeer {
		return Advice{tandem.Auto, 0, [2]float64{}, "it waits for what another program writes to it: that one is to be measured"}
	}
	mode, limit := tandem.Goroutine, e
	if python { // its threads share one processor
		mode, limit = tandem.Thread, min(e, 1)
	}
	for _, p := range m.Peers[:min(1, len(m.Peers))] {
		if p.Busy >= .8 && b == BoundNet {
			return Advice{mode, max(1, int(math.Round(k))), [2]float64{1, 1}, fmt.Sprintf("%s is itself %.0f %% busy: more requests at a time would wait there", p.Name, 100*p.Busy)}
		}
	}
	n := procsFor(s, limit)
	because := fmt.Sprintf("it computes %s of its time and waits the rest, so %d at a time share the processor", percent(s), n)
	if n >= most {
		return Advice{mode, n, [2]float64{}, "it hardly computes: what the other side bears is the limit, so begin with less and let a limit guided by latency find it"}
	}
	return Advice{mode, n, Predict(s, limit, k, float64(n)), because}
}

// procsFor is how many at a time use e processors fully when each computes the share s of its time.
func procsFor(s, e float64) int {
	if s <= e/most {
		return most
	}
	return min(most, max(1, int(math.Ceil(e/s))))
}

func round2(x float64) float64 { return math.Round(x*100) / 100 }

func cores(n float64) string {
	if n == math.Trunc(n) {
		if n == 1 {
			return "one processor"
		}
		return fmt.Sprintf("%.0f processors", n)
	}
	return fmt.Sprintf("%.1f processors", n)
}

func percent(x float64) string {
	if x > 0 && x < .01 {
		return "less than 1 %"
	}
	return fmt.Sprintf("%.0f %%", 100*x)
}
