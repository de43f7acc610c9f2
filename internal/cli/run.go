package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"tandem"
	"tandem/engine"
	"tandem/internal/flowfile"
	"tandem/internal/lanes"
	"tandem/internal/proc"
)

// runOptions are the flags of run.
type runOptions struct {
	json, quiet bool
	progress    string
	params      []string
	resume      bool
	accept      bool
	retryFailed bool
	pin         bool
	items       []string
	attach      string // id of the run to go on with
	reports     []string
	drain       time.Duration
	cores       string
	lanes       string
}

func (a *app) runCommand() *cobra.Command {
	var o runOptions
	c := &cobra.Command{
		Use:   "run FLOW",
		Short: "Run a flow",
		Long: `Run a flow file: read its source, run every item through the steps, write one line per item to the sink.

Ctrl-C stops reading and lets everything accepted end; a second Ctrl-C stops at once. A run that was stopped, or killed, goes on with --resume.
Exit codes: 0 every item ended well · 1 some did not, or the run stopped early · 2 wrong usage or flow, nothing ran ·
3 stopped by the failure policy · 130 interrupted · 143 terminated.`,
		Example: `  tandem run flow.yaml
  tandem run flow.yaml --param photos=~/Pictures
  tandem run flow.yaml --resume                  go on where a stopped or killed run was
  tandem run flow.yaml --retry-failed            only what failed, from the file of failures: {save: …}
  tandem run flow.yaml --item photos/a.jpg       one item, its outcome on standard output
  tandem run flow.yaml --pin                     write what mode: auto has found into flow.yaml
  tandem run flow.yaml --json > report.json`,
		Args: takes(1, 1, "flow file"),
		RunE: func(_ *cobra.Command, args []string) error {
			if o.quiet {
				o.progress = "none"
			}
			if err := o.check(); err != nil {
				return err
			}
			return a.run(args[0], o)
		},
	}
	f := c.Flags()
	f.BoolVar(&o.json, "json", false, "print one JSON document with the totals at the end")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "print nothing but failures and the end")
	f.StringVar(&o.progress, "progress", "auto", "how to show progress: auto, tty, plain, json or none")
	f.StringArrayVar(&o.params, "param", nil, "set a parameter of the flow, NAME=VALUE; may be repeated")
	f.StringVar(&o.cores, "cores", "", "keep the core files of processes that die of a fault, each of at most this size, for example 64MiB")
	f.BoolVar(&o.resume, "resume", false, "go on with the run of this flow that was stopped or killed")
	f.BoolVar(&o.accept, "accept-changes", false, "with --resume: go on although flow, parameters or source have changed")
	f.BoolVar(&o.retryFailed, "retry-failed", false, "run only the items that failed, as failures: {save: …} has kept them")
	f.StringArrayVar(&o.items, "item", nil, "run only the item with this id, and write its outcome to standard output; may be repeated")
	f.StringArrayVar(&o.reports, "report", nil, "write a report: FILE.json has the totals, FILE.tsv a line per item; may be repeated")
	f.StringVar(&o.lanes, "lanes", "on", "keep what every worker did at every moment, for tandem report: on or off")
	f.BoolVar(&o.pin, "pin", false, "write what mode: auto has found into the flow file")
	f.DurationVar(&o.drain, "drain", 25*time.Second, "how long SIGTERM lets what was read go on; 0 means to its end")
	return c
}

func (o *runOptions) check() error {
	wrong := func(msg, hint string) error {
		return &tandem.Error{Op: "read the flags of", On: "tandem run", Kind: tandem.KindInvalid, Message: msg, Hint: hint}
	}
	if !slices.Contains([]string{"auto", "tty", "plain", "json", "none"}, o.progress) {
		return wrong("--progress "+o.progress, "want auto, tty, plain, json or none")
	}
	if o.lanes != "on" && o.lanes != "off" {
		return wrong("--lanes "+o.lanes, "want on or off")
	}
	if o.retryFailed && o.resume {
		return wrong("--resume and --retry-failed", "first let the run end with --resume, then retry what failed")
	}
	if len(o.items) > 0 && (o.retryFailed || o.resume) {
		return wrong("--item with --resume or --retry-failed", "--item runs one item by itself")
	}
	if o.pin && (len(o.items) > 0 || o.retryFailed) {
		return wrong("--pin with --item or --retry-failed", "what is to be pinned is measured in a run of the whole flow")
	}
	if o.accept && !o.resume {
		return wrong("--accept-changes without --resume", "it is about a run to go on with")
	}
	for _, path := range o.reports {
		if ext := filepath.Ext(path); ext != ".json" && ext != ".tsv" {
			return wrong("--report "+path, "want FILE.json for the totals or FILE.tsv for a line per item")
		}
	}
	return nil
}

