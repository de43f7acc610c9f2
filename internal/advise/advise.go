// Package advise says what a program is bound by and which mode would fit it.
//
// It is pure: a [Measurement] goes in, a [Verdict] comes out, always the same for the same measurement. It reads no clock and no system, it keeps nothing and
// never blocks. Its rules are tried in a fixed order and none of them knows a program's name. Where the measurement does not tell, the verdict is
// opaque or its confidence low: it does not guess.
package advise

import (
	"time"

	"tandem"
)

// Cause is why a thread was off the processor without being ready to run.
type Cause string

const (
	Net   Cause = "network"     // a socket, or a pipe to a program outside the tree
	Disk  Cause = "disk"        // a file
	Lock  Cause = "lock"        // certainly a lock: a mutex with waiters, flock, fcntl
	Word  Cause = "shared word" // a futex word on which other threads wait as well: a lock or an idle pool
	Futex Cause = "futex"       // a futex word of its own
	GIL   Cause = "gil"         // the interpreter lock of Python
	Sleep Cause = "sleep"       // a timer that ran to its end
	Fault Cause = "page faults" // memory that was not there
	Input Cause = "input"       // a terminal: a person
	Blind Cause = "unknown"     // the kernel does not tell us

	// Waits that say nothing about the work: a thread has them because somebody else works.
	Child  Cause = "child"  // a process it started
	Join   Cause = "thread" // another thread's end
	Accept Cause = "accept" // a connection that nobody has opened
	Event  Cause = "event"  // a signal, an eventfd, an event queue with nothing outstanding in it
	Pipe   Cause = "pipe"   // a pipe or socket between members of the tree
)

func (c Cause) structural() bool {
	switch c {
	case Child, Join, Accept, Event, Pipe, Futex:
		return true
	}
	return false
}

// Thread is what one thread, or all that were too short to follow one by one, did.
type Thread struct {
	PID, TID int
	Name     string
	Runtime  string // python, jvm, go, node, or empty
	Brief    bool   // an estimate for threads that came and went between two looks
	Life     time.Duration
	On       time.Duration // on a processor
	Queue    time.Duration // ready to run, without a processor
	Slices   int64         // how often it was given a processor
	Wait     map[Cause]time.Duration

	Program string                             // the command of its process in a few words
	Where   map[Cause]map[string]time.Duration // for what it waited, as far as it was seen: a peer, a file, a kind of call; of a cause's time the proportions
	Lane    []Span                             // what it did when, if that was to be recorded
}

// Span is a stretch of a thread's life that was mostly one thing. Times are since the program began.
type Span struct {
	From, To time.Duration
	State    string // cpu, ready, or a Cause
	Where    string
}

// Peer is somebody the program waited for.
type Peer struct {
	Name string        // 127.0.0.1:8080
	Who  string        // the program that answers there, when it is on this machine and can be seen
	Busy float64       // the share of one processor that it used; -1 when it cannot be told
	Wait time.Duration // of all threads together
}

// Measurement is where the time of a program went.
type Measurement struct {
	Wall      time.Duration
	CPU       time.Duration // of the whole tree, to its end
	System    time.Duration // of it, in the kernel
	Cores     float64       // processors it may use: affinity, cpuset, quota
	Foreign   float64       // processors that others used meanwhile
	Throttled time.Duration // a quota held its control group back
	Major     int64         // page faults that went to a disk
	Minor     int64         // that did not
	Silent    bool          // it has certainly written nothing
	Roams     float64       // share of the looks at which the busiest process had other files open than at the look before
	Switches  int64         // times a thread gave up its processor
	Bytes     int64         // read and written by system calls
	Threads   []Thread
	Peers     []Peer
	Holders   map[string]int // what others of the same process did while threads waited for a lock, by how often that was seen
	Turns     float64        // share of the looks at which of several threads just one went on, not always the same, while the others waited
	Looks     int            // how often we looked
	Running   int            // of those, with a thread on a processor or ready for one
	GILWaits  int            // of those, with a thread that waited for Python's interpreter lock
	Probe     *Probe         // nil when it was not asked for
	Notes     []string       // what could not be measured and what that costs
	Left      int            // processes of the tree that outlived the command
	Runtimes  []string       // seen in the tree
	Label     string         // the command in a few words, for sentences
	Functions []Function     // what runtimes said of their own code, if they were to be asked
}

// Function is where threads of a runtime were in their own code.
type Function struct {
	Runtime string  `json:"runtime"`
	Name    string  `json:"name"`
	At      string  `json:"at"`    // file:line
	State   string  `json:"state"` // runs, waits, or what the runtime says
	Share   float64 `json:"share"` // of the looks at that runtime
	Looks   int     `json:"looks"`
}

// Probe is what became of the progress when time was taken away from the program.
type Probe struct {
	Sensitivity float64 // 1: all that was taken made it longer; 0: nothing of it
	Spent       float64 // 1: it used all the processor time that it had used before; 0: what was taken away it did not use later either
	Ratio       float64 // processor time, to that of before; zero where nothing is known
	Circling    float64 // the time was taken from threads that went in a circle, that share of the time that any ran; 0: from all
}

// PipePeer is the name of a peer that writes or reads a pipe and is not of the tree.
const PipePeer = "a pipe"

// Bound is what a program is bound by.
type Bound string

const (
	BoundCPU       Bound = "cpu"
	BoundGIL       Bound = "gil"
	BoundRunQueue  Bound = "runq"
	BoundNet       Bound = "net"
	BoundDisk      Bound = "disk"
	BoundSleep     Bound = "sleep"
	BoundLock      Bound = "lock"
	BoundMem       Bound = "mem"
	BoundSpin      Bound = "spin"
	BoundMixed     Bound = "mixed"
	BoundThrottled Bound = "throttled"
	BoundOpaque    Bound = "opaque"
)

// Split is the shares of the time of the threads that count; together they are 1, or 0 when nothing was measured.
type Split struct {
	CPU       float64 `json:"cpu"`
	RunQueue  float64 `json:"run_queue"`
	Throttled float64 `json:"throttled"`
	Network   float64 `json:"network"`
	Disk      float64 `json:"disk"`
	Lock      float64 `json:"lock"`
	GIL       float64 `json:"gil"`
	Sleep     float64 `json:"sleep"`
	Faults    float64 `json:"page_faults"`
	Spin      float64 `json:"spin"`
	Input     float64 `json:"input"`
	Opaque    float64 `json:"opaque"`
}

// Confidence says how far to believe a verdict.
type Confidence string

const (
	High   Confidence = "high"
	Medium Confidence = "medium"
	Low    Confidence = "low"
)

// Advice is a mode, a size and why.
type Advice struct {
	Mode     tandem.Mode
	Size     int        // at a time; 0 when more of them cannot help or it cannot be told
	Interval [2]float64 // how many times faster that is: what queueing predicts, and the bound that it cannot exceed; zero when it cannot be told
	Because  string
}

// Verdict is what a program is bound by, how sure that is, and what to do.
type Verdict struct {
	Bound      Bound
	Also       Bound // of mixed, the wait beside the computing; else empty
	Confidence Confidence
	Doubt      string // why the confidence is not high; empty when it is
	Split      Split
	Starved    bool // others used the processors it wanted
	Sentence   string
	Advice     Advice
}
