package proc

import "time"

// Limits bound what one program and everything it starts may use. The zero value limits nothing.
type Limits struct {
	Memory  int64         // bytes, of the whole tree looked at where the machine cannot count it so; zero means no limit
	CPUTime time.Duration // processor time of each process, in whole seconds; zero means no limit
	Data    int64         // RLIMIT_DATA of each process; zero leaves it alone
	Core    int64         // bytes of a core file; zero means that none is written
}

// Isolation says how far a program is kept from the rest of the machine. The zero value is a process of its own tree and nothing more.
//
// What the machine cannot give is reported by Effective and Missing of the started process; a property in Require refuses the start instead.
type Isolation struct {
	Sandbox bool     // files, network and rights are taken away but for what is named below
	CPU     float64  // cores; zero means no limit
	PIDs    int      // processes and threads; zero means no limit
	Read    []string // files and directories that may be read, beside the program's own and the system's
	Write   []string // files and directories that may be written
	Network string   // "host" (or empty), "loopback" or "none"
	User    string   // name or number; empty means ours
	Require []string // properties without which nothing starts: memory, cpu, pids, files, network, user, containment
}