// run runs a flow file. The error it returns means that nothing ran.
func (a *app) run(path string, o runOptions) error {
	file, err := flowfile.Load(path)
	if err != nil {
		return err
	}
	if err := file.SetParams(o.params); err != nil {
		return err
	}
	if o.json && (file.WritesStdout() || len(o.items) > 0) {
		return &tandem.Error{Op: "run", On: path, Kind: tandem.KindInvalid, Message: "the sink and --json both want standard output", Hint: `give the sink a file, or leave --json out`}
	}
	r := &running{a: a, o: o, file: file, begun: time.Now()}
	return r.run()
}

// running is one run of a flow from the command line.
type running struct {
	a     *app
	o     runOptions
	file  *flowfile.File
	begun time.Time
	kept  *kept           // nil when the run is not kept
	lanes *lanes.Recorder // nil when no picture is made
	again *flowfile.Again // with --retry-failed
	watch *watch
	fell  *fallen
	bar   *progress
	code  atomic.Int64   // of a signal; 0 when none came
	stops chan os.Signal // from the system, and from tandem kill
	told  atomic.Bool    // to stop
	live  *liveRun       // nil when the run is not kept

	remote *remote // of a run that a cluster works on
}

func (r *running) run() error {
	a := r.a
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	r.stops = make(chan os.Signal, 4)
	r.watch = a.newWatch(r.file.Path)
	tables, err := r.tables()
	if err != nil {
		return err
	}
	defer tables.close()
	var e *engine.Engine
	r.bar = a.newProgress(r.o.progress, func() engine.Progress { return e.Snapshot() })
	r.watch.print, r.watch.calm = r.bar.print, r.o.quiet
	proc.Notice(func(line string) { r.bar.print(a.yellow(printable(line))) })
	defer proc.Notice(nil)
	surroundings, err := r.surroundings()
	if err != nil {
		return err
	}
	r.fell = r.newFallen()
	r.live = r.newLive()
	defer r.live.close()
	r.lanes = r.openLanes()
	e = engine.New(engine.Config{Run: surroundings.Run, CoreDir: surroundings.CoreDir, Lanes: r.lanes, OnEvent: r.watch.event, OnOutput: r.watch.output, OnCrash: r.fell.add, OnEnded: func(t *tandem.Task) {
		r.watch.ended(t)
		tables.item(t)
	}})
	r.live.serve(e)
	r.watch.running = func() bool { return e.Snapshot().Items.In > 0 }
	defer r.signals(e, cancel)()

	surroundings.Ends = r.remote != nil
	flow, err := flowfile.Build(ctx, r.file, surroundings)
	if err == nil && r.remote != nil {
		flow, err = r.remote.send(ctx, r, flow)
	}
	if err != nil {
		if r.kept != nil {
			err = errors.Join(err, r.kept.abandon())
		}
		if c := r.code.Load(); c != 0 {
			return exitCode(c)
		}
		return err
	}
	r.watch.redact = flow.Redact
	if r.kept != nil && r.kept.Journal != nil {
		flow.Journal = r.kept
	}
	if r.remote != nil {
		defer r.remote.close()
	}
	r.bar.start()
	report, err := e.Run(ctx, flow)
	r.bar.stop()
	r.watch.flush()
	r.closeLanes(report.Outcome)
	r.live.close() // before the run is marked as ended
	report.Run = surroundings.Run
	return r.end(report, err, tables)
}

// surroundings opens what the run keeps and says what the flow is built for.
func (r *running) surroundings() (flowfile.Surroundings, error) {
	s := flowfile.Surroundings{Cache: cacheDir(), Python: os.Getenv("TANDEM_PYTHON"), Env: os.Environ(), Stdin: r.a.in, Stdout: r.a.out, Items: r.o.items, OnEvent: r.watch.event, Heard: r.watch.command}
	var err error
	if r.o.cores != "" {
		var ok bool
		if s.Core, ok = flowfile.ParseSize(r.o.cores); !ok || r.o.cores[len(r.o.cores)-1] != 'B' {
			return s, &tandem.Error{Op: "read --cores", On: r.o.cores, Kind: tandem.KindInvalid, Message: "want a size with its unit", Hint: "for example --cores 64MiB"}
		}
	}
	if r.remote != nil && r.remote.again != nil {
		s.Retried = r.remote.retried
	} else if r.o.retryFailed {
		if r.again, err = r.file.ReadFailed(); err != nil {
			return s, err
		}
		s.Again = r.again
	}
	if len(r.o.items) > 0 {
		s.Run = runID(r.begun)
		s.Tmp, err = os.MkdirTemp("", "tandem")
		return s, err
	}
	if r.kept, err = r.a.keep(r.file, r.o, r.bar.print); err != nil {
		return s, err
	}
	if r.kept == nil {
		s.Run = runID(r.begun)
		s.Tmp, err = os.MkdirTemp("", "tandem")
		return s, err
	}
	s.Run, s.Tmp, s.CoreDir = r.kept.dir.Run().ID, r.kept.dir.Temp(), r.kept.dir.Cores()
	if st := r.kept.State; st != nil {
		var n int64
		for _, c := range st.Counts {
			n += c
		}
		s.Resume, s.Position, s.Ended = n > 0, st.Position, st.Has // a run that was killed early may not have made its sink
		r.bar.print(r.a.dim(fmt.Sprintf("going on with run %s: %s items had ended", s.Run, count(n))))
	}
	return s, nil
}

