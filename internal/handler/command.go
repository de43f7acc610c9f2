package handler

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
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
}

// Shell is the handler of a shell step; its result is Command's. What an item contributes reaches the script as positional parameters, through standard
// input or the environment, and is never part of the script: a value like "; rm -rf /" is a text and no command, as long as the script
// quotes it, "$1".
func Shell(c ShellConfig) func(context.Context, *tandem.Task) tandem.Result {
	fixed := func(s string) func(*tandem.Task) (string, error) {
		return func(*tandem.Task) (string, error) { return s, nil }
	}
	argv := []func(*tandem.Task) (string, error){fixed("sh"), fixed("-c"), fixed(c.Script), fixed("tandem")}
	return program(CommandConfig{Step: c.Step, Argv: append(argv, c.Params...), Stdin: c.Stdin, Dir: c.Dir, Env: c.Env, Extra: c.Extra}, "the script", func(i int) string {
		return fmt.Sprintf("parameter $%d", i-len(argv)+1)
	})
}

// program runs a command for each item. name is what messages call it, empty means its first argument; argument names one of its arguments.
func program(c CommandConfig, name string, argument func(i int) string) func(context.Context, *tandem.Task) tandem.Result {
	fail := func(o tandem.Outcome, kind, msg, hint, trace string) tandem.Result {
		return tandem.Result{Outcome: o, Err: &tandem.Error{Op: "run", On: c.Step, Kind: kind, Message: msg, Hint: hint, Trace: trace}}
	}
	memory := new(evidence.Memory)
	return func(ctx context.Context, t *tandem.Task) (r tandem.Result) {
		end := death{step: c.Step, t: t, before: memory.Before(), shell: name != ""}
		spec := proc.Command{Dir: c.Dir, Env: c.Env, Output: end.hear, Doomed: end.doomed}
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
		if what == "" && len(spec.Argv) > 0 {
			what = spec.Argv[0]
		}
		x, err := proc.Run(ctx, spec)
		if err != nil {
			e, _ := err.(*tandem.Error)
			return fail(tandem.Failed, tandem.KindStart, e.On+": "+e.Message, e.Hint, "")
		}
		defer func() { r.Used = &tandem.Usage{Tasks: 1, Wall: x.WallClock, CPU: x.CPU} }()
		errs := string(x.Stderr)
		switch {
		case x.TooLarge: // first: it was killed for this, whatever else came before it was gone
			return end.report(x, fail(tandem.Failed, tandem.KindTooLarge, "it wrote more than 64 MiB and was killed", "let it write a file and print the path", errs),
				tandem.ExitKilledByUs, "it wrote more than 64 MiB")
		case x.Canceled && ctx.Err() == context.DeadlineExceeded:
			return end.report(x, fail(tandem.TimedOut, tandem.KindTimeout, "not done in time, killed", "raise the step's timeout, or find out what it waits for", errs),
				tandem.ExitTimeout, "it was not done in time")
		case x.Canceled:
			return fail(tandem.Canceled, tandem.KindCanceled, "the run was stopped", "", "")
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
