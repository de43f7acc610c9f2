package cli

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"tandem"
	"tandem/internal/flowfile"
	"tandem/internal/lab"
)

type adviseFlags struct {
	language   string
	cpu, waits float64
	crashSafe  bool
	async      bool
	share      string
	atOnce     int
	json       bool
}

func (a *app) adviseCommand() *cobra.Command {
	f := adviseFlags{cpu: -1, waits: -1}
	c := &cobra.Command{
		Use:   "advise",
		Short: "Answer the decision guide's questions with this machine's figures: which mode, which size, and why",
		Long: `Answer the questions of the decision guide with this machine's figures: does the work compute or wait, must it survive a crash, does it share big data, how many
tasks are there at once? Without flags the questions are asked on the terminal; with flags what is not given is taken as no.

The figures are those that tandem lab keeps. Where there are none, tandem lab --quick is run first, and said. For a program or a function that exists already,
tandem profile and tandem compare measure instead of asking.`,
		Example: `  tandem advise
  tandem advise --language python --cpu 0.3 --at-once 5000
  tandem advise --language python --cpu 0.9 --crash-safe --share 256MB --json`,
		Args: takes(0, 0, "argument"),
		RunE: func(c *cobra.Command, _ []string) error { return a.advise(f, c.Flags().NFlag() > 0) },
	}
	s := c.Flags()
	s.StringVar(&f.language, "language", "python", "python, go, java, node or command")
	s.Float64Var(&f.cpu, "cpu", -1, "share of a task's time on a processor, 0 to 1")
	s.Float64Var(&f.waits, "waits", -1, "share of a task's time that it waits: the rest of --cpu")
	s.BoolVar(&f.crashSafe, "crash-safe", false, "a crash must cost one item only")
	s.BoolVar(&f.async, "async", false, "the code is written as coroutines")
	s.StringVar(&f.share, "share", "", "data that every task needs to see, for example 256MB")
	s.IntVar(&f.atOnce, "at-once", 1000, "how many tasks there are at the same time")
	s.BoolVar(&f.json, "json", false, "print one JSON document")
	s.Lookup("cpu").DefValue, s.Lookup("waits").DefValue = "0", "0"
	return c
}

func adviseWrong(msg, hint string) error {
	return &tandem.Error{Op: "read the answers of", On: "tandem advise", Kind: tandem.KindInvalid, Message: msg, Hint: hint}
}

// needs are the answers that flags give.
func (f adviseFlags) needs() (n lab.Needs, err error) {
	n = lab.Needs{Language: f.language, CrashSafe: f.crashSafe, Async: f.async, AtOnce: f.atOnce, CPU: f.cpu}
	share := func(x float64, name string) error {
		if x != -1 && (x < 0 || x > 1 || math.IsNaN(x)) {
			return adviseWrong(fmt.Sprintf("%s %g is no share", name, x), "0 to 1: 0.3 is 30 %")
		}
		return nil
	}
	if err := cmp.Or(share(f.cpu, "--cpu"), share(f.waits, "--waits")); err != nil {
		return n, err
	}
	switch {
	case f.cpu == -1 && f.waits == -1:
		return n, adviseWrong("neither --cpu nor --waits", "say which share of its time a task is on a processor; `tandem profile -- CMD` measures it")
	case f.cpu == -1:
		n.CPU = 1 - f.waits
	case f.waits != -1 && math.Abs(f.cpu+f.waits-1) > .01:
		return n, adviseWrong(fmt.Sprintf("--cpu %g and --waits %g are not the whole time", f.cpu, f.waits), "together they are 1; one of them is enough")
	}
	if !slices.Contains(lab.Languages, f.language) {
		return n, adviseWrong("--language "+f.language, "want one of "+strings.Join(lab.Languages, ", "))
	}
	if f.atOnce < 1 {
		return n, adviseWrong(fmt.Sprintf("--at-once %d", f.atOnce), "want 1 or more")
	}
	if f.share != "" {
		size, ok := flowfile.ParseSize(f.share)
		if !ok || size < 0 {
			return n, adviseWrong("--share "+f.share+" is no size", "for example 256MB")
		}
		n.Share = size
	}
	return n, nil
}

func (a *app) advise(f adviseFlags, given bool) error {
	var n lab.Needs
	var err error
	if in, ok := a.in.(*os.File); !given && ok && a.tty && term.IsTerminal(int(in.Fd())) {
		n, err = a.ask()
	} else {
		n, err = f.needs()
	}
	if err != nil {
		return err
	}
	r := lab.Load(labFile())
	if r == nil {
		fmt.Fprintln(a.err, "no figures of this machine yet: running tandem lab --quick first (about 20 s); `tandem lab` measures better ones")
		if r, err = a.measureMachine(labFlags{quick: true}); err != nil {
			return err
		}
		if err := r.Save(labFile()); err != nil {
			fmt.Fprintf(a.err, "  %s\n", a.yellow("not kept: "+printable(err.Error())))
		}
	}
	d := lab.Decide(r, n)
	a.printDecision(r, d)
	if f.json {
		if err := json.NewEncoder(a.out).Encode(d); err != nil {
			return &tandem.Error{Op: "write", On: "standard output", Kind: tandem.KindFile, Message: err.Error(), Err: err}
		}
	}
	return nil
}

