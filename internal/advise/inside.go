package advise

import (
	"fmt"
	"strings"
)

// Name adds to a verdict what the runtimes said of their own code: the function that holds most of the time, and, where a wait could not be told from outside,
// that it is for a lock.
func Name(m *Measurement, v *Verdict) {
	if len(m.Functions) == 0 {
		return
	}
	locked, top := 0.0, m.Functions[0]
	var first Function
	for _, f := range m.Functions {
		if strings.HasPrefix(f.State, "waits for") {
			if locked += f.Share; first.Name == "" {
				first = f
			}
		}
	}
	if v.Bound == BoundOpaque && locked >= .5 {
		v.Bound, v.Confidence, v.Doubt = BoundLock, Medium, "its runtime says so, at a few looks; from outside it cannot be seen"
		v.Split.Lock, v.Split.Opaque = v.Split.Lock+v.Split.Opaque, 0
		v.Sentence = fmt.Sprintf("lock-bound, as its runtime says: threads %s at %.0f %% of the looks", first.State, 100*locked)
		v.Advice = size(m, &figures{}, BoundLock, "")
		top = first
	}
	where := top.Name
	if top.At != "" {
		where += " (" + top.At + ")"
	}
	v.Sentence += fmt.Sprintf("; it %s %.0f %% of the time in %s", top.State, 100*top.Share, where)
}
