package limit

import "math"

// stat is the mean of a number of latencies, in seconds, and how far they scatter.
type stat struct{ n, mean, m2 float64 }

func (s *stat) add(x float64) {
	s.n++
	d := x - s.mean
	s.mean += d / s.n
	s.m2 += d * (x - s.mean)
}

// err is the standard error of the mean, enlarged for few values, whose scatter is itself a guess.
func (s stat) err() float64 {
	if s.n < 3 {
		return s.mean
	}
	return math.Sqrt(s.m2/(s.n-1)/s.n) * (1 + 3/s.n)
}

// scatter is the standard deviation as a share of the mean.
func (s stat) scatter() float64 {
	if s.n < 3 || s.mean == 0 {
		return 0
	}
	return math.Sqrt(s.m2/(s.n-1)) / s.mean
}

// forget lets s count for most values at most.
func (s stat) forget(most float64) stat {
	if s.n > most {
		s.m2 *= most / s.n
		s.n = most
	}
	return s
}

// merge pools two samples of one quantity; the result counts for most values at most, so that it can still move.
func (s stat) merge(o stat, most float64) stat {
	if s.n == 0 || o.n == 0 {
		if s.n == 0 {
			s = o
		}
	} else {
		n := s.n + o.n
		d := o.mean - s.mean
		s.mean += d * o.n / n
		s.m2 += o.m2 + d*d*s.n*o.n/n
		s.n = n
	}
	return s.forget(most)
}

// apart is the smallest distance of the two means that is more than chance.
func apart(a, b stat) float64 { return 2 * math.Hypot(a.err(), b.err()) }
