package evidence

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"tandem"
)

// Holds is what keeps a process from going on, or from ending when it was killed, as far as the kernel says: that it is frozen and by which control group, stopped, traced
// and by whom, or waits in the kernel. threads is what Threads gave; a process that merely sleeps or computes is held by nothing. It costs a few small reads.
func Holds(threads []tandem.ThreadView) (list []tandem.Evidence) {
	if len(threads) == 0 {
		return nil
	}
	main := threads[0]
	add := func(from, format string, args ...any) {
		list = append(list, tandem.Evidence{What: "held", From: from, Says: fmt.Sprintf(format, args...)})
	}
	frozen := false
	for _, by := range freezers(main.PID) {
		frozen = true
		add(by.file, "frozen with the control group %s: it goes on when that is thawed", by.group)
	}
	status := statusOf(main.PID)
	from := "/proc/" + itoa(main.PID) + "/status"
	switch {
	case status["TracerPid"] != "" && status["TracerPid"] != "0":
		add(from, "traced by process %s (%s)", status["TracerPid"], nameOf(status["TracerPid"]))
	case main.State == "T":
		add(from, "stopped by a signal (SIGSTOP, SIGTSTP, SIGTTIN or SIGTTOU); the kernel does not keep whose")
	case main.State == "D" && !frozen:
		at := main.Wait
		if at == "" {
			at = "a place that the kernel does not name"
		}
		add(from, "waits in the kernel, at %s", at)
	}
	if len(list) > 0 && killPending(status) {
		add(from, "SIGKILL is pending")
	}
	return list
}

// killPending says that SIGKILL was sent and has not been taken: bit 8 of what waits for the thread, or for all of the process.
func killPending(status map[string]string) bool {
	for _, mask := range []string{status["SigPnd"], status["ShdPnd"]} {
		if len(mask) >= 3 && strings.ContainsRune("13579bdf", rune(mask[len(mask)-3])) {
			return true
		}
	}
	return false
}

type freezer struct{ file, group string }

// freezers are the frozen control groups that a process is in, of version 1 and 2. What holds may be one above, so those are looked at too.
func freezers(pid int) (list []freezer) {
	b, _ := os.ReadFile(filepath.Join("/proc", itoa(pid), "cgroup"))
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) < 3 {
			continue
		}
		for group := f[2]; group != "/" && group != "."; group = filepath.Dir(group) {
			if file := frozenBy(f[1], group); file != "" {
				list = append(list, freezer{file, group})
				break
			}
		}
	}
	return list
}

// frozenBy is the file that says that the group itself was frozen, or empty.
func frozenBy(controllers, group string) string {
	says := func(file, line string) bool {
		b, err := os.ReadFile(file)
		return err == nil && strings.Contains("\n"+string(b), "\n"+line)
	}
	if controllers == "" {
		for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
			if file := filepath.Join(root, group, "cgroup.freeze"); says(file, "1") {
				return file
			}
		}
	} else if controllers == "freezer" {
		dir := filepath.Join("/sys/fs/cgroup/freezer", group)
		if says(filepath.Join(dir, "freezer.self_freezing"), "1") {
			return filepath.Join(dir, "freezer.state")
		}
	}
	return ""
}

func statusOf(pid int) map[string]string {
	fields := map[string]string{}
	b, _ := os.ReadFile(filepath.Join("/proc", itoa(pid), "status"))
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		fields[key] = strings.TrimSpace(value)
	}
	return fields
}

func nameOf(pid string) string {
	b, err := os.ReadFile(filepath.Join("/proc", pid, "comm"))
	if err != nil {
		return "of another user, or gone"
	}
	return strings.ToValidUTF8(strings.TrimSpace(string(b)), "?")
}
