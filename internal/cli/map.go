package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"tandem"
	"tandem/internal/flowfile"
	"tandem/internal/handler"
	"tandem/internal/mapper"
	"tandem/internal/measure"
	"tandem/internal/proc"
)

const exitStopped = 3 // stopped early by --halt

// mapFlags are the flags of tandem map as they were written.
type mapFlags struct {
	jobs, shell, python, file, timeout, halt, joblog, memory, progress, isolation string
	null, keep, tag, lines, resume, resumeFailed, dry, json, quiet                bool
	retries                                                                       int
}

func (a *app) mapCommand() *cobra.Command {
	var f mapFlags
	c := &cobra.Command{
		Use:   "map [flags] CMD [ARG…] < inputs",
		Short: "Run a command once for every line of input, several at a time",
		Long: `Run a command once for every line of standard input, several at a time: a better xargs and GNU parallel.

In CMD and its arguments {} is the input, {.} without its extension, {/} its base name, {//} its directory, {/.} the base name without
extension, {#} the number of the input from 1, {%} the number of the slot from 1. Without any of them the input becomes the last
argument. There is no shell unless --shell asks for one. Flags of tandem come before CMD.

Inputs are lines (-0: end with a zero byte) of standard input, of -a FILE, or the arguments behind ":::".
What a command prints is written whole when it ends. -j auto, the default, finds out how many at a time are useful, and says why at the end.
Ctrl-C starts nothing more and lets what runs end; a second Ctrl-C kills it.
Exit codes: 0 all ended well · 1 some did not · 2 wrong usage, nothing ran · 3 stopped by --halt · 130 interrupted · 143 terminated.`,
		Example: `  ls *.png | tandem map convert {} {.}.jpg
  find . -name '*.log' -print0 | tandem map -0 gzip
  tandem map -j 8 --tag --timeout 10s ping -c1 {} ::: host1 host2 host3
  tandem map --joblog log --resume --retries 2 curl -fsSO < urls
  tandem map --shell 'sort {} | uniq -c > {.}.counts' ::: *.txt
  tandem map -k --python words.py:count < pages`,
		RunE: func(c *cobra.Command, args []string) error { return a.mapRun(c, f, args) },
	}
	c.Flags().SetInterspersed(false)
	s := c.Flags()
	s.StringVarP(&f.jobs, "jobs", "j", "auto", "commands at a time: a number, N% of the cores, or auto")
	s.BoolVarP(&f.null, "null", "0", false, "inputs end with a zero byte instead of a line end")
	s.StringVarP(&f.file, "arg-file", "a", "", "read the inputs from this file")
	s.BoolVarP(&f.keep, "keep-order", "k", false, "write output in the order of the inputs")
	s.BoolVar(&f.tag, "tag", false, "put the input and a tab in front of each line of output")
	s.BoolVar(&f.lines, "line-buffer", false, "write whole lines as they come, instead of a command's output when it ends")
	s.StringVar(&f.timeout, "timeout", "", "kill a command that runs longer, such as 30s")
	s.IntVar(&f.retries, "retries", 0, "run a command that failed again, up to so many times")
	s.StringVar(&f.halt, "halt", "never", "stop early: now|soon,fail|success|done=N, or fail=N%")
	s.StringVar(&f.joblog, "joblog", "", "write a line for each command to this file")
	s.BoolVar(&f.resume, "resume", false, "with --joblog: do not run what is in the log already")
	s.BoolVar(&f.resumeFailed, "resume-failed", false, "with --joblog: the same, but run again what failed")
	s.StringVar(&f.memory, "memory", "", "start nothing while less memory is free, such as 2GiB")
	s.StringVar(&f.shell, "shell", "", "a script for sh in place of CMD; the input is $1")
	s.StringVar(&f.python, "python", "", "a Python function in place of CMD: module:function or file.py:function")
	s.StringVar(&f.isolation, "isolation", "", "how far commands are kept from the machine: none, process, sandbox, or {level: sandbox, memory: 512MiB, …} as in a flow file")
	s.BoolVar(&f.dry, "dry-run", false, "print the commands instead of running them")
	s.StringVar(&f.progress, "progress", "auto", "how to show progress: auto, tty, plain, json or none")
	s.BoolVarP(&f.quiet, "quiet", "q", false, "print nothing of our own but failures")
	s.BoolVar(&f.json, "json", false, "print one JSON document at the end; what commands print goes to standard error")
	return c
}

