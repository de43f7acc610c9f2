package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"tandem"
)

// StepStatus is a step of a run as the cluster has it.
type StepStatus struct {
	Step   string        `json:"step"`
	Ready  int           `json:"ready"`  // in the queue in front of it
	Leased int           `json:"leased"` // with nodes
	Oldest time.Duration `json:"oldest_ns"`
	Nodes  []NodeStep    `json:"nodes"`
}

// NodeStep is what a node says about a step.
type NodeStep struct {
	Node    string `json:"node"`
	State   string `json:"state"`
	Why     string `json:"why,omitempty"`
	Running int    `json:"running"`
	Done    int64  `json:"done"`
}

// Status is a run and what becomes of it.
type Status struct {
	Manifest
	Status  []StepStatus `json:"status"`
	Results int          `json:"results"` // that wait for the submitter
	Dead    int          `json:"dead"`    // items that ended badly and are kept
}

// Show looks at a run.
func (h *Hub) Show(ctx context.Context, run string) (s Status, err error) {
	if s.Manifest, err = h.Get(ctx, run); err != nil {
		return s, err
	}
	nodes, err := h.Nodes(ctx)
	if err != nil {
		return s, err
	}
	for at, step := range s.Steps {
		q, _, err := h.e.QueueStats(ctx, queueName(s.Manifest, at))
		if err != nil {
			return s, err
		}
		s.Status = append(s.Status, StepStatus{step.Name, q.Ready, q.Leased, q.Oldest, saying(nodes, run, step.Name)})
	}
	q, _, err := h.e.QueueStats(ctx, queueName(s.Manifest, len(s.Steps)))
	if err != nil {
		return s, err
	}
	s.Results = q.Ready + q.Leased
	d, err := h.Dead(ctx, s.Manifest, false)
	if d != nil && err == nil {
		s.Dead, err = d.shelf.Len(ctx)
	}
	return s, err
}

// saying is what nodes say about a step.
func saying(nodes []Info, run, step string) []NodeStep {
	all := []NodeStep{}
	for _, n := range nodes {
		for _, s := range n.Steps {
			if s.Run == run && s.Step == step {
				all = append(all, NodeStep{n.Name, s.State, s.Why, s.Running, s.Done})
			}
		}
	}
	slices.SortFunc(all, func(a, b NodeStep) int { return strings.Compare(a.Node, b.Node) })
	return all
}

// over tells that nothing more becomes of a run.
func (m Manifest) over() bool { return m.State == Ended || m.State == Canceled }

// Turn pauses, resumes or cancels a run. What cannot be is an error that says how it is.
func (h *Hub) Turn(ctx context.Context, run string, to State, why string) error {
	from := map[State]State{Paused: Active, Active: Paused}[to]
	err := h.Change(ctx, run, func(m *Manifest) error {
		if m.over() || from != "" && m.State != from {
			return &tandem.Error{Op: map[State]string{Paused: "pause", Active: "resume", Canceled: "cancel"}[to], On: run, Kind: tandem.KindInvalid, Message: "the run is " + string(m.State)}
		}
		m.State, m.Why = to, why
		if to == Canceled {
			m.EndedAt = time.Now()
		}
		return nil
	})
	if err != nil || to != Canceled {
		return err
	}
	m, err := h.Get(ctx, run)
	if err != nil {
		return err
	}
	return h.Drop(ctx, m) // nodes that still have items of it find no queue, and let go
}

// Erase removes a run and all that it has in the cluster: queues, objects, dead letters, its line, and its bundle when no other run has it. One that is going on
// is refused.
func (h *Hub) Erase(ctx context.Context, run string) error {
	m, err := h.Get(ctx, run)
	if err != nil {
		return err
	}
	if !m.over() {
		return &tandem.Error{Op: "remove the run", On: run, Kind: tandem.KindInvalid, Message: "it is " + string(m.State), Hint: "tandem runs cancel " + run + " ends it first"}
	}
	names, err := h.objects.List(ctx, run+"/")
	all := []error{err}
	for _, n := range names {
		all = append(all, h.objects.Delete(ctx, n))
	}
	if m.DeadOf == "" {
		all = append(all, h.e.RemoveShelf(ctx, deadName(m)))
	}
	all = append(all, h.Remove(ctx, m))
	if err := errors.Join(all...); err != nil {
		return err
	}
	return h.dropBundle(ctx, m.Bundle)
}

// dropBundle removes a bundle that no run has. Somebody may submit with the same one just then: it is put back if so.
func (h *Hub) dropBundle(ctx context.Context, name string) error {
	used := func() (bool, error) {
		all, err := h.Runs(ctx)
		return slices.ContainsFunc(all, func(m Manifest) bool { return m.Bundle == name }), err
	}
	if yes, err := used(); yes || err != nil || name == "" {
		return err
	}
	r, err := h.objects.Get(ctx, "bundle/"+name)
	if err != nil {
		if has, herr := h.objects.Has(ctx, "bundle/"+name); herr == nil && !has {
			return nil // another was faster
		}
		return err
	}
	packed, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		return err
	}
	if err := h.objects.Delete(ctx, "bundle/"+name); err != nil {
		return err
	}
	yes, err := used()
	if err == nil && yes {
		err = h.Store(ctx, name, packed)
	}
	return err
}

// Unable names the steps that no node can run, and what each says; empty when there is none. Before the nodes have looked at all of a run there is none either.
func Unable(m Manifest, nodes []Info) []string {
	var all []string
	for _, s := range m.Steps {
		says := saying(nodes, m.Run, s.Name)
		if len(says) == 0 || slices.ContainsFunc(says, func(n NodeStep) bool { return n.State != NotHere }) {
			continue
		}
		var why []string
		for _, n := range says {
			why = append(why, n.Node+": "+n.Why)
		}
		all = append(all, fmt.Sprintf("no node can run step %s (%s)", s.Name, strings.Join(why, "; ")))
	}
	return all
}

// NotHere is the state of a step on a node that cannot run it.
const NotHere = "not here"
