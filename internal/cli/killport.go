package cli

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/term"

	"tandem"
	"tandem/internal/live"
	"tandem/internal/proc"
)

// killPort shows who listens on a port, asks, and ends them.
func (a *app) killPort(arg string, o killOptions) error {
	port, err := strconv.Atoi(arg[1:])
	if err != nil || port < 1 || port > 65535 {
		return &tandem.Error{Op: "kill", On: arg, Kind: tandem.KindInvalid, Message: "that is no port", Hint: "for example tandem kill :8080"}
	}
	if o.grace < 0 {
		return &tandem.Error{Op: "read the flags of", On: "tandem kill", Kind: tandem.KindInvalid, Message: fmt.Sprintf("--grace %v", o.grace), Hint: "want 0s or more"}
	}
	all, err := live.Listeners(port)
	if err != nil {
		return &tandem.Error{Op: "find who listens on", On: arg, Kind: tandem.KindFile, Message: err.Error(), Err: err}
	}
	if len(all) == 0 {
		return &tandem.Error{Op: "kill", On: arg, Kind: tandem.KindInvalid, Message: "nobody listens on TCP port " + arg[1:], Hint: "in this network namespace: a container has ports of its own"}
	}
	holders, hidden := a.showListeners(port, all)
	if len(holders) == 0 {
		return exitCode(exitItems)
	}
	if !o.yes {
		in, ok := a.in.(*os.File)
		if !ok || !term.IsTerminal(int(in.Fd())) {
			return &tandem.Error{Op: "kill", On: arg, Kind: tandem.KindInvalid, Message: "there is no terminal to ask on, and nothing was done", Hint: "add --yes when these are the ones to end"}
		}
		question := "End it? [y/N] "
		if len(holders) > 1 {
			question = fmt.Sprintf("End all %d? [y/N] ", len(holders))
		}
		fmt.Fprint(a.err, question)
		line, _ := bufio.NewReader(in).ReadString('\n')
		if answer := strings.ToLower(strings.TrimSpace(line)); answer != "y" && answer != "yes" {
			fmt.Fprintln(a.err, "nothing was done")
			return exitCode(exitItems)
		}
	}
	bad := hidden
	for _, h := range holders {
		if err := a.endHolder(h, o.grace); err != nil {
			a.fail(err)
			bad = true
		}
	}
	if !freed(port, 2*time.Second) {
		fmt.Fprintf(a.err, "port %d is still taken: see tandem kill :%d\n", port, port)
		bad = true
	} else {
		fmt.Fprintf(a.err, "port %d is free\n", port)
	}
	if bad {
		return exitCode(exitItems)
	}
	return nil
}

// showListeners lists who listens; hidden says that some belong to others and cannot be seen.
func (a *app) showListeners(port int, all []live.Listener) (holders []live.Process, hidden bool) {
	entries, _ := going()
	for _, l := range all {
		for _, p := range l.Holders {
			if slices.ContainsFunc(holders, func(h live.Process) bool { return h.PID == p.PID }) {
				continue
			}
			holders = append(holders, p)
			fmt.Fprintf(a.err, "%s:%d  pid %d  %s  user %s  since %s\n", l.Address, port, p.PID, commandText(p), userName(p.UID), time.Now().Add(-p.Age).Format(time.DateTime))
			above := append([]int{p.PID}, live.Ancestors(p.PID)...)
			for _, e := range entries {
				if slices.Contains(above, e.PID) {
					what := cmp.Or(p.Step, "itself")
					if p.Place > 0 {
						what = fmt.Sprintf("%s/%d", p.Step, p.Place)
					} else if t, err := findWorker("kill", e.ID, strconv.Itoa(p.PID)); err == nil { // a forked one has its number only inside
						what = cmp.Or(t.worker, what)
					}
					fmt.Fprintf(a.err, "  it belongs to run %s of Tandem (%s): tandem kill %s stops the run\n", e.ID, what, e.ID)
				}
			}
		}
		if len(l.Holders) == 0 {
			hidden = true
			fmt.Fprintf(a.err, "%s:%d  belongs to user %s, and this user may not see which process it is: ask that user, or root\n", l.Address, port, userName(l.UID))
		}
	}
	return holders, hidden
}

func userName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return strconv.Itoa(uid)
}

// endHolder asks a process to end, and kills it when it has not.
func (a *app) endHolder(p live.Process, grace time.Duration) error {
	held, err := proc.Hold(p.PID)
	if errors.Is(err, proc.ErrNoProcess) {
		return nil // it has ended meanwhile
	}
	if err != nil {
		return killError(fmt.Sprint(p.PID), err)
	}
	defer held.Close()
	if now, ok := live.Look(p.PID); !ok || now.Age+time.Second < p.Age {
		return nil // its number means another by now
	}
	if err := held.Terminate(); err != nil && !errors.Is(err, proc.ErrNoProcess) {
		return killError(fmt.Sprint(p.PID), err)
	}
	if held.Ended(grace) {
		fmt.Fprintf(a.err, "pid %d has ended\n", p.PID)
		return nil
	}
	if err := held.Kill(); err != nil && !errors.Is(err, proc.ErrNoProcess) {
		return killError(fmt.Sprint(p.PID), err)
	}
	if !held.Ended(2 * time.Second) {
		return &tandem.Error{Op: "kill", On: fmt.Sprint(p.PID), Kind: tandem.KindInvalid, Message: "it is still there after SIGKILL", Hint: "it waits in the kernel, perhaps for a disk: it goes when that answers"}
	}
	fmt.Fprintf(a.err, "pid %d did not end within %v and was killed\n", p.PID, grace)
	return nil
}

// freed waits until nobody listens on a port.
func freed(port int, within time.Duration) bool {
	for deadline := time.Now().Add(within); ; time.Sleep(20 * time.Millisecond) {
		if all, err := live.Listeners(port); err == nil && len(all) == 0 {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}
