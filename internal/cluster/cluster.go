// Package cluster runs a flow on many machines: who submits it feeds its source into a queue in front of the first step, nodes pull from the queues of the
// steps they can run, and what has ended comes back to the submitter's sink.
//
// Promises:
//
//   - Between two steps stands a [tandem.Queue]. A node passes results on before it ends the lease of what they came of, so an item may be run twice and is never lost.
//   - The submitter writes one line for each item, however often its result arrives: the run's journal knows what the sink holds.
//   - An item carries a share of its root. A step that makes several of one divides the share; when the shares that have come back make a whole, the root has
//     ended. So a run knows when it is over without asking the nodes.
//   - While a node works on an item it renews its lease; a node that dies gives back what it had after [Lease] at the latest. An item that was lost with its
//     node [MaxLost] times ends as crashed.
//   - A node that stops gives its items back at once, and that does not count against them.
//   - What does not fit into a message travels through the object store, and a message names it.
//
// The package knows queues and flows, not flow files and not flags.
package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"tandem"
	"tandem/internal/queue/jetstream"
)

const (
	// Lease is how long an item stays with a node that says nothing.
	Lease = 6 * time.Second
	// MaxLost is how many times the lease of an item may lapse. A server that is cut off from the others hands out what nobody gets, so it is more than the
	// nodes that an item could take down before somebody looks.
	MaxLost = 10
	// Version of what nodes and submitters say to each other. A node takes runs of its own version and the one before.
	Version = 1
	// Window is how many items of a run may be in the queue of a step, and so how far a submitter may be ahead of its slowest step. Of results it is as many messages, each of
	// which may hold several; see pack.
	Window = 10_000

	inline    = 256 << 10 // bytes of a message that need no object
	storeSize = 8 << 30
	openWait  = time.Minute
	storeWait = 30 * time.Second // for the values of one item
	swapWait  = 2 * time.Second  // for a record to be written
	sharesIn1 = int64(1) << 62   // shares of one root
)

// State of a submitted run.
type State string

const (
	Active   State = "active"
	Paused   State = "paused"   // nodes take nothing new of it
	Canceled State = "canceled" // nodes drop what they have of it
	Ended    State = "ended"
)

// Manifest is what nodes know of a run.
type Manifest struct {
	Version   int               `json:"version"`
	Run       string            `json:"run"`
	Flow      string            `json:"flow"`   // its name
	Bundle    string            `json:"bundle"` // sha-256 of the bundle, its name in the object store
	File      string            `json:"file"`   // the flow file inside the bundle
	Params    map[string]string `json:"params,omitempty"`
	Steps     []Step            `json:"steps"`
	State     State             `json:"state"`
	Why       string            `json:"why,omitempty"` // it is paused or canceled
	Priority  int               `json:"priority,omitempty"`
	NotBefore time.Time         `json:"not_before,omitzero"`
	Created   time.Time         `json:"created"`
	EndedAt   time.Time         `json:"ended_at,omitzero"`
	DeadOf    string            `json:"dead_of,omitempty"` // the run whose dead letters it tries again, and adds to
	From      string            `json:"from"`              // the submitter's host
	Packs     bool              `json:"packs,omitempty"`   // the submitter reads messages of several results
	Window    int               `json:"window"`
	Items     int64             `json:"items,omitempty"` // the source gave, when it has been read to its end
	Outcomes  map[string]int64  `json:"outcomes,omitempty"`
}

// Step is what a node must know to decide whether a step is for it.
type Step struct {
	Name   string   `json:"name"`
	Needs  []string `json:"needs,omitempty"`  // programs: python3, go
	Labels []string `json:"labels,omitempty"` // the node must have all of them
	Pool   string   `json:"pool,omitempty"`   // whose limits it shares
}

// Hub is a cluster as its members see it.
type Hub struct {
	e       *jetstream.Engine
	runs    *jetstream.Table
	nodes   *jetstream.Table
	objects *jetstream.Objects
	records *jetstream.Records
}

// NodeTTL is how long a node that says nothing is still listed.
const NodeTTL = 10 * time.Second

// Open opens the tables and stores of a cluster, and waits for one that is just choosing its leaders. The engine stays the caller's.
func Open(ctx context.Context, e *jetstream.Engine) (h *Hub, err error) {
	err = patience{gone: e.Gone}.soon(ctx, "open the tables of the cluster", func(ctx context.Context) error {
		h, err = tables(ctx, e)
		return err
	})
	return h, err
}

func tables(ctx context.Context, e *jetstream.Engine) (h *Hub, err error) {
	h = &Hub{e: e}
	if err = e.Agree(ctx); err != nil {
		return nil, err
	}
	if h.runs, err = e.Table(ctx, "runs", 0); err != nil {
		return nil, err
	}
	if h.nodes, err = e.Table(ctx, "nodes", NodeTTL); err != nil {
		return nil, err
	}
	if h.records, err = e.Records(ctx, "records"); err != nil {
		return nil, err
	}
	h.objects, err = e.Objects(ctx, "objects", storeSize)
	return h, err
}

