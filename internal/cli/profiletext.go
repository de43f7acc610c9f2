package cli

import (
	"fmt"
	"strings"
	"time"

	"tandem"
	"tandem/internal/advise"
)

// printProfile says on standard error what a program is bound by: the sentence first.
func (a *app) printProfile(r *profiled) {
	m, v := r.m, r.v
	line := func(name, text string) { fmt.Fprintf(a.err, "  %-11s %s\n", name, printable(text)) }
	fmt.Fprintf(a.err, "%s %s\n", a.dim("tandem profile:"), printable(v.Sentence))
	fmt.Fprintf(a.err, "  %-11s %s, %s of processor time, %s\n", "took", brief(m.Wall), brief(m.CPU), coresText(m))
	a.printSplit(v.Split)
	for i, p := range m.Peers {
		if i == 5 {
			line("", fmt.Sprintf("and %d more; --json lists them", len(m.Peers)-i))
			break
		}
		if p.Wait < m.Wall/100 {
			break
		}
		text := fmt.Sprintf("%s, waited for %s", p.Name, brief(p.Wait))
		if p.Who != "" {
			text += "; " + p.Who
			if p.Busy >= 0 {
				text += fmt.Sprintf(", itself %.0f %% busy", 100*p.Busy)
			}
		}
		line("peer", text)
	}
	for i, f := range m.Functions {
		if i == 5 {
			line("", fmt.Sprintf("and %d more; --json lists them", len(m.Functions)-i))
			break
		}
		line("in its code", strings.TrimSpace(fmt.Sprintf("%.0f %% %s: %s %s", 100*f.Share, f.Runtime, f.Name, f.At))+", "+f.State)
	}
	doubt := string(v.Confidence)
	if v.Doubt != "" {
		doubt += ": " + v.Doubt
	}
	line("confidence", doubt)
	line("advice", adviceText(v.Advice))
	for _, n := range m.Notes {
		line("note", n)
	}
	if m.Left > 0 {
		line("note", fmt.Sprintf("%d processes that it started still run; they were measured until the command ended", m.Left))
	}
	if r.signal != "" {
		line("note", "the command was ended by "+r.signal)
	}
	if m.Wall > 0 && m.Looks > 0 {
		line("cost", fmt.Sprintf("%d looks, %.1f %% of one processor; with start and report %s", m.Looks, 100*r.looking.Seconds()/m.Wall.Seconds(), r.all.Round(100*time.Microsecond)))
	}
}

func coresText(m *advise.Measurement) string {
	s := fmt.Sprintf("%.2f processors in use on average, %.3g allowed", m.CPU.Seconds()/m.Wall.Seconds(), m.Cores)
	if m.Foreign >= .05 {
		s += fmt.Sprintf(", others used %.1f", m.Foreign)
	}
	return s
}

// printSplit draws a bar for each state that counts.
func (a *app) printSplit(s advise.Split) {
	for _, p := range []struct {
		name, colour string
		share        float64
	}{{"cpu", "32", s.CPU}, {"run queue", "33", s.RunQueue}, {"throttled", "33", s.Throttled}, {"network", "36", s.Network}, {"disk", "34", s.Disk}, {"lock", "35", s.Lock},
		{"gil", "35", s.GIL}, {"sleep", "2", s.Sleep}, {"page faults", "31", s.Faults}, {"spin", "31", s.Spin}, {"input", "2", s.Input}, {"opaque", "2", s.Opaque}} {
		if p.share < .005 {
			continue
		}
		const width = 40
		fmt.Fprintf(a.err, "  %-11s %5.1f %%  %s\n", p.name, 100*p.share, a.paint(p.colour, strings.Repeat("█", max(1, int(p.share*width+.5)))))
	}
}

func adviceText(ad advise.Advice) string {
	var b strings.Builder
	if ad.Mode != tandem.Auto {
		fmt.Fprintf(&b, "mode %s", ad.Mode)
		if ad.Size > 0 {
			fmt.Fprintf(&b, ", %d at a time", ad.Size)
		}
		if up := ad.Interval; up[1] > 1 {
			fmt.Fprintf(&b, ", %.1f to %.1f times as fast", up[0], up[1])
		}
		b.WriteString(": ")
	}
	b.WriteString(ad.Because)
	return b.String()
}
