package cli

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tandem"
	"tandem/internal/live"
	"tandem/internal/proc"
	"tandem/internal/runs"
)

type killOptions struct {
	now, yes, leave bool
	grace           time.Duration
}

func (a *app) killCommand() *cobra.Command {
	var o killOptions
	c := &cobra.Command{Use: "kill RUN | [RUN] WORKER | PID | :PORT", Short: "Stop a run, end a worker, or end what listens on a port",
		Long: `RUN: the run stops as after Ctrl-C: it reads nothing more, and what was read goes on to its end, for up to its --drain; with --now it ends at once. The command
waits for the end unless --leave says otherwise. Such a run goes on with --resume.
WORKER (thumb/1, or its process number): the worker is killed and replaced. It costs nothing: its item is not to blame and runs elsewhere, without an attempt being counted.
PID of a command that a run has started: the command is killed; its item ends as the step's policy says.
:PORT: the processes that listen on this TCP port, of this machine and this network namespace, are shown; after a yes they are asked to end (SIGTERM), and killed
when they have not after --grace. Without a terminal --yes is needed.
Exit codes: 0 it is done · 1 not all of it was, or the answer was no · 2 wrong usage, nothing was done.`,
		Example: "  tandem kill 20260301-101500-ab3de\n  tandem kill thumb/1\n  tandem kill :8080\n  tandem kill :8080 --yes", Args: takes(1, 2, "run, worker or port"), ValidArgsFunction: a.completeKill,
		RunE: func(_ *cobra.Command, args []string) error { return a.kill(args, o) }}
	f := c.Flags()
	f.BoolVar(&o.now, "now", false, "a run: at once; what had not ended is canceled")
	f.BoolVar(&o.leave, "leave", false, "a run: do not wait for its end")
	f.BoolVarP(&o.yes, "yes", "y", false, "a port: do not ask")
	f.DurationVar(&o.grace, "grace", 3*time.Second, "a port: how long between SIGTERM and SIGKILL")
	return c
}

func (a *app) kill(args []string, o killOptions) error {
	if len(args) == 1 && strings.HasPrefix(args[0], ":") {
		return a.killPort(args[0], o)
	}
	if len(args) == 1 && number(args[0]) == 0 {
		e, ok, err := named(args[0])
		if err != nil {
			return err
		}
		if ok {
			return a.killRun(e, o)
		}
		if !strings.Contains(args[0], "/") {
			return &tandem.Error{Op: "kill", On: args[0], Kind: tandem.KindInvalid, Message: "there is no such run", Hint: "want a run, a worker such as thumb/1, a process number or a :PORT; tandem ps shows them"}
		}
	}
	run := ""
	if len(args) == 2 {
		run = args[0]
	}
	t, err := findWorker("kill worker", run, args[len(args)-1])
	if err != nil {
		return err
	}
	if t.worker == "" {
		return a.killProcess(t)
	}
	if _, err := live.Ask(t.run.Path, live.Request{Ask: "kill", Worker: t.worker}, answerWithin); err != nil {
		return err
	}
	fmt.Fprintf(a.err, "killed %s, pid %d, of run %s: its item runs elsewhere\n", t.worker, t.pid, t.run.ID)
	return nil
}

// killProcess ends a command of a run, or what one has started.
func (a *app) killProcess(t target) error {
	if t.pid == t.run.PID {
		return &tandem.Error{Op: "kill", On: fmt.Sprint(t.pid), Kind: tandem.KindInvalid, Message: "that is the run itself", Hint: "tandem kill " + t.run.ID}
	}
	p, ok := live.Look(t.pid)
	self, _ := live.Look(t.run.PID)
	if ok && ours(p, self) {
		return &tandem.Error{Op: "kill", On: fmt.Sprint(t.pid), Kind: tandem.KindInvalid, Message: "that is a part of Tandem, which holds the processes of run " + t.run.ID, Hint: "tandem kill " + t.run.ID + " stops the run"}
	}
	held, err := proc.Hold(t.pid)
	if err == nil {
		defer held.Close()
		err = held.Kill()
	}
	if err != nil {
		return killError(fmt.Sprint(t.pid), err)
	}
	fmt.Fprintf(a.err, "killed pid %d of run %s: %s\n", t.pid, t.run.ID, commandText(p))
	return nil
}

func killError(what string, err error) error {
	e := &tandem.Error{Op: "kill", On: what, Kind: tandem.KindInvalid, Message: err.Error(), Err: err}
	if errors.Is(err, proc.ErrNoProcess) {
		e.Message, e.Hint = "it is gone already", "tandem ps shows who is there"
	} else if proc.Denied(err) {
		e.Message, e.Hint = "it belongs to another user", "ask that user, or root"
	}
	return e
}

// killRun stops a run and waits until it has ended.
func (a *app) killRun(e runs.Entry, o killOptions) error {
	if e.State != runs.Running {
		return &tandem.Error{Op: "kill", On: e.ID, Kind: tandem.KindInvalid, Message: "it is not going on: " + fate(e), Hint: "tandem ps lists those that are"}
	}
	held, herr := proc.Hold(e.PID) // of another PID namespace it cannot be held
	if herr == nil {
		defer held.Close()
	}
	_, err := live.Ask(e.Path, live.Request{Ask: "stop", Now: o.now}, answerWithin)
	if errors.Is(err, live.ErrSilent) && herr != nil {
		return killError("run "+e.ID, herr)
	}
	if errors.Is(err, live.ErrSilent) { // the signals mean the same
		for range map[bool]int{false: 1, true: 2}[o.now] {
			if err = held.Terminate(); err != nil {
				return killError("run "+e.ID, err)
			}
			time.Sleep(50 * time.Millisecond) // two of a kind at a time are one
		}
	}
	if err != nil {
		return err
	}
	how := "what was read goes on to its end; --now ends it at once"
	if o.now {
		how = "at once"
	}
	fmt.Fprintf(a.err, "stopping run %s: %s\n", e.ID, how)
	if o.leave {
		return nil
	}
	for stillGoing(e) {
		time.Sleep(50 * time.Millisecond)
	}
	if herr == nil {
		held.Ended(5 * time.Second)
	}
	fmt.Fprintf(a.err, "run %s has ended\n", e.ID)
	return nil
}
