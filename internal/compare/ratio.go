package compare

import "math"

// Ratio is how many times as fast something is, with the half-width of the interval that holds the truth 95 times in 100.
type Ratio struct {
	Times float64 `json:"times"`
	Plus  float64 `json:"plus_minus"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
	Pairs int     `json:"pairs"`
}

// Told says whether the interval leaves no doubt which is faster.
func (r Ratio) Told() bool { return r.Low > 1 || r.High < 1 }

// Ratio compares b with a over the rounds that count: 2 means that b takes half the time.
func (c *Comparison) Ratio(a, b *Candidate) Ratio {
	var logs []float64
	for i := range min(len(a.samples), len(b.samples)) {
		if !a.samples[i].disturbed && !b.samples[i].disturbed {
			logs = append(logs, math.Log(a.rate(i)/b.rate(i)))
		}
	}
	return ratioOf(logs)
}

// rate is the time for an item, or for the command.
func (k *Candidate) rate(i int) float64 {
	s := k.samples[i]
	return max(s.Seconds, 1e-9) / float64(max(s.Items, 1))
}

// ratioOf is the mean of logarithms of ratios and its interval by Student's distribution: few rounds make it wide.
func ratioOf(logs []float64) Ratio {
	n := float64(len(logs))
	if n == 0 {
		return Ratio{}
	}
	mean, sum := 0.0, 0.0
	for _, x := range logs {
		mean += x / n
	}
	for _, x := range logs {
		sum += (x - mean) * (x - mean)
	}
	half := math.Inf(1)
	if n > 1 {
		half = student(len(logs)-1) * math.Sqrt(sum/(n-1)/n)
	}
	half = min(half, 3) // a single pair tells nothing; JSON has no infinity
	r := Ratio{Times: math.Exp(mean), Low: math.Exp(mean - half), High: math.Exp(mean + half), Pairs: len(logs)}
	r.Plus = (r.High - r.Low) / 2
	return r
}

// student is the 97.5 % quantile of Student's distribution.
func student(freedom int) float64 {
	table := [...]float64{12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086}
	if freedom <= len(table) {
		return table[freedom-1]
	}
	return 1.96 + 2.5/float64(freedom)
}

// Median is the middle time of the rounds that count, and spread how far the others mostly are from it, in seconds.
func (k *Candidate) Median() (middle, spread float64) {
	var x []float64
	for _, s := range k.samples {
		if !s.disturbed {
			x = append(x, s.Seconds)
		}
	}
	if len(x) == 0 {
		return 0, 0
	}
	middle = median(x)
	for i, v := range x {
		x[i] = math.Abs(v - middle)
	}
	return middle, median(x)
}