// queue opens the queue in front of step at; behind the last step it is the one of the results.
func (h *Hub) queue(ctx context.Context, m Manifest, at int) (*jetstream.Queue, error) {
	return h.e.Open(ctx, tandem.QueueConfig{Name: queueName(m, at), Items: m.Window, Lease: Lease, Dedupe: 10 * time.Minute,
		Attempts: 1000, // the node decides what is lost too often, and tells the submitter
		Backoff:  func(int) time.Duration { return time.Second }})
}

func (h *Hub) patience() patience { return patience{gone: h.e.Gone} }

func queueName(m Manifest, at int) string {
	if at >= len(m.Steps) {
		return m.Run + "-results"
	}
	return m.Run + "-step-" + m.Steps[at].Name
}

// part is how much of the object store may be filled by who passes items on behind step at; the submitter, who feeds the first step, is -1. The nearer to the end,
// the more: what is stored there makes room for the rest, so a store that is full of what waits for the first steps never keeps the last from going on.
func (m Manifest) part(at int) float64 { return float64(at+2) / float64(len(m.Steps)+1) }

// Create makes a run known. Of two with one name the second is refused.
func (h *Hub) Create(ctx context.Context, m Manifest) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	_, err = h.runs.Swap(ctx, m.Run, b, 0)
	if errors.Is(err, jetstream.ErrChanged) {
		return &tandem.Error{Op: "submit", On: m.Run, Kind: tandem.KindInvalid, Message: "there is a run of this name already", Hint: "tandem attach " + m.Run + " goes on with it; --name gives this one another"}
	}
	return err
}

// Await is Get, and waits for a cluster that is just choosing its leaders.
func (h *Hub) Await(ctx context.Context, run string) (m Manifest, err error) {
	err = h.patience().soon(ctx, "find the run in the cluster", func(ctx context.Context) error {
		m, err = h.Get(ctx, run)
		return err
	})
	return m, err
}

// Get gives the manifest of a run.
func (h *Hub) Get(ctx context.Context, run string) (Manifest, error) {
	m, _, err := h.get(ctx, run)
	return m, err
}

func (h *Hub) get(ctx context.Context, run string) (m Manifest, revision uint64, err error) {
	e, err := h.runs.Get(ctx, run)
	if err != nil {
		return m, 0, err
	}
	if e.Gone {
		return m, 0, &tandem.Error{Op: "find the run", On: run, Kind: tandem.KindInvalid, Message: "the cluster knows no run of this name", Hint: "tandem runs ls --nats … lists what there is"}
	}
	return m, e.Revision, json.Unmarshal(e.Value, &m)
}

// Change changes a manifest, again when somebody else was faster.
func (h *Hub) Change(ctx context.Context, run string, change func(*Manifest) error) error {
	for {
		m, revision, err := h.get(ctx, run)
		if err != nil {
			return err
		}
		if err := change(&m); err != nil {
			return err
		}
		b, err := json.Marshal(m)
		if err != nil {
			return err
		}
		if _, err = h.runs.Swap(ctx, run, b, revision); !errors.Is(err, jetstream.ErrChanged) {
			return err
		}
	}
}

// Runs lists every run that the cluster knows.
func (h *Hub) Runs(ctx context.Context) (all []Manifest, err error) {
	entries, err := h.runs.All(ctx)
	for _, e := range entries {
		var m Manifest
		if json.Unmarshal(e.Value, &m) == nil {
			all = append(all, m)
		}
	}
	return all, err
}

// Drop removes the queues of a run that has ended, and what its nodes have noted; the table keeps its line.
func (h *Hub) Drop(ctx context.Context, m Manifest) error {
	all := []error{h.records.Clear(ctx, m.Run), h.forget(ctx, m)}
	for at := range len(m.Steps) + 1 {
		all = append(all, h.e.RemoveQueue(ctx, queueName(m, at)))
	}
	return errors.Join(all...)
}

// forget removes the objects that items of a run left behind which were run twice. Those of its dead items stay with them.
func (h *Hub) forget(ctx context.Context, m Manifest) error {
	names, err := h.objects.List(ctx, m.Run+"/")
	all := []error{err}
	for _, n := range names {
		if !strings.HasPrefix(n, m.Run+"/dead/") {
			all = append(all, h.objects.Delete(ctx, n))
		}
	}
	return errors.Join(all...)
}

// Remove removes a run and all that it has in the cluster, except its bundle, which others may share.
func (h *Hub) Remove(ctx context.Context, m Manifest) error {
	return errors.Join(h.Drop(ctx, m), h.runs.Delete(ctx, m.Run))
}