func mapWrong(msg, hint string) error {
	return &tandem.Error{Op: "read the flags of", On: "tandem map", Kind: tandem.KindInvalid, Message: msg, Hint: hint}
}

// mapJob is a map that was read from flags.
type mapJob struct {
	flags mapFlags
	cfg   mapper.Config
	total int64 // inputs, or -1
	how   mapper.Resume
	close func()
}

// readMap turns flags and arguments into what to run; nothing is opened yet but the input.
func (a *app) readMap(f mapFlags, args []string) (*mapJob, error) {
	j := &mapJob{flags: f, total: -1, close: func() {}}
	j.cfg = mapper.Config{Stdout: a.out, Stderr: a.err, Keep: f.keep, Tag: f.tag, Lines: f.lines, Retries: f.retries, Cores: measure.FindCores().Effective()}
	cmd, list, listed, err := cutList(args)
	if err != nil {
		return nil, err
	}
	if err := j.command(cmd); err != nil {
		return nil, err
	}
	if j.cfg.Jobs, err = parseJobs(f.jobs, j.cfg.Cores); err != nil {
		return nil, err
	}
	if j.cfg.Halt, err = mapper.ParseHalt(f.halt); err != nil {
		return nil, err
	}
	if f.timeout != "" {
		if j.cfg.Timeout, err = parseSeconds(f.timeout); err != nil {
			return nil, err
		}
	}
	if f.memory != "" {
		var ok bool
		if j.cfg.Memory, ok = flowfile.ParseSize(f.memory); !ok {
			return nil, mapWrong("--memory "+f.memory+" is no size", "for example --memory 500MiB or 2GiB")
		}
	}
	switch {
	case f.retries < 0:
		return nil, mapWrong(fmt.Sprintf("--retries %d", f.retries), "want 0 or more")
	case !slices.Contains([]string{"auto", "tty", "plain", "json", "none"}, f.progress):
		return nil, mapWrong("--progress "+f.progress, "want auto, tty, plain, json or none")
	case f.lines && f.keep:
		return nil, mapWrong("--line-buffer writes lines as they come, -k in the order of the inputs", "choose one")
	case (f.resume || f.resumeFailed) && f.joblog == "":
		return nil, mapWrong("--resume needs the log of the run before", "add --joblog FILE")
	case listed && f.file != "":
		return nil, mapWrong("the inputs are given twice: -a and :::", "choose one")
	case f.python != "" && (f.memory != "" || f.lines):
		return nil, mapWrong("--memory and --line-buffer are for commands, not for --python", "")
	}
	if f.isolation != "" {
		j.cfg.Contained = true
		if j.cfg.Limits.Memory, j.cfg.Isolation, err = mapIsolation(f.isolation); err != nil {
			return nil, err
		}
		if err := j.fits(cmd); err != nil {
			return nil, err
		}
	}
	if f.resume {
		j.how = mapper.SkipDone
	}
	if f.resumeFailed {
		j.how = mapper.SkipOK
	}
	if f.json {
		j.cfg.Stdout = a.err
	}
	return j, a.inputs(j, list, listed)
}

