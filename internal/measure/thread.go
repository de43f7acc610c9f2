package measure

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"tandem/internal/advise"
)

// thread is one thread of a process.
type thread struct {
	p            *process
	tid          int
	name         string
	sched, call  *os.File
	born, seen   time.Time
	on, queue    time.Duration
	slices       int64
	on0, queue0  time.Duration // when we began
	slices0      int64
	ready        bool
	waited       time.Duration // ready without its counters having moved: it has not been given a processor
	exact, guess map[advise.Cause]time.Duration
	text         []byte // what the kernel said of its system call
	wait         wait
	checked      time.Time
	pending      pending // of the wait that goes on
	looks        int
	lastDt       time.Duration
	briefReady   time.Duration
	briefWait    map[advise.Cause]time.Duration
	gone         bool
	where        map[advise.Cause]map[string]time.Duration
	lane         []advise.Span
}

// pending is time in a wait whose cause is known only when it ends or by what others do.
type pending struct {
	exact, guess time.Duration
}

// briefly sums up the threads that ended before they were looked at three times.
type briefly struct {
	ready, on, queue time.Duration
	slices           int64
	wait             map[advise.Cause]time.Duration
	looks            int
	name             string
}

func (t *Tree) newThread(p *process, tid int, now time.Time) *thread {
	th := &thread{p: p, tid: tid, born: now, seen: now, exact: map[advise.Cause]time.Duration{}, guess: map[advise.Cause]time.Duration{}, briefWait: map[advise.Cause]time.Duration{}}
	if !t.cfg.Attach || t.looks > 0 {
		// It began after the last look, or it would have been found then; its start time is known to a hundredth of a second.
		th.born = t.last
		if start := t.started(p.pid, tid); start.After(th.born) && start.Before(now) {
			th.born = start
		}
	}
	th.seen = th.born
	if !t.readSched(th) {
		return nil
	}
	if t.cfg.Attach && t.looks == 0 {
		th.on0, th.queue0, th.slices0 = th.on, th.queue, th.slices
	} else {
		th.on, th.queue, th.slices = 0, 0, 0
	}
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/comm", p.pid, tid)); err == nil {
		th.name = strings.TrimSpace(string(b))
	}
	return th
}

func (t *Tree) started(pid, tid int) time.Time {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/stat", pid, tid))
	if err != nil || t.boot.IsZero() {
		return time.Time{}
	}
	_, rest, _ := cutLast(b, ')')
	f := bytes.Fields(rest)
	if len(f) < 20 {
		return time.Time{}
	}
	n, _ := strconv.ParseInt(string(f[19]), 10, 64)
	return t.boot.Add(time.Duration(n) * tick)
}

// readFile reads a file of a thread: from one kept open as long as descriptors last.
func (t *Tree) readFile(keep **os.File, th *thread, name string) []byte {
	f := *keep
	if f == nil {
		var err error
		if f, err = os.Open(fmt.Sprintf("/proc/%d/task/%d/%s", th.p.pid, th.tid, name)); err != nil {
			if os.IsPermission(err) {
				t.blind = true
			}
			return nil
		}
		if t.files < t.maxFiles {
			t.files++
			*keep = f
		} else {
			defer f.Close()
		}
	}
	n, err := f.ReadAt(t.buf[:256], 0)
	if n == 0 && err != nil {
		if os.IsPermission(err) {
			t.blind = true
		}
		return nil
	}
	return t.buf[:n]
}

func (t *Tree) readSched(th *thread) bool {
	if t.plain {
		return t.readPlain(th)
	}
	b := t.readFile(&th.sched, th, "schedstat")
	on, b := decimal(b)
	queue, b := decimal(b)
	slices, b := decimal(b)
	if b == nil {
		return false
	}
	th.on, th.queue, th.slices = time.Duration(on), time.Duration(queue), slices
	return true
}

