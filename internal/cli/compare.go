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
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"tandem"
	"tandem/internal/compare"
	"tandem/internal/proc"
)

type compareFlags struct {
	python, items, step string
	try                 []string
	params              []string
	out                 []string
	json                bool
	rounds              int
	during              time.Duration
	precise             float64
}

func (a *app) compareCommand() *cobra.Command {
	var f compareFlags
	c := &cobra.Command{
		Use:   "compare [flags] (-- CMD [ARG…] -- CMD [ARG…] | 'CMD' 'CMD'… | --python MOD:FN --items WHAT | FLOW --step NAME)",
		Short: "Run two commands, or one handler in several modes, by turns, and say how much faster one is and how sure that is",
		Long: `Run the candidates by turns, round for round, and say how many times as fast each is, with the interval that holds 95 times in 100.

Commands stand behind -- each, or are one quoted argument each, which a shell then runs. What they print is thrown away. A handler (--python, or a
step of a flow) runs in candidate modes and sizes over the same items; what it gives is compared, too. Then Tandem says what it would have picked after
one measured run, and whether the speed that it predicted was there.

Measuring stops when the spread is small enough (--precise), after --rounds, or about --for. How many processors other programs use is measured
beside it: a round in which that jumped is measured again, and when too few rounds are left the number is withheld.

Exit codes: 0 measured, also when a candidate fails or the number is withheld (both are said) · 2 nothing could be measured · 130 interrupted.`,
		Example: `  tandem compare -- gzip -9k big.txt -- zstd -19k big.txt
  tandem compare 'sort words | uniq -c' 'awk -f count.awk words'
  tandem compare --python work.py:parse --items 'pages/*.html'
  tandem compare --python work.py:fetch --items urls.txt --try process:2 --try thread:16 --try thread:2x16
  tandem compare flow.yaml --step resize -o modes.html`,
		RunE: func(c *cobra.Command, args []string) error { return a.compare(c, f, args) },
	}
	s := c.Flags()
	s.StringVar(&f.python, "python", "", "compare a Python function, module:function or file.py:function, in several modes")
	s.StringVar(&f.items, "items", "", "its items: a file with one on each line, a pattern of file names, or a number N for 1 to N")
	s.StringVar(&f.step, "step", "", "compare this step of the flow, with the first items of the flow's source")
	s.StringArrayVar(&f.params, "param", nil, "set a parameter of the flow, NAME=VALUE; may be repeated")
	s.StringArrayVar(&f.try, "try", nil, "a mode and size to compare, in place of Tandem's choice: process:2, thread:8, thread:2x8, async:16, goroutine:64; may be repeated")
	s.StringArrayVarP(&f.out, "output", "o", nil, "write the result to this file: .md, .json, .csv or .html; may be repeated")
	s.BoolVar(&f.json, "json", false, "print one JSON document")
	s.IntVar(&f.rounds, "rounds", 20, "at most so many rounds that count")
	s.DurationVar(&f.during, "for", 30*time.Second, "measure about so long")
	s.Float64Var(&f.precise, "precise", .03, "stop when the spread is this share of the ratio")
	return c
}

func compareWrong(msg, hint string) error {
	return &tandem.Error{Op: "read the flags of", On: "tandem compare", Kind: tandem.KindInvalid, Message: msg, Hint: hint}
}

func (f compareFlags) check(args []string) error {
	for _, o := range f.out {
		if !slices.Contains(compare.Formats, filepath.Ext(o)) {
			return compareWrong("-o "+o+": no such format", "want a name that ends in "+strings.Join(compare.Formats, ", "))
		}
	}
	switch {
	case f.rounds < 3 || f.rounds > 1000:
		return compareWrong(fmt.Sprintf("--rounds %d is out of range", f.rounds), "3 to 1000")
	case f.during < time.Second || f.during > 24*time.Hour:
		return compareWrong("--for "+f.during.String()+" is out of range", "1s to 24h")
	case f.precise <= 0 || f.precise > 1:
		return compareWrong(fmt.Sprintf("--precise %g is out of range", f.precise), "a share, such as 0.03")
	case f.python != "" && f.step != "":
		return compareWrong("both --python and --step", "give one of them")
	case f.python != "" && len(args) > 0:
		return compareWrong(fmt.Sprintf("what is %q for?", args[0]), "--python compares modes of one function; commands are compared without it")
	case f.python != "" && f.items == "":
		return compareWrong("no --items for the function", "a file with one on each line, a pattern of file names, or a number")
	case f.items != "" && f.python == "":
		return compareWrong("--items without --python", "a flow has its own items")
	case f.step != "" && len(args) != 1:
		return compareWrong("--step wants one flow file", "tandem compare flow.yaml --step "+f.step)
	case len(f.try) > 0 && f.python == "" && f.step == "":
		return compareWrong("--try without a handler", "modes are those of --python or of a --step")
	case len(f.params) > 0 && f.step == "":
		return compareWrong("--param without --step", "parameters are those of a flow")
	}
	return nil
}

