package advise

import (
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tandem"
)

// th is a thread of three seconds: on a processor, ready, and waits.
func th(on, queue float64, slices int64, waits map[Cause]float64) Thread {
	t := Thread{Life: 3 * time.Second, On: sec(on), Queue: sec(queue), Slices: slices, Wait: map[Cause]time.Duration{}}
	for c, s := range waits {
		t.Wait[c] = sec(s)
	}
	return t
}

func sec(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

type w = map[Cause]float64

// of is a measurement of three seconds on two processors, looked at sixty times; change may say what is different.
func of(change func(*Measurement), threads ...Thread) *Measurement {
	m := &Measurement{Wall: 3 * time.Second, Cores: 2, Looks: 60, Threads: threads}
	for _, t := range threads {
		m.CPU += t.On
	}
	m.Running = int(60 * min(1, m.CPU.Seconds()/3))
	if change != nil {
		change(m)
	}
	return m
}

func repeat(n int, t Thread) (list []Thread) {
	for range n {
		list = append(list, t)
	}
	return list
}

func TestJudge(t *testing.T) {
	python := func(m *Measurement) { m.Runtimes = []string{"python"} }
	for _, c := range []struct {
		name  string
		m     *Measurement
		bound Bound
		mode  tandem.Mode
		size  int
		says  string // a part of the sentence
	}{
		{"one thread computes", of(nil, th(2.95, 0, 100, w{})), BoundCPU, tandem.Process, 2, "1.0 of 2 processors in use; 2 processes would be"},
		{"all processors compute", of(nil, repeat(2, th(2.9, .1, 100, w{}))...), BoundCPU, tandem.Process, 2, "1.9 of 2 processors"},
		{"a neighbour takes half", of(func(m *Measurement) { m.Foreign = 2 }, th(1.5, 1.5, 900, w{})), BoundCPU, tandem.Process, 1, "others used the processors"},
		{"eight threads on two processors", of(nil, repeat(8, th(.75, 2.2, 900, w{}))...), BoundRunQueue, tandem.Process, 2, "2 workers are enough"},
		{"four take turns with the interpreter lock", of(python, repeat(4, th(.73, .02, 900, w{GIL: 2.2}))...), BoundGIL, tandem.Process, 2, "interpreter lock"},
		{"hashes without the interpreter lock", of(python, repeat(2, th(2.8, .1, 900, w{GIL: .05}))...), BoundCPU, tandem.Process, 2, "CPU-bound"},
		{"waits for a server", of(func(m *Measurement) {
			m.Peers = []Peer{{Name: "127.0.0.1:8080", Who: "python3 slow.py", Busy: .03, Wait: sec(2.7)}}
		}, th(.25, 0, 60, w{Net: 2.7})), BoundNet, tandem.Goroutine, 24, "92 % of its time waits for 127.0.0.1:8080 (python3 slow.py, itself 3 % busy); 24 in flight would use the CPU fully"},
		{"the same in Python", of(python, th(.25, 0, 60, w{Net: 2.7})), BoundNet, tandem.Thread, 12, "12 in flight"},
		{"waits for a server that is busy", of(func(m *Measurement) { m.Peers = []Peer{{Name: "10.0.0.1:80", Busy: .97, Wait: sec(2.7)}} }, th(.3, 0, 60, w{Net: 2.7})),
			BoundNet, tandem.Goroutine, 1, "more at a time would not help"},
		{"waits for a program before it in a pipe", of(func(m *Measurement) { m.Peers = []Peer{{Name: PipePeer, Busy: -1, Wait: sec(2.9)}} }, th(.01, 0, 60, w{Net: 2.9})), BoundNet, tandem.Auto, 0, "a pipe"},
		{"an idle pool beside one that computes", of(nil, append(repeat(4, th(0, 0, 5, w{Word: 3})), th(2.9, .05, 100, w{}))...), BoundCPU, tandem.Process, 2, "CPU-bound"},
		{"a lock whose holder sleeps", of(func(m *Measurement) { m.Holders = map[string]int{"sleeps": 50, "computes": 1} }, repeat(6, th(.005, 0, 100, w{Lock: 2.45, Sleep: .5}))...),
			BoundLock, tandem.Process, 2, "while another sleeps"},
		{"a shared word that threads pass on", of(nil, repeat(6, th(.05, 0, 60, w{Word: 2.4, Net: .5}))...), BoundLock, tandem.Process, 2, "for a lock"},
		{"small writes made safe", of(func(m *Measurement) { m.System = sec(1) }, th(1.2, .05, 6000, w{Disk: 1.75})), BoundDisk, tandem.Goroutine, 4, "waits for files"},
		{"memory taken and given back", of(func(m *Measurement) { m.System, m.Minor = sec(2.6), 900_000 }, th(2.9, 0, 60, w{})), BoundMem, tandem.Process, 2, "page faults"},
		{"memory from a disk", of(func(m *Measurement) { m.Major = 3000 }, th(.5, 0, 3000, w{Fault: 2.4})), BoundMem, tandem.Process, 2, "from a disk"},
		{"asks the kernel in a circle", of(func(m *Measurement) { m.System = sec(2.4) }, th(2.9, 0, 60, w{})), BoundSpin, tandem.Auto, 0, "seems to spin"},
		{"walks through directories, which asks the kernel too", of(func(m *Measurement) { m.System, m.Roams = sec(2.4), .9 }, th(2.9, 0, 60, w{})), BoundCPU, tandem.Process, 2, "CPU-bound"},
		{"reads a file in memory, which asks the kernel too", of(func(m *Measurement) { m.System, m.Bytes = sec(2.4), 4<<30 }, th(2.9, 0, 60, w{})), BoundCPU, tandem.Process, 2, "CPU-bound"},
		{"sleeps", of(nil, th(.01, 0, 60, w{Sleep: 2.99})), BoundSleep, tandem.Goroutine, 250, "timer of its own"},
		{"waits for a person", of(nil, th(.01, 0, 3, w{Input: 2.99})), BoundSleep, tandem.Auto, 0, "typed at the terminal"},
		{"half and half", of(nil, th(1.5, 0, 60, w{Net: 1.5})), BoundMixed, tandem.Process, 4, "waits 50 % for the network"},
		{"held back by a quota", of(func(m *Measurement) { m.Cores, m.Throttled = .5, sec(1.5) }, th(1.5, 1.5, 60, w{})), BoundThrottled, tandem.Process, 1, "quota"},
		{"a quota that is not used up", of(func(m *Measurement) { m.Throttled = sec(.05) }, th(2.9, .05, 60, w{})), BoundCPU, tandem.Process, 2, "CPU-bound"},
		{"threads of a JVM park", of(func(m *Measurement) { m.Runtimes = []string{"jvm"} }, repeat(6, th(.05, 0, 300, w{Futex: 2.9}))...), BoundOpaque, tandem.Auto, 0, "jcmd"},
		{"threads of which one goes on at a time, each in turn", of(func(m *Measurement) { m.Turns = .95 }, repeat(6, th(.05, 0, 300, w{Futex: 2.4, Sleep: .5}))...), BoundLock, tandem.Process, 2, "for a lock"},
		{"a pool that sleeps while its parent starts it", of(nil, append(repeat(4, th(.02, .02, 60, w{Sleep: 2.9})), th(.2, .3, 60, w{Futex: 2.5}))...), BoundSleep, tandem.Goroutine, 88, "timer"},
		{"a watchdog beside a starved thread", of(func(m *Measurement) { m.Foreign = 2 }, th(.2, 2.7, 600, w{}), th(0, 0, 3, w{Sleep: 3})), BoundCPU, tandem.Process, 1, "CPU-bound"},
		{"a shell waits for what it started", of(nil, th(.01, 0, 4, w{Child: 2.99}), th(2.9, .05, 100, w{})), BoundCPU, tandem.Process, 2, "CPU-bound"},
		{"a server that nobody asks", of(nil, th(.01, 0, 4, w{Accept: 2.99})), BoundSleep, tandem.Auto, 0, "idle"},
		{"the kernel tells nothing", of(nil, th(.1, 0, 100, w{Blind: 2.9})), BoundOpaque, tandem.Auto, 0, "opaque"},
		{"a flag is watched without the kernel", of(func(m *Measurement) { m.Probe = &Probe{Sensitivity: .05, Spent: .1, Ratio: .55} }, th(2.9, .05, 100, w{})), BoundSpin, tandem.Auto, 0, "seems to spin"},
		{"real work under the probe", of(func(m *Measurement) { m.Probe = &Probe{Sensitivity: .98, Spent: 1, Ratio: 1} }, th(2.9, .05, 100, w{})), BoundCPU, tandem.Process, 2, "CPU-bound"},
		{"one watches until another has computed", of(func(m *Measurement) { m.Probe = &Probe{Sensitivity: .1, Spent: .1, Ratio: .7, Circling: .5} }, repeat(2, th(2.9, .05, 100, w{}))...), BoundSpin, tandem.Auto, 0, "spins: 50 % of its time"},
		{"circles that are missed", of(func(m *Measurement) { m.Probe = &Probe{Sensitivity: .9, Spent: 1, Ratio: 1, Circling: 1} }, th(2.9, .05, 100, w{})), BoundCPU, tandem.Process, 2, "CPU-bound"},
		{"circles beside others who kept the first run back", of(func(m *Measurement) {
			m.Foreign, m.Probe = 2, &Probe{Sensitivity: -.4, Spent: 1, Ratio: 1.02, Circling: 1}
		}, th(1.2, 1.7, 100, w{})), BoundCPU, tandem.Process, 1, "CPU-bound"},
		{"work whose second run was less disturbed", of(func(m *Measurement) { m.Probe = &Probe{Sensitivity: -.4, Spent: .97, Ratio: .99} }, th(2.9, .05, 100, w{})), BoundCPU, tandem.Process, 2, "CPU-bound"},
		{"the heartbeat of a runtime", of(nil, th(2.9, .05, 100, w{}), Thread{Runtime: "go", Life: sec(3), On: sec(.02), Slices: 300, Wait: map[Cause]time.Duration{Sleep: sec(2.9)}}), BoundCPU, tandem.Process, 2, "CPU-bound"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := Judge(c.m)
			if v.Bound != c.bound || v.Advice.Mode != c.mode || v.Advice.Size != c.size || !strings.Contains(v.Sentence, c.says) {
				t.Errorf("got %s, %s × %d: %s\nwant %s, %s × %d: …%s…\n%+v", v.Bound, v.Advice.Mode, v.Advice.Size, v.Sentence, c.bound, c.mode, c.size, c.says, v.Split)
			}
			if v.Advice.Because == "" {
				t.Error("advice without a because")
			}
		})
	}
}

