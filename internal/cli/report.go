package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tandem"
	"tandem/internal/proc"
	"tandem/internal/report"
	"tandem/internal/runs"
)

type reportFlags struct {
	out   string
	serve bool
}

func (a *app) reportCommand() *cobra.Command {
	var f reportFlags
	c := &cobra.Command{
		Use:   "report [RUN]",
		Short: "Write the report of a run: what became of it, what held it up, what every worker did when",
		Long: `Write what is known of a run, by default the latest, into one file: ended, stopped, killed or still going on.

The ending of the file says what it will be: .html is a page that needs no network and no other file; .pftrace is a trace for ui.perfetto.dev; .json is
for programs. With --serve the page is shown at an address of this machine and follows a run that goes on, until Ctrl-C.
How to read it: docs/howto/read-a-report.md.`,
		Example: `  tandem report                                        the latest run, to report.html
  tandem report 20260301-101500-ab3de -o night.html
  tandem report -o trace.pftrace
  tandem report --serve`,
		Args: takes(0, 1, "run"),
		RunE: func(c *cobra.Command, args []string) error {
			if f.serve && c.Flags().Changed("output") {
				return reportWrong("--serve and -o", "the one shows a page, the other writes a file")
			}
			return a.report(append(args, "")[0], f)
		},
	}
	c.Flags().StringVarP(&f.out, "output", "o", "report.html", "the file to write: FILE.html, FILE.pftrace or FILE.json")
	c.Flags().BoolVar(&f.serve, "serve", false, "show the page at an address of this machine, and follow the run")
	return c
}

func reportWrong(msg, hint string) error {
	return &tandem.Error{Op: "read the flags of", On: "tandem report", Kind: tandem.KindInvalid, Message: msg, Hint: hint}
}

func (a *app) report(id string, f reportFlags) error {
	write, ok := report.Formats[filepath.Ext(f.out)]
	if !ok {
		endings := slices.Sorted(maps.Keys(report.Formats))
		return reportWrong("-o "+f.out, "want a name that ends in one of "+strings.Join(endings, ", "))
	}
	run, ok, err := a.runOf(id)
	if err == nil && !ok {
		err = noRun(id)
	}
	if err != nil {
		return err
	}
	if f.serve {
		return a.serveReport(run.ID)
	}
	d, err := report.Gather(run, time.Now())
	if err != nil {
		return err
	}
	if err := writeWhole(f.out, func(w io.Writer) error { return write(d, w) }); err != nil {
		return &tandem.Error{Op: "write the report", On: f.out, Kind: tandem.KindFile, Message: err.Error(), Hint: "name a file in a directory that is there and can be written", Err: err}
	}
	fmt.Fprintln(a.err, printable(d.Sentence))
	fmt.Fprintln(a.err, a.dim("run "+run.ID+" → ")+printable(f.out))
	if run.State == runs.Running && filepath.Ext(f.out) == ".html" {
		fmt.Fprintln(a.err, a.dim("it goes on; tandem report "+run.ID+" --serve follows it"))
	}
	return nil
}

// writeWhole writes a file that is there as a whole, or not.
func writeWhole(path string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".tandem-report-*")
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// serveReport shows the page until it is told to stop.
func (a *app) serveReport(id string) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return &tandem.Error{Op: "show the report", On: id, Kind: tandem.KindNetwork, Message: err.Error(), Err: err}
	}
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: report.Handler(func() (*report.Document, error) {
		run, ok, err := a.runOf(id)
		if err == nil && !ok {
			err = noRun(id)
		}
		if err != nil {
			return nil, err
		}
		return report.Gather(run, time.Now())
	})}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, proc.Terminate)
	defer stop()
	gone := make(chan error, 1)
	go func() { gone <- server.Serve(listener) }()
	fmt.Fprintf(a.err, "the report of run %s: http://%s/\n", id, listener.Addr())
	fmt.Fprintln(a.err, a.dim("Ctrl-C ends it"))
	select {
	case err = <-gone:
		return err
	case <-ctx.Done():
	}
	err = server.Close()
	if serr := <-gone; !errors.Is(serr, http.ErrServerClosed) {
		err = serr
	}
	return err
}
