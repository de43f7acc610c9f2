package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"tandem"
	"tandem/engine"
	"tandem/internal/flowfile"
	"tandem/internal/proc"
)

func (a *app) runCommand() *cobra.Command {
	var asJSON, quiet bool
	var mode string
	c := &cobra.Command{
		Use:   "run FLOW",
		Short: "Run a flow",
		Long: `Run a flow file: read its source, run every item through the steps, write one line per item to the sink.

Ctrl-C stops reading and lets everything accepted end; a second Ctrl-C stops at once.
Exit codes: 0 every item ended well · 1 some did not, or the run stopped early · 2 wrong usage or flow, nothing ran ·
130 interrupted · 143 terminated.`,
		Example: "  tandem run flow.yaml\n  tandem run flow.yaml --json > report.json",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if quiet {
				mode = "none"
			}
			switch mode {
			case "auto", "tty", "plain", "none":
			default:
				return &tandem.Error{Op: "read the flags of", On: "tandem run", Kind: tandem.KindInvalid, Message: "--progress " + mode, Hint: "want auto, tty, plain or none"}
			}
			return a.run(args[0], asJSON, mode)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON document with the totals at the end")
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "print nothing but failures and the end")
	c.Flags().StringVar(&mode, "progress", "auto", "how to show progress: auto, tty, plain or none")
	return c
}

// run runs a flow file. The error it returns means that nothing ran.
func (a *app) run(path string, asJSON bool, mode string) error {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	file, err := flowfile.Load(path)
	if err != nil {
		return err
	}
	if asJSON && file.WritesStdout() {
		return &tandem.Error{Op: "run", On: path, Kind: tandem.KindInvalid, Message: "the sink and --json both want standard output", Hint: `give the sink a file, or leave --json out`}
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, proc.Terminate)
	defer signal.Stop(signals)

	var e *engine.Engine
	watch := a.newWatch(file.Name)
	e = engine.New(engine.Config{OnEvent: watch.event, OnOutput: watch.output, OnEnded: watch.ended})
	var code atomic.Int64
	bar := a.newProgress(mode, e.Snapshot)
	watch.print, watch.running = bar.print, func() bool { return e.Snapshot().Items.In > 0 }
	ended := make(chan struct{})
	go func() {
		for n := 0; ; n++ {
			select {
			case s := <-signals:
				code.CompareAndSwap(0, int64(map[os.Signal]int{os.Interrupt: exitInterrupted}[s]))
				code.CompareAndSwap(0, exitTerminated)
				if n == 0 {
					bar.print(a.yellow("stopping: no new items; what was read goes on to its end. Once more stops at once."))
					e.Drain()
				} else {
					bar.print(a.yellow("stopping at once"))
					cancel(tandem.ErrInterrupted)
				}
			case <-ended:
				return
			}
		}
	}()
	defer close(ended)

	begun := time.Now()
	flow, err := flowfile.Build(ctx, file, flowfile.Surroundings{Cache: cacheDir(), Python: os.Getenv("TANDEM_PYTHON"), Env: os.Environ(), Stdin: a.in, Stdout: a.out})
	if err != nil {
		if c := code.Load(); c != 0 {
			return exitCode(c)
		}
		return err
	}
	bar.start()
	report, err := e.Run(ctx, flow)
	bar.stop()
	watch.flush()
	report.Run = runID(begun)
	if asJSON {
		enc := json.NewEncoder(a.out)
		if werr := enc.Encode(report); werr != nil {
			return &tandem.Error{Op: "write", On: "standard output", Kind: tandem.KindSink, Message: werr.Error(), Err: werr}
		}
	}
	if err != nil && !errors.Is(err, tandem.ErrInterrupted) {
		a.fail(err)
	}
	neverRan := err != nil && report.Items.In == 0 && code.Load() == 0 && !isSink(err)
	if !neverRan {
		a.summary(report, file, watch)
	}
	switch {
	case code.Load() != 0:
		return exitCode(code.Load())
	case neverRan:
		return exitCode(exitUsage)
	case err != nil || report.Items.Bad() > 0 || report.Items.Unwritten > 0:
		return exitCode(exitItems)
	}
	return nil
}

func isSink(err error) bool {
	e, ok := errors.AsType[*tandem.Error](err)
	return ok && e.Kind == tandem.KindSink
}

// runID names a run: its second and its process.
func runID(t time.Time) string {
	return t.UTC().Format("20060102-150405") + fmt.Sprintf("-%d", os.Getpid())
}
