package cli

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"tandem/internal/arena"
	"tandem/internal/measure"
	"tandem/internal/proc"
)

// finding is one line of the doctor: what was looked at, what was found, and what it costs when it is missing.
type finding struct {
	name, found, costs string
	ok                 bool
}

func (a *app) doctorCommand() *cobra.Command {
	var l link
	var atCluster bool
	c := &cobra.Command{Use: "doctor", Short: "Say what this machine has, what is missing, and what that costs", Args: takes(0, 0, "argument"),
		Long:    "Say what this machine has, what is missing, and what that costs. With --nats, or --cluster for the node of this machine, it looks at the cluster instead.",
		Example: "  tandem doctor\n  tandem doctor --nats nats://a,nats://b,nats://c",
		RunE: func(c *cobra.Command, _ []string) error {
			missing := 0
			look := findings
			if atCluster || c.Flags().Changed("nats") {
				look = func(ctx context.Context) []finding { return clusterFindings(ctx, l) }
			}
			for _, f := range look(c.Context()) {
				mark := a.green("ok     ")
				if !f.ok {
					mark = a.yellow("missing")
					missing++
				}
				fmt.Fprintf(a.out, "%s  %-14s %s\n", mark, f.name, f.found)
				if !f.ok {
					fmt.Fprintf(a.out, "         %-14s costs: %s\n", "", f.costs)
				}
			}
			if missing == 0 {
				fmt.Fprintln(a.out, "everything is here")
			} else {
				fmt.Fprintf(a.out, "%d missing; what they cost stands beside them\n", missing)
			}
			return nil
		}}
	c.Flags().BoolVar(&atCluster, "cluster", false, "look at the cluster, or at the node of this machine")
	l.flags(c.Flags())
	return c
}

func findings(ctx context.Context) []finding {
	cores := measure.FindCores()
	list := []finding{
		{name: "cores", ok: true, found: cores.String() + "; " + cores.Source},
		program(ctx, "Python", firstOf(os.Getenv("TANDEM_PYTHON"), "python3"), "--version", "python: steps cannot run; set TANDEM_PYTHON or install Python 3.9 or newer"),
		program(ctx, "Go", "go", "version", "go: steps cannot be built; worker: steps with a built program still run"),
		sharedMemory(),
		openFiles(),
		cgroups(),
		containment(),
	}
	list = append(append(list, isolationFindings()...), cacheFinding())
	if runtime.GOOS != "linux" {
		list = append(list, finding{name: "system", found: runtime.GOOS, costs: "only Linux is supported"})
	}
	return list
}

func firstOf(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}

func program(ctx context.Context, name, argv0, arg, costs string) finding {
	f := finding{name: name, costs: costs}
	path, err := proc.Look(argv0)
	if err != nil {
		f.found = argv0 + " is not on PATH"
		return f
	}
	x, err := proc.Run(ctx, proc.Command{Argv: []string{path, arg}})
	if err != nil || x.Code != 0 {
		f.found = path + " does not run"
		return f
	}
	f.found = strings.TrimSpace(string(x.Stdout)+string(x.Stderr)) + ", " + path
	f.ok = true
	if name == "Python" {
		var major, minor int
		if _, err := fmt.Sscanf(f.found, "Python %d.%d", &major, &minor); err == nil && (major < 3 || major == 3 && minor < 9) {
			f.ok = false
		}
	}
	return f
}

func sharedMemory() finding {
	f := finding{name: "shared memory", costs: "worker processes cannot be started: they need memfd_create"}
	r, err := arena.New("tandem-doctor", 1<<20)
	if err != nil {
		f.found = err.Error()
		return f
	}
	defer r.Close()
	if err := r.Seal(); err != nil {
		f.found = err.Error()
		f.costs = "worker processes cannot be started: they need sealed memory"
		return f
	}
	f.ok, f.found = true, "memfd with seals"
	return f
}

func openFiles() finding {
	f := finding{name: "open files", costs: "at most about that many requests in flight; raise it with `ulimit -n`"}
	n, err := proc.OpenFiles()
	if err != nil {
		f.found = err.Error()
		return f
	}
	f.ok, f.found = n >= 4096, fmt.Sprintf("limit %d", n)
	return f
}

func cgroups() finding {
	f := finding{name: "cgroups", costs: "worker counts follow affinity only; a time quota of a container is not seen"}
	for _, dir := range []string{"/sys/fs/cgroup/cgroup.controllers", "/sys/fs/cgroup/unified/cgroup.controllers", "/sys/fs/cgroup/cpu"} {
		if _, err := os.Stat(dir); err == nil {
			f.ok, f.found = true, dir
			return f
		}
	}
	f.found = "no cgroup file system is mounted"
	return f
}

// containment is tried out, not looked up: what a kernel offers, its administrator may still refuse.
func containment() finding {
	c := proc.Containment()
	f := finding{name: "containment", ok: c.Level == proc.Kernel, found: string(c.Level) + ", " + c.How}
	var costs []string
	for i, m := range c.Missing {
		line := m.String()
		if i > 0 && c.Missing[i-1].Effect == m.Effect {
			line = strings.TrimSuffix(costs[len(costs)-1], ": "+m.Effect) + ", " + line
			costs = costs[:len(costs)-1]
		}
		costs = append(costs, line+": "+m.Effect)
	}
	f.costs = strings.Join(costs, "; ")
	return f
}

func cacheFinding() finding {
	dir := cacheDir()
	f := finding{name: "cache", found: dir, costs: "Python and Go workers cannot be installed; set TANDEM_HOME"}
	err := os.MkdirAll(dir, 0o755)
	if err == nil {
		var tmp *os.File
		if tmp, err = os.CreateTemp(dir, "doctor"); err == nil {
			tmp.Close()
			os.Remove(tmp.Name())
		}
	}
	if f.ok = err == nil; !f.ok {
		f.found = err.Error()
	}
	return f
}
