package evidence

import (
	"fmt"
	"slices"

	"tandem"
)

// Death is what is known about the end of a process.
type Death struct {
	Exit   Exit
	Signal string            // SIGSEGV (segmentation fault), for people; empty unless a signal ended it
	Killed string            // what Tandem killed it for; empty when it did not
	As     tandem.ExitReason // what Tandem itself knows it to be: why it killed it, or ExitBoot; else empty
	Shell  bool              // a shell may have passed on how a process ended that it started
	Alive  bool              // it was killed, and is still there
	Items  int               // that were running in it
	Before Kills             // counted before it was started
	After  Kills             // counted after its end
	Stack  *tandem.Stack     // what its runtime wrote, or nil
	Memory *tandem.Evidence  // the proof that its limit of memory was reached, and that it was ended for it; or nil
	Limit  string            // of its memory, for people; empty when it had none
	Peak   string            // the most that it and all it started were seen with, for people; empty when nobody looked
}

// faults are signals that a program brings upon itself.
var faults = []string{"SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE", "SIGTRAP"}

// Judge fills in reason, confidence and evidence.
func Judge(d Death, c *tandem.Crash) {
	add := func(what, from, format string, args ...any) {
		c.Evidence = append(c.Evidence, tandem.Evidence{What: what, From: from, Says: fmt.Sprintf(format, args...)})
	}
	c.What = d.Signal
	if d.Exit.Signal == "" {
		c.What = fmt.Sprintf("exit code %d", d.Exit.Code)
	}
	if d.Alive {
		c.What = "killed, and still there"
		add("exit", "tandem", "sent SIGKILL, and the kernel has not let it end")
	} else {
		add("exit", "wait status", "%s", c.What)
	}
	c.Stack = d.Stack
	if d.Stack != nil {
		says := d.Stack.Kind
		if d.Stack.Message != "" {
			says += ": " + d.Stack.Message
		}
		if w := Where(d.Stack); w != "" {
			says += " in " + w
		}
		add("stack", "what its "+d.Stack.Language+" runtime wrote", "%s", says)
	}
	switch {
	case d.Limit != "" && d.Peak != "":
		add("memory", "tandem", "its limit was %s, and the most that it and all it started were seen with was %s", d.Limit, d.Peak)
	case d.Limit != "":
		add("memory", "tandem", "its limit was %s", d.Limit)
	}
	if d.Killed != "" {
		c.Why = d.Killed
		add("kill", "tandem", "killed it: %s", d.Killed)
		c.Reason, c.Confidence = d.As, tandem.Proven
		switch {
		case d.Alive:
			c.Reason = tandem.ExitUnkillable
		case c.Reason == "":
			c.Reason = tandem.ExitKilledByUs
		}
		return
	}
	if d.Memory != nil {
		c.Evidence = append(c.Evidence, *d.Memory)
		c.Reason, c.Confidence = tandem.ExitMemoryLimit, tandem.Proven
		if d.As != "" {
			c.Reason = d.As
		}
		return
	}
	switch {
	case d.Exit.Signal == "SIGKILL":
		d.killed(c, add)
	case d.Shell && d.Exit.Signal == "" && d.Exit.PassedOn() != "":
		sig := d.Exit.PassedOn()
		add("exit", "convention of shells", "128 + the number of a signal: what it started was ended by %s", sig)
		d.Shell, d.Limit, d.Exit = false, "", Exit{Code: -1, Signal: sig}
		var of tandem.Crash
		Judge(d, &of)
		c.Evidence = append(c.Evidence, of.Evidence[1:]...) // not that of its wait status
		if c.Reason, c.Confidence = of.Reason, of.Confidence; c.Confidence == tandem.Proven {
			c.Confidence = tandem.Probable
		}
	case slices.Contains(faults, d.Exit.Signal):
		c.Reason, c.Confidence = tandem.ExitSignal, tandem.Proven
		if outOfMemory(d.Stack) {
			c.Reason, c.Confidence = tandem.ExitMemoryOfRuntime, tandem.Probable
		}
	case d.Exit.Signal == "SIGXCPU":
		c.Reason, c.Confidence = tandem.ExitCPULimit, tandem.Probable
	case d.Exit.Signal == "SIGSYS":
		c.Reason, c.Confidence = tandem.ExitSandbox, tandem.Probable
	case d.Exit.Signal != "":
		add("kill", "tandem", "did not send %s", d.Exit.Signal)
		c.Reason, c.Confidence = tandem.ExitKilledExternally, tandem.Probable // a program may send it to itself
	case outOfMemory(d.Stack):
		c.Reason, c.Confidence = tandem.ExitMemoryOfRuntime, tandem.Probable
	case d.Stack != nil && d.Stack.Language == "java" && d.Stack.Kind == "fatal_error":
		c.Reason, c.Confidence = tandem.ExitSignal, tandem.Probable // the machine turns the signal into an exit code
	default:
		c.Reason, c.Confidence = tandem.ExitApp, tandem.Proven
		if d.Items > 0 && d.As == "" {
			add("result", "tandem", "it exited without result")
		}
	}
	if d.As != "" {
		c.Reason, c.Confidence = d.As, tandem.Proven
	}
}

// killed judges a SIGKILL that Tandem did not send.
func (d Death) killed(c *tandem.Crash, add func(what, from, format string, args ...any)) {
	add("kill", "tandem", "did not send SIGKILL")
	compare := func(from string, before, after int64) bool {
		switch {
		case before < 0 || after < 0:
			add("memory", from, "not shown on this machine")
		case after > before:
			add("memory", from, "went from %d to %d", before, after)
			return true
		default:
			add("memory", from, "stayed at %d: the kernel killed nothing there for memory", after)
		}
		return false
	}
	group := compare("oom_kill of the control group", d.Before.Group, d.After.Group)
	machine := compare("/proc/vmstat oom_kill", d.Before.Machine, d.After.Machine)
	if machine && !group && d.Before.Stalls >= 0 && d.After.Stalls == d.Before.Stalls {
		add("memory", "/proc/vmstat allocstall", "stayed at %d: the machine had memory, so that was in somebody else's control group", d.After.Stalls)
		machine = false
	}
	switch {
	case group:
		c.Reason, c.Confidence = tandem.ExitMemoryLimit, tandem.Proven
	case machine:
		c.Reason, c.Confidence = tandem.ExitMemoryOfMachine, tandem.Probable
	default:
		c.Reason, c.Confidence = tandem.ExitKilledExternally, tandem.Unknown
	}
}

// Dumps says whether a process that ended so leaves a core file where it may.
func Dumps(e Exit) bool { return slices.Contains(faults, e.signal()) }

func outOfMemory(s *tandem.Stack) bool { return s != nil && s.Kind == "out_of_memory" }
