package measure

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"tandem/internal/advise"
	"tandem/internal/proc"
)

// Tree follows a process and all that it starts, from outside and without privileges, and tells where their time went.
//
//   - Counters give the amounts: time on a processor and time ready for one, of each thread (schedstat), of the whole tree at its end (rusage). Looks now and
//     then only split the rest by what a thread was waiting for. So waits shorter than the time between two looks are counted, too.
//   - Nothing is stopped, traced or injected. A look costs some microseconds a thread; a thread that has not run since the last look costs one read.
//   - Looks get rarer and, with thousands of threads, take turns, so that they use no more than the budget. What they used is told by Cost.
//   - A process that ends between two looks is known by its processor time alone, which its parent inherits, and by the looks that did hit one of its kind.
//
// Follow, Watch, End and Cost are called by one goroutine at a time; Watch blocks until it is told to stop.
type Tree struct {
	cfg      TreeConfig
	root     int
	begun    time.Time
	last     time.Time // of the last look
	interval time.Duration
	procs    map[int]*process
	files    int // kept open
	maxFiles int
	boot     time.Time // when the clock of start times was zero
	threads  []advise.Thread
	brief    briefly
	peers    map[string]*peer
	tables   map[string]*table // by network namespace
	words    map[word]int      // of this look: how many threads wait on it
	holders  map[string]int
	looks    int
	running  int
	gilLooks int
	gap      time.Duration // when we were stopped ourselves
	cost     time.Duration
	self     time.Duration // our own processor time at the beginning
	before   map[int]bool  // children that we had already
	orphans  proc.Usage
	kin      []*process // processes that ended
	cpus     []uint64   // busy time of each processor at the beginning
	quota    throttle
	notes    map[string]bool
	cursor   int
	order    []*thread
	blind    bool // system calls cannot be seen
	plain    bool // this kernel has no schedstat: time on a processor in hundredths of a second, and nothing about the run queue
	images   map[string]image
	pipes    map[string]pipeEnds
	buf      [4096]byte
	spans    int // recorded
	exe      string
}

// TreeConfig says how to follow.
type TreeConfig struct {
	Interval time.Duration // between two looks; zero means 50 ms
	Budget   float64       // of one processor, for looking; zero means 0.01
	Before   []int         // OwnChildren from before the root was started: children that appear later were orphaned by the tree
	Attach   bool          // it runs already: only what happens from now on counts
	Record   bool          // keep what each thread did when, up to some hundred thousand stretches
}

const (
	// A program that ends soon is looked at more often.
	early      = 10 * time.Millisecond
	earlyUntil = 600 * time.Millisecond
	seldom     = 200 * time.Millisecond // with so many threads that they take turns
	rarely     = time.Second            // with so many processes
)

// Follow begins with process root, started at begun. The error says why it cannot be looked at.
func Follow(root int, begun time.Time, cfg TreeConfig) (*Tree, error) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		return nil, fmt.Errorf("nothing can be seen of processes here, only their processor time in the end: %w", err)
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", root)); err != nil {
		return nil, fmt.Errorf("no process %d: %w", root, err)
	}
	t := newTree(root, begun, cfg)
	t.setPlain(!hasSchedstat())
	t.find(root, nil)
	if t.procs[root] == nil {
		return nil, fmt.Errorf("process %d cannot be looked at: /proc/%d/stat is not readable", root, root)
	}
	return t, nil
}

// newTree knows the machine as it is now and follows nothing yet.
func newTree(root int, begun time.Time, cfg TreeConfig) *Tree {
	if cfg.Interval <= 0 {
		cfg.Interval = 50 * time.Millisecond
	}
	if cfg.Budget <= 0 {
		cfg.Budget = .01
	}
	t := &Tree{cfg: cfg, root: root, begun: begun, last: begun, interval: min(early, cfg.Interval), procs: map[int]*process{}, peers: map[string]*peer{}, tables: map[string]*table{},
		words: map[word]int{}, holders: map[string]int{}, before: map[int]bool{}, notes: map[string]bool{}, images: map[string]image{}, pipes: map[string]pipeEnds{}, self: proc.SelfCPU(), maxFiles: 256}
	if n, err := proc.OpenFiles(); err == nil {
		t.maxFiles = int(min(n/2, 2048))
	}
	if b, err := os.ReadFile("/proc/uptime"); err == nil {
		if up, err := strconv.ParseFloat(strings.Fields(string(b))[0], 64); err == nil {
			t.boot = time.Now().Add(-time.Duration(up * float64(time.Second)))
		}
	}
	t.cpus = busyCPUs()
	t.exe, _ = os.Readlink("/proc/self/exe")
	for _, pid := range cfg.Before {
		t.before[pid] = true
	}
	t.quota = throttleOf(root)
	return t
}

// hasSchedstat says whether the kernel counts what the run queue costs. It does when we ourselves have been given a processor.
func hasSchedstat() bool {
	b, err := os.ReadFile("/proc/self/schedstat")
	f := strings.Fields(string(b))
	return err == nil && len(f) >= 3 && f[2] != "0"
}

