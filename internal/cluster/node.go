package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tandem"
	"tandem/engine"
	"tandem/internal/queue/jetstream"
)

// NodeConfig says what a node is.
type NodeConfig struct {
	Name   string   // its own among the nodes
	Labels []string // what it has: gpu, eu
	Cores  int      // to use; zero means all that are really available
	Cache  string   // directory for bundles
	// Build makes the flow of a run, with the handler of one step, from the bundle in dir. An error means that the step cannot run here, and says why.
	Build   func(ctx context.Context, dir string, m Manifest, step int) (engine.Flow, error)
	Grace   time.Duration      // what runs may go on for so long when the node stops; zero means 10 s
	OnEvent func(tandem.Event) // may be nil; must not block
}

// Info is what a node says of itself.
type Info struct {
	Name    string     `json:"name"`
	Labels  []string   `json:"labels,omitempty"`
	Cores   int        `json:"cores"`
	Version int        `json:"version"`
	Started time.Time  `json:"started"`
	Seen    time.Time  `json:"seen"`
	Drains  bool       `json:"drains,omitempty"`
	Stays   bool       `json:"stays,omitempty"` // it drains, and does not stop
	Steps   []StepInfo `json:"steps,omitempty"`
}

// StepInfo is a step of a run on a node.
type StepInfo struct {
	Run     string `json:"run"`
	Step    string `json:"step"`
	State   string `json:"state"` // starting, serving, not here
	Why     string `json:"why,omitempty"`
	Born    int64  `json:"born,omitempty"` // when the node began to serve it, by its clock
	Running int    `json:"running"`
	Done    int64  `json:"done"`
}

// Node runs steps of the runs that the cluster has.
type Node struct {
	hub *Hub
	cfg NodeConfig

	mu    sync.Mutex
	works map[string]*work           // by run
	last  map[string]jetstream.Entry // what the table says of each run
	info  Info
	group sync.WaitGroup

	near   neighbours
	within atomic.Int64    // how long what runs may go on once it is drained; zero means the grace
	hard   context.Context // done when it may not any more
	word   chan struct{}   // something has changed that the others are to know
}

// NewNode makes a node; nothing happens before Run.
func NewNode(h *Hub, cfg NodeConfig) *Node {
	if cfg.Grace == 0 {
		cfg.Grace = 10 * time.Second
	}
	slices.Sort(cfg.Labels)
	return &Node{hub: h, cfg: cfg, works: map[string]*work{}, last: map[string]jetstream.Entry{}, word: make(chan struct{}, 1), info: Info{Name: cfg.Name, Labels: cfg.Labels, Cores: cfg.Cores, Version: Version, Started: time.Now()}}
}

// work is a run on this node.
type work struct {
	manifest Manifest
	stop     context.CancelCauseFunc
	done     chan struct{}
	mu       sync.Mutex
	steps    []StepInfo
	engines  []*engine.Engine
	queues   []tandem.Queue // in front of the steps that are served
	among    parts
	held     atomic.Bool // a run of a higher priority has items here
	dropped  atomic.Bool // nobody wants what runs here any more
	leaving  atomic.Bool
	hard     context.Context // done when what runs here may not go on
	enough   func()
}

// Run serves until ctx is done: then what runs goes on for the grace, and what has not ended by then is given back. The error says why it stopped otherwise.
func (n *Node) Run(ctx context.Context) error {
	outer := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	hard, enough := context.WithCancel(context.WithoutCancel(ctx))
	n.hard = hard
	defer enough()
	defer context.AfterFunc(outer, func() { time.AfterFunc(n.cfg.Grace, enough) })()
	defer n.group.Wait()
	var beating sync.WaitGroup
	alive, dead := context.WithCancel(context.WithoutCancel(ctx))
	beating.Go(func() { n.beat(alive) })
	beating.Go(func() { n.near.watch(alive, n.hub, n.count) })
	beating.Go(func() { n.listen(ctx, cancel) })
	beating.Go(func() { n.yields(ctx) })
	beating.Go(func() { n.tidies(ctx) })
	defer func() {
		n.group.Wait()
		dead()
		beating.Wait()
		_ = n.hub.nodes.Delete(context.WithoutCancel(ctx), n.cfg.Name)
	}()
	for {
		err := n.hub.runs.Watch(ctx, func(e jetstream.Entry) { n.see(ctx, e) }, nil)
		if ctx.Err() != nil {
			n.event("node", n.cfg.Name, "serving", "draining", context.Cause(ctx).Error())
			return nil
		}
		if n.hub.e.Gone() {
			cancel(err)
			return &tandem.Error{Op: "serve as the node", On: n.cfg.Name, Kind: tandem.KindQueue, Message: "the connection to the cluster is closed for good", Err: err,
				Hint: "the servers may refuse the credentials now; what it had is run by other nodes"}
		}
		n.event("node", n.cfg.Name, "serving", "reconnecting", fmt.Sprint(err))
		rest(ctx, time.Second)
	}
}