// readPlain reads what kernels without schedstat tell: processor time in ticks.
func (t *Tree) readPlain(th *thread) bool {
	_, rest, ok := cutLast(t.readFile(&th.sched, th, "stat"), ')')
	f := bytes.Fields(rest)
	if !ok || len(f) < 13 {
		return false
	}
	user, _ := decimal(f[11])
	system, _ := decimal(f[12])
	th.on, th.slices = time.Duration(user+system)*tick, th.slices+1 // whether it has run meanwhile is not known: it may have
	return true
}

// decimal reads a decimal number and what follows it; nil when there is none.
func decimal(b []byte) (n int64, rest []byte) {
	for len(b) > 0 && b[0] == ' ' {
		b = b[1:]
	}
	i := 0
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		n = n*10 + int64(b[i]-'0')
		i++
	}
	if i == 0 {
		return 0, nil
	}
	return n, b[i:]
}

// lookThread reads a thread's counters and, when it has run since the last look, what it waits for now.
func (t *Tree) lookThread(th *thread, now time.Time) {
	if th.gone {
		return
	}
	on, queue, slices := th.on, th.queue, th.slices
	if !t.readSched(th) {
		t.end(th)
		return
	}
	dt := now.Sub(th.seen)
	if t.cfg.Record {
		defer t.record(th, th.seen, th.on-on, th.queue-queue)
	}
	th.seen = now
	th.looks++
	th.lastDt = dt
	if th.p.state == 'Z' {
		return
	}
	if on == th.on && queue == th.queue && slices == th.slices && th.looks > 1 {
		if th.ready {
			th.waited += dt
			if th.looks < 4 {
				th.briefReady += dt
			}
			return
		}
		if now.Sub(th.checked) > time.Second && th.wait.mayChange { // the same call, but perhaps another set behind it
			t.resolve(th, now)
		}
		t.count(th, dt, true)
		return
	}
	th.waited = 0
	th.p.ran = true
	off := max(0, dt-(th.on-on)-(th.queue-queue))
	t.flush(th, now)
	if slices != th.slices { // a thread that has not run has started nothing
		t.children(th.p, th.tid)
	}
	text := t.readFile(&th.call, th, "syscall")
	if text == nil {
		th.ready = false
		th.wait = wait{cause: advise.Blind}
		if t.blind && t.state(th) == 'R' {
			th.ready = true
		}
	} else if th.ready = bytes.HasPrefix(text, []byte("running")); !th.ready {
		if !bytes.Equal(text, th.text) || now.Sub(th.checked) > time.Second || th.wait.mayChange {
			th.text = append(th.text[:0], text...)
			t.resolve(th, now)
		} else if th.wait.timed {
			t.resolve(th, now)
		}
	}
	if th.ready {
		if th.looks < 4 {
			th.briefReady += dt
		}
		return
	}
	t.count(th, off, false)
	if off < dt/2 && th.looks < 4 { // of a thread that is looked at once or twice, a look stands for the whole time between two
		t.countBrief(th, dt-off)
	}
}

func (t *Tree) state(th *thread) byte {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/stat", th.p.pid, th.tid))
	if err != nil {
		return 0
	}
	_, rest, _ := cutLast(b, ')')
	if f := bytes.Fields(rest); len(f) > 0 {
		return f[0][0]
	}
	return 0
}

// count gives time to the wait that a thread is in. exact: it was in it all the time.
func (t *Tree) count(th *thread, d time.Duration, exact bool) {
	if th.wait.addr != 0 && th.wait.cause == advise.Futex {
		if exact {
			th.pending.exact += d
		} else {
			th.pending.guess += d
		}
		t.words[word{th.p.pid, th.wait.addr, th.wait.shared}]++
		return
	}
	t.add(th, th.wait.cause, d, exact)
	th.place(th.wait.cause, cmp.Or(th.wait.peer, th.wait.what), d)
	if th.wait.peer != "" {
		t.met(th, d)
	}
}

func (t *Tree) countBrief(th *thread, d time.Duration) { th.briefWait[th.wait.cause] += d }

