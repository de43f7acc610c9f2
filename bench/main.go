// Command bench measures Tandem side by side with its peers and with what the machine itself can do.
//
//	go run .                 seven rounds, a few minutes
//	go run . -quick          two short rounds: do all the rows work?
//	go run . -only 'chan|c-' some rows
//	go run . -list           the rows and what they are
//
// See README.md for how to read the result.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// roles are what the binary does when it is started again as a second process, by its first argument.
var roles = map[string]func(args []string) error{
	"serve-api":  serveAPI,
	"serve-grpc": serveGRPC,
	"serve-nats": serveNATS,
}

func main() {
	if err := start(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func start(args []string) error {
	if len(args) > 0 {
		if role, ok := roles[args[0]]; ok {
			return role(args[1:])
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return measureAll(ctx, args, os.Stdout, os.Stderr)
}

// settings reads the flags.
func settings(args []string, log io.Writer) (b *bench, s setting, err error) {
	b = &bench{limit: 60 * time.Second, workers: 2, inFlight: 256, sizes: []int{1, 16, 256}}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(log)
	f.IntVar(&s.Rounds, "rounds", 7, "how often every row is measured")
	f.StringVar(&s.Only, "only", "", "measure the rows whose name matches this regular expression")
	f.BoolVar(&s.Quick, "quick", false, "two short rounds over small sizes, to see that everything works")
	f.BoolVar(&s.list, "list", false, "list the rows and stop")
	f.StringVar(&s.json, "json", "", "write the figures of every round here (default results/DATE.json)")
	f.Float64Var(&b.seconds, "seconds", 0.5, "length of one measurement, for the rows that can choose")
	f.StringVar(&b.pythonName, "python", "python3", "the Python of the peers")
	f.StringVar(&b.tandemPath, "tandem", "", "the tandem binary (default: built from ../cmd/tandem)")
	f.IntVar(&b.hybrid.Images, "images", 200, "hybrid job: images")
	f.DurationVar(&b.hybrid.Spin, "spin", 60*time.Millisecond, "hybrid job: processor time of an image")
	b.hybrid.Least, b.hybrid.Most, b.hybrid.InFlight = 80*time.Millisecond, 400*time.Millisecond, 64
	b.flow = flowSizes{million: 1_000_000, requests: 10_000}
	b.lines = 10_000
	if err := f.Parse(args); err != nil {
		return nil, s, err
	}
	if f.NArg() > 0 || s.Rounds < 1 {
		return nil, s, fmt.Errorf("read the flags: %q is left over, or fewer than one round; try -help", f.Args())
	}
	if s.Quick {
		s.Rounds, b.seconds = 2, 0.1
		b.sizes = []int{1, 16}
		b.hybrid.Images, b.hybrid.Spin = 20, 20*time.Millisecond
		b.flow = flowSizes{million: 50_000, requests: 1000}
		b.lines = 500
	}
	s.Seconds, s.Hybrid = b.seconds, b.hybrid
	return b, s, nil
}

func measureAll(ctx context.Context, args []string, out, log io.Writer) error {
	b, s, err := settings(args, log)
	if err != nil {
		return err
	}
	only, err := regexp.Compile(s.Only)
	if err != nil {
		return fmt.Errorf("read -only: %w", err)
	}
	var chosen []row
	for _, r := range rows(b.sizes) {
		if only.MatchString(r.name) {
			chosen = append(chosen, r)
		}
	}
	if len(chosen) == 0 {
		return fmt.Errorf("choose rows: none matches -only %s; see -list", s.Only)
	}
	if s.list {
		lines := make([][]string, len(chosen))
		for i, r := range chosen {
			lines[i] = []string{r.name, r.about}
		}
		table(out, []string{"row", "what"}, nil, lines)
		return nil
	}
	if err := adopt(); err != nil {
		return err
	}
	b.adopting = true
	if err := b.open(ctx); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	defer b.sweep()
	return conclude(ctx, s, machineFacts(ctx, b), run(ctx, b, chosen, s.Rounds, log), goals(b.sizes), out)
}

// conclude prints the tables, writes the JSON and says whether something went wrong. A ratio that falls short of its goal is a finding,
// not a fault; a row that failed is one.
func conclude(ctx context.Context, s setting, m machine, results []*result, all []goal, out io.Writer) error {
	fmt.Fprintf(out, "%d cores, %s, Linux %s, %s, %s\n\n", m.Cores, m.Processor, m.Kernel, m.Go, m.Python)
	rowTable(out, results)
	reached := reaches(all, results)
	if len(reached) > 0 {
		fmt.Fprintln(out)
		reachTable(out, reached)
	}
	path := s.json
	if path == "" {
		path = filepath.Join("results", time.Now().Format("2006-01-02T15-04-05")+".json")
	}
	if err := writeRecord(path, s, m, results, reached); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nevery round: %s\n", path)
	if ctx.Err() != nil {
		return fmt.Errorf("stopped before the last round: %w", context.Cause(ctx))
	}
	var failed []string
	for _, r := range results {
		if len(r.failures) > 0 {
			failed = append(failed, r.name)
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("these rows failed: %s", strings.Join(failed, ", "))
	}
	return nil
}