func (n *Node) event(what, id, from, to, reason string) {
	if n.cfg.OnEvent != nil {
		n.cfg.OnEvent(tandem.Event{Time: time.Now(), What: what, ID: id, From: from, To: to, Reason: reason})
	}
}

// see follows one line of the table of runs.
func (n *Node) see(ctx context.Context, e jetstream.Entry) {
	var m Manifest
	wanted := !e.Gone && json.Unmarshal(e.Value, &m) == nil && m.State == Active
	n.mu.Lock()
	w := n.works[e.Key]
	wanted = wanted && !n.info.Stays
	n.last[e.Key] = e
	if e.Gone && w == nil {
		delete(n.last, e.Key)
	}
	n.mu.Unlock()
	switch {
	case wanted && (m.Version > Version || m.Version < Version-1):
		n.event("run", m.Run, "", "not here", fmt.Sprintf("it was submitted with version %d of the protocol, and this node has %d", m.Version, Version))
	case wanted && w == nil:
		n.begin(ctx, m)
	case !wanted && w != nil:
		n.leave(ctx, w, e.Gone || m.over())
	}
}

// leave lets go of a run, at once when it is over. What the table says by then is looked at when all of it has been let go of, so that a change back begins afresh.
func (n *Node) leave(ctx context.Context, w *work, over bool) {
	if over {
		w.dropped.Store(true)
		w.enough()
	}
	w.stop(errors.New("the run is not active"))
	if !w.leaving.CompareAndSwap(false, true) {
		return
	}
	n.group.Go(func() {
		<-w.done
		n.mu.Lock()
		delete(n.works, w.manifest.Run)
		last := n.last[w.manifest.Run]
		n.mu.Unlock()
		n.tell()
		if ctx.Err() == nil {
			n.see(ctx, last)
		}
	})
}

func (n *Node) begin(ctx context.Context, m Manifest) {
	ctx, stop := context.WithCancelCause(ctx)
	w := &work{manifest: m, stop: stop, done: make(chan struct{}), steps: make([]StepInfo, len(m.Steps)), engines: make([]*engine.Engine, len(m.Steps)),
		queues: make([]tandem.Queue, len(m.Steps)), among: make(parts, len(m.Steps))}
	w.hard, w.enough = context.WithCancel(n.hard)
	for i, s := range m.Steps {
		w.steps[i] = StepInfo{Run: m.Run, Step: s.Name, State: "starting"}
	}
	n.mu.Lock()
	n.works[m.Run] = w
	n.mu.Unlock()
	n.group.Go(func() {
		defer close(w.done)
		defer stop(nil)
		defer w.enough()
		n.serve(ctx, w)
	})
}

// serve runs the steps of a run that this node can run.
func (n *Node) serve(ctx context.Context, w *work) {
	m := w.manifest
	if d := time.Until(m.NotBefore); d > 0 {
		select {
		case <-time.After(d):
		case <-ctx.Done():
			return
		}
	}
	var dir string
	err := n.hub.patience().try(ctx, func() (err error) { dir, err = n.hub.Fetch(ctx, m.Bundle, n.cfg.Cache); return err })
	if err != nil {
		for i := range m.Steps {
			w.set(i, "not here", err.Error())
		}
		n.tell()
		n.event("run", m.Run, "", "not here", err.Error())
		return
	}
	var steps sync.WaitGroup
	for i, s := range m.Steps {
		if missing := n.lacks(s); missing != "" {
			w.set(i, "not here", missing)
			n.tell()
			n.event("step", m.Run+" "+s.Name, "", "not here", missing)
			continue
		}
		steps.Go(func() { n.serveStep(ctx, w, i, dir) })
	}
	steps.Wait()
}

func (n *Node) lacks(s Step) string {
	for _, l := range s.Labels {
		if !slices.Contains(n.cfg.Labels, l) {
			return "the step asks for a node with the label " + l
		}
	}
	return ""
}

func (w *work) set(i int, state, why string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.steps[i].State, w.steps[i].Why = state, why
	w.queues[i] = nil
}

// serveStep runs one step for as long as the run is active here, and again after what may pass.
func (n *Node) serveStep(ctx context.Context, w *work, i int, dir string) {
	id := w.manifest.Run + " " + w.manifest.Steps[i].Name
	for pause := time.Second; ctx.Err() == nil; pause = min(2*pause, 30*time.Second) {
		begun := time.Now()
		err := n.step(ctx, w, i, dir)
		if err == nil || ctx.Err() != nil {
			return
		}
		if time.Since(begun) > longServed {
			pause = time.Second
		}
		state := "not here"
		passes := again(err) && !n.hub.e.Gone()
		if passes {
			state = "starting"
		}
		w.set(i, state, err.Error())
		n.tell()
		n.event("step", id, "serving", state, err.Error())
		if !passes {
			return
		}
		rest(ctx, pause)
	}
}

