package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"tandem"
	"tandem/internal/lab"
	"tandem/internal/proc"
)

type labFlags struct {
	out   []string
	only  []string
	quick bool
	json  bool
}

func (a *app) labCommand() *cobra.Command {
	var f labFlags
	c := &cobra.Command{
		Use:   "lab",
		Short: "Measure on this machine what processes, threads, goroutines, virtual threads and event loops cost",
		Long: `Measure on this machine, in about a minute, what articles assert: what processes, threads, goroutines, Python threads and processes, JVM platform and virtual
threads, asyncio tasks and Node workers cost to make, to keep, to switch between and to talk to; what a crash takes with it; four computing tasks and four
waits, one after the other and together; 10 000 waits at once; 256 MB shared with another. Each figure says what it means for a design.

What is not installed is said and left out. The result is kept for tandem advise, unless --only left something out.
Experiments: ` + strings.Join(lab.Names(), ", ") + `.`,
		Example: `  tandem lab
  tandem lab -o lab.html -o lab.json
  tandem lab --quick --only cpu --only wait`,
		Args: takes(0, 0, "argument"),
		RunE: func(c *cobra.Command, _ []string) error { return a.lab(f) },
	}
	s := c.Flags()
	s.StringArrayVarP(&f.out, "output", "o", nil, "write the result to this file: .html with plots, or .json; may be repeated")
	s.StringArrayVar(&f.only, "only", nil, "only this experiment; may be repeated")
	s.BoolVar(&f.quick, "quick", false, "smaller sizes and shorter waits: a third of the time, rougher figures")
	s.BoolVar(&f.json, "json", false, "print one JSON document")
	return c
}

// labPartCommand is the Go side of an experiment, in a process of its own.
func (a *app) labPartCommand() *cobra.Command {
	quick := false
	c := &cobra.Command{Use: "lab-part NAME", Hidden: true, Args: cobra.ExactArgs(1), RunE: func(_ *cobra.Command, args []string) error {
		if args[0] == lab.CrashName {
			lab.CrashPart()
		}
		return lab.Part(args[0], quick, a.out)
	}}
	c.Flags().BoolVar(&quick, "quick", false, "")
	return c
}

func labFile() string { return filepath.Join(cacheDir(), "lab.json") }

func (a *app) lab(f labFlags) error {
	for _, o := range f.out {
		if ext := filepath.Ext(o); ext != ".html" && ext != ".json" {
			return &tandem.Error{Op: "read the flags of", On: "tandem lab", Kind: tandem.KindInvalid, Message: "-o " + o + ": no such format", Hint: "want a name that ends in .html or .json"}
		}
	}
	files, err := openAll(f.out)
	if err != nil {
		return err
	}
	r, err := a.measureMachine(f)
	if err != nil {
		return err
	}
	a.printLab(r)
	if f.only == nil {
		if err := r.Save(labFile()); err != nil {
			fmt.Fprintf(a.err, "  %s\n", a.yellow("not kept for tandem advise: "+printable(err.Error())))
		} else {
			fmt.Fprintf(a.err, "  kept in %s for tandem advise\n", printable(labFile()))
		}
	}
	if f.json {
		if err := json.NewEncoder(a.out).Encode(r); err != nil {
			return &tandem.Error{Op: "write", On: "standard output", Kind: tandem.KindFile, Message: err.Error(), Err: err}
		}
	}
	for i, file := range files {
		if filepath.Ext(f.out[i]) == ".html" {
			err = r.Page().Write(file)
		} else {
			err = json.NewEncoder(file).Encode(r)
		}
		if err := errors.Join(err, file.Close()); err != nil {
			return &tandem.Error{Op: "write", On: f.out[i], Kind: tandem.KindFile, Message: err.Error(), Err: err}
		}
	}
	return nil
}

// measureMachine runs the experiments with a line of progress.
func (a *app) measureMachine(f labFlags) (*lab.Report, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp("", "tandem-lab")
	if err != nil {
		return nil, &tandem.Error{Op: "make", On: "a directory for the lab's programs", Kind: tandem.KindFile, Message: err.Error(), Err: err}
	}
	defer os.RemoveAll(tmp)
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, proc.Terminate)
	defer cancel()
	cfg := lab.Config{Quick: f.quick, Only: f.only, Self: []string{self, "lab-part"}, Python: os.Getenv("TANDEM_PYTHON"), Temp: tmp}
	if home := os.Getenv("JAVA_HOME"); home != "" {
		cfg.Java = []string{filepath.Join(home, "bin", "java")}
	}
	if a.tty {
		cfg.Tell = func(done, all int, what string) {
			fmt.Fprintf(a.err, "\r\x1b[K%s", a.dim(oneLine(fmt.Sprintf("measuring, %d of %d: %s", done+1, all, what), a.width()-1)))
		}
		defer fmt.Fprint(a.err, "\r\x1b[K")
	}
	r, err := lab.Run(ctx, cfg)
	if ctx.Err() != nil {
		return nil, exitCode(exitInterrupted)
	}
	return r, err
}

// printLab prints the table, one experiment after the other, and what is missing.
func (a *app) printLab(r *lab.Report) {
	fmt.Fprintf(a.err, "%s %s\n  %s\n", a.dim("tandem lab:"), printable(r.Lead()), printable(r.Machine.About()))
	if r.Quick {
		fmt.Fprintln(a.err, "  --quick: 2 000 waits at once, 32 MB and waits of 0.1 s in place of 10 000, 256 MB and 1 s")
	}
	for _, e := range lab.Experiments {
		rows := r.Of(e.Name)
		if len(rows) == 0 {
			continue
		}
		fmt.Fprintf(a.err, "\n%s  %s\n", e.Title, a.dim(e.Question))
		model, figure := 0, 0
		name := func(row lab.Row) string {
			if row.Measure == rows[0].Measure || row.Measure == e.Title {
				return row.Model
			}
			return row.Model + ", " + row.Measure
		}
		for _, row := range rows {
			model, figure = max(model, utf8.RuneCountInString(name(row))), max(figure, utf8.RuneCountInString(row.Figure()))
		}
		for _, row := range rows {
			text := row.Means
			if row.Note != "" {
				text += a.dim("  " + printable(row.Note))
			}
			n, v := name(row), row.Figure()
			fmt.Fprintf(a.err, "  %s%s  %s%s  %s\n", printable(n), strings.Repeat(" ", model-utf8.RuneCountInString(n)), strings.Repeat(" ", figure-utf8.RuneCountInString(v)), v, text)
		}
	}
	fmt.Fprintln(a.err)
	for _, m := range r.Missing {
		fmt.Fprintf(a.err, "  %s\n", a.yellow("NOT MEASURED: "+printable(m.Text())))
	}
	if r.Foreign >= .25 {
		fmt.Fprintf(a.err, "  %s\n", a.yellow(fmt.Sprintf("other programs used %.1f of the %.3g processors meanwhile: times are longer than on a quiet machine", r.Foreign, r.Machine.Cores)))
	}
	fmt.Fprintf(a.err, "  took %.0f s\n", r.Seconds)
}
