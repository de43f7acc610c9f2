package advise

import (
	"cmp"
	"time"

	"tandem"
)

// rule is one question; the first that says yes names the bound. margin is how far the deciding figure is from its threshold, 0 to 1.
type rule struct {
	name string
	ask  func(m *Measurement, f *figures) (bound Bound, margin float64)
}

// rules in their order. Earlier ones look for what later ones would take for something else: waiting for the interpreter lock looks like a lock, a quota like a
// busy machine, copying pages like computing.
var rules = []rule{
	{"a quota holds it back", func(_ *Measurement, f *figures) (Bound, float64) {
		if f.Throttled >= .20 && f.CPU+f.Throttled+f.RunQueue >= .60 {
			return BoundThrottled, above(f.Throttled, .20)
		}
		return "", 0
	}},
	{"threads take turns with the interpreter lock", func(_ *Measurement, f *figures) (Bound, float64) {
		if f.GIL >= .20 && f.GIL >= .30*(f.GIL+f.CPU) {
			return BoundGIL, above(f.GIL, .20)
		}
		if f.waiters >= .30 && f.GIL >= .10 && f.cores <= 1.2 && f.demand+f.GIL > 1.3 {
			return BoundGIL, above(f.waiters, .30)
		}
		return "", 0
	}},
	{"threads wait for a lock", func(_ *Measurement, f *figures) (Bound, float64) {
		if f.Lock >= .40 && f.Lock > f.CPU {
			return BoundLock, above(f.Lock, .40)
		}
		return "", 0
	}},
	{"more threads are ready than processors", func(_ *Measurement, f *figures) (Bound, float64) {
		if ready := f.CPU + f.RunQueue; ready >= .60 && f.RunQueue >= .35*ready {
			return BoundRunQueue, above(f.RunQueue/ready, .35)
		}
		return "", 0
	}},
	{"pages come from a disk", func(_ *Measurement, f *figures) (Bound, float64) {
		if f.major >= 10 && f.Faults >= .35 {
			return BoundMem, above(f.Faults, .35)
		}
		if f.major < 10 { // without such faults it is a wait for a file
			f.Disk, f.Faults = f.Disk+f.Faults, 0
		}
		return "", 0
	}},
	{"it is on the processor", onProcessor},
	{"it waits for a disk", func(_ *Measurement, f *figures) (Bound, float64) {
		if f.Disk >= .35 && f.Disk+f.CPU*f.sys >= .70 {
			return BoundDisk, above(f.Disk, .35)
		}
		return "", 0
	}},
	{"its threads wait for each other", func(m *Measurement, f *figures) (Bound, float64) {
		if f.churning >= 2 && f.CPU < .35 && f.Network+f.Disk+f.Input+f.Lock+f.apart < .30 {
			if m.Turns >= .80 { // nothing else lets exactly one go on, each in its turn
				f.Lock, f.Opaque, f.Sleep = f.Lock+f.Opaque+f.Sleep, 0, 0
				return BoundLock, .3
			}
			f.Opaque, f.Sleep = f.Opaque+f.Sleep, 0 // whoever sleeps may hold what they wait for
			return BoundOpaque, 1
		}
		return "", 0
	}},
	{"the biggest wait", biggest},
}

func above(x, threshold float64) float64 { return min(1, max(0, (x-threshold)/threshold)) }

func onProcessor(m *Measurement, f *figures) (Bound, float64) {
	on := f.CPU + f.RunQueue
	if on < .65 {
		return "", 0
	}
	margin := min(1, (on-.65)/.20)
	switch {
	case f.sys >= .5 && f.minor >= 1e5:
		return BoundMem, min(margin, above(f.minor, 1e5), (f.sys-.5)/.1)
	case f.sys >= .5 && f.minor < 2e4 && f.bytes < 50<<20 && f.switches < 200 && m.Roams < .20 && m.CPU >= 300*time.Millisecond:
		return BoundSpin, min(margin, (f.sys-.5)/.1)
	}
	return BoundCPU, margin
}

func biggest(_ *Measurement, f *figures) (Bound, float64) {
	waits := []struct {
		bound Bound
		share float64
	}{{BoundNet, f.Network}, {BoundDisk, f.Disk}, {BoundLock, f.Lock}, {BoundSleep, f.Sleep + f.Input}, {BoundMem, f.Faults}, {BoundOpaque, f.Opaque}}
	top := waits[0]
	for _, w := range waits[1:] {
		if w.share > top.share {
			top = w
		}
	}
	on := f.CPU + f.RunQueue
	switch {
	case top.share >= .60:
		return top.bound, (top.share - .60) / .15
	case top.share >= .50 && on < .30:
		return top.bound, (.30 - on) / .20
	case top.share >= .25 && on >= .25:
		if f.Starved() {
			return BoundMixed, .4
		}
		return BoundMixed, min(top.share, on) / .25 * .6
	case top.share == 0 && on == 0:
		return BoundOpaque, 0
	case on > top.share:
		return BoundCPU, 0
	}
	// Several waits, none of which is most of it.
	if top.bound != BoundOpaque && top.share < .40 {
		return BoundMixed, .2
	}
	return top.bound, 0
}

// Starved says that others used the processors it wanted.
func (f *figures) Starved() bool { return f.starved }

