package compare

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Document is a comparison for --json and for every report: figures are of the rounds that count.
type Document struct {
	Subject    string       `json:"subject"`
	Sentence   string       `json:"sentence"`
	Withheld   string       `json:"withheld,omitempty"`
	Candidates []Row        `json:"candidates"`
	Fastest    string       `json:"fastest,omitempty"`
	Pick       *PickedShape `json:"pick"`
	Rounds     int          `json:"rounds"`
	Disturbed  int          `json:"rounds_disturbed"`
	Foreign    float64      `json:"foreign_processors"`
	Cores      float64      `json:"processors"`
	Seconds    float64      `json:"seconds"`
	Notes      []string     `json:"notes"`
}

// Row is one candidate.
type Row struct {
	Name      string      `json:"name"`
	Shape     *Shape      `json:"shape,omitempty"`
	Median    float64     `json:"median_seconds"`
	Spread    float64     `json:"spread_seconds"`
	Items     int         `json:"items,omitempty"`
	PerSecond float64     `json:"items_per_second,omitempty"`
	Ratio     *Ratio      `json:"times_as_fast"` // as the first; null where the number is withheld
	Predicted *[2]float64 `json:"predicted"`
	Off       *float64    `json:"off"` // of the prediction, as a share; 0 inside the interval
	Bound     string      `json:"bound,omitempty"`
	Says      string      `json:"sentence,omitempty"`
	Left      string      `json:"left_out,omitempty"`
	Samples   []float64   `json:"samples_seconds"`
}

// PickedShape is what Tandem would choose by the first run, and what came of it.
type PickedShape struct {
	Name     string  `json:"name"`
	Because  string  `json:"because"`
	Measured *Ratio  `json:"measured"`
	Held     *bool   `json:"held"`
	OfBest   float64 `json:"share_of_the_best,omitempty"` // 1: nothing measured is faster
	Sentence string  `json:"sentence"`
}

// Document sums the comparison up; subject says what was compared, h is nil for commands.
func (c *Comparison) Document(subject string, h *Handler) Document {
	d := Document{Subject: subject, Withheld: c.Withheld, Rounds: c.Rounds, Disturbed: c.Disturbed, Foreign: round(c.Steady), Cores: c.cores, Seconds: round(c.Seconds), Notes: append([]string{}, c.Notes...), Candidates: []Row{}}
	first := c.Candidates[0]
	for _, k := range c.Candidates {
		r := Row{Name: k.Name, Left: k.Left, Samples: []float64{}}
		if k.Shape.Mode != "" {
			r.Shape = &k.Shape
		}
		if k.Verdict != nil {
			r.Bound, r.Says = string(k.Verdict.Bound), k.Verdict.Sentence
		}
		if k.Left == "" {
			r.Median, r.Spread = k.Median()
			for _, s := range k.samples {
				r.Samples = append(r.Samples, s.Seconds)
				if k.Shape.Mode != "" {
					r.Items = s.Items
				}
			}
			if r.Median > 0 && r.Items > 0 {
				r.PerSecond = float64(r.Items) / r.Median
			}
			if ratio := c.Ratio(first, k); c.Withheld == "" && first.Left == "" && ratio.Pairs >= least {
				r.Ratio = &ratio
				if k.Predicted != nil {
					off := Off(*k.Predicted, ratio.Times)
					r.Predicted, r.Off = k.Predicted, &off
				}
			}
		}
		d.Candidates = append(d.Candidates, r)
	}
	d.Sentence = c.sentence(&d)
	if h != nil {
		d.Pick = c.picked(h, &d)
	}
	return d
}

func round(x float64) float64 { return float64(int64(x*1000+.5)) / 1000 }

// ranked are the candidates that have a number, the fastest first.
func (c *Comparison) ranked() []*Candidate {
	a := c.active()
	if len(a) == 0 {
		return nil
	}
	base := a[0]
	a = slices.DeleteFunc(a, func(k *Candidate) bool { return c.Ratio(base, k).Pairs < least })
	slices.SortStableFunc(a, func(x, y *Candidate) int { return cmp.Compare(c.Ratio(base, y).Times, c.Ratio(base, x).Times) })
	return a
}

