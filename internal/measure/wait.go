package measure

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"time"

	"tandem/internal/advise"
	"tandem/internal/proc"
)

// wait is what a thread waits for.
type wait struct {
	cause     advise.Cause
	peer      string // of Net
	what      string // a file, or a kind of call, where there is no peer
	addr      uint64 // of Futex: the word
	shared    bool   // the word may be in memory that processes share
	timed     bool   // it ends by itself
	until     time.Time
	among     bool // others wait on the same word
	mayChange bool // the same call may wait for other things later: a set of descriptors
}

// word is a futex word.
type word struct {
	pid    int // 0 for one that processes share
	addr   uint64
	shared bool
}

// futex operations, as the kernel's headers number them.
const (
	futexWait       = 0
	futexLockPI     = 6
	futexWaitBitset = 9
	futexWaitRequPI = 11
	futexLockPI2    = 13
	futexPrivate    = 128
	futexRealtime   = 256
)

// resolve finds out what the thread's system call waits for.
func (t *Tree) resolve(th *thread, now time.Time) {
	th.checked = now
	among, addr := th.wait.among, th.wait.addr
	th.wait = t.waitOf(th, now)
	if th.wait.what == "" && th.wait.peer == "" {
		th.wait.what = proc.SyscallName(parseCall(th.text).nr)
	}
	if th.wait.addr == addr && addr != 0 && th.pending != (pending{}) {
		th.wait.among = among
	}
}

// call is a system call and its arguments as the kernel shows them.
type call struct {
	nr   int
	args [6]uint64
	ok   bool // -1 when the thread is blocked outside a call
}

func parseCall(b []byte) call {
	f := strings.Fields(string(b))
	if len(f) < 7 || f[0] == "-1" {
		return call{}
	}
	c := call{ok: true}
	if _, err := fmt.Sscan(f[0], &c.nr); err != nil {
		return call{}
	}
	for i := range c.args {
		c.args[i] = hex(strings.TrimPrefix(f[i+1], "0x"))
	}
	return c
}

func hex(s string) (n uint64) {
	for _, r := range []byte(s) {
		switch {
		case r >= '0' && r <= '9':
			n = n<<4 | uint64(r-'0')
		case r >= 'a' && r <= 'f':
			n = n<<4 | uint64(r-'a'+10)
		case r >= 'A' && r <= 'F':
			n = n<<4 | uint64(r-'A'+10)
		}
	}
	return n
}

func (t *Tree) waitOf(th *thread, now time.Time) wait {
	c := parseCall(th.text)
	if !c.ok {
		return wait{cause: advise.Fault}
	}
	switch name := proc.SyscallName(c.nr); name {
	case "read", "write":
		return t.descriptor(th.p, int(int32(c.args[0])), name, now)
	case "connect":
		w := t.descriptor(th.p, int(int32(c.args[0])), name, now)
		if w.cause == advise.Event || w.cause == advise.Accept {
			w.cause = advise.Net
		}
		return w
	case "accept":
		return wait{cause: advise.Accept}
	case "sleep":
		return wait{cause: advise.Sleep}
	case "file":
		return wait{cause: advise.Disk}
	case "lock":
		return wait{cause: advise.Lock}
	case "fcntl":
		if cmd := c.args[1]; cmd == 7 || cmd == 38 { // F_SETLKW, F_OFD_SETLKW
			return wait{cause: advise.Lock}
		}
		return wait{cause: advise.Disk}
	case "wait":
		return wait{cause: advise.Child}
	case "signal":
		return wait{cause: advise.Event}
	case "message":
		return wait{cause: advise.Pipe}
	case "memory":
		return wait{cause: advise.Fault}
	case "uring":
		return wait{cause: advise.Blind}
	case "poll", "select", "epoll", "epoll2":
		return t.set(th, name, c, now)
	case "futex":
		return t.futex(th, c, now)
	}
	if t.state(th) == 'D' { // a call that is not known, but uninterruptible: a device
		return wait{cause: advise.Disk}
	}
	return wait{cause: advise.Blind}
}

