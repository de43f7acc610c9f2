// Package profile writes what tandem profile found for other eyes: a page for people, a file for speedscope.app, a trace for ui.perfetto.dev.
//
// It is pure: a measurement and its verdict go in, bytes come out; it reads no clock and no system. Figures are those of the report on the terminal: no writer
// counts anew.
package profile

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"tandem/internal/advise"
	"tandem/internal/page"
)

// Profile is what is written.
type Profile struct {
	Command     string
	Measurement *advise.Measurement
	Verdict     advise.Verdict
	Advice      string // for people
	Exit        string // how the command ended; empty when it was only watched
}

// Endings are the names' ends that Write knows.
var Endings = []string{".html", ".speedscope.json", ".pftrace"}

// Known is the ending of a name that Write knows; empty when there is none.
func Known(name string) string {
	for _, e := range Endings {
		if strings.HasSuffix(name, e) {
			return e
		}
	}
	return ""
}

// Write writes the profile in the format of an ending.
func (p *Profile) Write(w io.Writer, ending string) error {
	switch ending {
	case ".html":
		return p.page().Write(w)
	case ".speedscope.json":
		return p.speedscope(w)
	}
	return p.perfetto(w)
}

// shares of a split by name, with the colour that each has in every picture.
func shares(s advise.Split) []page.Share {
	return []page.Share{{Name: "cpu", Part: s.CPU, Colour: 1}, {Name: "run queue", Part: s.RunQueue, Colour: 6}, {Name: "throttled", Part: s.Throttled, Colour: 6}, {Name: "network", Part: s.Network, Colour: 0},
		{Name: "disk", Part: s.Disk, Colour: 3}, {Name: "lock", Part: s.Lock, Colour: 4}, {Name: "gil", Part: s.GIL, Colour: 4}, {Name: "sleep", Part: s.Sleep, Colour: 7}, {Name: "page faults", Part: s.Faults, Colour: 5},
		{Name: "spin", Part: s.Spin, Colour: 5}, {Name: "input", Part: s.Input, Colour: 7}, {Name: "opaque", Part: s.Opaque, Colour: 2}}
}

// mostThreads are shown one by one; the others are summed up.
const mostThreads = 40

func (p *Profile) page() page.Page {
	m, v := p.Measurement, p.Verdict
	seconds := func(d time.Duration) string { return fmt.Sprintf("%.3g s", d.Seconds()) }
	out := page.Page{Title: "tandem profile: " + p.Command, Lead: v.Sentence, Foot: fmt.Sprintf("%d looks from outside by tandem profile. Amounts are the kernel's counters; looks split the waits.", m.Looks)}
	out.Facts = []page.Fact{{Name: "took", Value: seconds(m.Wall)}, {Name: "processor time", Value: seconds(m.CPU)}, {Name: "processors in use", Value: fmt.Sprintf("%.2f of %.3g", m.CPU.Seconds()/max(m.Wall.Seconds(), 1e-9), m.Cores)},
		{Name: "used by others", Value: fmt.Sprintf("%.1f", m.Foreign)}, {Name: "confidence", Value: string(v.Confidence)}}
	if p.Exit != "" {
		out.Facts = append(out.Facts, page.Fact{Name: "ended", Value: p.Exit})
	}
	where := page.Section{Title: "Where the time went", Stacks: []page.Stack{{Shares: shares(v.Split)}}, Table: &page.Table{Head: []string{"state", "share"}}}
	for _, s := range where.Stacks[0].Shares {
		if s.Part >= .0005 {
			where.Table.Rows = append(where.Table.Rows, []string{s.Name, fmt.Sprintf("%.1f %%", 100*s.Part)})
		}
	}
	if v.Doubt != "" {
		where.Notes = append(where.Notes, "Confidence "+string(v.Confidence)+": "+v.Doubt)
	}
	out.Sections = append(out.Sections, where, page.Section{Title: "Advice", Text: p.Advice})
	if len(m.Peers) > 0 {
		s := page.Section{Title: "Whom it waited for", Table: &page.Table{Head: []string{"peer", "waited", "program", "itself busy"}}}
		for _, peer := range m.Peers {
			busy := "not known"
			if peer.Busy >= 0 {
				busy = fmt.Sprintf("%.0f %%", 100*peer.Busy)
			}
			s.Table.Rows = append(s.Table.Rows, []string{peer.Name, seconds(peer.Wait), peer.Who, busy})
		}
		out.Sections = append(out.Sections, s)
	}
	if len(m.Functions) > 0 {
		s := page.Section{Title: "Where in its own code", Text: "Asked from the runtime itself (--runtime).", Table: &page.Table{Head: []string{"runtime", "function", "at", "state", "share of its looks"}}}
		for _, f := range m.Functions {
			s.Table.Rows = append(s.Table.Rows, []string{f.Runtime, f.Name, f.At, f.State, fmt.Sprintf("%.1f %%", 100*f.Share)})
		}
		out.Sections = append(out.Sections, s)
	}
	threads := page.Section{Title: "Threads", Table: &page.Table{Head: []string{"thread", "lived", "cpu", "run queue", "waited", "mostly for"}}}
	all := p.threads()
	for i, t := range all {
		if i == mostThreads {
			threads.Notes = append(threads.Notes, fmt.Sprintf("%d more threads did less", len(all)-i))
			break
		}
		waited, top := time.Duration(0), advise.Cause("")
		for c, d := range t.Wait {
			if waited += d; d > t.Wait[top] {
				top = c
			}
		}
		threads.Table.Rows = append(threads.Table.Rows, []string{title(t), seconds(t.Life), seconds(t.On), seconds(t.Queue), seconds(waited), strings.TrimSpace(string(top) + " " + largest(t.Where[top]))})
	}
	out.Sections = append(out.Sections, threads)
	if len(m.Notes) > 0 {
		out.Sections = append(out.Sections, page.Section{Title: "Notes", Notes: m.Notes})
	}
	return out
}

// threads are those of the measurement, the busiest first.
func (p *Profile) threads() []advise.Thread {
	all := slices.Clone(p.Measurement.Threads)
	slices.SortStableFunc(all, func(a, b advise.Thread) int {
		return cmp.Or(cmp.Compare(b.On+b.Queue, a.On+a.Queue), cmp.Compare(b.Life, a.Life))
	})
	return all
}

func title(t advise.Thread) string {
	switch {
	case t.Brief:
		return t.Name + ", threads too short to follow"
	case t.TID == 0:
		return cmp.Or(t.Name, "all threads")
	}
	return fmt.Sprintf("%s %d (%s)", t.Name, t.TID, cmp.Or(t.Program, "a process that has ended"))
}

// largest is what most of the time was for.
func largest(at map[string]time.Duration) (what string) {
	for k, d := range at {
		if d > at[what] || d == at[what] && k < what {
			what = k
		}
	}
	return what
}
