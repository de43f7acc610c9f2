package worker

import (
	"os"
	"os/signal"
	"runtime"
)

// maxDump bounds the stacks that are written on request.
const maxDump = 256 << 10

// dumpHead is the line before them; internal/evidence looks for it.
const dumpHead = "tandem: the stacks of all goroutines\n"

// dumps writes the stacks of all goroutines to standard error whenever Tandem asks for them, until the returned function is called. A hung handler does
// not hinder it: the runtime stops loops, and a call into C has a thread of its own. Only a worker with threads needs it, since it may go on: one that runs a task at
// a time is asked by SIGQUIT, which ends it, because a program that listens for signals is never found in a deadlock by the runtime. Once several run in that one, it
// listens for SIGQUIT.
func dumps(by os.Signal) (stop func()) {
	asked, gone := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(asked, by)
	go func() {
		defer close(gone)
		for range asked {
			buf := make([]byte, maxDump)
			_, _ = os.Stderr.WriteString(dumpHead + string(buf[:runtime.Stack(buf, true)])) // one write: other prints do not come between
		}
	}()
	return func() {
		signal.Stop(asked)
		close(asked)
		<-gone
	}
}
