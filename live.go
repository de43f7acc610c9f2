package tandem

// Running is an item that a worker or a goroutine works on.
type Running struct {
	Item    string  `json:"item"`
	Others  int     `json:"others,omitempty"` // further items of its batch
	Seconds float64 `json:"seconds"`          // for so long already
}

// WorkerView is a worker process as its pool knows it: what was said to it and what it said, not what the kernel sees.
type WorkerView struct {
	Worker   string    `json:"worker"` // thumb/1
	PID      int       `json:"pid"`
	State    string    `json:"state"`             // starting, idle, busy, suspect, draining, dead
	Running  []Running `json:"running,omitempty"` // the longest first
	Waiting  int       `json:"waiting"`           // items inside it that have not begun
	Done     int64     `json:"done"`              // items it has ended
	Restarts int       `json:"restarts"`          // workers that had its place before
	Age      float64   `json:"age_seconds"`
}

// Dump is where a worker is, asked without ending it unless End says so.
type Dump struct {
	Worker  string       `json:"worker,omitempty"`
	PID     int          `json:"pid"`
	How     string       `json:"how"`             // who says so: python's faulthandler, the kernel alone
	Why     string       `json:"why,omitempty"`   // why it is the kernel alone
	Ended   bool         `json:"ended,omitempty"` // it could only say so as it ended
	Stack   *Stack       `json:"stack,omitempty"`
	Text    string       `json:"text,omitempty"` // all that it wrote
	Threads []ThreadView `json:"threads,omitempty"`
}
