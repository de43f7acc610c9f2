package engine

import (
	"container/heap"
	"context"
	"time"

	"tandem"
)

// PerKey bounds how many tasks of one key run at the same time. Others go on meanwhile: a task whose key is busy is put aside, and so many items may be aside in a step
// as may wait for another attempt, 1024 together. When they all are of busy keys the step takes no more until one of those is free.
type PerKey struct {
	Key         func(t *tandem.Task) (string, error) // nil means that there is no bound; a task with an empty key has none either
	Concurrency int                                  // zero means 1
	Aside       int                                  // how many items may be aside; zero means 1024, which is the most
	Shared      Keys                                 // who else runs tasks of these keys; nil means nobody
}

func (p PerKey) most() int { return max(p.Concurrency, 1) }

func (p PerKey) aside() int {
	if p.Aside <= 0 {
		return maxWaiting
	}
	return min(p.Aside, maxWaiting)
}

// Keys gives out places of keys that several engines share.
type Keys interface {
	// Take waits for one of the places of a key. It fails only when ctx is done.
	Take(ctx context.Context, key string) error
	// Give gives one back.
	Give(key string)
}

// turn is how long a place that is shared stays here while tasks here wait for it.
const turn = time.Second

// keyed is the tasks of one key; the step's mutex guards it.
type keyed struct {
	key     string
	places  int // that we have
	used    int
	since   time.Time // we have had them
	asking  bool
	waiting []*tandem.Task
}

// name finds the keys of tasks; one whose key cannot be found fails alone.
func (s *step) name(tasks []*tandem.Task) []*tandem.Task {
	if s.def.PerKey.Key == nil {
		return tasks
	}
	good := tasks[:0]
	var bad []*tandem.Task
	for _, t := range tasks {
		k, err := s.def.PerKey.Key(t)
		if err != nil {
			t.Result = tandem.Result{Outcome: tandem.Failed, Err: s.invalid("find the key of", err)}
			bad = append(bad, t)
			continue
		}
		t.Ref.(*unit).key = k
		good = append(good, t)
	}
	s.bypass(bad)
	return good
}

// admit gives the tasks that may run now. The others are aside until their keys are free.
func (s *step) admit(ctx context.Context, tasks []*tandem.Task) []*tandem.Task {
	if s.def.PerKey.Key == nil {
		return tasks
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.admitLocked(ctx, tasks)
}

func (s *step) admitLocked(ctx context.Context, tasks []*tandem.Task) []*tandem.Task {
	free := tasks[:0]
	for _, t := range tasks {
		u := t.Ref.(*unit)
		if u.key == "" || u.placed {
			free = append(free, t)
			continue
		}
		k := s.keys[u.key]
		if k == nil {
			if s.keys == nil {
				s.keys = map[string]*keyed{}
			}
			k = &keyed{key: u.key}
			if s.def.PerKey.Shared == nil {
				k.places = s.def.PerKey.most()
			}
			s.keys[u.key] = k
		}
		if k.used < k.places {
			k.used++
			u.placed = true
			free = append(free, t)
			continue
		}
		k.waiting = append(k.waiting, t)
		s.aside++
		s.ask(ctx, k)
	}
	return free
}

// ask asks for one more place of a key for which tasks wait.
func (s *step) ask(ctx context.Context, k *keyed) {
	shared := s.def.PerKey.Shared
	if shared == nil || k.asking || len(k.waiting) == 0 || k.places >= s.def.PerKey.most() {
		return
	}
	k.asking = true
	s.wg.Go(func() {
		err := shared.Take(ctx, k.key)
		s.mu.Lock()
		defer s.mu.Unlock()
		k.asking = false
		if err == nil {
			if k.places == 0 {
				k.since = time.Now()
			}
			k.places++
			s.hand(ctx, k)
		}
	})
}

// hand gives free places of a key to the tasks that wait longest, and gives back what nobody here waits for.
func (s *step) hand(ctx context.Context, k *keyed) {
	shared := s.def.PerKey.Shared
	for k.used < k.places && len(k.waiting) > 0 {
		t := k.waiting[0]
		k.waiting = k.waiting[1:]
		s.aside--
		k.used++
		t.Ref.(*unit).placed = true
		heap.Push(&s.later, pause{t, time.Now()})
		s.due.Signal()
	}
	for shared != nil && k.used < k.places {
		k.places--
		s.wg.Go(func() { shared.Give(k.key) })
	}
	s.ask(ctx, k)
	if k.used == 0 && len(k.waiting) == 0 && !k.asking {
		delete(s.keys, k.key)
	}
}

// leave says that tasks do not run any more. The mutex is held.
func (s *step) leave(tasks []*tandem.Task) {
	if s.def.PerKey.Key == nil {
		return
	}
	for _, t := range tasks {
		u := t.Ref.(*unit)
		if !u.placed {
			continue
		}
		u.placed = false
		k := s.keys[u.key]
		k.used--
		if shared := s.def.PerKey.Shared; shared != nil && time.Since(k.since) > turn { // others have a turn
			k.places--
			k.since = time.Now()
			s.wg.Go(func() { shared.Give(k.key) })
		}
		s.hand(s.e.ctx, k)
	}
}

// giveUpAside ends the tasks that wait for their keys. The mutex is held.
func (s *step) giveUpAside(cause error) {
	if s.aside == 0 {
		return
	}
	for _, k := range s.keys {
		for _, t := range k.waiting {
			t.Result = stopped(cause)
			s.done = append(s.done, t)
		}
		k.waiting = nil
	}
	s.aside = 0
	s.out.Broadcast()
}
