// Package supervise decides what becomes of workers: whether one may take tasks, be asked, be killed or be replaced, when the next one starts, and when a pool
// says that it cannot start any.
//
//   - A [Life] is one worker, from its start to its burial. Its states and the events between them are [Table]; nothing else moves it. It is safe for many
//     goroutines: of two events that exclude each other one is refused.
//   - A [Place] has at most one worker that starts or serves, and while that is recycled one more that starts. It says when the next may start.
//   - A [Pool] stops the starting of workers that cannot begin (its breaker), lets one canary try, and hands out the right to recycle, one at a time.
//   - A [Clock] takes out of every suspicion the time in which the supervisor itself did not run.
//
// It is pure: it knows no tasks and no processes, starts no goroutine, and is told the time. A decision costs a few nanoseconds. Place, Pool and Clock belong to
// whoever holds the caller's lock.
package supervise

import (
	"sync/atomic"
	"time"
)

// State of a worker, or of its place between two workers.
type State uint8

const (
	New        State = iota // a place that has no worker yet, or whose worker went because there was nothing to do
	Spawning                // the process is being started
	Booting                 // it runs and has not said that it is ready
	Idle                    // it can take tasks
	Busy                    // it has some
	Suspect                 // an item's time is up in it, or it is silent
	Dumping                 // it is asked where it is
	Killing                 // it was sent SIGKILL
	Draining                // it gets no more tasks and ends those it has
	Stopping                // it has none left and is to go
	Reaping                 // its process has ended; what it held is settled
	Dead                    // it is buried
	Backoff                 // its place waits before the next start
	Retired                 // its place is not needed any more
	Unkillable              // it was killed and is still there: it is left behind and replaced
	states
)

var stateNames = [states]string{"new", "spawning", "booting", "idle", "busy", "suspect", "dumping", "killing", "draining", "stopping", "reaping", "dead",
	"backoff", "retired", "unkillable"}

func (s State) String() string { return stateNames[s] }

// Event is what happens to a worker or its place.
type Event uint8

const (
	Start  Event = iota // its turn has come
	Exec                // the process has been started
	Ready               // it says that it can take tasks
	Give                // it gets a task
	Rest                // it has none left
	Doubt               // an item's time is up in it, or it is silent
	Ask                 // it is asked where it is
	Kill                // it is sent SIGKILL
	Drain               // it is to go: recycled, idle, surplus, or the run is over
	Gone                // its process has ended, or could not be started
	Buried              // what it held is settled
	Wait                // the next start has to wait
	Park                // there is nothing to do for a worker in this place
	End                 // the place is not needed any more
	Late                // the state's time is up
	events
)

var eventNames = [events]string{"start", "exec", "ready", "give", "rest", "doubt", "ask", "kill", "drain", "gone", "buried", "wait", "park", "end", "late"}

func (e Event) String() string { return eventNames[e] }

// Row is one line of the table.
type Row struct {
	From State
	On   Event
	To   State
}

// Table is every change of state there is. What it does not list does not happen: the event is refused.
var Table = []Row{
	{New, Start, Spawning}, {New, End, Retired},
	{Spawning, Exec, Booting}, {Spawning, Kill, Killing}, {Spawning, Gone, Reaping}, {Spawning, Late, Killing},
	{Booting, Ready, Idle}, {Booting, Kill, Killing}, {Booting, Gone, Reaping}, {Booting, Late, Killing},
	{Idle, Give, Busy}, {Idle, Doubt, Suspect}, {Idle, Drain, Stopping}, {Idle, Kill, Killing}, {Idle, Gone, Reaping},
	{Busy, Rest, Idle}, {Busy, Doubt, Suspect}, {Busy, Drain, Draining}, {Busy, Kill, Killing}, {Busy, Gone, Reaping},
	{Suspect, Ask, Dumping}, {Suspect, Kill, Killing}, {Suspect, Gone, Reaping}, {Suspect, Late, Killing},
	{Dumping, Kill, Killing}, {Dumping, Gone, Reaping}, {Dumping, Late, Killing},
	{Draining, Rest, Stopping}, {Draining, Doubt, Suspect}, {Draining, Kill, Killing}, {Draining, Gone, Reaping},
	{Stopping, Kill, Killing}, {Stopping, Gone, Reaping}, {Stopping, Late, Killing},
	{Killing, Gone, Reaping}, {Killing, Late, Unkillable},
	{Unkillable, Gone, Reaping},
	{Reaping, Buried, Dead},
	{Dead, Start, Spawning}, {Dead, Wait, Backoff}, {Dead, Park, New}, {Dead, End, Retired},
	{Backoff, Start, Spawning}, {Backoff, End, Retired},
}

