package tandem

import (
	"slices"
	"strings"
)

// Isolation is how far a process was kept from the rest of its machine: what was asked for, what there is, and what there is not.
type Isolation struct {
	Level       string    `json:"level"`               // none, process or sandbox
	Requested   []string  `json:"requested,omitempty"` // properties that were asked for: memory, files, network, …
	Effective   []Held    `json:"effective,omitempty"` // those that hold, and by what
	Missing     []Missing `json:"missing,omitempty"`   // what this machine does not allow
	Containment string    `json:"containment"`         // kernel, single-fault or best-effort: see docs/explanation/containment.md
	Memory      string    `json:"memory"`              // what counts it: kernel, rlimit, polled or none
}

// Held is a property and what holds it.
type Held struct {
	What string `json:"what"`
	How  string `json:"how"` // "memory cgroup (v1), 256 MiB"
}

// Missing is something that this machine does not allow.
type Missing struct {
	What   string `json:"what"`
	Why    string `json:"why"`    // as the kernel says it: EPERM
	Effect string `json:"effect"` // what it means for who asked
}

func (m Missing) String() string { return m.What + " (" + m.Why + ")" }

// Has says by what a property is held, or "".
func (i Isolation) Has(what string) string {
	if at := slices.IndexFunc(i.Effective, func(h Held) bool { return h.What == what }); at >= 0 {
		return i.Effective[at].How
	}
	return ""
}

// String is one line: what holds, and what is missing with its effect.
func (i Isolation) String() string {
	var have, not []string
	for _, h := range i.Effective {
		have = append(have, h.What)
	}
	for _, m := range i.Missing {
		not = append(not, m.String()+": "+m.Effect)
	}
	s := i.Level + ", containment " + i.Containment
	if len(have) > 0 {
		s += ", holds " + strings.Join(have, ", ")
	}
	if len(not) > 0 {
		s += "; missing " + strings.Join(not, "; ")
	}
	return s
}

// State is "whole" when everything that was asked for holds, "partial" when something is missing.
func (i Isolation) State() string {
	if len(i.Missing) > 0 {
		return "partial"
	}
	return "whole"
}
