package handler

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"tandem"
	"tandem/internal/evidence"
	"tandem/internal/proc"
)

// CommandConfig is one command per item.
type CommandConfig struct {
	Step  string
	Argv  []func(*tandem.Task) (string, error)
	Stdin func(*tandem.Task) (tandem.Value, error) // nil means nothing to read
	Dir   string
	Env   []string                    // nil means ours
	Extra func(*tandem.Task) []string // NAME=value, added to Env for each attempt; nil means none
	Caps  tandem.Caps
	Cores string // where core files are moved; empty leaves them where the kernel wrote them

	Isolation proc.Isolation
	Isolated  func(tandem.Isolation)            // told of each attempt how far it is kept from the machine; may be nil
	Heard     func(t *tandem.Task, line []byte) // told of each line on standard error, which is the listener's only until it returns; may be nil
}

// Command is the handler of a run step. The result is what the command writes to standard output: text without the last line end, or bytes when
// it is no UTF-8.
func Command(c CommandConfig) func(context.Context, *tandem.Task) tandem.Result {
	return program(c, "", func(i int) string { return fmt.Sprintf("argument %d", i) })
}

// ShellConfig is one shell script per item.
type ShellConfig struct {
	Step   string
	Script string                               // for sh -c, as the author of the flow wrote it
	Params []func(*tandem.Task) (string, error) // "$1", "$2" and so on in the script
	Stdin  func(*tandem.Task) (tandem.Value, error)
	Dir    string
	Env    []string
	Extra  func(*tandem.Task) []string
	Caps   tandem.Caps
	Cores  string

	Isolation proc.Isolation
	Isolated  func(tandem.Isolation)
	Heard     func(t *tandem.Task, line []byte)
}

// Shell is the handler of a shell step; its result is Command's. What an item contributes reaches the script as positional parameters, through standard
// input or the environment, and is never part of the script: a value like "; rm -rf /" is a text and no command, as long as the script
// quotes it, "$1".
func Shell(c ShellConfig) func(context.Context, *tandem.Task) tandem.Result {
	fixed := func(s string) func(*tandem.Task) (string, error) {
		return func(*tandem.Task) (string, error) { return s, nil }
	}
	argv := []func(*tandem.Task) (string, error){fixed("sh"), fixed("-c"), fixed(c.Script), fixed("tandem")}
	return program(CommandConfig{Step: c.Step, Argv: append(argv, c.Params...), Stdin: c.Stdin, Dir: c.Dir, Env: c.Env, Extra: c.Extra, Caps: c.Caps, Cores: c.Cores, Isolation: c.Isolation, Isolated: c.Isolated, Heard: c.Heard}, "the script", func(i int) string {
		return fmt.Sprintf("parameter $%d", i-len(argv)+1)
	})
}

