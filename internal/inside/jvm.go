package inside

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"tandem/internal/proc"
)

// mostDumps are taken of a program: each stops it for a moment.
const mostDumps = 5

func (i *Inside) watchJVMs(ctx context.Context, root int) {
	for pause := time.Second; len(i.dumps) < mostDumps; pause *= 2 {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		for _, pid := range Descendants(root) {
			exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
			if err != nil || filepath.Base(exe) != "java" {
				continue
			}
			jcmd := filepath.Join(filepath.Dir(exe), "jcmd")
			limited, cancel := context.WithTimeout(ctx, 10*time.Second)
			dump, err := proc.Tool(limited, []string{jcmd, strconv.Itoa(pid), "Thread.print"})
			cancel()
			if err == nil {
				i.dumps = append(i.dumps, dump)
			}
		}
	}
}

// Descendants are a process and all that it started and that are there.
func Descendants(root int) []int {
	all := []int{root}
	for k := 0; k < len(all) && len(all) < 4096; k++ {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", all[k]))
		for _, file := range tasks {
			b, _ := os.ReadFile(file)
			for _, s := range strings.Fields(string(b)) {
				if pid, err := strconv.Atoi(s); err == nil {
					all = append(all, pid)
				}
			}
		}
	}
	return all
}

var (
	frame   = regexp.MustCompile(`^\s+at (?:[\w.]+/)?([\w.$<>/]+)\(([^)]*)\)`)
	library = regexp.MustCompile(`^(java|javax|jdk|sun|com\.sun)\.`)
	monitor = regexp.MustCompile(`- (?:waiting to lock|waiting to re-lock in wait\(\)) <\w+> \(a ([^)]+)\)`)
)

// threadDumps reads what jcmd said: of each thread the innermost frame of the program's own code and the thread's state.
func (i *Inside) threadDumps() tally {
	t := tally{}
	for _, dump := range i.dumps {
		for _, block := range strings.Split(dump, "\n\n") {
			lines := strings.Split(block, "\n")
			state, where := "", place{}
			for _, line := range lines {
				if s, ok := strings.CutPrefix(strings.TrimSpace(line), "java.lang.Thread.State: "); ok {
					state, _, _ = strings.Cut(s, " ")
				} else if m := monitor.FindStringSubmatch(line); m != nil {
					where.state = "waits for the monitor of a " + m[1]
				} else if m := frame.FindStringSubmatch(line); m != nil && where.name == "" && !library.MatchString(m[1]) {
					where.name, where.at = m[1], m[2]
				}
			}
			if where.name == "" || state == "" {
				continue // a thread of the JVM's own
			}
			switch {
			case where.state != "":
			case state == "RUNNABLE":
				where.state = "runs"
			case state == "BLOCKED":
				where.state = "waits for a monitor"
			default:
				where.state = "waits"
			}
			t[where]++
		}
	}
	return t
}