func TestConfidenceFallsWithWhatIsKnown(t *testing.T) {
	good := func() *Measurement { return of(nil, th(.25, 0, 60, w{Net: 2.7})) }
	for _, c := range []struct {
		name   string
		change func(*Measurement)
		want   Confidence
	}{
		{"all is there", func(*Measurement) {}, High},
		{"looked at twice", func(m *Measurement) { m.Looks = 2 }, Low},
		{"looked at ten times", func(m *Measurement) { m.Looks = 10 }, Medium},
		{"ended at once", func(m *Measurement) { m.Wall = 5 * time.Millisecond }, Low},
		{"near the border", func(m *Measurement) { m.Threads = []Thread{th(1.12, 0, 60, w{Net: 1.83, Blind: .05})} }, Low},
		{"in processes too short to follow", func(m *Measurement) { m.Threads[0].Brief = true }, Low},
	} {
		m := good()
		c.change(m)
		if v := Judge(m); v.Confidence != c.want || (v.Doubt == "") != (c.want == High) {
			t.Errorf("%s: %s (%s), want %s", c.name, v.Confidence, v.Doubt, c.want)
		}
	}
}

// Whatever is measured, the verdict is a whole one.
func TestVerdictIsWhole(t *testing.T) {
	causes := []Cause{Net, Disk, Lock, Word, Futex, GIL, Sleep, Fault, Input, Blind, Child, Join, Accept, Event, Pipe}
	rapid.Check(t, func(t *rapid.T) {
		d := func(name string) time.Duration {
			return time.Duration(rapid.Int64Range(0, int64(5*time.Second)).Draw(t, name))
		}
		m := &Measurement{Wall: d("wall"), CPU: d("cpu"), System: d("system"), Cores: rapid.Float64Range(0, 64).Draw(t, "cores"), Foreign: rapid.Float64Range(0, 64).Draw(t, "foreign"),
			Throttled: d("throttled"), Major: rapid.Int64Range(0, 1e6).Draw(t, "major"), Minor: rapid.Int64Range(0, 1e9).Draw(t, "minor"), Looks: rapid.IntRange(0, 1000).Draw(t, "looks")}
		for range rapid.IntRange(0, 5).Draw(t, "threads") {
			x := Thread{Life: d("life"), On: d("on"), Queue: d("queue"), Slices: rapid.Int64Range(0, 1e5).Draw(t, "slices"), Wait: map[Cause]time.Duration{}, Brief: rapid.Bool().Draw(t, "brief")}
			for range rapid.IntRange(0, 3).Draw(t, "waits") {
				x.Wait[rapid.SampledFrom(causes).Draw(t, "cause")] = d("wait")
			}
			m.Threads = append(m.Threads, x)
		}
		v := Judge(m)
		if v.Bound == "" || v.Sentence == "" || v.Advice.Mode == "" || v.Advice.Because == "" || v.Confidence == "" || (v.Bound == BoundMixed) != (v.Also != "") {
			t.Fatalf("something is missing: %+v", v)
		}
		if strings.Contains(v.Sentence+v.Advice.Because, "NaN") || strings.Contains(v.Sentence, "Inf") {
			t.Fatal(v.Sentence)
		}
		if sum := v.Split.sum(); sum != 0 && math.Abs(sum-1) > 1e-6 {
			t.Fatalf("the shares add up to %v: %+v", sum, v.Split)
		}
		for _, x := range v.Split.each() {
			if *x < 0 || math.IsNaN(*x) {
				t.Fatalf("%+v", v.Split)
			}
		}
		if up := v.Advice.Interval; up[0] < 0 || up[1] < up[0] || math.IsInf(up[1], 0) {
			t.Fatalf("interval %v", up)
		}
		if n := v.Advice.Size; n < 0 || n > max(most, 64) {
			t.Fatalf("size %d", n)
		}
	})
}

// Figures that were worked out by hand, or measured.
func TestPrediction(t *testing.T) {
	if x := throughput(1, 2, 1); math.Abs(x-1) > 1e-9 {
		t.Errorf("one alone: %v", x)
	}
	if x := throughput(.067, 2, 16); math.Abs(x-16) > 1 { // 16 threads that compute a fifteenth on two processors hardly meet
		t.Errorf("sixteen that wait: %v", x)
	}
	for s := .01; s <= 1; s += .01 {
		for n := 1.0; n < 100; n++ {
			if x := throughput(s, 2, n); x > min(n, 2/s)+1e-9 || x < throughput(s, 2, n-1)-1e-9 && n > 1 {
				t.Fatalf("s %v, n %v: %v", s, n, x)
			}
		}
	}
}