func (t *Tree) add(th *thread, c advise.Cause, d time.Duration, exact bool) {
	if exact {
		th.exact[c] += d
	} else {
		th.guess[c] += d
	}
	if th.looks < 4 {
		th.briefWait[c] += d
	}
}

// flush decides what a futex wait was that has ended: a sleep, if its time was up.
func (t *Tree) flush(th *thread, now time.Time) {
	p := th.pending
	if p == (pending{}) {
		return
	}
	th.pending = pending{}
	c := advise.Futex
	switch {
	case th.wait.timed && !now.Before(th.wait.until):
		c = advise.Sleep
	case th.wait.among:
		c = advise.Word
	}
	t.add(th, c, p.exact, true)
	t.add(th, c, p.guess, false)
}

// end ends following a thread.
func (t *Tree) end(th *thread) {
	if th.gone {
		return
	}
	th.gone = true
	t.flush(th, th.seen)
	for _, f := range []*os.File{th.sched, th.call} {
		if f != nil {
			f.Close()
			t.files--
		}
	}
	th.sched, th.call = nil, nil
	delete(th.p.threads, th.tid)
	th.p.list = nil
	th.p.on += th.on - th.on0
	if th.looks < 3 && th.seen.Sub(th.born) < 4*t.cfg.Interval && !(th.p.pid == t.root && th.tid == t.root) {
		t.addBrief(th)
		return
	}
	t.threads = append(t.threads, th.figures())
}

func (t *Tree) addBrief(th *thread) {
	b := &t.brief
	b.ready += th.briefReady
	b.on += th.on - th.on0
	b.queue += th.queue - th.queue0
	b.slices += th.slices
	b.looks += th.looks
	b.name = th.name
	if b.wait == nil {
		b.wait = map[advise.Cause]time.Duration{}
	}
	for c, d := range th.briefWait {
		b.wait[c] += d
	}
}

// stand makes a thread stand for those of its process that were not followed.
func (th *thread) stand(r *advise.Thread) {
	p := th.p
	if p.met <= p.followed || p.followed < 2 || th.tid == p.pid {
		return
	}
	by := float64(p.met-1) / float64(p.followed-1)
	for _, d := range []*time.Duration{&r.Life, &r.On, &r.Queue} {
		*d = time.Duration(float64(*d) * by)
	}
	for c, d := range r.Wait {
		r.Wait[c] = time.Duration(float64(d) * by)
	}
}

// figures splits what the counters leave over by what the looks saw: first the time that was certainly in one wait, then the rest in proportion.
func (th *thread) figures() (r advise.Thread) {
	life := th.seen.Sub(th.born)
	r = advise.Thread{PID: th.p.pid, TID: th.tid, Name: th.name, Runtime: th.p.runtime(), On: th.on - th.on0, Queue: th.queue - th.queue0 + th.waited,
		Slices: th.slices - th.slices0, Wait: map[advise.Cause]time.Duration{}, Program: th.p.label, Where: th.where, Lane: th.lane}
	r.Life = max(life, r.On+r.Queue)
	defer th.stand(&r)
	blocked := r.Life - r.On - r.Queue
	share := func(from map[advise.Cause]time.Duration, amount time.Duration) bool {
		total := time.Duration(0)
		for _, d := range from {
			total += d
		}
		if total <= 0 {
			return false
		}
		for c, d := range from {
			r.Wait[c] += time.Duration(float64(d) / float64(total) * float64(amount))
		}
		return true
	}
	certain := time.Duration(0)
	for _, d := range th.exact {
		certain += d
	}
	certain = min(certain, blocked)
	share(th.exact, certain)
	if rest := blocked - certain; rest > 0 && !share(th.guess, rest) && !share(th.exact, rest) {
		if th.looks >= 10 {
			r.Queue += rest // it was ready whenever it was looked at: some kernels do not count all of the wait of a thread that yields
		} else {
			r.Wait[advise.Blind] += rest
		}
	}
	return r
}
