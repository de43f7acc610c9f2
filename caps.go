package tandem

import "time"

// Caps bound what one attempt may use. The zero value bounds nothing.
//
// Memory counts for a worker or a command and all it starts together. How it is held depends on the machine: see [Memory]. Everything else is told
// from the same tree of processes.
type Caps struct {
	Memory  int64         // bytes; more ends the attempt as out_of_memory
	JVM     int64         // bytes of heap that Java machines are told to keep to, by JAVA_TOOL_OPTIONS; zero tells them nothing
	CPUTime time.Duration // of all processors together; more ends the attempt as timed_out
	Soft    time.Duration // after so long the attempt is asked to end; the hard limit is the timeout
	Hang    time.Duration // neither an answer nor processor time for so long ends the attempt as timed_out, "hung"
	Output  int64         // bytes that the attempt may give; more ends it as failed, too_large
	Core    int64         // bytes of the core file of a process that dies of a fault; zero means none is written
}

// Memory is how a limit of memory is held.
type Memory string

const (
	MemoryKernel Memory = "kernel" // a control group: exact, for the whole tree
	MemoryRlimit Memory = "rlimit" // RLIMIT_DATA for each process, and the tree is looked at
	MemoryPolled Memory = "polled" // the tree is looked at a few times a second
	MemoryNone   Memory = "none"
)
