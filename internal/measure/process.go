package measure

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// process is one process of a tree.
type process struct {
	pid, parent int
	state       byte
	start       uint64 // in ticks since boot
	begun       uint64 // the same, when it was found
	file        *os.File
	threads     map[int]*thread
	list        []*thread // sorted, nil when it changed
	used, base  usedUp
	before      usedUp
	bytes       int64 // read and written
	wrote       int64
	allowed     []int // processors it may use
	image       image
	exe         string
	label       string
	ran         bool // since the tasks were listed
	looks       int
	on          time.Duration // of its threads, when it has ended
	orphan      bool          // its time is counted by who buried it
	tasksNow    int           // threads that it has
	followed    int           // threads that were ever followed
	met         int           // threads that were ever met
	open        string        // files that were open when they were last looked at
	opens       int           // how often they were
	reopens     int           // and were others than before
	turns       map[int]int   // looks at which only this thread went on while others waited
	contended   int           // looks at which others waited
	skip        map[int]bool  // those that are not followed
}

// usedUp is what stat tells of a process and of the children that it has waited for.
type usedUp struct {
	user, system, childUser, childSystem time.Duration
	minor, major, childMinor, childMajor int64
}

func (u usedUp) minus(b usedUp) usedUp {
	return usedUp{u.user - b.user, u.system - b.system, u.childUser - b.childUser, u.childSystem - b.childSystem,
		u.minor - b.minor, u.major - b.major, u.childMinor - b.childMinor, u.childMajor - b.childMajor}
}

const tick = 10 * time.Millisecond // of the figures in stat, on every machine Go runs on

func (p *process) same(q *process) bool { return p == q }

func (t *Tree) list() []*process {
	all := make([]*process, 0, len(t.procs))
	for _, p := range t.procs {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *process) int { return cmp.Compare(a.pid, b.pid) })
	return all
}

func (p *process) sorted() []*thread {
	if p.list == nil {
		for _, th := range p.threads {
			p.list = append(p.list, th)
		}
		slices.SortFunc(p.list, func(a, b *thread) int { return cmp.Compare(a.tid, b.tid) })
	}
	return p.list
}

// find begins to follow a process.
func (t *Tree) find(pid int, parent *process) {
	if pid == os.Getpid() { // we may be of the tree that we watch
		return
	}
	f, err := os.Open(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return
	}
	p := &process{pid: pid, file: f, threads: map[int]*thread{}, ran: true}
	if !p.stat(t.buf[:]) {
		f.Close()
		return
	}
	p.begun = p.start
	if parent == nil && t.cfg.Attach || parent != nil && t.cfg.Attach && t.looks == 0 {
		p.base = p.used
	}
	if t.files++; t.files > t.maxFiles {
		p.letGo(t)
	}
	t.procs[pid] = p
	t.tasks(p, time.Now())
	if t.cfg.Attach && t.looks == 0 { // later ones are found when their parent runs
		for _, th := range p.sorted() {
			t.children(p, th.tid)
		}
	}
}

func (p *process) letGo(t *Tree) {
	if p.file != nil {
		p.file.Close()
		p.file = nil
		t.files--
	}
}

// stat reads the counters of the process; false when it is gone.
func (p *process) stat(buf []byte) bool {
	f := p.file
	if f == nil { // there are more processes than descriptors
		var err error
		if f, err = os.Open(fmt.Sprintf("/proc/%d/stat", p.pid)); err != nil {
			return false
		}
		defer f.Close()
	}
	n, err := f.ReadAt(buf, 0)
	if n == 0 || err != nil && n < 50 {
		return false
	}
	_, rest, ok := cutLast(buf[:n], ')') // the name may hold anything
	if !ok {
		return false
	}
	field := bytes.Fields(rest)
	if len(field) < 20 {
		return false
	}
	num := func(i int) int64 { v, _ := strconv.ParseInt(string(field[i-3]), 10, 64); return v }
	p.tasksNow = int(num(20))
	p.state, p.parent, p.start = field[0][0], int(num(4)), uint64(num(22))
	p.used = usedUp{time.Duration(num(14)) * tick, time.Duration(num(15)) * tick, time.Duration(num(16)) * tick, time.Duration(num(17)) * tick,
		num(10), num(12), num(11), num(13)}
	return p.begun == 0 || p.start == p.begun // else its id belongs to another by now
}

func cutLast(b []byte, sep byte) (before, after []byte, ok bool) {
	i := bytes.LastIndexByte(b, sep)
	if i < 0 {
		return b, nil, false
	}
	return b[:i], b[i+1:], true
}

// lookProcess reads the counters of a process and finds what it has started.
func (t *Tree) lookProcess(p *process, now time.Time) {
	p.looks++
	if !p.stat(t.buf[:]) {
		t.retire(p, false)
		return
	}
	if p.ran && (p.tasksNow != len(p.threads)+len(p.skip) || p.looks%8 == 0 || p.looks < 4) {
		p.ran = false
		t.tasks(p, now)
	}
	if p.state == 'Z' {
		for _, th := range p.sorted() {
			t.lookThread(th, now)
			th.ready = false
		}
		p.io()
		return
	}
	p.files()
	if (p.looks%20 == 1 || p.looks == 3) && (len(t.procs) <= 256 || p.pid == t.root) {
		p.slow()
		if p.image.runtime == "" {
			p.image.known = false // libraries may have been loaded meanwhile
		}
		t.identify(p)
	}
}

