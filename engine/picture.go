package engine

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"tandem"
	"tandem/internal/lanes"
	"tandem/internal/measure"
	"tandem/internal/procpool"
)

const (
	glance     = 20 * time.Millisecond  // between two looks at the workers, while rows are short
	longGlance = 100 * time.Millisecond // and later
	costs      = 200                    // a look is followed by a pause so many times as long: half a per cent of one processor at most
	rarest     = time.Second            // but there is one this often
)

// picture records what every worker does. It looks at them from one goroutine and adds what it sees to a row; when the row is long enough it goes to the recorder.
// What is counted (items, tasks, time in handlers and on processors) is taken as differences of counts, so that nothing between two looks is lost; only the
// reason for being free, and the threads of a worker, are samples.
type picture struct {
	e     *Engine
	r     *lanes.Recorder
	began time.Duration // of the row
	last  time.Duration // look
	row   lanes.Row
	steps []seenStep
	lanes []seenLane // by number of the lane
	items lanes.Items
	told  string // the bottleneck
	again time.Duration

	mu       sync.Mutex
	starting map[string]bool // workers by name, "thumb/1"
}

// seenStep is what is known of a step since the row began.
type seenStep struct {
	step       *step
	told       lanes.Step
	ended, bad int64
	retried    int64
	inflight   float64 // times seconds
	queue      float64
	waiting    float64
	limit      int
	most       int
	workers    map[int]*seenWorker // by place
	seen       []procpool.Seen
}

type seenWorker struct {
	lane    int
	threads []int // lanes of its threads
	pid     int
	usage   *measure.Usage
	cpu     time.Duration
	runq    time.Duration
	known   bool // cpu and runq are
	busy    time.Duration
	done    int64
}

type seenLane struct {
	amounts [lanes.States]float64
	ended   int64
}

// draw records the run until ctx ends.
func (e *Engine) draw(ctx context.Context) {
	p := e.picture
	p.last = p.r.Now().Truncate(time.Microsecond)
	p.began = p.last
	for _, s := range e.steps {
		p.steps = append(p.steps, seenStep{step: s, workers: map[int]*seenWorker{}})
	}
	var took [8]time.Duration // the last looks; the quickest tells what one costs, the others were interrupted
	for n := 0; ; n++ {
		begun := time.Now()
		p.look()
		took[n%len(took)] = time.Since(begun)
		pause := max(min(costs*slices.Min(took[:]), rarest), min(lanes.WidthAt(p.last), longGlance), glance)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			p.look()
			p.close()
			for i := range p.steps {
				for _, w := range p.steps[i].workers {
					if w.usage != nil {
						w.usage.Close()
					}
				}
			}
			return
		}
	}
}

// look adds the time since the last look to the row.
func (p *picture) look() {
	now := p.r.Now().Truncate(time.Microsecond) // as fine as the file is
	dt := now - p.last
	p.last = now
	for i := range p.steps {
		p.lookStep(&p.steps[i], dt)
	}
	if now-p.began >= lanes.WidthAt(p.began)*9/10 {
		p.close()
	}
}

func (p *picture) lookStep(s *seenStep, dt time.Duration) {
	s.step.mu.Lock()
	blocked, waiting := s.step.blocked, len(s.step.later)
	s.step.mu.Unlock()
	queue, _ := s.step.in.Len()
	var st tandem.PoolState
	var inflight int
	if pool, ok := s.step.pool.(*procpool.Pool); ok {
		s.seen, st = pool.Look(s.seen[:0])
		for _, w := range s.seen {
			if w.Alive {
				inflight += min(w.InFlight, w.Parallel)
			}
		}
		free := s.step.spare(blocked, queue, waiting)
		for place := range max(st.Workers, len(s.workers)) {
			p.lookWorker(s, place, st.Workers, free, st.Mode, dt)
		}
	} else {
		st = s.step.pool.State()
		inflight = min(st.Running, st.Concurrency)
	}
	if l := s.step.limit; l != nil {
		s.limit = l.State().Limit
		if s.limit > 0 {
			inflight = min(inflight, s.limit)
		}
	}
	s.most = max(s.most, inflight)
	s.inflight += float64(inflight) * dt.Seconds()
	s.queue += float64(queue) * dt.Seconds()
	s.waiting += float64(waiting) * dt.Seconds()
	told := lanes.Step{Index: s.step.index, Name: s.step.def.Name, Mode: string(st.Mode), Workers: st.Workers, Threads: st.Threads, Concurrency: st.Concurrency, Because: s.step.because()}
	if told != s.told {
		s.told = told
		p.r.Step(told)
	}
}

// spare is the state of a worker that has nothing to do.
func (s *step) spare(blocked bool, queue, waiting int) lanes.State {
	switch {
	case blocked:
		return lanes.Blocked
	case queue == 0 && waiting > 0, s.paused() != "":
		return lanes.Backoff
	}
	return lanes.Starved
}

