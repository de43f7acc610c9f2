package engine

import (
	"cmp"
	"container/heap"
	"context"
	"math/rand/v2"
	"time"

	"tandem"
)

// unlessTold is how many attempts a task gets whose handler asks for another.
const unlessTold = 5

// next is that of the step's policy, unless the step must not run an item twice.
// refused counts how often t ended before it began, because no worker could be started: that is not an attempt, and yet it must not go on for ever.
func (s *Step) next(t *tandem.Task, crashes, refused *int) (pause time.Duration, again bool) {
	if s.Once && t.Attempts > 0 {
		return 0, false
	}
	if e := t.Result.Err; e != nil && e.Kind == tandem.KindStart {
		*refused++
		return s.Retry.next(&tandem.Task{Attempts: t.Attempts + *refused, Result: t.Result}, crashes)
	}
	return s.Retry.next(t, crashes)
}

// next decides whether an attempt that ended badly is followed by another, and after what pause. crashes counts the workers that t has killed.
func (r Retry) next(t *tandem.Task, crashes *int) (pause time.Duration, again bool) {
	o, e := t.Result.Outcome, t.Result.Err
	if o == tandem.Crashed {
		// A second worker that dies under the same task is proof enough; a pause would not help.
		*crashes++
		return 0, *crashes < 2 && r.Attempts != 1
	}
	if e == nil || o == tandem.Canceled || e.Again == tandem.AgainNever {
		return 0, false
	}
	most := 1
	switch {
	case e.Again == tandem.AgainYes:
		most = cmp.Or(r.Attempts, unlessTold)
	case r.When != nil && r.When(o, e):
		most = r.Attempts
	}
	if t.Attempts >= most {
		return 0, false
	}
	// Full jitter: tasks that failed together do not come back together.
	top := min(cmp.Or(r.Max, 30*time.Second), cmp.Or(r.Base, 500*time.Millisecond)<<min(max(t.Attempts-1, 0), 20))
	return e.After + rand.N(top+1), true
}

// pause is a task that waits for its next attempt.
type pause struct {
	t  *tandem.Task
	at time.Time
}

// waiting holds tasks until their next attempt, the earliest first.
type waiting []pause

func (w waiting) Len() int           { return len(w) }
func (w waiting) Less(i, j int) bool { return w[i].at.Before(w[j].at) }
func (w waiting) Swap(i, j int)      { w[i], w[j] = w[j], w[i] }
func (w *waiting) Push(x any)        { *w = append(*w, x.(pause)) }
func (w *waiting) Pop() any {
	n := len(*w) - 1
	last := (*w)[n]
	(*w)[n] = pause{}
	*w = (*w)[:n]
	return last
}

// ready gives the tasks whose time has come, or how long until the first.
func (w *waiting) ready(now time.Time) (tasks []*tandem.Task, until time.Duration) {
	for len(*w) > 0 {
		if d := (*w)[0].at.Sub(now); d > 0 {
			return tasks, d
		}
		tasks = append(tasks, heap.Pop(w).(pause).t)
	}
	return tasks, 0
}

// again puts a task aside for another attempt.
func (s *step) again(t *tandem.Task, after time.Duration) {
	t.Result = tandem.Result{}
	s.mu.Lock()
	heap.Push(&s.later, pause{t, time.Now().Add(after)})
	s.retried++
	s.due.Signal()
	s.mu.Unlock()
}

// retry submits tasks again when their time has come. It ends with the step; when the run is stopped it gives up those that still wait.
func (s *step) retry(ctx context.Context) {
	wake := func() { // taking the mutex first: a wake-up must not fall between the look and the wait
		s.mu.Lock()
		s.due.Signal()
		s.mu.Unlock()
	}
	defer context.AfterFunc(ctx, wake)()
	for {
		s.mu.Lock()
		var tasks []*tandem.Task
		for !s.over() && len(tasks) == 0 {
			if ctx.Err() != nil {
				s.giveUpAside(context.Cause(ctx))
				s.giveUp(context.Cause(ctx))
				s.due.Wait()
				continue
			}
			var until time.Duration
			if tasks, until = s.later.ready(time.Now()); len(tasks) > 0 {
				if s.def.PerKey.Key != nil {
					tasks = s.admitLocked(ctx, tasks)
				}
				continue
			}
			if until == 0 {
				s.due.Wait()
				continue
			}
			timer := time.AfterFunc(until, wake)
			s.due.Wait()
			timer.Stop()
		}
		s.open += len(tasks)
		s.mu.Unlock()
		if len(tasks) == 0 {
			return
		}
		s.submit(ctx, tasks)
	}
}

// giveUp ends the tasks that wait for another attempt. The mutex is held.
func (s *step) giveUp(cause error) {
	if len(s.later) == 0 {
		return
	}
	for _, p := range s.later {
		s.leave([]*tandem.Task{p.t})
		p.t.Result = stopped(cause)
		s.done = append(s.done, p.t)
	}
	s.later = nil
	s.out.Broadcast()
}