// files notes which files a process has open that is busy in the kernel: who goes through files is not asking for one thing again and again.
func (p *process) files() {
	busy := p.used.system - p.before.system
	if p.looks%2 != 0 || busy < tick || busy < p.used.user-p.before.user {
		p.before = p.used
		return
	}
	p.before = p.used
	cwd, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", p.pid))
	now := []string{cwd}
	dir := fmt.Sprintf("/proc/%d/fd", p.pid)
	if f, err := os.Open(dir); err == nil {
		names, _ := f.Readdirnames(16)
		f.Close()
		for _, name := range names {
			to, _ := os.Readlink(dir + "/" + name)
			now = append(now, name+to)
		}
	}
	all := strings.Join(now, "\x00")
	if p.opens++; p.open != "" && all != p.open {
		p.reopens++
	}
	p.open = all
}

// slow reads what changes seldom.
func (p *process) slow() {
	p.io()
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid)); err == nil {
		for line := range strings.Lines(string(b)) {
			if list, ok := strings.CutPrefix(line, "Cpus_allowed_list:"); ok {
				p.allowed = listCPUs(strings.TrimSpace(list))
			}
		}
	}
	if p.label == "" || p.looks <= 3 {
		p.label = labelOf(p.pid)
	}
}

// io reads how much the process has read and written.
func (p *process) io() {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", p.pid))
	if err != nil {
		return
	}
	n := int64(0)
	for line := range strings.Lines(string(b)) {
		name, v, _ := strings.Cut(line, ":")
		if name == "rchar" || name == "wchar" {
			k, _ := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
			n += k
			if name == "wchar" {
				p.wrote = max(p.wrote, k)
			}
		}
	}
	p.bytes = max(p.bytes, n)
}

// tasks finds threads that are new.
func (t *Tree) tasks(p *process, now time.Time) {
	dir, err := os.Open(fmt.Sprintf("/proc/%d/task", p.pid))
	if err != nil {
		return
	}
	names, _ := dir.Readdirnames(-1)
	dir.Close()
	skipped := map[int]bool{}
	// Of a process with very many threads a part is followed, spread over all.
	stride := (len(names) + followMost - 1) / followMost
	for i, name := range names {
		tid, err := strconv.Atoi(name)
		if err != nil || p.threads[tid] != nil {
			continue
		}
		if !p.skip[tid] {
			p.met++
		}
		if p.skip[tid] || tid != p.pid && (len(p.threads) >= followMost || stride > 1 && i%stride != 0) {
			skipped[tid] = true
			continue
		}
		p.followed++
		th := t.newThread(p, tid, now)
		if th == nil {
			continue
		}
		p.threads[tid], p.list = th, nil
		if t.looks > 0 || !t.cfg.Attach {
			t.lookThread(th, now)
		}
	}
	p.skip = skipped
	if len(skipped) > 0 {
		t.notes["of a process with thousands of threads some hundreds were followed; the others are taken to be like them"] = true
	}
}

// followMost is how many threads of one process are followed.
const followMost = 250

// children finds processes that a thread has started.
func (t *Tree) children(p *process, tid int) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", p.pid, tid))
	if err != nil {
		return
	}
	for _, s := range strings.Fields(string(b)) {
		if pid, err := strconv.Atoi(s); err == nil && t.procs[pid] == nil {
			t.find(pid, p)
		}
	}
}

// retire ends following a process.
func (t *Tree) retire(p *process, orphan bool) {
	for _, th := range p.sorted() {
		t.end(th)
	}
	p.letGo(t)
	p.orphan = orphan
	if t.procs[p.pid] == p {
		delete(t.procs, p.pid)
	}
	t.kin = append(t.kin, p)
	if len(t.kin) > 1<<14 { // they are only kept for sums and names
		t.kin = append([]*process{}, t.kin[len(t.kin)/2:]...)
	}
}

// labelOf is a command in a few words: the program and its first operand.
func labelOf(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || len(b) == 0 {
		return ""
	}
	return Label(strings.Split(strings.TrimRight(string(b), "\x00"), "\x00"))
}

// Label is a command in a few words: the program and its first operand.
func Label(argv []string) string {
	s := filepath.Base(argv[0])
	for _, a := range argv[1:] {
		if !strings.HasPrefix(a, "-") {
			a = filepath.Base(a)
			if i := strings.IndexByte(a, '\n'); i >= 0 {
				a = a[:i] + "…"
			}
			if r := []rune(a); len(r) > 24 {
				a = string(r[:23]) + "…"
			}
			return s + " " + a
		}
	}
	return s
}

// listCPUs are the members of a list such as "0-3,8".
func listCPUs(s string) (cpus []int) {
	if countList(s) == 0 {
		return nil
	}
	for _, part := range strings.Split(s, ",") {
		from, to, isRange := strings.Cut(part, "-")
		a, _ := strconv.Atoi(from)
		b := a
		if isRange {
			b, _ = strconv.Atoi(to)
		}
		for ; a <= b; a++ {
			cpus = append(cpus, a)
		}
	}
	return cpus
}

// runtimeOf names the runtime by what the threads of a process need to know of it.
func (p *process) runtime() string { return p.image.runtime }