// program runs a command for each item. name is what messages call it, empty means its first argument; argument names one of its arguments.
func program(c CommandConfig, name string, argument func(i int) string) func(context.Context, *tandem.Task) tandem.Result {
	fail := func(o tandem.Outcome, kind, msg, hint, trace string) tandem.Result {
		return tandem.Result{Outcome: o, Err: &tandem.Error{Op: "run", On: c.Step, Kind: kind, Message: msg, Hint: hint, Trace: trace}}
	}
	memory := new(evidence.Memory)
	most := cmp.Or(c.Caps.Output, 64<<20)
	if c.Caps.Memory > 0 || c.Caps.JVM > 0 {
		if c.Env == nil {
			c.Env = os.Environ()
		}
		c.Env = append(slices.Clone(c.Env), proc.MemoryFlags(c.Env, c.Caps.Memory, c.Caps.JVM)...)
	}
	return func(ctx context.Context, t *tandem.Task) (r tandem.Result) {
		end := death{step: c.Step, t: t, before: memory.Before(), shell: name != "", caps: c.Caps, dir: c.Dir, cores: c.Cores, begun: time.Now()}
		said := lines{t: t, heard: c.Heard}
		hear := func(stream int, b []byte) {
			end.hear(stream, b)
			if stream == 2 {
				said.add(b)
			}
		}
		spec := proc.Command{Dir: c.Dir, Env: c.Env, Output: hear, Doomed: end.doomed, MaxOutput: most, CPUTime: c.Caps.CPUTime, Soft: c.Caps.Soft, Hang: c.Caps.Hang,
			Limits: proc.Limits{Memory: c.Caps.Memory, CPUTime: c.Caps.CPUTime, Core: c.Caps.Core}, Isolation: c.Isolation}
		for i, arg := range c.Argv {
			s, err := arg(t)
			if err != nil {
				return fail(tandem.Failed, tandem.KindExpression, argument(i)+": "+err.Error(), "", "")
			}
			if strings.IndexByte(s, 0) >= 0 {
				return fail(tandem.Failed, tandem.KindExpression, argument(i)+" holds a zero byte, which no command can be given", "pass it through stdin", "")
			}
			spec.Argv = append(spec.Argv, s)
		}
		if c.Extra != nil {
			spec.Extra = c.Extra(t)
			for _, kv := range spec.Extra {
				if key, _, ok := strings.Cut(kv, "="); !ok || key == "" || strings.IndexByte(kv, 0) >= 0 {
					return fail(tandem.Failed, tandem.KindExpression, fmt.Sprintf("the environment cannot hold %.60q", kv), "want NAME=value without a zero byte", "")
				}
			}
		}
		if c.Stdin != nil {
			v, err := c.Stdin(t)
			if err != nil {
				return fail(tandem.Failed, tandem.KindExpression, "stdin: "+err.Error(), "", "")
			}
			spec.Stdin = v.Data
		}
		what := name
		if len(spec.Argv) > 0 {
			what = cmp.Or(what, spec.Argv[0])
			spec.Limits = spec.Limits.WithData(spec.Argv[0])
		}
		x, err := proc.Run(ctx, spec)
		said.end()
		if err != nil {
			e, _ := err.(*tandem.Error)
			return fail(tandem.Failed, tandem.KindStart, e.On+": "+e.Message, e.Hint, "")
		}
		if c.Isolated != nil {
			c.Isolated(x.Isolation)
		}
		defer func() { r.Used = &tandem.Usage{Tasks: 1, Wall: x.WallClock, CPU: x.CPU} }()
		errs := string(x.Stderr)
		switch {
		case x.TooLarge: // first: it was killed for this, whatever else came before it was gone
			why := "it wrote more than " + proc.Bytes(most)
			r := fail(tandem.Failed, tandem.KindTooLarge, why+" and was killed", "let it write a file and print the path, or raise the step's output", errs)
			r.Err.Reason = tandem.ReasonOutput
			return end.report(x, r, tandem.ExitKilledByUs, why)
		case x.Canceled && ctx.Err() == context.DeadlineExceeded:
			return end.report(x, fail(tandem.TimedOut, tandem.KindTimeout, "not done in time, killed", "raise the step's timeout, or find out what it waits for", errs),
				tandem.ExitTimeout, "it was not done in time")
		case x.Canceled:
			r := fail(tandem.Canceled, tandem.KindCanceled, "the run was stopped", "", "")
			if x.Left {
				return end.report(x, r, tandem.ExitKilledByUs, "the run was stopped")
			}
			return r
		}
		if r, as, why := overCap(c, what, x); as != "" {
			r.Err.On, r.Err.Trace = c.Step, errs
			return end.report(x, r, as, why)
		}
		switch {
		case x.Signal != "":
			r := fail(tandem.Crashed, tandem.KindCrash, what+" was killed by "+x.Signal, "", errs)
			r.Err.Reason = x.Signal
			return end.report(x, r, "", "")
		case x.Code != 0:
			r := fail(tandem.Failed, tandem.KindExit, fmt.Sprintf("%s ended with exit code %d", what, x.Code), "", errs)
			r.Err.Reason = "exit " + strconv.Itoa(x.Code)
			r = end.report(x, r, "", "")
			if last := lastLine(errs); last != "" && r.Err.Trace == errs {
				r.Err.Message += ": " + last
			}
			return r
		}
		if !utf8.Valid(x.Stdout) {
			return tandem.Give(tandem.Value{Kind: tandem.Bytes, Data: x.Stdout})
		}
		return tandem.Give(tandem.Value{Kind: tandem.Text, Data: bytes.TrimSuffix(x.Stdout, []byte("\n"))})
	}
}

func lastLine(s string) string {
	s = strings.TrimRight(s, "\n")
	return s[strings.LastIndexByte(s, '\n')+1:]
}
