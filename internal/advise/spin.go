package advise

const (
	missed   = .5  // of what was taken away: from there on it was of use
	turning  = .40 // of the time that threads run, from which on it is spin that a program is bound by
	oftener  = 1.4 // times the processor time for the same, which is more than a neighbour on the same core costs
	rarer    = .85 // times it, which is as much less
	fewCores = .3  // processors, below which a program is not busy
)

// circling is the share of its running time that a program proved to spend in circles: threads were in the same few states again and again, and to hold them there did
// not make it longer. That alone would tell little where others had kept the first run from running: there the processor time has to agree, which is the same both
// times for who computes, whatever others do.
func (m *Measurement) circling(f *figures) float64 {
	p := m.Probe
	if p == nil || p.Circling == 0 || p.Sensitivity > missed {
		return 0
	}
	if (f.starved || f.RunQueue > f.CPU/4) && (p.Spent > missed || p.Ratio > rarer) && p.Ratio < oftener {
		return 0
	}
	return p.Circling
}

// spins says whether the probe has shown that a program spins.
func spins(m *Measurement, f *figures) bool {
	p := m.Probe
	if p == nil {
		return false
	}
	if p.Circling > 0 {
		return m.circling(f) >= turning
	}
	return f.cores >= fewCores && min(f.cores, 1)-max(p.Sensitivity, p.Spent) >= .5
}
