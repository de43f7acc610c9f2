package measure

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"tandem/internal/advise"
	"tandem/internal/proc"
)

// End ends following and tells where the time went. used is what the kernel counted for the root when it was reaped, with all that it had waited for; nil when it was
// only watched. Call it after the last Look.
func (t *Tree) End(used *proc.Usage) *advise.Measurement {
	now := t.last
	m := &advise.Measurement{Looks: t.looks, Running: t.running, GILWaits: t.gilLooks, Holders: t.holders, Silent: len(t.kin) == 0 && t.brief.looks == 0}
	m.Wall = max(now.Sub(t.begun)-t.gap, time.Microsecond)
	m.Throttled = t.quota.held()
	live := t.list()
	for _, p := range live {
		if p.pid != t.root {
			m.Left++
		}
	}
	t.total(m, live, used)
	everyone := append(slices.Clone(t.kin), live...)
	for _, p := range live {
		p.io()
		for _, th := range slices.Clone(p.sorted()) {
			t.end(th)
		}
		p.letGo(t)
	}
	m.Threads = t.threads
	t.addRest(m)
	runtimes := map[string]bool{}
	var busiest *process
	for _, p := range everyone {
		m.Bytes += p.bytes
		m.Turns = max(m.Turns, p.tookTurns())
		m.Silent = m.Silent && p.wrote == 0
		if p.image.runtime != "" {
			runtimes[p.image.runtime] = true
		}
		if len(p.allowed) > 0 && (busiest == nil || p.on > busiest.on) {
			busiest = p
		}
		if p.pid == t.root && p.label != "" {
			m.Label = p.label
		}
	}
	m.Runtimes = slices.Sorted(maps.Keys(runtimes))
	if busiest != nil && busiest.opens > 1 {
		m.Roams = float64(busiest.reopens) / float64(busiest.opens-1)
	}
	t.processors(m, busiest)
	t.setPeers(m)
	m.Notes = slices.Sorted(maps.Keys(t.notes))
	if t.blind {
		m.Notes = append(m.Notes, "not allowed to see the system calls of a process: its waits cannot be told apart")
	}
	return m
}

// total is the processor time of the tree: exact for what was reaped, to a hundredth of a second for what still runs.
func (t *Tree) total(m *advise.Measurement, live []*process, used *proc.Usage) {
	add := func(u, s time.Duration, minor, major int64) {
		m.CPU, m.System, m.Minor, m.Major = m.CPU+u+s, m.System+s, m.Minor+minor, m.Major+major
	}
	if used != nil {
		add(used.User, used.System, used.Minor, used.Major)
		m.Switches = used.Voluntary
	}
	add(t.orphans.User, t.orphans.System, t.orphans.Minor, t.orphans.Major)
	for _, p := range live {
		if p.pid == t.root && used != nil {
			continue
		}
		d := p.used.minus(p.base)
		add(d.user+d.childUser, d.system+d.childSystem, d.minor+d.childMinor, d.major+d.childMajor)
	}
	if used == nil {
		for _, p := range t.kin {
			if p.pid == t.root { // it ended while it was watched
				d := p.used.minus(p.base)
				add(d.user+d.childUser, d.system+d.childSystem, d.minor+d.childMinor, d.major+d.childMajor)
			}
		}
	}
}

// addRest is the time of threads that were not followed: what the kernel counted beyond what was seen, split by the looks that hit such a thread.
func (t *Tree) addRest(m *advise.Measurement) {
	seen, slices := time.Duration(0), int64(0)
	for _, th := range m.Threads {
		seen += th.On
		slices += th.Slices
	}
	m.CPU = max(m.CPU, seen) // a process that is killed with its parent is never reaped by anybody we see
	if m.Switches == 0 {
		m.Switches = slices
	}
	b := t.brief
	rest := m.CPU - seen
	if rest < max(m.CPU/100, 2*time.Millisecond) && b.looks == 0 {
		return
	}
	th := advise.Thread{Name: cmp.Or(b.name, "too short to follow"), Brief: true, On: rest, Slices: b.slices, Wait: b.wait}
	if b.on > 0 {
		th.Queue = min(time.Duration(float64(rest)*float64(b.queue)/float64(b.on)), 20*rest)
	}
	th.Life = th.On + th.Queue
	for _, d := range b.wait {
		th.Life += d
	}
	if th.Life > 0 {
		m.Threads = append(m.Threads, th)
	}
}

// processors is how many the program may use, by its busiest process, and how much of them others used.
func (t *Tree) processors(m *advise.Measurement, busiest *process) {
	c := FindCores()
	m.Cores = float64(c.Affinity)
	var allowed []int
	if busiest != nil {
		allowed = busiest.allowed
		m.Cores = float64(len(allowed))
	}
	if c.Quota > 0 {
		m.Cores = min(m.Cores, c.Quota)
	}
	busy := busyCPUs()
	if allowed == nil {
		for i := range busy {
			allowed = append(allowed, i)
		}
	}
	total := time.Duration(0)
	for _, i := range allowed {
		if i < len(busy) && i < len(t.cpus) && busy[i] > t.cpus[i] {
			total += time.Duration(busy[i]-t.cpus[i]) * tick
		}
	}
	m.Foreign = min(max(0, (total-m.CPU).Seconds()/m.Wall.Seconds()), float64(len(allowed)))
}

func (t *Tree) setPeers(m *advise.Measurement) {
	now := time.Now()
	for _, w := range t.peers {
		m.Peers = append(m.Peers, advise.Peer{Name: w.name, Who: w.who, Busy: w.busy(now), Wait: w.wait})
	}
	slices.SortFunc(m.Peers, func(a, b advise.Peer) int { return cmp.Or(cmp.Compare(b.Wait, a.Wait), cmp.Compare(a.Name, b.Name)) })
	if len(m.Peers) > 20 {
		m.Notes = append(m.Notes, fmt.Sprintf("the 20 of %d peers that it waited for most are listed", len(m.Peers)))
		m.Peers = m.Peers[:20]
	}
}