func (n *Node) step(ctx context.Context, w *work, i int, dir string) error {
	m := w.manifest
	flow, err := n.cfg.Build(ctx, dir, m, i)
	if err != nil {
		return err
	}
	flow.First, flow.Last = i, i+1
	in, err := n.hub.queue(ctx, m, i)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	next, err := n.hub.queue(ctx, m, i+1)
	if err != nil {
		return err
	}
	defer func() { _ = next.Close() }()
	end := next
	if i+1 < len(m.Steps) {
		if end, err = n.hub.queue(ctx, m, len(m.Steps)); err != nil {
			return err
		}
		defer func() { _ = end.Close() }()
	}
	// What a step takes ahead of itself is kept from other nodes: little, for a step that computes.
	most := 64
	if _, program := flow.Steps[i].Handler.(engine.Program); program {
		most = max(2*n.cfg.Cores, 4)
	}
	if b := flow.Steps[i].Batch.Size; b > 0 {
		most = max(most, b)
	}
	flow.Steps[i].Queue.Items = most
	w.share(&flow, i)
	born, unserved := time.Now().UnixNano(), func() {}
	if k := &flow.Steps[i].PerKey; k.Key != nil {
		var over context.Context
		over, unserved = context.WithCancel(context.WithoutCancel(ctx))
		k.Aside = 4 * most // what waits here waits for other nodes too
		k.Shared = &places{hub: n.hub, near: &n.near, run: m.Run, step: m.Steps[i].Name, node: n.cfg.Name, most: max(k.Concurrency, 1), born: born, over: over}
	}
	defer context.AfterFunc(w.hard, unserved)()
	defer unserved()
	dead, err := n.hub.Dead(ctx, m, true)
	if err != nil {
		return err
	}
	h := newHop(&hop{node: n.cfg.Name, step: m.Steps[i].Name, run: m.Run, name: m.Run + "/" + m.Steps[i].Name, store: n.hub.objects.Within(m.part(i)), records: n.hub.records, in: in, next: next, end: end, last: i+1 == len(m.Steps), packs: m.Packs, most: most, wait: patience{n.hub.e.Gone, func(why error) { n.waits(w, i, why) }},
		turn: w.wait, dead: dead, gone: w.dropped.Load})
	e := engine.New(engine.Config{Run: m.Run, Cores: n.cfg.Cores, OnEvent: n.cfg.OnEvent})
	w.mu.Lock()
	w.engines[i], w.steps[i].State, w.steps[i].Why, w.steps[i].Born, w.queues[i] = e, Serving, "", born, in
	w.mu.Unlock()
	n.count()
	n.tell()
	n.event("step", m.Run+" "+m.Steps[i].Name, "starting", "serving", "")
	return h.serve(ctx, e, flow, n.grace, w.hard)
}

// waits notes what a step that is served waits for; nil says that it goes on.
func (n *Node) waits(w *work, i int, why error) {
	to, reason := "goes on", ""
	if why != nil {
		to, reason = "waits", cause(why)
	}
	w.mu.Lock()
	w.steps[i].Why = reason
	w.mu.Unlock()
	n.tell()
	n.event("step", w.manifest.Run+" "+w.manifest.Steps[i].Name, Serving, to, reason)
}

// beat says what the node is and does, every few seconds.
func (n *Node) beat(ctx context.Context) {
	tick := time.NewTicker(NodeTTL / 4)
	defer tick.Stop()
	for {
		if b, err := json.Marshal(n.Info()); err == nil {
			_ = n.hub.nodes.Set(ctx, n.cfg.Name, b) // when it fails the line times out, which is true
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			n.count()
		case <-n.word:
		}
	}
}

// tell has the others know at once what has changed here.
func (n *Node) tell() {
	select {
	case n.word <- struct{}{}:
	default:
	}
}

// Info is what the node says of itself now.
func (n *Node) Info() Info {
	n.mu.Lock()
	defer n.mu.Unlock()
	info := n.info
	info.Seen = time.Now()
	for _, w := range n.works {
		w.mu.Lock()
		for i, s := range w.steps {
			if e := w.engines[i]; e != nil {
				p := e.Snapshot()
				s.Done = p.Items.In
				s.Running = int(p.Items.In + p.Items.Made - p.Items.Ended())
			}
			info.Steps = append(info.Steps, s)
		}
		w.mu.Unlock()
	}
	return info
}

// Nodes lists the nodes that live.
func (h *Hub) Nodes(ctx context.Context) (all []Info, err error) {
	entries, err := h.nodes.All(ctx)
	for _, e := range entries {
		var i Info
		if json.Unmarshal(e.Value, &i) == nil {
			all = append(all, i)
		}
	}
	return all, err
}
