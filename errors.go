package tandem

import (
	"errors"
	"strings"
	"time"
)

// Callers branch on these.
var (
	ErrClosed      = errors.New("closed")
	ErrInterrupted = errors.New("interrupted") // the run was told to stop at once
)

// Kinds of errors, the same words in Go, in the sink's lines, on the wire and in the docs. Added at the end, never removed.
const (
	KindException      = "exception"      // the handler raised or returned an error
	KindUnserialisable = "unserialisable" // the handler gave what cannot be sent on
	KindTooLarge       = "too_large"      // a value above the limit
	KindTimeout        = "timeout"        // the step's timeout was up
	KindCrash          = "crash"          // the worker process died
	KindCanceled       = "canceled"       // the run was stopped
	KindImport         = "import"         // module or file missing, or it failed while loading
	KindNotCallable    = "not_callable"   // no such function
	KindUnsupported    = "unsupported"    // mode or version the worker cannot do
	KindProtocol       = "protocol"       // the worker sent what the protocol forbids
	KindStart          = "start"          // the worker could not be started
	KindExit           = "exit"           // a command ended with a bad exit code
	KindStatus         = "status"         // an HTTP status other than the expected
	KindNetwork        = "network"        // refused, reset, no such host
	KindExpression     = "expression"     // a ${{ }} expression failed
	KindPanic          = "panic"          // a Go handler panicked
	KindSink           = "sink"           // the sink could not be written
	KindSource         = "source"         // the source could not be read
	KindInvalid        = "invalid"        // wrong usage or flow file
	KindFailures       = "failures"       // the flow's failure policy stopped the run
	KindJournal        = "journal"        // the run's journal could not be read or written
	KindFile           = "file"           // a file could not be read or written
	KindDatabase       = "database"       // a database refused the statement, or could not be reached
	KindMemory         = "memory"         // the attempt's memory limit was reached
	KindQueue          = "queue"          // the queue between machines refused, or could not be reached
)

// Reasons of KindTimeout and KindTooLarge that tell which limit it was.
const (
	ReasonSoft    = "soft"     // it ended when it was asked to, because its soft limit was over
	ReasonHung    = "hung"     // neither an answer nor processor time for too long
	ReasonCPUTime = "cpu_time" // its processor time was used up
	ReasonOutput  = "output"   // it gave more than it may
)

// Again is what a handler says of another attempt.
type Again uint8

const (
	AgainUnsaid Again = iota // the step's retry policy decides
	AgainYes                 // another attempt may help
	AgainNever               // no other attempt can help
)

// Error is every error Tandem shows: what was done, to what, what kind, why, and what to do next.
type Error struct {
	Op      string        // what was being done: "start worker"
	On      string        // to what: a step, an item, a file
	Kind    string        // one of the Kind constants
	Reason  string        // which of its kind, for grouping and retry rules: "503", "refused", "SIGKILL", "exit 7", "ValueError"; may be empty
	Message string        // the cause in one line
	Hint    string        // what to do next, or empty
	Trace   string        // the handler's own stack, or the last lines of its output
	Again   Again         // what the handler says of another attempt
	After   time.Duration // with AgainYes: not before this has passed; zero means the step's backoff
	Err     error         // the cause, or nil
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.On != "" {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(e.On)
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	b.WriteString(e.Message)
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }
