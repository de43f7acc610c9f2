package tandem

import "time"

// Usage is where the time of tasks went, as the workers that ran them measured it. Short tasks are measured as a sample: Tasks says how many are in the figures.
//
// Of worker processes that run one task at a time Wall is the time in handlers. Of threads it is the sum over them, of an event loop the time in which it had
// anything to do. CPU counts all of the process and the children that it waited for.
type Usage struct {
	Tasks       int64
	Wall        time.Duration
	CPU         time.Duration // on a processor
	Queue       time.Duration // ready to run, without a processor
	Voluntary   int64         // times a thread gave up its processor because it had to wait
	Involuntary int64         // times it was taken away
	Looks       int64         // looks at the interpreter lock while tasks ran
	Held        int64         // of those, the lock was held
	Late        time.Duration // an event loop did not turn because a task kept it
	In, Out     int64         // bytes of the values that went to handlers and came from them; of all tasks
}

// Add adds v to u.
func (u *Usage) Add(v Usage) {
	u.Tasks += v.Tasks
	u.Wall += v.Wall
	u.CPU += v.CPU
	u.Queue += v.Queue
	u.Voluntary += v.Voluntary
	u.Involuntary += v.Involuntary
	u.Looks += v.Looks
	u.Held += v.Held
	u.Late += v.Late
	u.In += v.In
	u.Out += v.Out
}

// Sub is what came to u since it was v.
func (u Usage) Sub(v Usage) Usage {
	return Usage{u.Tasks - v.Tasks, u.Wall - v.Wall, u.CPU - v.CPU, u.Queue - v.Queue, u.Voluntary - v.Voluntary, u.Involuntary - v.Involuntary,
		u.Looks - v.Looks, u.Held - v.Held, u.Late - v.Late, u.In - v.In, u.Out - v.Out}
}
