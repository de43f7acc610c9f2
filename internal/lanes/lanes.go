// Package lanes keeps the picture of a run: what every worker did at every moment, how much was in flight, what went wrong and when.
//
// Promises:
//
//   - A lane is one worker, or one thread of a worker. At every moment of the run it is in exactly one [State], and none of them is nameless.
//   - Time is cut into rows. A row is 20 ms long at first and never longer than a five-hundredth of the time since the run began, so that it is
//     finer than a pixel of the whole and a run of a day has some six thousand of them. In a row a lane has shares of states, a step has counts.
//   - What must not be averaged away is not: crashes, kills and timeouts are marks of their own with their time in microseconds, 65 536 of a run; those that
//     follow are counted, and the count is shown. Failures are counted exactly by step, outcome, kind and reason; 10 000 are kept each by itself.
//   - The file only grows, by whole frames with checksums: a run that was killed leaves all that was written, at most half a second less than happened. A torn
//     end is overlooked; what is no such file is an error that says so.
//   - A [Recorder] has no goroutine, keeps half a second in memory, and touches the file only in Row and Close. It is safe for many callers. Once it cannot
//     write it drops what comes, and Close says why: a picture is never worth a run.
package lanes

import "time"

// State is what a lane does. The numbers are those of the file: added at the end, never changed.
type State uint8

const (
	Off      State = iota // there is no such worker: not yet, not any more
	Starting              // it is started and loads its handler
	CPU                   // on a processor
	RunQueue              // wants a processor and has none
	Waiting               // inside an item, off the processor: network, disk, lock, sleep
	Running               // inside an item; on or off the processor cannot be told
	Starved               // free, and nothing comes
	Blocked               // free, because the next step takes no more
	Backoff               // free, because nothing may start: a rate, a breaker, a pause before another attempt or another start
	Dumping               // its time is up: it is asked where it hangs, then killed
	Draining              // ends what it has; it gets no more
	States                // how many there are
)

var stateNames = [States]string{"off", "starting", "cpu", "run queue", "waiting", "running", "starved", "blocked", "backoff", "dumping", "draining"}

var stateMeanings = [States]string{
	"there is no worker", "starts and loads its handler", "on a processor", "wants a processor and has none", "inside an item, off the processor: network, disk, lock, sleep",
	"inside an item; on or off the processor cannot be told", "free: nothing comes", "free: the next step takes no more", "free: nothing may start yet (rate, breaker, pause)",
	"time is up: asked where it hangs, then killed", "ends what it has, gets no more",
}

func (s State) String() string {
	if s < States {
		return stateNames[s]
	}
	return "unknown"
}

// Means explains the state in a few words.
func (s State) Means() string {
	if s < States {
		return stateMeanings[s]
	}
	return ""
}

// Header says whose picture it is.
type Header struct {
	Run     string      `json:"run"`
	Flow    string      `json:"flow"` // path of the flow file
	Name    string      `json:"name,omitempty"`
	Started time.Time   `json:"started"`         // all times of the file are since then
	About   [][2]string `json:"about,omitempty"` // of the surroundings: name, value
}

// Step is what a step is. It may be told again when it has changed.
type Step struct {
	Index       int    `json:"index"`
	Name        string `json:"name"`
	Mode        string `json:"mode"`
	Workers     int    `json:"workers"` // 0 for goroutines
	Threads     int    `json:"threads"`
	Concurrency int    `json:"concurrency"`
	Because     string `json:"because,omitempty"`
}

// Lane is a worker, or one of its threads.
type Lane struct {
	Step   int `json:"step"`
	Worker int `json:"worker"`           // from 1
	Thread int `json:"thread,omitempty"` // from 1; zero for the worker itself
}

// Row is what happened in one stretch of time.
type Row struct {
	From, Width time.Duration
	Items       Items
	Steps       []StepRow
	Lanes       []Cell // by number of the lane
}

// End is when the row ends.
func (r *Row) End() time.Duration { return r.From + r.Width }

// Items counts items of the flow.
type Items struct {
	In, Made, OK, Failed, TimedOut, Crashed, Canceled, Filtered, Quarantined int64
}

