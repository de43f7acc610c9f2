// Package cli is the tandem command: the only place that reads flags, environment and signals and that decides exit codes.
//
// Output rules: standard output carries data only (items of `into: {jsonl: "-"}`, the document of --json, a schema). Everything for the
// person goes to standard error. Colour only on a terminal and without NO_COLOR. An error names what was done, to what, why, and what to do next.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"tandem"
	"tandem/internal/demo"
	"tandem/worker"
)

// Exit codes; docs/cli.md explains them.
const (
	exitOK          = 0
	exitItems       = 1 // some items did not end well, or the run stopped early
	exitUsage       = 2 // wrong usage or flow; nothing ran
	exitPolicy      = 3 // the failure policy stopped the run
	exitInterrupted = 130
	exitTerminated  = 143
)

// Version is set by the build.
var Version = "dev"

// app is one invocation.
type app struct {
	in       io.Reader
	out, err io.Writer
	colour   bool
	tty      bool
	width    func() int
}

// exitCode ends the command with a code; the person has been told already.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// Main runs the command line and returns the exit code.
func Main(args []string) int {
	worker.Handle("thumb", func(_ context.Context, path string) ([]byte, error) { return demo.Thumb(path) })
	worker.Main() // this binary is also a worker: `worker: [tandem]` with `handler: thumb`
	a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr, tty: term.IsTerminal(int(os.Stderr.Fd()))}
	a.colour = a.tty && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	a.width = func() int {
		if w, _, err := term.GetSize(int(os.Stderr.Fd())); err == nil && w > 0 {
			return w
		}
		return 100
	}
	return a.main(args)
}

func (a *app) main(args []string) int {
	root := a.root()
	root.SetArgs(args)
	root.SetOut(a.out)
	root.SetErr(a.err)
	err := root.Execute()
	var code exitCode
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &code):
		return int(code)
	}
	a.fail(err)
	return exitUsage
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "tandem",
		Short: "Run mixed work: compute in worker processes, waiting in goroutines, bounded queues between",
		Long: `Tandem runs mixed work: work that computes and work that waits.
Compute runs in a pool of isolated worker processes, waiting runs in goroutines, bounded queues join the two.
A crash costs one item, a timeout really kills.`,
		Example: `  tandem demo                    see it run: photos through a process pool, uploads beside it
  tandem init python             write a flow to begin with
  tandem check flow.yaml         find mistakes without running anything
  tandem run flow.yaml           run a flow
  tandem run flow.yaml --json    and print one document with the totals
  tandem ps                      see the runs that are going on, every worker and its item
  ls *.png | tandem map convert {} {.}.jpg    run a command for every line, several at a time`,
		SilenceErrors: true, SilenceUsage: true, Version: versionLine(),
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.AddCommand(a.runCommand(), a.mapCommand(), a.initCommand(), a.checkCommand(), a.schemaCommand(), a.runsCommand(), a.psCommand(), a.topCommand(), a.logsCommand(), a.dumpCommand(), a.killCommand(), a.crashesCommand(), a.reportCommand(), a.submitCommand(), a.attachCommand(), a.nodeCommand(), a.nodesCommand(), a.dlqCommand(), a.profileCommand(), a.compareCommand(), a.labCommand(), a.adviseCommand(), a.labPartCommand(), a.demoCommand(), a.doctorCommand(), a.versionCommand(), a.thumbCommand())
	root.CompletionOptions.HiddenDefaultCmd = false
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &tandem.Error{Op: "read the flags of", On: c.CommandPath(), Kind: tandem.KindInvalid, Message: err.Error(), Hint: suggestFlag(c, err.Error())}
	})
	return root
}

// suggestFlag finds the flag a person may have meant.
func suggestFlag(c *cobra.Command, msg string) string {
	_, wrong, ok := strings.Cut(msg, "unknown flag: --")
	if !ok {
		return "see " + c.CommandPath() + " --help"
	}
	best, least := "", 3
	for _, name := range flagNames(c) {
		if d := distance(wrong, name); d < least {
			best, least = name, d
		}
	}
	if best == "" {
		return "see " + c.CommandPath() + " --help"
	}
	return "did you mean --" + best + "?"
}

// fail prints an error for a person: what, why, its own trace, what to do next.
func (a *app) fail(err error) {
	var many interface{ Unwrap() []error }
	if errors.As(err, &many) {
		for _, one := range many.Unwrap() {
			a.fail(one)
		}
		return
	}
	e, ok := errors.AsType[*tandem.Error](err)
	if !ok {
		fmt.Fprintln(a.err, a.red("error: ")+printable(err.Error()))
		return
	}
	if e.Trace != "" {
		fmt.Fprintln(a.err, indent(printable(strings.TrimRight(e.Trace, "\n"))))
	}
	fmt.Fprintln(a.err, a.red("error: ")+printable(e.Error()))
	if e.Hint != "" {
		fmt.Fprintln(a.err, "  hint: "+printable(e.Hint))
	}
}

func (a *app) red(s string) string    { return a.paint("31", s) }
func (a *app) green(s string) string  { return a.paint("32", s) }
func (a *app) yellow(s string) string { return a.paint("33", s) }
func (a *app) dim(s string) string    { return a.paint("2", s) }

func (a *app) paint(code, s string) string {
	if !a.colour {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// cacheDir is where built workers are kept.
func cacheDir() string {
	if d := os.Getenv("TANDEM_HOME"); d != "" {
		return filepath.Join(d, "cache")
	}
	if d, err := os.UserCacheDir(); err == nil {
		if dir := filepath.Join(d, "tandem"); os.MkdirAll(dir, 0o755) == nil {
			return dir
		}
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("tandem-%d", os.Getuid()))
}
