package tandem

import "time"

// ExitReason is why a process ended, in one word.
type ExitReason string

const (
	ExitOK               ExitReason = "ok"                // it did what it was started for
	ExitRecycled         ExitReason = "recycled"          // it had done its share and was replaced
	ExitApp              ExitReason = "app_error"         // it ended itself, with an exit code
	ExitSignal           ExitReason = "signal"            // a signal that a program brings upon itself: SIGSEGV, SIGABRT, …
	ExitMemoryLimit      ExitReason = "oom_limit"         // the kernel or Tandem killed it: its memory limit was reached
	ExitMemoryOfMachine  ExitReason = "oom_global"        // the kernel killed it: memory was short, and no limit of ours was reached
	ExitMemoryOfRuntime  ExitReason = "mem_limit"         // its own runtime had no memory left: a heap limit, or a limit of the process
	ExitCPULimit         ExitReason = "cpu_limit"         // its limit of processor time was reached
	ExitTimeout          ExitReason = "timeout"           // Tandem killed it: an item ran too long
	ExitHung             ExitReason = "hung"              // Tandem killed it: it neither answered nor said what it ran
	ExitProtocol         ExitReason = "protocol"          // Tandem killed it: it sent what the protocol forbids
	ExitBoot             ExitReason = "boot_failed"       // it ended, or was killed, before it was ready
	ExitKilledByUs       ExitReason = "killed_by_us"      // Tandem killed it; Crash.Why says what for
	ExitKilledExternally ExitReason = "killed_externally" // a signal that Tandem did not send
	ExitSandbox          ExitReason = "sandbox_denied"    // a system call that it may not make
	ExitUnkillable       ExitReason = "unkillable"        // Tandem killed it, and it is still there: the kernel does not let it end
	ExitUnknown          ExitReason = "unknown"
)

// Confidence is how sure a report is of its reason.
type Confidence string

const (
	Proven   Confidence = "proven"   // the kernel or Tandem's own record says so
	Probable Confidence = "probable" // the evidence fits, and another cause is thinkable
	Unknown  Confidence = "unknown"  // nothing tells
)

// Evidence is one thing that is known about a death.
type Evidence struct {
	What string `json:"what"` // "exit", "kill", "memory", "stderr", "control page"
	From string `json:"from"` // who says so: "wait status", "/proc/vmstat oom_kill"
	Says string `json:"says"`
}

// Stack is what the program's own runtime wrote about its end, or about where it is when asked.
type Stack struct {
	Language string `json:"language"` // go, python, java, node, rust, c, shell
	Kind     string `json:"kind"`     // panic, fatal_error, deadlock, data_race, exception, out_of_memory, hung, heap-buffer-overflow, …
	Message  string `json:"message,omitempty"`
	Function string `json:"function,omitempty"` // the innermost that is not the runtime's, the standard library's or Tandem's
	File     string `json:"file,omitempty"`
	Line     int    `json:"line,omitempty"`
	Text     string `json:"text,omitempty"` // as it was written, at most 16 KiB
}

// ThreadView is one thread of a process, or of one that it started, as the kernel saw it just before Tandem killed it.
type ThreadView struct {
	PID     int    `json:"pid"` // the process, or one that it started
	ID      int    `json:"id"`
	Name    string `json:"name,omitempty"`
	State   string `json:"state"`           // R running, S sleeping, D waiting in the kernel, T stopped, Z ended
	Wait    string `json:"wchan,omitempty"` // where in the kernel it waits
	Number  int    `json:"syscall"`         // the system call it is in; -1 for none, or not known
	Syscall string `json:"syscall_name,omitempty"`
}

// Crash is the report of one death: of a worker, or of a command. One that was killed and does not end is reported as if it had.
//
// Texts are bounded, and without the flow's secrets when they come from package engine. A report without an item is of a worker that died while it
// had nothing to do, or before it was ready.
type Crash struct {
	ID         string       `json:"id,omitempty"` // its number in the run; given by who keeps it
	Time       time.Time    `json:"time"`
	Step       string       `json:"step"`
	Worker     string       `json:"worker,omitempty"` // "parse/1"; empty for a command
	PID        int          `json:"pid,omitempty"`
	Item       string       `json:"item,omitempty"`    // that was running, the one to blame
	Root       string       `json:"root,omitempty"`    // the source's item that it came of
	Others     []string     `json:"others,omitempty"`  // that were running in the same process
	Attempt    int          `json:"attempt,omitempty"` // which attempt at the item it was
	Outcome    Outcome      `json:"outcome,omitempty"` // of that attempt
	What       string       `json:"what"`              // SIGSEGV (segmentation fault), or exit code 3
	Reason     ExitReason   `json:"reason"`
	Why        string       `json:"why,omitempty"` // what Tandem killed it for
	Confidence Confidence   `json:"confidence"`
	Evidence   []Evidence   `json:"evidence"`
	Stack      *Stack       `json:"stack,omitempty"`
	Threads    []ThreadView `json:"threads,omitempty"` // only where Tandem killed it
	Input      string       `json:"input,omitempty"`   // the beginning of the item's value
	Stderr     string       `json:"stderr,omitempty"`  // the last 8 KiB
	Seconds    float64      `json:"seconds,omitempty"` // the attempt ran
	PeakRSS    int64        `json:"peak_rss_bytes"`    // as the kernel accounts: it begins at what Tandem itself had when it started the process
	CPU        float64      `json:"cpu_seconds"`
	Age        float64      `json:"age_seconds"`            // of the process
	Done       int64        `json:"done"`                   // items the worker had ended before
	Isolation  *Isolation   `json:"isolation,omitempty"`    // how far it was kept from the machine
	Memory     Memory       `json:"memory,omitempty"`       // how its memory was limited: kernel, rlimit, polled; empty when it was not
	Core       string       `json:"core,omitempty"`         // the core file, when one was asked for and written
	NoCore     string       `json:"core_missing,omitempty"` // why there is none, when one was asked for
	Reproduce  string       `json:"reproduce,omitempty"`
}
