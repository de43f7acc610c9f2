package measure

import (
	"cmp"
	"time"

	"tandem/internal/advise"
)

// place notes for what a thread waited.
func (th *thread) place(c advise.Cause, what string, d time.Duration) {
	if what == "" {
		return
	}
	if th.where == nil {
		th.where = map[advise.Cause]map[string]time.Duration{}
	}
	at := th.where[c]
	if at == nil {
		at = map[string]time.Duration{}
		th.where[c] = at
	}
	if _, known := at[what]; !known && len(at) >= 64 {
		what = "others"
	}
	at[what] += d
}

// mostSpans bounds what is recorded: some 20 MB.
const mostSpans = 200_000

// record notes what a thread mostly did since it was last looked at.
func (t *Tree) record(th *thread, from time.Time, on, queue time.Duration) {
	to := th.seen
	dt := to.Sub(from)
	if dt <= 0 || th.gone {
		return
	}
	s := advise.Span{From: from.Sub(t.begun), To: to.Sub(t.begun)}
	switch rest := dt - on - queue; {
	case th.ready && rest > on && rest > queue:
		s.State = "ready"
	case rest >= on && rest >= queue:
		s.State, s.Where = string(th.wait.cause), cmp.Or(th.wait.peer, th.wait.what)
	case on >= queue:
		s.State = "cpu"
	default:
		s.State = "ready"
	}
	if n := len(th.lane); n > 0 && th.lane[n-1].State == s.State && th.lane[n-1].Where == s.Where {
		th.lane[n-1].To = s.To
		return
	}
	if t.spans >= mostSpans {
		t.notes["the recording ends early: it holds no more than 200 000 stretches"] = true
		return
	}
	t.spans++
	th.lane = append(th.lane, s)
}
