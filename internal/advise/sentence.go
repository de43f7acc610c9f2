package advise

import (
	"fmt"
	"strings"
	"time"
)

// tooShort is the time in which starting is most of what a program does.
const tooShort = 50 * time.Millisecond

// sentence says in one line what the program is bound by and what would help.
func sentence(m *Measurement, f *figures, v *Verdict) string {
	if m.Wall < tooShort {
		return fmt.Sprintf("ended after %s: too short to say more than that %s of it was on a processor", m.Wall.Round(100*time.Microsecond), percent(m.CPU.Seconds()/max(m.Wall.Seconds(), 1e-6)))
	}
	b := &strings.Builder{}
	switch s := &v.Split; v.Bound {
	case BoundCPU:
		fmt.Fprintf(b, "CPU-bound: %s of its time on a processor, %.1f of %s in use", percent(s.CPU), f.cores, cores(m.Cores))
	case BoundGIL:
		fmt.Fprintf(b, "bound by Python's interpreter lock: its threads wait %s of their time for it and use %.1f of %s", percent(s.GIL), f.cores, cores(m.Cores))
	case BoundRunQueue:
		fmt.Fprintf(b, "bound by the run queue: its threads are ready without a processor %s of their time; %.1f of them want %s", percent(s.RunQueue), f.demand, cores(m.Cores))
	case BoundThrottled:
		fmt.Fprintf(b, "throttled: the quota of its control group held it back %s of its time; it may use %s", percent(s.Throttled), cores(m.Cores))
	case BoundNet:
		fmt.Fprintf(b, "network-bound: %s of its time waits for %s", percent(s.Network), peer(m))
	case BoundDisk:
		fmt.Fprintf(b, "disk-bound: %s of its time waits for files", percent(s.Disk))
	case BoundLock:
		fmt.Fprintf(b, "lock-bound: its threads wait %s of their time for a lock%s", percent(s.Lock), holder(m))
	case BoundMem:
		if f.major >= 10 {
			fmt.Fprintf(b, "bound by page faults: %s of its time waits for memory to come from a disk", percent(s.Faults))
		} else {
			fmt.Fprintf(b, "bound by page faults: %s of its computing is the kernel giving it memory, %.0f pages a second", percent(f.sys), f.minor)
		}
	case BoundSpin:
		if m.circling(f) > 0 {
			fmt.Fprintf(b, "spins: %s of its time it looks again and again whether something has changed, and nothing was missed when it was kept from that", percent(s.Spin))
			break
		}
		fmt.Fprintf(b, "seems to spin: %s of its time on a processor, asking again and again for what is not there", percent(s.Spin))
	case BoundMixed:
		fmt.Fprintf(b, "mixed: it computes %s of its time and %s", percent(s.CPU+s.RunQueue), waitsFor(m, f, v))
	case BoundSleep:
		switch {
		case f.idle:
			b.WriteString("idle: it waits for somebody to ask it for something")
		case s.Input > s.Sleep:
			fmt.Fprintf(b, "waits for input: %s of its time for what is typed at the terminal", percent(s.Input))
		default:
			fmt.Fprintf(b, "sleeps: %s of its time waits for a timer of its own", percent(s.Sleep))
		}
	default:
		fmt.Fprintf(b, "opaque: %s of its time it waits for what cannot be seen from outside%s", percent(1-s.CPU-s.RunQueue), inside(m))
	}
	if v.Starved {
		b.WriteString("; others used the processors it wanted")
	}
	b.WriteString(help(v))
	return b.String()
}

func help(v *Verdict) string {
	n := v.Advice.Size
	if n == 0 || v.Confidence == Low {
		return ""
	}
	switch v.Bound {
	case BoundNet, BoundSleep:
		if n >= most {
			return "; it hardly computes: hundreds in flight would fit beside each other"
		}
		if v.Advice.Interval[1] <= 1 {
			return "; more at a time would not help"
		}
		return fmt.Sprintf("; %d in flight would use the CPU fully", n)
	case BoundCPU, BoundGIL, BoundMixed:
		if up := v.Advice.Interval; up[1] >= 1.1 {
			return fmt.Sprintf("; %d processes would be %.1f to %.1f times as fast", n, up[0], up[1])
		}
	case BoundRunQueue, BoundThrottled:
		if n == 1 {
			return "; one worker is enough"
		}
		return fmt.Sprintf("; %d workers are enough", n)
	}
	return ""
}

func peer(m *Measurement) string {
	if len(m.Peers) == 0 {
		return "the network"
	}
	p := m.Peers[0]
	if p.Who == "" {
		return p.Name
	}
	if p.Busy < 0 {
		return p.Name + " (" + p.Who + ")"
	}
	return fmt.Sprintf("%s (%s, itself %s busy)", p.Name, p.Who, percent(p.Busy))
}

func holder(m *Measurement) string {
	best, n, total := "", 0, 0
	for what, k := range m.Holders {
		total += k
		if k > n || k == n && what < best {
			best, n = what, k
		}
	}
	if n == 0 || n*2 < total {
		return ""
	}
	return " while another " + best
}

func waitsFor(m *Measurement, f *figures, v *Verdict) string {
	s := v.Split
	switch v.Also {
	case BoundNet:
		return fmt.Sprintf("waits %s for %s", percent(s.Network), peer(m))
	case BoundDisk:
		return fmt.Sprintf("waits %s for files", percent(s.Disk))
	case BoundLock:
		return fmt.Sprintf("waits %s for a lock%s", percent(s.Lock), holder(m))
	case BoundGIL:
		return fmt.Sprintf("waits %s for Python's interpreter lock", percent(s.GIL))
	case BoundSleep:
		return fmt.Sprintf("sleeps %s", percent(s.Sleep+s.Input))
	case BoundMem:
		return fmt.Sprintf("waits %s for memory", percent(s.Faults))
	}
	return fmt.Sprintf("waits %s for several things", percent(1-f.CPU-f.RunQueue))
}

// inside says how to see more of a runtime from within.
func inside(m *Measurement) string {
	for _, r := range m.Runtimes {
		switch r {
		case "jvm":
			return " (its threads park in the JVM: `jcmd PID Thread.print` names the lock)"
		case "go":
			return " (goroutines wait inside the Go runtime: a goroutine dump or `runtime/metrics` names it)"
		case "node":
			return " (Node waits inside its event loop: `node --cpu-prof` or clinic names it)"
		case "python":
			return " (Python waits inside itself: `py-spy dump --pid PID` names the line)"
		}
	}
	return ""
}
