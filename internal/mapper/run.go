package mapper

import (
	"context"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"tandem"
	"tandem/internal/measure"
	"tandem/internal/proc"
)

// run is the state of a run. It belongs to the goroutine of work.
type run struct {
	m       *Map
	cfg     *Config
	loop    commands
	herd    *proc.Herd // the loop, when commands are contained
	said    string     // of their isolation
	printer *printer
	store   store

	path     string // of the program, when it is the same for all
	sizer    *Sizer // nil when the number is given
	idle     *measure.Idle
	limit    int // that number
	room     int // what the system lets us start, once it has refused; 0 before
	portions chan portion
	inputs   []string // of the portion at hand
	all      bool     // the last input has been taken
	seq      int64
	again    []*item // to run once more, before new inputs
	spare    []*item

	slots   []*item // running, by place
	places  []int   // free ones
	running int
	oldest  *item // of those that run, in the order of their starts
	newest  *item

	order   int64           // of the next input that is taken
	next    int64           // order of the next output (Keep)
	held    map[int64]*item // ended before an earlier one (Keep)
	counts  Counts
	reasons map[string]*Reason
	service *hdrhistogram.Histogram
	totals  struct {
		attempts, retries, evicted int64
		wall, cpu, runQueue        time.Duration
		rss                        int64 // mean, roughly
	}
	stopped  bool  // nothing more is started
	killed   bool  // and what ran was killed
	err      error // why
	halted   string
	most     int       // bound of the sizer
	memoryAt time.Time // when free memory was last looked at
	enough   bool      // and whether there was enough
	waiting  time.Time // since when there is not
	boundAt  time.Time
}

// item is an input that was taken and has not ended.
type item struct {
	seq, order int64
	input      string
	argv       []string
	place      int
	attempts   int
	begun      time.Time // the attempt
	end        entry     // how the last attempt ended
	late       bool      // killed for its timeout
	evicted    bool      // killed to free memory
	canceled   bool      // killed because the run stops
	before     *item     // started before it, and running
	after      *item
	out, errs  gathered
	received   int64
	line       [2][]byte // --line-buffer: what has no line end yet
	reason     string
}

func (r *run) prepare() error {
	r.service = hdrhistogram.New(1, int64(24*time.Hour/time.Microsecond), 2)
	if program, fixed := r.cfg.Command.Program(); fixed {
		path, err := proc.Look(program)
		if err != nil {
			return err
		}
		r.path = path
	}
	r.limit = r.cfg.Jobs
	if r.limit == 0 {
		most := MostJobs
		if files, err := proc.OpenFiles(); err == nil {
			each := 3 // two pipes and a descriptor of the process
			if r.cfg.Contained {
				each = 10 // also its shim's, and those of its control groups
			}
			most = min(most, max(1, (int(min(files, 1<<20))-64)/each))
		}
		r.most, r.sizer = most, NewSizer(r.cfg.Cores, most)
		if c := measure.FindCores(); r.cfg.Cores == c.Effective() {
			r.idle = measure.NewIdle(c)
		}
	}
	r.lookAtMemory()
	if r.cfg.Keep {
		r.held = map[int64]*item{}
	}
	return nil
}

// work runs until everything has ended.
func (r *run) work(ctx context.Context) error {
	for {
		r.attend(ctx)
		more := r.fill()
		r.publish()
		if r.running == 0 && (r.stopped || r.all && len(r.again) == 0) {
			r.giveUp()
			return r.err
		}
		if r.cfg.Lines {
			r.loop.Hold(r.printer.full())
		}
		wait := r.patience()
		if more {
			wait = 0
		}
		ends, err := r.loop.Wait(wait)
		if err != nil { // cannot happen with descriptors that are ours
			r.stop(&tandem.Error{Op: "wait for", On: r.cfg.Command.name, Kind: tandem.KindStart, Message: err.Error(), Err: err}, true)
		}
		if len(ends) > 0 {
			now := time.Now()
			for _, e := range ends {
				r.ended(e, now)
			}
		}
		r.killLate()
		r.lookAtMemory()
	}
}

// attend sees whether the run is to stop.
func (r *run) attend(ctx context.Context) {
	if ctx.Err() != nil && !r.killed {
		r.stop(context.Cause(ctx), true)
	}
	if r.m.soon.Load() && !r.stopped {
		r.stop(tandem.ErrInterrupted, false)
	}
	if err := r.printer.failure(); err != nil && !r.killed {
		r.stop(err, true)
	}
}

// stop starts nothing more, and kills what runs when now.
func (r *run) stop(why error, now bool) {
	if r.err == nil {
		r.err = why
	}
	r.stopped = true
	if !now || r.killed {
		return
	}
	r.killed = true
	for place, it := range r.slots {
		if it != nil {
			it.canceled = true
			r.loop.Kill(place)
		}
	}
}

// giveUp ends what waits for another attempt: it ended badly, or was killed for memory and so has no end of its own.
func (r *run) giveUp() {
	for _, it := range r.again {
		if it.end.outcome == "" {
			it.end = entry{outcome: tandem.Canceled}
		}
		r.finish(it)
	}
	r.again = nil
}

// killLate kills what has run longer than its timeout.
func (r *run) killLate() {
	if r.cfg.Timeout == 0 {
		return
	}
	now := time.Now()
	for it := r.oldest; it != nil && now.Sub(it.begun) >= r.cfg.Timeout; it = it.after {
		if !it.late {
			it.late = true
			r.loop.Kill(it.place)
		}
	}
}

// patience is how long to wait for the next thing to do; negative: until something happens.
func (r *run) patience() time.Duration {
	wait := time.Duration(-1)
	if r.cfg.Timeout > 0 {
		for it := r.oldest; it != nil; it = it.after {
			if !it.late {
				wait = max(0, r.cfg.Timeout-time.Since(it.begun))
				break
			}
		}
	}
	if r.cfg.Memory > 0 && (wait < 0 || wait > memoryEvery) {
		wait = memoryEvery
	}
	return wait
}

func (r *run) publish() {
	r.bound()
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	r.m.state = Snapshot{Counts: r.counts, Running: r.running, Size: r.size(), All: r.all}
}

func (r *run) size() int {
	if r.sizer != nil {
		return r.sizer.Size()
	}
	return r.limit
}

func (r *run) report() Report {
	rep := Report{Counts: r.counts, Name: r.cfg.Command.name, Elapsed: time.Since(r.m.begun), Size: r.size(), Because: BecauseGiven, Attempts: r.totals.attempts,
		Retries: r.totals.retries, Evicted: r.totals.evicted, Wall: r.totals.wall, CPU: r.totals.cpu, RunQueue: r.totals.runQueue, Halted: r.halted}
	if r.sizer != nil {
		rep.Because = r.sizer.Because()
	}
	if r.service != nil && r.service.TotalCount() > 0 {
		rep.P50 = time.Duration(r.service.ValueAtQuantile(50)) * time.Microsecond
		rep.P99 = time.Duration(r.service.ValueAtQuantile(99)) * time.Microsecond
	}
	for _, one := range r.reasons {
		rep.Reasons = append(rep.Reasons, *one)
	}
	sortReasons(rep.Reasons)
	return rep
}
