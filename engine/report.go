package engine

import (
	"errors"
	"time"

	"tandem"
)

// Report is the end of a run: the document of `tandem run --json`.
type Report struct {
	Run        string       `json:"run"`
	Flow       string       `json:"flow"`
	Outcome    string       `json:"outcome"` // ok, failed, interrupted, stopped, invalid
	Error      *ReportError `json:"error,omitempty"`
	Seconds    float64      `json:"seconds"`
	Items      Items        `json:"items"`
	Before     *Items       `json:"before,omitempty"` // a resumed run: what had ended in its earlier part
	Bottleneck *Bottleneck  `json:"bottleneck,omitempty"`
	Steps      []StepReport `json:"steps"`
}

// ReportError is why a run did not run to its end.
type ReportError struct {
	Kind    string `json:"kind"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// Items counts items by outcome: in + made is the sum of all outcomes.
type Items struct {
	In          int64 `json:"in"`   // the source gave
	Made        int64 `json:"made"` // a step made out of one, beyond the first
	OK          int64 `json:"ok"`
	Failed      int64 `json:"failed"`
	TimedOut    int64 `json:"timed_out"`
	Crashed     int64 `json:"crashed"`
	Canceled    int64 `json:"canceled"`
	Filtered    int64 `json:"filtered"`
	Quarantined int64 `json:"quarantined"` // killed its worker, and a fresh one too
	OutOfMemory int64 `json:"out_of_memory"`
	Unwritten   int64 `json:"unwritten"` // of all these: ended, but the sink could not take the line
}

// Bad is how many items did not end well.
func (i Items) Bad() int64 {
	return i.Failed + i.TimedOut + i.Crashed + i.Canceled + i.Quarantined + i.OutOfMemory
}

// Of is the number of items with outcome o.
func (i Items) Of(o tandem.Outcome) int64 {
	switch o {
	case tandem.OK:
		return i.OK
	case tandem.Failed:
		return i.Failed
	case tandem.TimedOut:
		return i.TimedOut
	case tandem.Crashed:
		return i.Crashed
	case tandem.Canceled:
		return i.Canceled
	case tandem.Filtered:
		return i.Filtered
	case tandem.Quarantined:
		return i.Quarantined
	}
	return 0
}

// Ended is how many items have their outcome.
func (i Items) Ended() int64 { return i.OK + i.Bad() + i.Filtered }

// StepReport is one step's part of the report. Times are in seconds.
type StepReport struct {
	Name         string      `json:"name"`
	Mode         tandem.Mode `json:"mode"`
	Workers      int         `json:"workers"`     // worker processes; 0 for goroutines
	Threads      int         `json:"threads"`     // tasks at a time in each
	Concurrency  int         `json:"concurrency"` // tasks at a time in the whole step
	Because      string      `json:"because"`
	Attempts     int64       `json:"attempts"`
	Retries      int64       `json:"retries"`
	Retried      int64       `json:"retried"`             // attempts that failed and were followed by another
	Errors       int64       `json:"errors"`              // attempts whose handler said no
	Crashes      int64       `json:"crashes"`             // workers that died or were killed under an item
	Losses       int64       `json:"losses"`              // workers that were lost with no item to blame
	BootFailures int64       `json:"boot_failures"`       // workers that did not become ready
	Recycled     int64       `json:"recycled"`            // workers that were replaced though nothing was wrong with them
	Stopped      int64       `json:"stopped"`             // workers that went because they were not needed any more
	Limit        *int        `json:"limit,omitempty"`     // tasks in flight that the run found right, with concurrency: auto
	Auto         bool        `json:"auto,omitempty"`      // mode: auto decided how it ran
	Known        bool        `json:"known,omitempty"`     // and enough was measured to say what fits
	Decisions    []Decision  `json:"decisions,omitempty"` // with mode: auto, in their order
	Advice       *Advice     `json:"advice,omitempty"`    // what would fit better; null when nothing is known to
	Measured     *Measured   `json:"measured,omitempty"`  // where the time of its tasks went
	CPU          *float64    `json:"cpu_seconds"`         // of worker processes, start-up included; null where it cannot be told
	Wait         *float64    `json:"wait_seconds"`        // time in handlers without a processor; null where cpu_seconds is
	P50          float64     `json:"p50_seconds"`
	P99          float64     `json:"p99_seconds"`
	// Isolation is how far its processes are kept from the machine; absent for a step without any.
	Isolation *tandem.Isolation `json:"isolation,omitempty"`
}

// Progress is a snapshot of a run.
type Progress struct {
	Flow       string
	Elapsed    time.Duration
	Items      Items
	Total      int64 // items the source will give; -1 when not known
	Steps      []StepProgress
	Bottleneck *Bottleneck // nil while nothing is known
}

// StepProgress is one step's part of a snapshot.
type StepProgress struct {
	Name      string
	Because   string
	Pool      tandem.PoolState
	Ended     int64
	Bad       int64
	Queue     int
	QueueFull float64 // 0 to 1
	Waiting   int     // items that wait for another attempt
	Paused    string  // why nothing is started for now: a breaker is open; empty when it is not
}

func (e *Engine) items() Items {
	i := itemsOf(func(o tandem.Outcome) int64 { return e.ended[outcomeIndex(o)].Load() })
	i.In, i.Made, i.Unwritten = e.in.Load(), e.made.Load(), e.unwrit.Load()
	return i
}

func itemsOf(n func(tandem.Outcome) int64) Items {
	return Items{OK: n(tandem.OK), Failed: n(tandem.Failed), TimedOut: n(tandem.TimedOut), Crashed: n(tandem.Crashed), Canceled: n(tandem.Canceled),
		Filtered: n(tandem.Filtered), Quarantined: n(tandem.Quarantined), OutOfMemory: n(tandem.OutOfMemory)}
}

// Snapshot tells how the run goes. It may be called at any time, from anywhere.
func (e *Engine) Snapshot() Progress {
	e.mu.Lock()
	steps, flow, bottleneck := e.steps, e.flow, e.bottleneck()
	e.mu.Unlock()
	p := Progress{Bottleneck: bottleneck, Flow: flow.Name, Elapsed: time.Since(e.start), Items: e.items(), Total: -1}
	if flow.Source != nil {
		p.Total = flow.Source.Total()
		if e.srcDone.Load() {
			p.Total = p.Items.In
		}
	}
	for _, s := range steps {
		f, st := s.stats.Figures(), s.pool.State()
		n, _ := s.in.Len()
		s.mu.Lock()
		waiting := len(s.later)
		s.mu.Unlock()
		p.Steps = append(p.Steps, StepProgress{Name: s.def.Name, Because: s.because(), Pool: st, Ended: f.Ended,
			Bad: f.Ended - f.Outcomes[tandem.OK] - f.Outcomes[tandem.Filtered], Queue: n, QueueFull: s.fullness(), Waiting: waiting, Paused: s.paused()})
	}
	return p
}

func orDefault[T int | int64](v, d T) T {
	if v == 0 {
		return d
	}
	return v
}

// report is the end of the run; err is what Run returns.
func (e *Engine) report(err error) Report {
	r := Report{Flow: e.flow.Name, Outcome: "ok", Seconds: time.Since(e.start).Seconds(), Items: e.items(), Steps: []StepReport{}}
	if j := e.flow.Journal; j != nil && e.before.Load() > 0 {
		before := itemsOf(j.Before)
		before.In = e.before.Load()
		r.Before = &before
	}
	switch te, typed := errors.AsType[*tandem.Error](err); {
	case errors.Is(err, tandem.ErrInterrupted):
		r.Outcome = "interrupted"
	case err != nil:
		r.Outcome = "stopped"
		r.Error = &ReportError{Kind: tandem.KindCanceled, Message: err.Error()}
		if typed {
			r.Error.Kind, r.Error.Hint = te.Kind, te.Hint
		}
	case r.Items.Bad() > 0, r.Before != nil && r.Before.Bad() > 0:
		r.Outcome = "failed"
	}
	e.mu.Lock()
	r.Bottleneck = e.bottleneck()
	e.mu.Unlock()
	for _, s := range e.steps {
		f, st := s.stats.Figures(), s.pool.State()
		sr := StepReport{Name: s.def.Name, Mode: st.Mode, Workers: st.Workers, Threads: st.Threads, Concurrency: st.Concurrency, Because: s.because(), Measured: measured(st),
			Attempts: st.Attempts, Retries: st.Retries, Errors: st.Errors, Crashes: st.Crashes, Losses: st.Losses, BootFailures: st.BootFailures, Recycled: st.Recycled, Stopped: st.Stopped, P50: f.P50.Seconds(), P99: f.P99.Seconds()}
		s.mu.Lock()
		sr.Retried = s.retried
		if s.tuned != nil {
			sr.Decisions, sr.Advice, sr.Auto, sr.Known = s.tuned.decisions, s.tuned.advice, s.tuned.tuner != nil, s.tuned.known
		}
		s.mu.Unlock()
		if s.limit != nil {
			if l := s.limit.State(); l.Limit > 0 {
				sr.Limit = &l.Limit
				sr.Concurrency = l.Limit
				if s.auto() {
					sr.Because = l.Because
				}
			}
		}
		sr.Isolation = st.Isolation
		if f, ok := s.def.Handler.(Func); ok && f.Isolation != nil {
			sr.Isolation = f.Isolation()
		}
		if st.CPU >= 0 {
			cpu, wait := st.CPU.Seconds(), max(0, (st.Service-st.CPU).Seconds())
			sr.CPU, sr.Wait = &cpu, &wait
		}
		r.Steps = append(r.Steps, sr)
	}
	return r
}