func (c *Comparison) sentence(d *Document) string {
	if c.Withheld != "" {
		return "no number: " + c.Withheld
	}
	a := c.ranked()
	d.Fastest = a[0].Name
	best := a[0]
	say := func(r Ratio, than string) string {
		if !r.Told() {
			return fmt.Sprintf("as fast as %s (%s)", than, times(r))
		}
		return fmt.Sprintf("%s times as fast as %s", times(r), than)
	}
	parts := []string{say(c.Ratio(a[1], best), a[1].Name)}
	if first := c.Candidates[0]; first.Left == "" && first != best && first != a[1] {
		parts = append(parts, say(c.Ratio(first, best), first.Name))
	}
	return best.Name + " is " + strings.Join(parts, ", and ")
}

// times writes a ratio and its spread with as many digits as the spread leaves sense.
func times(r Ratio) string {
	digits := 2
	if r.Plus >= .5 {
		digits = 1
	}
	return fmt.Sprintf("%.*f ± %.*f", digits, r.Times, digits, r.Plus)
}

// picked says which shape Tandem would choose, and whether what it predicts came true.
func (c *Comparison) picked(h *Handler, d *Document) *PickedShape {
	first := c.Candidates[0]
	v := first.Verdict
	if v == nil {
		return nil
	}
	p := &PickedShape{Because: v.Advice.Because}
	s, ok := Pick(v.Advice, h)
	if !ok {
		p.Sentence = "Tandem would pick nothing: " + v.Advice.Because
		return p
	}
	p.Name = s.String()
	k := c.nearest(s)
	p.Sentence = "Tandem would pick " + s.String()
	if k == nil || k.Left != "" || c.Withheld != "" || c.Ratio(first, k).Pairs < least {
		p.Sentence += ", which has no number here"
		return p
	}
	if k.Shape != s {
		p.Sentence += fmt.Sprintf(" (%s is the most that so few items can use)", k.Name)
	}
	r := c.Ratio(first, k)
	p.Measured = &r
	if k == first {
		p.Sentence += ", which is what was measured first"
	} else if k.Predicted != nil {
		off := Off(*k.Predicted, r.Times)
		holds := Held(off)
		p.Held = &holds
		p.Sentence += fmt.Sprintf(": %s times as fast as %s predicted, %s measured: %s", interval(*k.Predicted), first.Name, times(r), verdictOf(off))
	} else {
		p.Sentence += fmt.Sprintf(": %s times as fast as %s measured, nothing predicted", times(r), first.Name)
	}
	best := c.ranked()[0]
	p.OfBest = min(1, c.Ratio(best, k).Times)
	if b := c.Ratio(k, best); best == k || !b.Told() {
		p.Sentence += "; nothing measured is faster"
	} else {
		p.Sentence += fmt.Sprintf("; %s reaches %.0f %% of the fastest, %s", k.Name, 100*p.OfBest, best.Name)
	}
	return p
}

// nearest is the candidate of the shape, or of the same mode with the largest size below.
func (c *Comparison) nearest(s Shape) (found *Candidate) {
	for _, k := range c.Candidates {
		if k.Shape == s && k.Left == "" {
			return k
		}
		if k.Left == "" && k.Shape.Mode == s.Mode && k.Shape.Workers == s.Workers && k.Shape.Size() < s.Size() && (found == nil || k.Shape.Size() > found.Shape.Size()) {
			found = k
		}
	}
	return found
}

func interval(p [2]float64) string {
	if p[1]-p[0] < .01 {
		return fmt.Sprintf("%.2f", p[0])
	}
	return fmt.Sprintf("%.2f to %.2f", p[0], p[1])
}

func verdictOf(off float64) string {
	switch {
	case off == 0:
		return "the prediction held"
	case Held(off):
		return fmt.Sprintf("the prediction held, off by %+.0f %%", 100*off)
	}
	return fmt.Sprintf("the prediction did not hold, off by %+.0f %%", 100*off)
}

// Advised says, for commands, what would make each faster, and whether another of the candidates is about as much faster as that.
func (c *Comparison) Advised() (lines []string) {
	for _, k := range c.Candidates {
		if k.Verdict == nil || k.Left != "" {
			continue
		}
		lines = append(lines, k.Name+": "+k.Verdict.Sentence)
		up := k.Verdict.Advice.Interval
		if up[1] <= 1.01 || c.Withheld != "" {
			continue
		}
		best := c.ranked()[0]
		text := fmt.Sprintf("advice for %s: mode %s, %d at a time, %s times as fast", k.Name, k.Verdict.Advice.Mode, k.Verdict.Advice.Size, interval(up))
		if best != k {
			r := c.Ratio(k, best)
			text += fmt.Sprintf("; if %s does that: %s measured, %s", best.Name, times(r), verdictOf(Off(up, r.Times)))
		}
		lines = append(lines, text)
	}
	return lines
}