// next is the table as it is looked up: the state after, or states for none.
var next = func() (n [states][events]State) {
	for s := range n {
		for e := range n[s] {
			n[s][e] = states
		}
	}
	for _, r := range Table {
		n[r.From][r.On] = r.To
	}
	return n
}()

// Times says how long a worker may stay in a state. Zero means the default; a negative time means without end.
type Times struct {
	Spawn time.Duration // 5 s
	Boot  time.Duration // 60 s
	Ask   time.Duration // 300 ms: from the doubt to the kill
	Stop  time.Duration // 1 s: for a worker that has ended all it had
	Kill  time.Duration // 5 s: then it is unkillable
}

// of is the time for s; negative means none.
func (t Times) of(s State) time.Duration {
	given, usual := time.Duration(-1), time.Duration(-1)
	switch s {
	case Spawning:
		given, usual = t.Spawn, 5*time.Second
	case Booting:
		given, usual = t.Boot, time.Minute
	case Suspect, Dumping:
		given, usual = t.Ask, 300*time.Millisecond
	case Stopping:
		given, usual = t.Stop, time.Second
	case Killing:
		given, usual = t.Kill, 5*time.Second
	}
	if given == 0 {
		return usual
	}
	return given
}

// Life is one worker. Make one with [Place.Start] or [Place.Replace].
type Life struct {
	times Times
	word  atomic.Uint64 // the state in the lowest four bits, and when it came into it
	ready atomic.Int64  // when it became ready; 0 before
}

const stateBits = 0xf

// State is the present one.
func (l *Life) State() State { return State(l.word.Load() & stateBits) }

func (l *Life) since() (State, time.Duration) {
	w := l.word.Load()
	return State(w & stateBits), time.Duration(w &^ stateBits)
}

// On tells the life of an event. It is false, and nothing changes, when the event has no place in its state.
func (l *Life) On(e Event, now time.Duration) bool {
	for {
		from := l.word.Load()
		to := next[from&stateBits][e]
		if to == states {
			return false
		}
		if l.word.CompareAndSwap(from, uint64(now)&^stateBits|uint64(to)) {
			if e == Ready {
				l.ready.Store(int64(now))
			}
			return true
		}
	}
}

// Serves tells whether it may take tasks.
func (l *Life) Serves() bool { return l.State() == Idle || l.State() == Busy }

// Starts tells whether it is on its way to serve.
func (l *Life) Starts() bool { return l.State() <= Booting }

// Ends tells whether it will not serve any more.
func (l *Life) Ends() bool { return l.State() > Busy }

// Over tells whether nothing is to be waited for: it is buried or left behind.
func (l *Life) Over() bool { return l.State() == Dead || l.State() == Unkillable }

// Due is when the state's time is up; ok is false where it has none: then only an event ends it.
func (l *Life) Due() (at time.Duration, ok bool) {
	state, since := l.since()
	d := l.times.of(state)
	return since + d, d >= 0
}

// Overdue moves it on when its state's time is up, and says to where. elapsed is how long ago a moment was, less what the supervisor slept.
func (l *Life) Overdue(now time.Duration, elapsed func(since time.Duration) time.Duration) (to State, moved bool) {
	state, since := l.since()
	if d := l.times.of(state); d < 0 || elapsed(since) < d {
		return state, false
	}
	moved = l.On(Late, now)
	return l.State(), moved
}

// Served is how long it has been ready; zero when it never was.
func (l *Life) Served(now time.Duration) time.Duration {
	if at := l.ready.Load(); at != 0 {
		return now - time.Duration(at)
	}
	return 0
}
