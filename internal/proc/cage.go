package proc

import (
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"tandem"
)

// Limits bound what one program and everything it starts may use. The zero value limits nothing.
type Limits struct {
	Memory  int64         // bytes, of the whole tree looked at where the machine cannot count it so; zero means no limit
	CPUTime time.Duration // processor time of each process, in whole seconds; zero means no limit
	Data    int64         // RLIMIT_DATA of each process; zero leaves it alone
	Core    int64         // bytes of a core file; zero means that none is written
}

// Isolation says how far a program is kept from the rest of the machine. The zero value is a process of its own tree and nothing more.
//
// What the machine cannot give is reported by Process.Isolation; a property in Require refuses the start instead.
type Isolation struct {
	Sandbox bool     // files, network and rights are taken away but for what is named below
	Open    bool     // no namespaces: for programs that change their user, or look at processes of the machine
	NoFork  bool     // it may start threads, but no process; what cannot fork is contained without namespaces, too
	CPU     float64  // cores; zero means no limit
	PIDs    int      // processes and threads; zero means no limit
	Read    []string // files and directories that may be read, beside the program's own and the system's
	Write   []string // files and directories that may be written, and read
	Network string   // "host", "loopback" or "none"; empty means none in a sandbox, else host
	User    string   // name or number; empty means ours
	Require []string // properties without which nothing starts, see Properties, or "all" for those that are asked for
}

// Properties are what Isolation.Require may name.
var Properties = []string{"memory", "cpu", "pids", "files", "network", "user", "rights", "fork", "containment"}

// Networks are the words of Isolation.Network.
var Networks = []string{"none", "loopback", "host"}

// IsZero says that nothing is asked for.
func (i Isolation) IsZero() bool {
	return !i.Sandbox && !i.Open && !i.NoFork && i.CPU == 0 && i.PIDs == 0 && i.Network == "" && i.User == "" && len(i.Read)+len(i.Write)+len(i.Require) == 0
}

// level is the position of the dial.
func (i Isolation) level() string {
	switch {
	case i.Open:
		return "none"
	case i.Sandbox:
		return "sandbox"
	}
	return "process"
}

// closed says that files are taken away.
func (i Isolation) closed() bool { return i.Sandbox || len(i.Read)+len(i.Write) > 0 }

func (i Isolation) network() string {
	if i.Network == "" && i.Sandbox {
		return "none"
	}
	return i.Network
}

// asks are the properties that are asked for; memory is that of Limits.
func (i Isolation) asks(memory int64) (list []string) {
	net := i.network()
	for _, p := range []struct {
		what string
		yes  bool
	}{{"memory", memory > 0}, {"cpu", i.CPU > 0}, {"pids", i.PIDs > 0}, {"files", i.closed()},
		{"network", net != "" && net != "host"}, {"user", i.User != ""}, {"rights", i.Sandbox}, {"fork", i.NoFork}, {"containment", !i.Open && (i.Sandbox || slices.Contains(i.Require, "containment"))}} {
		if p.yes {
			list = append(list, p.what)
		}
	}
	return list
}

func (i Isolation) requires(what string) bool {
	return slices.Contains(i.Require, what) || slices.Contains(i.Require, "all")
}

// cores is the processors as a whole number, for those who take no fraction.
func (i Isolation) cores() int { return int(math.Ceil(i.CPU)) }

// cpuEnv tells the program how many processors it has: most runtimes do not see a quota.
func (i Isolation) cpuEnv(env []string) []string {
	if i.CPU == 0 {
		return nil
	}
	return append(Budget(env, i.cores()), "TANDEM_CPUS="+strconv.FormatFloat(i.CPU, 'f', -1, 64))
}

func invalid(on, message, hint string) error {
	return &tandem.Error{Op: "isolate", On: on, Kind: tandem.KindInvalid, Message: message, Hint: hint}
}

// Check finds what can be wrong with i before anything is started: words, users, files that are not there. The error is a *tandem.Error whose On is the property.
func (i Isolation) Check() error {
	if i.Network != "" && !slices.Contains(Networks, i.Network) {
		return invalid("network", "unknown word "+strconv.Quote(i.Network), "want none, loopback or host")
	}
	for _, what := range i.Require {
		if what != "all" && !slices.Contains(Properties, what) {
			return invalid("require", "unknown property "+strconv.Quote(what), "want all, or some of "+strings.Join(Properties, ", "))
		}
	}
	if i.User != "" {
		if _, _, err := lookUser(i.User); err != nil {
			return err
		}
	}
	for _, list := range []struct {
		key   string
		paths []string
	}{{"read", i.Read}, {"write", i.Write}} {
		for _, p := range list.paths {
			if _, err := os.Stat(p); err != nil {
				hint := "make it before the run, or name its directory"
				if list.key == "read" {
					hint = "name what is there"
				}
				return &tandem.Error{Op: "isolate", On: list.key, Kind: tandem.KindInvalid, Message: err.Error(), Hint: hint, Err: err}
			}
		}
	}
	if i.Open && (i.Sandbox || i.NoFork || len(i.Read)+len(i.Write) > 0) {
		return invalid("level", "level none opens what the other properties close", "leave them out, or choose level process or sandbox")
	}
	return nil
}

// lookUser finds a user by name or number, as the system does, and remembers whom it has found: it may have to start a program for that. It does not use os/user:
// that links the C library, and with it the runtime of a Go worker, which may be this very program, would no longer find a deadlock.
func lookUser(name string) (uid, gid int, err error) {
	if ids, ok := users.Load(name); ok {
		known := ids.([2]int)
		return known[0], known[1], nil
	}
	n, nerr := strconv.Atoi(name)
	number := nerr == nil && n >= 0 && n < math.MaxInt32
	file := func() ([]byte, error) { return os.ReadFile("/etc/passwd") }
	service := exec.Command("getent", "passwd", "--", name).Output // users of a directory service, too
	for _, read := range []func() ([]byte, error){file, service} {
		text, _ := read()
		for line := range strings.Lines(string(text)) {
			f := strings.Split(strings.TrimSuffix(line, "\n"), ":")
			if len(f) < 4 || f[0] != name && (!number || f[2] != name) {
				continue
			}
			uid, err = strconv.Atoi(f[2])
			if err == nil {
				gid, err = strconv.Atoi(f[3])
			}
			if err == nil {
				users.Store(name, [2]int{uid, gid})
			}
			return uid, gid, err
		}
	}
	if number {
		users.Store(name, [2]int{n, n})
		return n, n, nil // a number needs no name
	}
	return 0, 0, invalid("user", "there is no user "+strconv.Quote(name), "name one of /etc/passwd, or give a number")
}

var users sync.Map // name to user and group

// Reaches says whether a file lies below one of the directories of the sandbox's reading list, of which system is a part; links are followed.
func (i Isolation) Reaches(file string) bool {
	for _, name := range []string{file, resolved(file)} {
		if !slices.ContainsFunc(slices.Concat(i.Read, i.Write, systemFiles()), func(dir string) bool { return below(name, dir) || below(name, resolved(dir)) }) {
			return false
		}
	}
	return true
}

func resolved(path string) string {
	if p, err := filepath.EvalSymlinks(path); err == nil {
		return p
	}
	return path
}

func below(file, dir string) bool {
	rel, err := filepath.Rel(dir, file)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}