// signals listens until the returned function is called: the first drains, the second stops. A drain that SIGTERM asked for has a limit.
func (r *running) signals(e *engine.Engine, cancel context.CancelCauseFunc) (stop func()) {
	signals := r.stops
	signal.Notify(signals, os.Interrupt, proc.Terminate)
	ended, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		var late <-chan time.Time
		for n := 0; ; n++ {
			select {
			case s := <-signals:
				r.told.Store(true)
				r.code.CompareAndSwap(0, int64(map[os.Signal]int{os.Interrupt: exitInterrupted}[s]))
				r.code.CompareAndSwap(0, exitTerminated)
				if n > 0 {
					r.bar.print(r.a.yellow("stopping at once"))
					cancel(tandem.ErrInterrupted)
					continue
				}
				r.bar.print(r.a.yellow("stopping: no new items; what was read goes on to its end. Once more stops at once."))
				e.Drain()
				if s == proc.Terminate && r.o.drain > 0 {
					late = time.After(r.o.drain)
				}
			case <-late:
				r.bar.print(r.a.yellow(fmt.Sprintf("not done %v after SIGTERM (--drain): stopping at once", r.o.drain)))
				cancel(tandem.ErrInterrupted)
			case <-ended:
				return
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		close(ended)
		<-gone
	}
}

// end reports how the run ended, keeps what is to be kept, and finds the exit code.
func (r *running) end(report engine.Report, err error, tables *tables) error {
	a := r.a
	if r.bar.mode == "json" { // to its last line
		b := *a
		b.err = r.bar
		a = &b
	}
	if werr := tables.totals(report); werr != nil {
		a.fail(werr)
	}
	if r.o.json {
		if werr := json.NewEncoder(a.out).Encode(report); werr != nil {
			return &tandem.Error{Op: "write", On: "standard output", Kind: tandem.KindSink, Message: werr.Error(), Err: werr}
		}
	}
	if err != nil && !errors.Is(err, tandem.ErrInterrupted) {
		a.fail(err)
	}
	whole := err == nil && report.Items.Canceled == 0
	neverRan := err != nil && report.Items.In == 0 && report.Before == nil && r.code.Load() == 0 && !isKind(err, tandem.KindSink) && !isKind(err, tandem.KindJournal)
	if r.again != nil && whole {
		if terr := r.again.Tried(); terr != nil {
			a.fail(terr)
		}
	}
	var skipped int64
	if r.kept != nil && r.kept.Journal != nil && !whole {
		skipped = r.kept.Skipped()
	}
	switch {
	case r.kept == nil:
	case neverRan:
		if kerr := r.kept.abandon(); kerr != nil {
			a.fail(kerr)
		}
	default:
		if r.remote != nil {
			r.remote.ended(report, whole, err)
		}
		if kerr := r.kept.close(report, whole || r.kept.Journal == nil || r.remote.canceled(err)); kerr != nil && err == nil {
			a.fail(kerr)
		}
	}
	if !neverRan {
		a.summary(report, r.file, r.watch)
		r.fell.summary()
		if r.o.pin {
			if perr := a.pin(r.file, report); perr != nil {
				a.fail(perr)
			}
		}
		if r.kept != nil && r.kept.Journal != nil && !whole && !r.remote.canceled(err) && len(r.o.items) == 0 && !r.file.WritesStdout() {
			goOn := "tandem run " + shellWord(r.file.Path) + " --resume"
			if r.remote != nil {
				goOn = "tandem attach " + r.kept.dir.Run().ID
			}
			fmt.Fprintf(a.err, "  go on with: %s\n", goOn)
			if skipped > 0 {
				fmt.Fprintf(a.err, "  %s of steps too large for the journal (above 1 MiB): those steps would run again\n", plural(skipped, "result"))
			}
		}
	}
	switch {
	case r.code.Load() != 0:
		return exitCode(r.code.Load())
	case neverRan:
		return exitCode(exitUsage)
	case isKind(err, tandem.KindFailures):
		return exitCode(exitPolicy)
	case err != nil || report.Items.Bad() > 0 || report.Items.Unwritten > 0 || report.Before != nil && report.Before.Bad() > 0:
		return exitCode(exitItems)
	}
	return nil
}

func isKind(err error, kind string) bool {
	e, ok := errors.AsType[*tandem.Error](err)
	return ok && e.Kind == kind
}

// runID names a run that is not kept: its second and its process.
func runID(t time.Time) string {
	return t.UTC().Format("20060102-150405") + fmt.Sprintf("-%d", os.Getpid())
}