func (t *Tree) setPlain(plain bool) {
	if t.plain = plain; plain {
		t.notes["this kernel has no schedstat: waiting for a processor cannot be told from other waiting, and time on it is known to a hundredth of a second"] = true
	}
}

// Watch looks again and again until stop is closed or nothing is left to look at.
func (t *Tree) Watch(stop <-chan struct{}) {
	runtime.LockOSThread() // so that the processor time of this thread is that of looking
	defer runtime.UnlockOSThread()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-stop:
			return
		case <-timer.C:
		}
		t.Look()
		if p := t.procs[t.root]; p == nil {
			return
		}
		timer.Reset(t.interval)
	}
}

// Look looks once.
func (t *Tree) Look() {
	spent := proc.ThreadCPU()
	now := time.Now()
	if late := now.Sub(t.last) - t.interval; late > 2*time.Second {
		t.pause(late)
	}
	t.looks++
	clear(t.words)
	share := t.turn()
	ready, gil := false, false
	for _, p := range t.list() {
		if !t.procs[p.pid].same(p) {
			continue
		}
		t.lookProcess(p, now)
	}
	for _, th := range share {
		if th.gone {
			continue
		}
		t.lookThread(th, now)
		ready = ready || th.ready && !advise.Internal(th.p.image.runtime, th.name)
		gil = gil || !th.ready && th.wait.cause == advise.GIL
	}
	t.settleWords(share)
	if ready {
		t.running++
	}
	if gil {
		t.gilLooks++
	}
	if t.looks%4 == 0 {
		t.adopt()
	}
	t.last = now
	t.pace(now, proc.ThreadCPU()-spent)
}

// pace sets the time to the next look by what this one cost.
func (t *Tree) pace(now time.Time, cost time.Duration) {
	t.cost += cost
	want := t.cfg.Interval
	if now.Sub(t.begun) < earlyUntil && !t.cfg.Attach {
		want = min(want, early)
		t.interval = max(want, min(33*cost, t.cfg.Interval))
		return
	}
	t.interval = min(max(want, time.Duration(float64(cost)/t.cfg.Budget)), max(rarely, want))
}

// turn is the threads of this look: all, or so many that the budget lasts.
func (t *Tree) turn() []*thread {
	t.order = t.order[:0]
	for _, p := range t.list() {
		t.order = append(t.order, p.sorted()...)
	}
	const each = 8 * time.Microsecond
	most := max(64, int(time.Duration(float64(seldom)*t.cfg.Budget)/each))
	if len(t.order) <= most {
		return t.order
	}
	t.note(fmt.Sprintf("%d threads take turns in being looked at, %d at a time", len(t.order), most))
	share := make([]*thread, 0, most)
	for i := range most {
		share = append(share, t.order[(t.cursor+i)%len(t.order)])
	}
	t.cursor = (t.cursor + most) % len(t.order)
	return share
}

// pause takes out the time in which we were stopped, and with us, as a rule, the program.
func (t *Tree) pause(d time.Duration) {
	t.gap += d
	for _, p := range t.procs {
		for _, th := range p.threads {
			th.born, th.seen = th.born.Add(d), th.seen.Add(d)
		}
	}
}

func (t *Tree) note(s string) {
	if i := strings.IndexByte(s, ' '); i > 0 && s[0] >= '0' && s[0] <= '9' { // one note of a kind
		for have := range t.notes {
			if strings.HasSuffix(have, "at a time") && strings.HasSuffix(s, "at a time") || have == s {
				return
			}
		}
	}
	t.notes[s] = true
}

// adopt finds processes that became our children because their parent ended, and buries those that have ended.
func (t *Tree) adopt() {
	if t.cfg.Attach {
		return
	}
	for _, pid := range OwnChildren() {
		if pid == t.root || t.before[pid] || proc.IsTool(pid) {
			continue
		}
		if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err == nil && exe == t.exe && t.procs[pid] == nil {
			continue // ours, not yet what it will be
		}
		if t.procs[pid] == nil {
			t.find(pid, nil)
		}
		if p := t.procs[pid]; p != nil && p.state == 'Z' {
			if u, ok := proc.BuryOrphan(pid); ok {
				t.orphans = plus(t.orphans, u)
				t.retire(p, true)
			}
		}
	}
}

func plus(a, b proc.Usage) proc.Usage {
	return proc.Usage{User: a.User + b.User, System: a.System + b.System, Major: a.Major + b.Major, Minor: a.Minor + b.Minor, Voluntary: a.Voluntary + b.Voluntary}
}

// OwnChildren is the processes whose parent is this one.
func OwnChildren() (pids []int) {
	files, _ := filepath.Glob("/proc/self/task/*/children")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		for _, s := range strings.Fields(string(b)) {
			if n, err := strconv.Atoi(s); err == nil {
				pids = append(pids, n)
			}
		}
	}
	return pids
}

// Cost is the processor time that looking has used, and how much of it is this process's, start and report included.
func (t *Tree) Cost() (looking, all time.Duration, looks int) {
	return t.cost, proc.SelfCPU() - t.self, t.looks
}
