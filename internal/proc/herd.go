package proc

import (
	"sync"
	"time"

	"tandem"
)

// Herd is a Loop for programs that are held: each is started as Start does it, in a tree of its own and with limits and isolation. It costs a few goroutines and
// about a millisecond a program; a Loop costs a twentieth of that, and holds no more than a process group.
//
// All methods but Wake are called by one goroutine.
type Herd struct {
	cfg     LoopConfig
	spec    Spec
	jobs    []*Process // by id
	hold    bool
	outputs chan chunk
	ends    chan Ending
	wake    chan struct{}
	ended   []Ending
	others  sync.WaitGroup
	closing chan struct{}
}

type chunk struct {
	id, stream int
	text       []byte
}

// NewHerd makes a herd of programs with these limits.
func NewHerd(cfg LoopConfig, limits Limits, isolation Isolation) *Herd {
	return &Herd{cfg: cfg, spec: Spec{Dir: cfg.Dir, Env: cfg.Env, Limits: limits, Isolation: isolation},
		outputs: make(chan chunk), ends: make(chan Ending), wake: make(chan struct{}, 1), closing: make(chan struct{})}
}

// Start starts a program under a small number that no other program of the herd has now. path is the program's file, see Look. The error is a *tandem.Error of
// kind start.
func (h *Herd) Start(id int, path string, argv []string) error {
	for len(h.jobs) <= id {
		h.jobs = append(h.jobs, nil)
	}
	if h.jobs[id] != nil {
		return &tandem.Error{Op: "start", On: path, Kind: tandem.KindStart, Message: "place " + itoa(id) + " is taken"}
	}
	spec := h.spec
	spec.Argv, spec.name = append([]string{path}, argv[1:]...), argv[0] // argv may be used again
	if h.cfg.Output != nil {
		spec.Output = func(stream int, b []byte) {
			select {
			case h.outputs <- chunk{id, stream, append([]byte(nil), b...)}:
			case <-h.closing:
			}
		}
	}
	begun := time.Now()
	p, err := Start(spec)
	if err != nil {
		return err
	}
	h.jobs[id] = p
	h.others.Go(func() {
		<-p.Gone()
		wall := time.Since(begun)
		<-p.Done()
		select {
		case h.ends <- Ending{ID: id, Exit: p.Exit(), Wall: wall, RunQueue: -1}:
		case <-h.closing:
		}
	})
	return nil
}

// Isolation tells how far a running program is kept from the machine.
func (h *Herd) Isolation(id int) tandem.Isolation { return h.jobs[id].Isolation() }

// Wait blocks until a program ends, one writes, Wake, or the limit (negative: none) and returns those that have ended. What a program wrote was told before its
// end. The slice is good until the next call. The error is nil.
func (h *Herd) Wait(limit time.Duration) ([]Ending, error) {
	h.ended = h.ended[:0]
	var over <-chan time.Time
	if limit >= 0 {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		over = timer.C
	}
	outputs := h.outputs
	if h.hold {
		outputs = nil
	}
	select {
	case c := <-outputs:
		h.cfg.Output(c.id, c.stream, c.text)
	case e := <-h.ends:
		h.end(e)
	case <-h.wake:
	case <-over:
	}
	for range maxAtOnce { // what else is there now
		select {
		case c := <-outputs:
			h.cfg.Output(c.id, c.stream, c.text)
			continue
		case e := <-h.ends:
			h.end(e)
			continue
		default:
		}
		break
	}
	return h.ended, nil
}

const maxAtOnce = 64

func (h *Herd) end(e Ending) {
	h.jobs[e.ID] = nil
	h.ended = append(h.ended, e)
}

// Hold stops reading what programs write, so that they wait once their pipes are full, or goes on with it.
func (h *Herd) Hold(on bool) { h.hold = on }

// Kill ends a program and all it has started; its end is reported by Wait as any other.
func (h *Herd) Kill(id int) {
	if id < len(h.jobs) && h.jobs[id] != nil {
		h.jobs[id].Kill()
	}
}

// Wake makes Wait return. It may be called from anywhere.
func (h *Herd) Wake() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// Close kills what still runs and waits for it.
func (h *Herd) Close() {
	close(h.closing)
	for id := range h.jobs {
		h.Kill(id)
	}
	h.others.Wait()
}