// fits tries whether the command can begin at all in its isolation: what never can is told once, before the first input.
func (j *mapJob) fits(cmd []string) error {
	if j.flags.shell != "" {
		cmd = []string{"sh"}
	}
	if j.flags.python != "" || len(cmd) == 0 || strings.Contains(cmd[0], "{") {
		return nil
	}
	box := j.cfg.Isolation
	if box.Sandbox || len(box.Read)+len(box.Write) > 0 {
		if file, dir := handler.Hidden(cmd[0], box); file != "" {
			return mapWrong("the sandbox hides "+file+", without which "+cmd[0]+" does not run", "let it be read: --isolation '{level: sandbox, files: {read: ["+dir+"]}}'")
		}
	}
	if who, small := handler.TooSmall(context.Background(), cmd, os.Environ(), "", j.cfg.Limits, box); small {
		return mapWrong("memory: "+proc.Bytes(j.cfg.Limits.Memory)+" is less than "+who+" needs to begin with", "raise it")
	}
	return nil
}

// cutList cuts the arguments at ":::".
func cutList(args []string) (cmd, list []string, listed bool, err error) {
	i := slices.Index(args, ":::")
	if i < 0 {
		return args, nil, false, nil
	}
	if k := slices.IndexFunc(args[i+1:], func(s string) bool { return strings.HasPrefix(s, ":::") }); k >= 0 {
		return nil, nil, false, mapWrong("more than one list of inputs (:::)", "combine them before, for example with a loop of the shell")
	}
	return args[:i], args[i+1:], true, nil
}

func (j *mapJob) command(cmd []string) (err error) {
	switch f := j.flags; {
	case f.shell != "" && f.python != "":
		return mapWrong("--shell and --python exclude each other", "choose one")
	case (f.shell != "" || f.python != "") && len(cmd) > 0:
		return mapWrong(fmt.Sprintf("--shell and --python stand in place of a command, and here is %q too", cmd[0]), "flags come before the command; inputs follow :::")
	case f.shell != "":
		j.cfg.Command, err = mapper.ParseShell(f.shell)
	case f.python != "":
		j.cfg.Command, err = mapper.Parse([]string{f.python})
	default:
		j.cfg.Command, err = mapper.Parse(cmd)
	}
	return err
}

// inputs opens where the inputs come from.
func (a *app) inputs(j *mapJob, list []string, listed bool) error {
	if listed {
		j.cfg.Inputs, j.total = mapper.List(list), int64(len(list))
		return nil
	}
	separator := byte('\n')
	if j.flags.null {
		separator = 0
	}
	in, name := a.in, "standard input"
	if j.flags.file != "" && j.flags.file != "-" {
		f, err := os.Open(j.flags.file)
		if err != nil {
			return &tandem.Error{Op: "read the inputs from", On: j.flags.file, Kind: tandem.KindInvalid, Message: reasonOf(err), Err: err}
		}
		in, name, j.close = f, j.flags.file, func() { f.Close() }
	}
	if f, ok := in.(*os.File); ok {
		r, err := proc.NewStoppable(f)
		if err != nil {
			return err
		}
		in, j.cfg.StopInputs = r, r.Stop
		before := j.close
		j.close = func() { r.Close(); before() }
	}
	j.cfg.Inputs = mapper.Inputs(name, in, separator)
	return nil
}

func reasonOf(err error) string {
	if p, ok := errors.AsType[*os.PathError](err); ok {
		return p.Err.Error()
	}
	return err.Error()
}

// parseJobs reads auto, 8 or 50%; zero means auto.
func parseJobs(s string, cores int) (int, error) {
	if s == "auto" {
		return 0, nil
	}
	digits, percent := strings.CutSuffix(s, "%")
	n, err := strconv.Atoi(digits)
	if err != nil || n < 1 || n > 1_000_000 {
		return 0, mapWrong("-j "+s, "want a number, such as 8, a share of the cores, such as 200%, or auto")
	}
	if percent {
		n = max(1, n*cores/100)
	}
	return n, nil
}

// parseSeconds reads 30s, 1m30s, or a number of seconds.
func parseSeconds(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if n, nerr := strconv.ParseFloat(s, 64); nerr == nil {
		d, err = time.Duration(n*float64(time.Second)), nil
		if !(n < math.MaxInt64/1e9) {
			d = 0
		}
	}
	if err != nil || d <= 0 {
		return 0, mapWrong("--timeout "+s, "for example --timeout 30s, 5m, or a number of seconds")
	}
	return d, nil
}