func (i *Items) all() []*int64 {
	return []*int64{&i.In, &i.Made, &i.OK, &i.Failed, &i.TimedOut, &i.Crashed, &i.Canceled, &i.Filtered, &i.Quarantined}
}

// Add adds o.
func (i *Items) Add(o Items) { i.each(o, 1) }

// Minus is i without o.
func (i Items) Minus(o Items) Items { i.each(o, -1); return i }

func (i *Items) each(o Items, sign int64) {
	for n, p := range i.all() {
		*p += sign * *o.all()[n]
	}
}

// Bad is how many did not end well.
func (i Items) Bad() int64 { return i.Failed + i.TimedOut + i.Crashed + i.Canceled + i.Quarantined }

// Ended is how many have their outcome.
func (i Items) Ended() int64 { return i.OK + i.Bad() + i.Filtered }

// StepRow is a step in a row: levels as means over it, and what ended in it.
type StepRow struct {
	InFlight float64 // to a tenth
	Most     int     // in flight at a time
	Limit    int     // of what may be in flight; zero means none
	Queue    int     // items in front of the step
	Waiting  int     // items that wait for another attempt
	Ended    int64   // items through with the step
	Bad      int64   // of those
	Retried  int64   // attempts that another followed
}

// Cell is a lane in a row: for each state its share in 255ths, and the tasks that ended.
type Cell struct {
	Shares [States]uint8
	Ended  int64
}

// Main is the state that took most of the row.
func (c Cell) Main() State {
	main := Off
	for s, n := range c.Shares {
		if n > c.Shares[main] {
			main = State(s)
		}
	}
	return main
}

// Kind of a mark. The numbers are those of the file.
type Kind uint8

const (
	Crashed  Kind = iota // it died
	TimedOut             // its time was up
	Killed               // somebody killed it, for another reason
	Memory               // it reached a memory limit, or the machine's end
	Boot                 // it died before it was ready
	Kinds
)

var kindNames = [Kinds]string{"crash", "timeout", "kill", "out of memory", "failed start"}

func (k Kind) String() string {
	if k < Kinds {
		return kindNames[k]
	}
	return "unknown"
}

// Mark is a moment that is never averaged away.
type Mark struct {
	At     time.Duration
	Kind   Kind
	Step   int
	Lane   int // -1 when it is of no lane: a command, a goroutine
	Item   string
	Reason string
}

// Group is what failed in the same way.
type Group struct {
	Step    string `json:"step"`
	Outcome string `json:"outcome"`
	Kind    string `json:"kind"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"` // of the first
	Count   int64  `json:"count"`
}

// Failure is one item that failed.
type Failure struct {
	At    time.Duration
	Group int
	Item  string
}

// Note is a fact of the run in words: a decision, a limit, a change of the cores, a worker that came or went.
type Note struct {
	At     time.Duration `json:"at"`
	What   string        `json:"what"`
	ID     string        `json:"id"`
	From   string        `json:"from,omitempty"`
	To     string        `json:"to,omitempty"`
	Reason string        `json:"reason,omitempty"`
}

// Bottleneck is what held the run up, as far as was known then.
type Bottleneck struct {
	Step    string  `json:"step"`
	Share   float64 `json:"share"`
	Because string  `json:"because"`
}

// Limits of what is kept each by itself.
const (
	MaxLanes    = 256
	maxMarks    = 1 << 16
	maxWorded   = 10_000 // marks with item and reason
	maxGroups   = 500
	maxFailures = 10_000
	maxNotes    = 5_000
	maxText     = 300 // bytes of an item's id, a reason, a message
)

// Lost says what was only counted, because more came than is kept.
type Lost struct {
	Marks    int64 `json:"marks,omitempty"`    // crashes, timeouts and kills without a mark
	Groups   int64 `json:"groups,omitempty"`   // failures that are of no group
	Failures int64 `json:"failures,omitempty"` // failures that are only counted in their group
	Notes    int64 `json:"notes,omitempty"`
	Lanes    int64 `json:"lanes,omitempty"` // workers and threads without a lane
}

const firstWidth = 20 * time.Millisecond

// WidthAt is how long a row is that begins so long after the run began.
func WidthAt(at time.Duration) time.Duration {
	w := firstWidth
	for w*1000 <= at {
		w *= 2
	}
	return w
}