func (a *app) compare(c *cobra.Command, f compareFlags, args []string) error {
	if err := f.check(args); err != nil {
		return err
	}
	files, err := openAll(f.out)
	if err != nil {
		return err
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, proc.Terminate)
	defer cancel()
	cfg := compare.Config{Rounds: f.rounds, For: f.during, Precise: f.precise}
	done := func() {}
	if a.tty {
		cfg.Tell = func(round int, name string) {
			text := "first look: " + name
			if round >= 0 {
				text = fmt.Sprintf("round %d: %s", round+1, name)
			}
			fmt.Fprintf(a.err, "\r\x1b[K%s", a.dim(oneLine(text, a.width()-1)))
		}
		done = func() { fmt.Fprint(a.err, "\r\x1b[K") }
	}
	var result *compare.Comparison
	var h *compare.Handler
	subject := ""
	switch {
	case f.python != "" || f.step != "":
		var plan compare.Plan
		if h, plan, err = a.compareHandler(ctx, f, args); err != nil {
			break
		}
		subject = f.python
		if f.step != "" {
			subject = "step " + f.step + " of " + args[0]
		}
		result, err = h.Compare(ctx, cfg, plan)
	default:
		result, subject, err = compareCommands(ctx, cfg, args, c.ArgsLenAtDash() == 0)
	}
	done()
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(a.err, "interrupted: nothing is said about what was measured until now")
		return exitCode(exitInterrupted)
	case err != nil:
		return err
	}
	d := result.Document(subject, h)
	a.printComparison(d, result.Advised())
	if f.json {
		if err := json.NewEncoder(a.out).Encode(d); err != nil {
			return &tandem.Error{Op: "write", On: "standard output", Kind: tandem.KindFile, Message: err.Error(), Err: err}
		}
	}
	for i, file := range files {
		err := d.Write(file, filepath.Ext(f.out[i]))
		if err := errors.Join(err, file.Close()); err != nil {
			return &tandem.Error{Op: "write", On: f.out[i], Kind: tandem.KindFile, Message: err.Error(), Err: err}
		}
	}
	return nil
}

// openAll makes the files of -o before anything is measured: the measurement must not be lost for a name that cannot be written.
func openAll(names []string) (files []*os.File, err error) {
	for _, name := range names {
		f, err := os.Create(name)
		if err != nil {
			return nil, &tandem.Error{Op: "write", On: name, Kind: tandem.KindFile, Message: err.Error(), Err: err}
		}
		files = append(files, f)
	}
	return files, nil
}

// compareCommands compares commands: each behind a --, or each one argument for a shell.
func compareCommands(ctx context.Context, cfg compare.Config, args []string, dashes bool) (*compare.Comparison, string, error) {
	var commands [][]string
	var names []string
	if dashes {
		begin := 0
		for i := 0; i <= len(args); i++ {
			if i < len(args) && args[i] != "--" {
				continue
			}
			if i > begin {
				words := args[begin:i]
				commands = append(commands, words)
				quoted := make([]string, len(words))
				for j, w := range words {
					quoted[j] = shellWord(w)
				}
				names = append(names, strings.Join(quoted, " "))
			}
			begin = i + 1
		}
	} else {
		for _, line := range args {
			commands, names = append(commands, []string{"/bin/sh", "-c", line}), append(names, line)
		}
	}
	if len(commands) < 2 {
		return nil, "", compareWrong(fmt.Sprintf("%s to compare; want two or more", plural(int64(len(commands)), "command")), "tandem compare -- CMD A -- CMD B, or tandem compare 'CMD A' 'CMD B'")
	}
	var all []*compare.Candidate
	for i := range commands {
		k := compare.Command(oneLine(names[i], 60), commands[i])
		if slices.ContainsFunc(all, func(o *compare.Candidate) bool { return o.Name == k.Name }) {
			k.Name = fmt.Sprintf("%s (%d)", k.Name, i+1)
		}
		if cfg.Tell != nil {
			cfg.Tell(-1, k.Name)
		}
		if err := compare.Watch(ctx, k, commands[i]); err != nil {
			return nil, "", err
		}
		all = append(all, k)
	}
	result, err := compare.Run(ctx, cfg, all)
	return result, plural(int64(len(all)), "command"), err
}

// printComparison says on standard error what came out, the answer first.
func (a *app) printComparison(d compare.Document, advised []string) {
	sentence := printable(d.Sentence)
	if d.Withheld != "" {
		sentence = a.yellow(sentence)
	}
	fmt.Fprintf(a.err, "%s %s\n", a.dim("tandem compare:"), sentence)
	rows := d.Table()
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for j, cell := range row {
			if row[1] != "–" || j == 0 {
				widths[j] = max(widths[j], utf8.RuneCountInString(printable(cell)))
			}
		}
	}
	for i, row := range rows {
		line := " "
		for j, cell := range row {
			cell = printable(cell)
			line += " " + cell + strings.Repeat(" ", max(0, widths[j]-utf8.RuneCountInString(cell))+1)
		}
		line = strings.TrimRight(line, " ")
		if i == 0 {
			line = a.dim(line)
		}
		fmt.Fprintln(a.err, line)
	}
	fmt.Fprintf(a.err, "  %s in %s\n", plural(int64(d.Rounds), "round"), compare.Seconds(d.Seconds))
	for _, n := range d.Notes {
		if strings.HasPrefix(n, "WARNING") {
			n = a.yellow(printable(n))
		}
		fmt.Fprintf(a.err, "  note: %s\n", n)
	}
	for _, line := range advised {
		if d.Pick == nil || !strings.HasPrefix(line, "advice ") {
			fmt.Fprintf(a.err, "  %s\n", printable(line))
		}
	}
	if d.Pick != nil {
		fmt.Fprintf(a.err, "  %s\n", printable(d.Pick.Sentence))
		fmt.Fprintf(a.err, "  because %s\n", printable(d.Pick.Because))
	}
}
