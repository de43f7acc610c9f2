package advise

import (
	"fmt"
	"math"
	"time"
)

// Event loops are judged by whether they turn: a loop that computes most of the time needs others beside it, one that is hardly busy can have more in flight, and
// one that neither computes nor turns has a task in it that waits without saying so.
const (
	loopBusy    = .75 // of the time computing, or ready to: more in flight do not help
	loopIdle    = .70
	loopBlocked = .30 // of the time not turning, with little computing
	loopsMost   = 4   // loops for each processor, when they are blocked
)

// loop is what the loops of a span were like: shares of their time.
type loop struct{ busy, late float64 }

func loopOf(s *Stretch) (l loop, ok bool) {
	u := s.Used
	if u.Wall < enoughWall || u.Tasks < fewTasks && s.Length < time.Second {
		return l, false
	}
	return loop{busy: (u.CPU + u.Queue).Seconds() / u.Wall.Seconds(), late: u.Late.Seconds() / u.Wall.Seconds()}, true
}

// setting is the next one for loops like these.
func (o loop) setting(l Limits, now Setting, cores float64) (Setting, string) {
	procs := int(math.Ceil(cores))
	switch {
	case o.late >= loopBlocked && o.busy < .5:
		n := max(now.Workers, l.workers(min(loopsMost*procs, l.Most)))
		return Setting{n, l.atOnce(max(2, min(now.AtOnce, now.Total()/n)))},
			fmt.Sprintf("its tasks keep the event loop from turning %s of the time and compute little: more loops beside it", percent(min(1, o.late)))
	case o.busy >= loopBusy && now.Workers < procs:
		n := l.workers(procs)
		return Setting{n, l.atOnce(max(1, min(now.AtOnce, l.Most/n)))}, fmt.Sprintf("its event loop computes %s of the time: one for each processor", percent(min(1, o.busy)))
	case o.busy < loopIdle:
		n := min(int(float64(now.Total())*.9/max(o.busy, 1e-3)), ladder*now.Total(), l.Most)
		return Setting{now.Workers, l.atOnce(max(now.AtOnce, n/now.Workers))}, fmt.Sprintf("its event loop is busy %s of the time: more in flight", percent(o.busy))
	}
	return now, ""
}