// lookWorker adds dt to the lane of the worker in a place, and to those of its threads.
func (p *picture) lookWorker(s *seenStep, place, wanted int, free lanes.State, mode tandem.Mode, dt time.Duration) {
	w := s.workers[place]
	if w == nil {
		n, ok := p.r.Lane(lanes.Lane{Step: s.step.index, Worker: place + 1})
		if !ok {
			n = -1
		}
		w = &seenWorker{lane: n}
		s.workers[place] = w
	}
	var seen *procpool.Seen
	for i := range s.seen {
		if s.seen[i].Place == place {
			seen = &s.seen[i]
		}
	}
	p.mu.Lock()
	starting := p.starting[s.step.def.Name+"/"+strconv.Itoa(place+1)]
	p.mu.Unlock()
	if seen != nil { // also one that has died: what it ended since the last look
		if w.pid != seen.PID {
			if w.usage != nil {
				w.usage.Close()
			}
			w.pid, w.usage, w.known, w.busy, w.done = seen.PID, measure.NewUsage(seen.PID), false, 0, 0
		}
		if l := p.lane(w.lane); l != nil {
			l.ended += seen.Done - w.done
		}
		w.done = seen.Done
	}
	switch {
	case seen != nil && seen.Alive && !(starting && seen.Leaving):
		p.lookAlive(s, w, seen, free, mode, dt)
		return
	case starting && !s.step.poolEnded.Load():
		p.add(w.lane, lanes.Starting, dt)
	case place < wanted && !s.step.poolEnded.Load():
		p.add(w.lane, lanes.Backoff, dt) // it died, and is started again in a moment
	default:
		p.add(w.lane, lanes.Off, dt)
	}
	for _, n := range w.threads {
		p.add(n, lanes.Off, dt)
	}
}

func (p *picture) lookAlive(s *seenStep, w *seenWorker, seen *procpool.Seen, free lanes.State, mode tandem.Mode, dt time.Duration) {
	ran := min(max(seen.Busy-w.busy, 0), dt)
	if seen.Parallel > 1 {
		ran = 0
		if seen.InFlight > 0 {
			ran = dt // the worker as a whole: something is in it
		}
	}
	w.busy = seen.Busy
	cpu, runq, known := w.usage.Look(time.Now())
	on, queued := cpu-w.cpu, runq-w.runq
	known, w.known, w.cpu, w.runq = known && w.known, known, cpu, runq
	switch {
	case seen.Suspect:
		p.add(w.lane, lanes.Dumping, dt)
	case seen.Leaving:
		p.add(w.lane, lanes.Draining, dt)
	case !known:
		p.add(w.lane, lanes.Running, ran)
		p.add(w.lane, free, dt-ran)
	default:
		on = min(max(on, 0), dt)
		queued = min(max(queued, 0), dt-on)
		waits := max(ran-on-queued, 0)
		p.add(w.lane, lanes.CPU, on)
		p.add(w.lane, lanes.RunQueue, queued)
		p.add(w.lane, lanes.Waiting, waits)
		p.add(w.lane, free, dt-on-queued-waits)
	}
	if mode != tandem.Thread || seen.Parallel < 2 {
		return
	}
	for len(w.threads) < min(seen.Parallel, 64) {
		n, ok := p.r.Lane(lanes.Lane{Step: s.step.index, Worker: seen.Place + 1, Thread: len(w.threads) + 1})
		if !ok {
			n = -1
		}
		w.threads = append(w.threads, n)
	}
	for i, n := range w.threads {
		state := free
		if seen.Slots&(1<<i) != 0 {
			state = lanes.Running
		}
		p.add(n, state, dt)
	}
}

// lane is what is known of a lane; nil for one that has no number.
func (p *picture) lane(n int) *seenLane {
	if n < 0 {
		return nil
	}
	for len(p.lanes) <= n {
		p.lanes = append(p.lanes, seenLane{})
	}
	return &p.lanes[n]
}

func (p *picture) add(n int, s lanes.State, d time.Duration) {
	if l := p.lane(n); l != nil {
		l.amounts[s] += float64(d)
	}
}