func (a *app) printDecision(r *lab.Report, d lab.Decision) {
	size := fmt.Sprintf("%d at a time", max(d.Workers, 1)*d.Each)
	switch {
	case d.Workers == 1 && d.Each == 1:
		size = "one at a time"
	case d.Workers > 1 && d.Each > 1:
		size = fmt.Sprintf("%d processes, %d at a time in each", d.Workers, d.Each)
	case d.Workers > 1:
		size = fmt.Sprintf("%d processes", d.Workers)
	}
	fmt.Fprintf(a.err, "%s mode %s, %s\n", a.dim("tandem advise:"), d.Mode, size)
	for _, b := range d.Because {
		fmt.Fprintf(a.err, "  %-11s %s\n", "because", b)
	}
	if d.MemoryMB >= 0 {
		fmt.Fprintf(a.err, "  %-11s about %.4g MB for all of them, without what the tasks hold\n", "memory", d.MemoryMB)
	} else {
		fmt.Fprintf(a.err, "  %-11s not known: the lab has no figure for it here\n", "memory")
	}
	if d.Times[1]-d.Times[0] < .05 {
		fmt.Fprintf(a.err, "  %-11s %.3g times one at a time\n", "speed", d.Times[0])
	} else {
		fmt.Fprintf(a.err, "  %-11s %.3g to %.3g times one at a time\n", "speed", d.Times[0], d.Times[1])
	}
	fmt.Fprintf(a.err, "  %-11s %s\n", "in a step", strings.ReplaceAll(strings.TrimSpace(d.Flow), "\n", ", "))
	for _, b := range d.Beware {
		fmt.Fprintf(a.err, "  %-11s %s\n", "beware", b)
	}
	kind := "tandem lab"
	if r.Quick {
		kind = "tandem lab --quick, which is rough"
	}
	fmt.Fprintf(a.err, "  %-11s %s of %s\n", "figures", kind, r.Time.Format("2006-01-02 15:04"))
	if time.Since(r.Time) > 30*24*time.Hour {
		fmt.Fprintf(a.err, "  %-11s they are old: run tandem lab again\n", "")
	}
}

// ask asks the questions on the terminal, one a line; an empty answer is what stands in brackets.
func (a *app) ask() (lab.Needs, error) {
	in := bufio.NewReader(a.in)
	n := lab.Needs{}
	questions := []struct {
		text, otherwise string
		take            func(string) bool
	}{
		{"In which language is the work written? (" + strings.Join(lab.Languages, ", ") + ")", "python", func(s string) bool {
			n.Language = s
			return slices.Contains(lab.Languages, s)
		}},
		{"How much of its time does a task compute, in percent? 100: all of it, 0: it only waits. tandem profile measures it", "50", func(s string) bool {
			x, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(s, "%")), 64)
			n.CPU = x / 100
			return err == nil && x >= 0 && x <= 100
		}},
		{"Must a crash cost one task only? (yes, no)", "no", yes(&n.CrashSafe)},
		{"Is the code written as coroutines, async def or promises? (yes, no)", "no", yes(&n.Async)},
		{"How much data does every task need to see? for example 256MB", "0", func(s string) bool {
			var ok bool
			if s == "0" {
				return true
			}
			n.Share, ok = flowfile.ParseSize(s)
			return ok && n.Share >= 0
		}},
		{"How many tasks are there at the same time?", "1000", func(s string) bool {
			var err error
			n.AtOnce, err = strconv.Atoi(s)
			return err == nil && n.AtOnce > 0
		}},
	}
	for _, q := range questions {
		if err := a.question(in, q.text, q.otherwise, q.take); err != nil {
			return n, err
		}
	}
	return n, nil
}

func yes(into *bool) func(string) bool {
	return func(s string) bool {
		*into = strings.HasPrefix("yes", strings.ToLower(s))
		return *into || strings.HasPrefix("no", strings.ToLower(s))
	}
}

func (a *app) question(in *bufio.Reader, text, otherwise string, take func(string) bool) error {
	for {
		fmt.Fprintf(a.err, "%s %s ", text, a.dim("["+otherwise+"]"))
		line, err := in.ReadString('\n')
		if line = strings.TrimSpace(line); line == "" {
			line = otherwise
		}
		switch {
		case errors.Is(err, io.EOF):
			return adviseWrong("the answers ended early", "give them by flags: tandem advise --help")
		case err != nil:
			return err
		case take(line):
			return nil
		}
		fmt.Fprintln(a.err, a.yellow("that is no answer to it"))
	}
}