func (t *Tree) futex(th *thread, c call, now time.Time) wait {
	addr, op, val, timeout := c.args[0], int(c.args[1]), uint32(c.args[2]), c.args[3]
	t.identify(th.p)
	if g := th.p.image.gil; g.size > 0 && addr >= g.addr && addr < g.addr+g.size {
		return wait{cause: advise.GIL}
	}
	private, realtime := op&futexPrivate != 0, op&futexRealtime != 0
	w := wait{cause: advise.Futex, addr: addr, shared: !private}
	switch op &^ (futexPrivate | futexRealtime) {
	case futexLockPI, futexLockPI2, futexWaitRequPI:
		return wait{cause: advise.Lock}
	case futexWait, futexWaitBitset:
	default:
		return w
	}
	if timeout == 0 {
		switch {
		case !private && th.p.threads[int(val)] != nil: // the word that the kernel clears when that thread ends
			return wait{cause: advise.Join}
		case val == 2 && !realtime: // "locked, with waiters", of the C library's and most other mutexes
			return wait{cause: advise.Lock}
		}
		return w
	}
	var ts [16]byte
	if t.memory(th.p, timeout, ts[:]) {
		d := time.Duration(binary.NativeEndian.Uint64(ts[:8]))*time.Second + time.Duration(binary.NativeEndian.Uint64(ts[8:]))
		w.timed = true
		switch {
		case op&^(futexPrivate|futexRealtime) == futexWait: // relative; it began at some time since the last look
			w.until = now.Add(d - th.lastDt)
		case realtime:
			w.until = time.Unix(0, int64(d))
		default:
			w.until = now.Add(d - proc.Monotonic())
		}
	}
	return w
}

// memory reads from a process.
func (t *Tree) memory(p *process, addr uint64, into []byte) bool {
	f, err := os.Open(fmt.Sprintf("/proc/%d/mem", p.pid))
	if err != nil {
		return false
	}
	defer f.Close()
	n, _ := f.ReadAt(into, int64(addr))
	return n == len(into)
}

// settle decides which words have several waiters, and what others do meanwhile.
func (t *Tree) settleWords(looked []*thread) {
	t.countTurns(looked)
	locked := map[*process]bool{}
	for _, th := range looked {
		if th.gone || th.ready {
			continue
		}
		if th.wait.addr != 0 && t.words[word{th.p.pid, th.wait.addr, th.wait.shared}] >= 2 {
			th.wait.among = true
		}
		if th.wait.cause == advise.Lock || th.wait.among && th.wait.cause == advise.Futex {
			locked[th.p] = true
		}
	}
	if len(locked) == 0 {
		return
	}
	for _, th := range looked {
		if th.gone || !locked[th.p] {
			continue
		}
		switch {
		case th.ready:
			t.holders["computes"]++
		case th.wait.cause == advise.Net && th.wait.peer != "":
			t.holders["waits for "+th.wait.peer]++
		case th.wait.cause == advise.Net:
			t.holders["waits for the network"]++
		case th.wait.cause == advise.Disk:
			t.holders["waits for a file"]++
		case th.wait.cause == advise.Sleep:
			t.holders["sleeps"]++
		}
	}
}

// countTurns notes which thread of a process goes on when it is the only one. Waits for a word that end by themselves may be sleeps: they count as going on.
func (t *Tree) countTurns(looked []*thread) {
	type tally struct {
		waiting, active int
		last            *thread
	}
	all := map[*process]*tally{}
	for _, th := range looked {
		if th.gone || advise.Internal(th.p.image.runtime, th.name) {
			continue
		}
		c := all[th.p]
		if c == nil {
			c = &tally{}
			all[th.p] = c
		}
		switch cause := th.wait.cause; {
		case !th.ready && (cause == advise.Futex && !th.wait.timed || cause == advise.Lock):
			c.waiting++
		case !th.ready && (cause == advise.Join || cause == advise.Child || cause == advise.Event || cause == advise.Accept || cause == advise.Pipe):
		default:
			c.active, c.last = c.active+1, th
		}
	}
	for p, c := range all {
		if c.waiting < 2 {
			continue
		}
		p.contended++
		if c.active == 1 {
			if p.turns == nil {
				p.turns = map[int]int{}
			}
			p.turns[c.last.tid]++
		}
	}
}

// tookTurns is the share of the looks at which exactly one thread went on, when at least three had their turn and none had most of them.
func (p *process) tookTurns() float64 {
	total, most, fair := 0, 0, 0
	for _, n := range p.turns {
		total += n
		most = max(most, n)
	}
	for _, n := range p.turns {
		if n*12 >= total {
			fair++
		}
	}
	if total < 10 || fair < 3 || most*5 > total*3 {
		return 0
	}
	return float64(total) / float64(p.contended)
}