// runner is a run of commands or of a Python function.
type runner interface {
	Run(ctx context.Context) (mapper.Report, error)
	Stop()
	Snapshot() mapper.Snapshot
}

func (a *app) mapRun(c *cobra.Command, f mapFlags, args []string) error {
	if in, ok := a.in.(*os.File); ok && f.file == "" && !slices.Contains(args, ":::") && term.IsTerminal(int(in.Fd())) {
		c.SetOut(a.err)
		_ = c.Help()
		return mapWrong("no inputs: standard input is a terminal", "give them through a pipe, with -a FILE, or behind :::")
	}
	j, err := a.readMap(f, args)
	if err != nil {
		return err
	}
	defer j.close()
	if f.dry {
		return mapper.DryRun(j.cfg.Command, j.cfg.Inputs, a.out)
	}
	if f.joblog != "" {
		if j.cfg.Log, err = mapper.OpenJobLog(f.joblog, j.how); err != nil {
			return err
		}
	}
	return a.mapLive(j)
}

func (a *app) mapLive(j *mapJob) error {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	bar := a.newMapBar(j)
	j.cfg.Stdout, j.cfg.Stderr, j.cfg.OnNotice = bar.over(j.cfg.Stdout), bar.over(j.cfg.Stderr), bar.print
	var r runner = mapper.New(j.cfg)
	if j.flags.python != "" {
		var err error
		if r, err = a.python(j, bar); err != nil {
			return err
		}
	}
	var code atomic.Int64
	// A write that nobody reads is an error of that write, which ends the run in order; as a signal it would end us and leave children of children behind.
	signals, pipes := make(chan os.Signal, 4), make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, proc.Terminate)
	signal.Notify(pipes, proc.BrokenPipe)
	defer signal.Stop(signals)
	defer signal.Stop(pipes)
	var hears sync.WaitGroup
	ended := make(chan struct{})
	hears.Go(func() {
		for n := 0; ; n++ {
			select {
			case s := <-signals:
				code.CompareAndSwap(0, int64(map[os.Signal]int{os.Interrupt: exitInterrupted}[s]))
				code.CompareAndSwap(0, exitTerminated)
				if n == 0 {
					bar.print(fmt.Sprintf("stopping: nothing more is started; %d still run. Once more kills them.", r.Snapshot().Running))
					r.Stop()
				} else {
					bar.print("killing what runs")
					cancel(tandem.ErrInterrupted)
				}
			case <-ended:
				return
			}
		}
	})
	begun := time.Now()
	bar.start(r.Snapshot)
	hide := a.showMap(mapName(j), r, signals, bar.print)
	report, err := r.Run(ctx)
	hide()
	bar.stop()
	close(ended)
	hears.Wait()
	return a.mapEnd(j, report, err, begun, int(code.Load()))
}

// mapEnd tells how it went and decides the exit code.
func (a *app) mapEnd(j *mapJob, r mapper.Report, err error, begun time.Time, code int) error {
	if err != nil && r.In == 0 && r.Skipped == 0 && code == 0 && !isKind(err, tandem.KindSink) {
		return err
	}
	if j.flags.json {
		if werr := writeMapReport(a.out, j, r, err, begun); werr != nil && err == nil {
			err = werr
		}
	}
	unread := errors.Is(err, proc.ErrPipe)
	if err != nil && !errors.Is(err, tandem.ErrInterrupted) && !unread {
		a.fail(err)
	}
	if !j.flags.quiet || r.Bad() > 0 {
		a.mapSummary(r, err, unread)
	}
	switch {
	case code != 0:
		return exitCode(code)
	case err != nil:
		return exitCode(exitItems)
	case r.Halted != "" && j.cfg.Halt.Bad():
		return exitCode(exitStopped)
	case r.Halted != "" && j.cfg.Halt.What == "success":
		return nil
	case r.Bad() > 0:
		return exitCode(exitItems)
	}
	return nil
}