// Judge says what a program is bound by.
func Judge(m *Measurement) Verdict {
	f := weigh(m)
	f.unstarve()
	v := Verdict{Starved: f.starved}
	margin := 0.0
	if f.idle {
		v.Bound, margin = idleBound(m, &f), .5
	} else {
		for _, r := range rules {
			if v.Bound, margin = r.ask(m, &f); v.Bound != "" {
				break
			}
		}
	}
	if spins(m, &f) {
		v.Bound, margin = BoundSpin, 1
	}
	switch c := m.circling(&f); {
	case c > 0:
		f.Spin, f.CPU, f.RunQueue = c*(f.CPU+f.RunQueue), (1-c)*f.CPU, (1-c)*f.RunQueue
	case v.Bound == BoundSpin:
		f.Spin, f.CPU = f.CPU, 0
	}
	if v.Bound == BoundMixed {
		v.Also = cmp.Or(also(&f), BoundOpaque)
	}
	v.Split = f.Split
	v.Confidence, v.Doubt = confidence(m, &f, v.Bound, margin)
	v.Advice = size(m, &f, v.Bound, v.Also)
	if m.Looks < 3 && v.Confidence == Low {
		v.Advice = Advice{Mode: tandem.Auto, Because: "too little was seen to advise anything"}
	}
	v.Sentence = sentence(m, &f, &v)
	return v
}

func also(f *figures) (b Bound) {
	best := .15
	for _, w := range []struct {
		bound Bound
		share float64
	}{{BoundNet, f.Network}, {BoundDisk, f.Disk}, {BoundLock, f.Lock}, {BoundGIL, f.GIL}, {BoundSleep, f.Sleep + f.Input}, {BoundMem, f.Faults}} {
		if w.share > best {
			best, b = w.share, w.bound
		}
	}
	return b
}

// watched says whether beside a thread that computes there is one of its process that waits for something from outside, after which it may change a variable
// that the first is watching.
func watched(m *Measurement) bool {
	computes, waits := map[int]int{}, map[int]bool{}
	for _, t := range m.Threads {
		life := t.Life.Seconds()
		switch {
		case isInternal(t) || t.Brief || t.Runtime == "go" || t.Runtime == "python" || t.Runtime == "node":
		case (t.On + t.Queue).Seconds() >= .90*life:
			computes[t.PID]++
		case (t.On+t.Queue).Seconds() < .05*life && life >= .5*m.Wall.Seconds() && seconds(t, Sleep)+seconds(t, Net)+seconds(t, Disk)+seconds(t, Input) > .5*life:
			waits[t.PID] = true
		}
	}
	for pid := range waits {
		if computes[pid] > 0 {
			return true
		}
	}
	return false
}

// idleBound names a program of which every thread only waits for something that nobody of it does.
func idleBound(m *Measurement, f *figures) Bound {
	waits := map[Cause]float64{}
	for _, t := range m.Threads {
		for c, d := range t.Wait {
			waits[c] += d.Seconds()
		}
	}
	if known := waits[Accept] + waits[Event] + waits[Sleep]; known > waits[Futex]+waits[Pipe]+waits[Child] && f.churning < 2 {
		f.Sleep, f.Opaque = f.Sleep+f.Opaque, 0
		return BoundSleep
	}
	return BoundOpaque
}

// confidence is high only when there was enough to see and the figure that decided is well beyond its threshold.
func confidence(m *Measurement, f *figures, b Bound, margin float64) (Confidence, string) {
	switch {
	case m.Looks == 0:
		return Low, "it could not be looked at, only its processor time is known"
	case m.Looks < 3 && b != BoundCPU:
		return Low, "it ended before it could be looked at often enough"
	case m.Wall < tooShort:
		return Low, "it ended at once: starting is most of what was measured"
	case b == BoundOpaque:
		return Low, "from outside it cannot be seen what it waits for"
	case f.scarce && f.CPU >= .25:
		return Low, "others left it next to nothing of the processors that it wanted"
	case m.Probe != nil && m.Probe.Circling >= turning && b != BoundSpin:
		return Low, "threads were again and again where they had been before, as if they spun, but whether that is of use did not show"
	case f.gone > .5 && b != BoundCPU:
		return Low, "most of the time went into processes too short to follow"
	case margin < .10:
		return Low, "the figures are near the border to another answer"
	case m.Looks < 20:
		return Medium, "it was looked at only a few times"
	case f.gone > .2:
		return Medium, "part of the time went into processes too short to follow"
	case f.starved:
		return Medium, "others used the processors that it wanted"
	case b == BoundRunQueue && (f.Lock >= .15 || m.Foreign >= .25*m.Cores && f.demand < 2*f.allowed):
		return Medium, "others use the processors too, which makes threads that wait for each other look like this"
	case b == BoundCPU && f.sys >= .10 && f.minor < 2e4 && f.bytes < 50<<20 && f.switches < 200 && m.Roams < .20:
		return Medium, "it asks the kernel often, without data or pages to show for it: it may be asking in a circle"
	case b == BoundCPU && watched(m):
		return Medium, "a thread that looks again and again whether another has changed a variable looks the same"
	case b == BoundSpin && m.Probe == nil:
		return Medium, "a program that asks the kernel again and again looks the same; --probe-spin tells them apart"
	case margin < .35:
		return Medium, "the figures are not far from the border to another answer"
	case f.Opaque > .25:
		return Medium, "part of the time cannot be seen from outside"
	}
	return High, ""
}
