package lanes

import "time"

// Detail is the rows between from and to, folded into about n of equal length. Counts are added up, levels and shares are means over time, the most in flight is
// the most of all. A row is never cut; where rows are longer than that already they stay as they are, and a pause between rows stays a pause.
func (r *Record) Detail(from, to time.Duration, n int) []Row {
	width := (to - from) / time.Duration(max(n, 1))
	var out []Row
	var f fold
	for i := range r.Rows {
		row := &r.Rows[i]
		if row.End() <= from || row.From >= to {
			continue
		}
		if f.n > 0 && (row.From > f.row.End() || row.End()-f.row.From > width) {
			out = append(out, f.done())
		}
		f.add(row)
	}
	if f.n > 0 {
		out = append(out, f.done())
	}
	return out
}

// fold gathers neighbouring rows.
type fold struct {
	n      int
	row    Row
	shares [][States]float64 // by lane, times width
	steps  []level
	over   []time.Duration // by lane: how long it has been there
}

type level struct{ inflight, limit, queue, waiting float64 }

func (f *fold) add(row *Row) {
	if f.n == 0 {
		f.row = Row{From: row.From}
		f.shares, f.steps, f.over = f.shares[:0], f.steps[:0], f.over[:0]
	}
	f.n++
	w := float64(row.Width)
	f.row.Width += row.Width
	f.row.Items.Add(row.Items)
	for len(f.row.Steps) < len(row.Steps) {
		f.row.Steps, f.steps = append(f.row.Steps, StepRow{}), append(f.steps, level{})
	}
	for i, s := range row.Steps {
		to, l := &f.row.Steps[i], &f.steps[i]
		to.Most = max(to.Most, s.Most)
		to.Ended += s.Ended
		to.Bad += s.Bad
		to.Retried += s.Retried
		l.inflight += s.InFlight * w
		l.limit += float64(s.Limit) * w
		l.queue += float64(s.Queue) * w
		l.waiting += float64(s.Waiting) * w
	}
	for len(f.row.Lanes) < len(row.Lanes) {
		f.row.Lanes, f.shares, f.over = append(f.row.Lanes, Cell{}), append(f.shares, [States]float64{}), append(f.over, 0)
	}
	for i := range row.Lanes {
		f.row.Lanes[i].Ended += row.Lanes[i].Ended
		f.over[i] += row.Width
		for s, share := range row.Lanes[i].Shares {
			f.shares[i][s] += float64(share) * w
		}
	}
}

func (f *fold) done() Row {
	w := float64(max(f.row.Width, 1))
	for i := range f.row.Steps {
		s, l := &f.row.Steps[i], f.steps[i]
		s.InFlight, s.Limit, s.Queue, s.Waiting = l.inflight/w, int(l.limit/w+0.5), int(l.queue/w+0.5), int(l.waiting/w+0.5)
	}
	for i := range f.row.Lanes {
		shares := f.shares[i]
		shares[Off] += float64(whole) * float64(f.row.Width-f.over[i]) // before it was there
		f.row.Lanes[i].Shares = Shares(shares)
	}
	f.n = 0
	return f.row
}

// Shares makes shares of amounts in any unit. They add up to 255, unless all amounts are nothing: then it is all off. What is there at all has a share.
func Shares(amounts [States]float64) (s [States]uint8) {
	sum := 0.0
	for _, a := range amounts {
		sum += max(a, 0)
	}
	if sum <= 0 {
		s[Off] = whole
		return s
	}
	left, main := whole, 0
	for i, a := range amounts {
		if a > amounts[main] {
			main = i
		}
		n := int(max(a, 0) / sum * whole)
		if n == 0 && a/sum > 0.002 {
			n = 1
		}
		s[i] = uint8(n)
		left -= n
	}
	s[main] = uint8(int(s[main]) + left)
	return s
}
