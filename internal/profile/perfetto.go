package profile

import (
	"cmp"
	"io"

	"tandem/internal/perfetto"
)

// perfetto writes a track for each thread, with a slice for each stretch in which it was mostly in one state, named by the state.
func (p *Profile) perfetto(w io.Writer) error {
	out := perfetto.New(w)
	processes := map[int]bool{}
	for _, t := range p.Measurement.Threads {
		if len(t.Lane) == 0 {
			continue
		}
		if !processes[t.PID] {
			processes[t.PID] = true
			out.Process(t.PID, cmp.Or(t.Program, p.Command))
		}
		on := out.Thread(t.PID, t.TID, t.Name)
		for _, s := range t.Lane {
			out.Begin(s.From.Nanoseconds(), on, s.State, perfetto.Note{"for", s.Where})
			out.End(s.To.Nanoseconds(), on)
		}
	}
	return out.Flush()
}
