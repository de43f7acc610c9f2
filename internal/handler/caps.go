package handler

import (
	"fmt"

	"tandem"
	"tandem/internal/proc"
)

const memoryHint = "raise the step's memory, or give it less at a time; it is not tried again unless retry: {when: [memory]} says so"

// sigXCPU is what a shell makes of SIGXCPU in what it started.
const sigXCPU = 128 + 24

// overCap is what becomes of a command that took more than it may; as is empty when it did not. Time itself is not its matter.
func overCap(c CommandConfig, what string, x proc.Ended) (r tandem.Result, as tandem.ExitReason, why string) {
	fail := func(o tandem.Outcome, kind, reason, hint, format string, args ...any) tandem.Result {
		return tandem.Result{Outcome: o, Err: &tandem.Error{Op: "run", Kind: kind, Reason: reason, Hint: hint, Message: fmt.Sprintf(format, args...)}}
	}
	caps := c.Caps
	good := x.Signal == "" && x.Code == 0
	switch {
	case x.Hung:
		why = fmt.Sprintf("neither output nor processor time for %v", caps.Hang)
		return fail(tandem.TimedOut, tandem.KindTimeout, tandem.ReasonHung, "find out what it waits for; raise the step's hang when such a wait is in order", "hung: %s, killed", why), tandem.ExitHung, why
	case x.Spent, caps.CPUTime > 0 && !good && (x.Signal == "SIGXCPU" || x.Signal == "" && x.Code == sigXCPU):
		why = fmt.Sprintf("it used more than %v of processor time", caps.CPUTime)
		return fail(tandem.TimedOut, tandem.KindTimeout, tandem.ReasonCPUTime, "raise the step's cpu_time, or find out what it computes", "%s used more than %v of processor time, killed", what, caps.CPUTime), tandem.ExitCPULimit, why
	case x.Over != nil:
		return fail(tandem.OutOfMemory, tandem.KindMemory, x.Signal, memoryHint, "reached the memory limit of %s (%s): %s was killed", proc.Bytes(caps.Memory), x.Over.Says, what), tandem.ExitMemoryLimit, "its memory limit was reached"
	case x.Asked && !good:
		why = fmt.Sprintf("it was asked to end after %v", caps.Soft)
		return fail(tandem.TimedOut, tandem.KindTimeout, tandem.ReasonSoft, "raise the step's timeout, or find out what it waits for", "not done after %v; it ended when it was asked", caps.Soft), tandem.ExitTimeout, why
	}
	return r, "", ""
}
