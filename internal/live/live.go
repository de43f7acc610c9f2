// Package live is how a run that is going on is seen and told from outside: a socket in its directory, and a file of what its handlers printed.
//
//   - A run serves requests on a Unix socket that only its user and root may use, and nothing that the run has started. Each is one line of JSON, and so is its answer; both carry a version. There is no port
//     and no daemon. A socket that a killed run has left answers nobody: whether the run goes on is told by the lock on its directory, never by the socket.
//   - Nobody pays while nobody asks: a goroutine waits in accept, and events go nowhere until somebody follows them.
//   - Whoever follows and does not keep up loses records, and is told how many. The run never waits for those who look.
//   - The log is bounded: at most two files of 8 MiB, and 4 MiB in a second; what falls out is counted and said in its place.
//   - What the kernel shows of processes and threads is read by who asks, not by the run, so that it is there also when the run does not answer.
//
// Every goroutine that Serve starts has ended when Close returns.
package live

import (
	"time"

	"tandem"
)

// Version of the requests and answers. A run refuses another one by name.
const Version = 1

// Request is one question or order.
type Request struct {
	Version int    `json:"version"`
	Ask     string `json:"ask"` // state, dump, kill, stop, follow
	Worker  string `json:"worker,omitempty"`
	End     bool   `json:"end,omitempty"` // of dump: the worker may end by it
	Now     bool   `json:"now,omitempty"` // of stop: at once
	Items   int    `json:"items,omitempty"`
}

// Answer is what a run says to a request. Of follow there is one for each record until either side ends.
type Answer struct {
	Version int          `json:"version"`
	Error   *Failure     `json:"error,omitempty"`
	State   *State       `json:"state,omitempty"`
	Dump    *tandem.Dump `json:"dump,omitempty"`
	Record  *Record      `json:"record,omitempty"`
}

// Failure is a *tandem.Error on its way.
type Failure struct {
	Op      string `json:"op,omitempty"`
	On      string `json:"on,omitempty"`
	Kind    string `json:"kind"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// State is a run as it is now.
type State struct {
	Run        string    `json:"run"`
	Flow       string    `json:"flow"` // path of the flow file
	Name       string    `json:"name"`
	PID        int       `json:"pid"`
	Started    time.Time `json:"started"`
	Seconds    float64   `json:"seconds"`
	Stopping   bool      `json:"stopping,omitempty"` // it was told to stop
	Items      Items     `json:"items"`
	Bottleneck string    `json:"bottleneck,omitempty"`
	Steps      []Step    `json:"steps"`
}

// Items counts the items of a run.
type Items struct {
	In    int64  `json:"in"`
	Made  int64  `json:"made"`
	Ended int64  `json:"ended"`
	OK    int64  `json:"ok"`
	Bad   int64  `json:"bad"`
	Total *int64 `json:"total"` // that the source will give; null when that is not known
}

// Step is one step of a run as it is now.
type Step struct {
	Name         string              `json:"name"`
	Mode         tandem.Mode         `json:"mode"`
	Because      string              `json:"because,omitempty"`
	Ended        int64               `json:"ended"`
	Bad          int64               `json:"bad"`
	Rate         float64             `json:"rate"`      // items a second, since the state was last asked for, or since the start
	InFlight     int                 `json:"in_flight"` // items given to the pool that have not ended
	Limit        int                 `json:"limit"`     // how many may be
	Queue        int                 `json:"queue"`
	QueueFull    float64             `json:"queue_full"` // 0 to 1
	Waiting      int                 `json:"waiting"`    // items that wait for another attempt
	Paused       string              `json:"paused,omitempty"`
	Lost         int64               `json:"lost"` // workers that died or were killed
	Workers      []tandem.WorkerView `json:"workers,omitempty"`
	Running      []tandem.Running    `json:"running,omitempty"` // of a step in goroutines: the longest first
	RunningTotal int                 `json:"running_total"`     // items that handlers work on now, in workers and in goroutines
}

// Record is one thing that happened: a line that was printed, or an event.
type Record struct {
	Time   time.Time `json:"time"`
	Origin string    `json:"origin,omitempty"` // thumb/1, or of a command the step
	Item   string    `json:"item,omitempty"`   // of a command
	Stream int       `json:"stream,omitempty"` // 1 or 2
	Text   string    `json:"text,omitempty"`
	Event  string    `json:"event,omitempty"` // tandem.Event.What
	From   string    `json:"from,omitempty"`
	To     string    `json:"to,omitempty"`
	Reason string    `json:"reason,omitempty"`
	Cut    int64     `json:"cut,omitempty"` // so many records that came before this one are not there
}

// EventRecord is an event as a record.
func EventRecord(e tandem.Event) Record {
	return Record{Time: e.Time, Origin: e.ID, Event: e.What, From: e.From, To: e.To, Reason: e.Reason}
}

func failure(err error) *Failure {
	if e, ok := err.(*tandem.Error); ok {
		return &Failure{e.Op, e.On, e.Kind, e.Message, e.Hint}
	}
	return &Failure{Kind: tandem.KindInvalid, Message: err.Error()}
}

func (f *Failure) err() error {
	return &tandem.Error{Op: f.Op, On: f.On, Kind: f.Kind, Message: f.Message, Hint: f.Hint}
}
