package compare

import (
	"math"

	"tandem"
	"tandem/engine"
	"tandem/internal/advise"
)

// foretell says what queueing predicts for every shape from what the first run was bound by, on the processors that others leave.
func (c *Comparison) foretell(v *advise.Verdict, python bool) {
	all := c.Candidates
	if v == nil || v.Bound == advise.BoundOpaque || all[0].Shape.Size() != 1 {
		return
	}
	share := min(1, v.Split.CPU+v.Split.Spin+v.Split.RunQueue+v.Split.Throttled)
	for _, k := range all[1:] {
		e := c.left()
		if k.Shape.Mode != tandem.Process && python { // threads of one interpreter share a processor
			e = min(e, float64(max(k.Shape.Workers, 1)))
		}
		p := advise.Predict(share, e, 1, float64(k.Shape.Size()))
		if n := all[0].items(); n > 0 { // the last ones of a round leave places empty
			most := float64(n) / math.Ceil(float64(n)/float64(k.Shape.Size()))
			p[0], p[1] = min(p[0], most), min(p[1], most)
		}
		k.Predicted = &p
	}
}

// Pick is the shape that advice means; none when it names no size.
func Pick(ad advise.Advice, h *Handler) (Shape, bool) {
	_, inside := handlerFunc(h)
	switch {
	case ad.Mode == tandem.Auto || ad.Size < 1:
		return Shape{}, false
	case inside:
		return Shape{tandem.Goroutine, 0, ad.Size}, true
	case ad.Mode == tandem.Process:
		return Shape{tandem.Process, ad.Size, 1}, true
	}
	return Shape{tandem.Thread, 1, ad.Size}, true // waiting, in a worker process
}

// Off is how far a ratio is from what was predicted, as a share: 0 inside the interval.
func Off(predicted [2]float64, measured float64) float64 {
	switch {
	case measured < predicted[0]:
		return measured/predicted[0] - 1
	case measured > predicted[1]:
		return measured/predicted[1] - 1
	}
	return 0
}

// held is within which share a prediction is said to have held: the goal is 15 %.
const held = .15

// Held says whether a prediction held.
func Held(off float64) bool { return math.Abs(off) <= held }

func handlerFunc(h *Handler) (engine.Func, bool) {
	f, ok := h.Step.Handler.(engine.Func)
	return f, ok
}

// items is how many a round has.
func (k *Candidate) items() int {
	if len(k.samples) == 0 {
		return 0
	}
	return k.samples[0].Items
}