// close gives the row to the recorder and begins another.
func (p *picture) close() {
	row := &p.row
	row.From, row.Width = p.began, p.last-p.began
	if row.Width <= 0 {
		return
	}
	seconds := row.Width.Seconds()
	items := p.e.picturedItems()
	row.Items, p.items = items.Minus(p.items), items
	row.Steps, row.Lanes = row.Steps[:0], row.Lanes[:0]
	for i := range p.steps {
		s := &p.steps[i]
		ended, bad := s.step.stats.Counts()
		s.step.mu.Lock()
		retried := s.step.retried
		s.step.mu.Unlock()
		row.Steps = append(row.Steps, lanes.StepRow{InFlight: s.inflight / seconds, Most: s.most, Limit: s.limit, Queue: int(s.queue/seconds + 0.5),
			Waiting: int(s.waiting/seconds + 0.5), Ended: ended - s.ended, Bad: bad - s.bad, Retried: retried - s.retried})
		s.ended, s.bad, s.retried = ended, bad, retried
		s.inflight, s.queue, s.waiting, s.most = 0, 0, 0, 0
	}
	for i := range p.lanes {
		l := &p.lanes[i]
		row.Lanes = append(row.Lanes, lanes.Cell{Shares: lanes.Shares(l.amounts), Ended: l.ended})
		*l = seenLane{}
	}
	p.bottleneck()
	p.r.Row(row)
	p.began = p.last
}

// bottleneck tells it when it is another one, and now and then how it stands.
func (p *picture) bottleneck() {
	p.e.mu.Lock()
	b := p.e.bottleneck()
	p.e.mu.Unlock()
	if b != nil && (b.Step != p.told || p.last >= p.again) {
		p.told, p.again = b.Step, p.last+max(p.last/8, time.Second)
		p.r.Bottleneck(lanes.Bottleneck{Step: b.Step, Share: b.Share, Because: b.Because})
	}
}

func (e *Engine) picturedItems() lanes.Items {
	i := e.items()
	return lanes.Items{In: i.In, Made: i.Made, OK: i.OK, Failed: i.Failed, TimedOut: i.TimedOut, Crashed: i.Crashed, Canceled: i.Canceled, Filtered: i.Filtered, Quarantined: i.Quarantined}
}

// event hears of everything that changes.
func (p *picture) event(ev tandem.Event) {
	if ev.What == "worker" {
		p.mu.Lock()
		p.starting[ev.ID] = ev.To == "starting" || p.starting[ev.ID] && ev.From == "draining" // of the one before it
		p.mu.Unlock()
	}
	p.r.Note(lanes.Note{At: p.r.At(ev.Time), What: ev.What, ID: ev.ID, From: ev.From, To: ev.To, Reason: p.e.clean(ev.Reason)})
}

// crash marks the death of a worker or a command.
func (p *picture) crash(c *tandem.Crash) {
	kind, ok := markKinds[c.Reason]
	if !ok {
		kind = lanes.Crashed
	}
	m := lanes.Mark{At: p.r.At(c.Time), Kind: kind, Lane: -1, Item: c.Item, Reason: cmp.Or(c.Why, c.What, string(c.Reason))}
	for _, s := range p.e.steps {
		if s.def.Name == c.Step {
			m.Step = s.index
		}
	}
	if _, place, ok := strings.Cut(strings.TrimPrefix(c.Worker, c.Step), "/"); ok {
		if n, err := strconv.Atoi(place); err == nil {
			if lane, ok := p.r.Lane(lanes.Lane{Step: m.Step, Worker: n}); ok {
				m.Lane = lane
			}
		}
	}
	p.r.Mark(m)
}

var markKinds = map[tandem.ExitReason]lanes.Kind{
	tandem.ExitTimeout: lanes.TimedOut, tandem.ExitHung: lanes.TimedOut, tandem.ExitMemoryLimit: lanes.Memory, tandem.ExitMemoryOfMachine: lanes.Memory,
	tandem.ExitMemoryOfRuntime: lanes.Memory, tandem.ExitBoot: lanes.Boot, tandem.ExitKilledByUs: lanes.Killed, tandem.ExitUnkillable: lanes.Killed, tandem.ExitKilledExternally: lanes.Killed, tandem.ExitProtocol: lanes.Killed,
}

// timedOut marks an attempt whose time was up although nothing was killed for it. A worker that runs one task at a time is killed, and its report is the mark.
func (p *picture) timedOut(s *step, t *tandem.Task) {
	if s.pool.State().Mode == tandem.Process {
		return
	}
	reason := ""
	if t.Result.Err != nil {
		reason = p.e.clean(t.Result.Err.Message)
	}
	p.r.Mark(lanes.Mark{At: p.r.Now(), Kind: lanes.TimedOut, Step: s.index, Lane: -1, Item: t.ID, Reason: reason})
}

// failed counts a unit that ended badly.
func (p *picture) failed(s *step, u *unit) {
	g := lanes.Group{Step: s.def.Name, Outcome: string(u.Result.Outcome)}
	if e := u.Result.Err; e != nil {
		g.Kind, g.Reason, g.Message = e.Kind, p.e.clean(e.Reason), p.e.clean(e.Message)
	}
	p.r.Fail(g, u.ID)
}

// clean takes secrets out of a text.
func (e *Engine) clean(text string) string {
	if e.flow.Redact == nil || text == "" {
		return text
	}
	return string(e.flow.Redact(tandem.Value{Kind: tandem.Text, Data: []byte(text)}).Data)
}
