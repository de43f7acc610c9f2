package handler

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"tandem"
	"tandem/internal/proc"
)

// CommandConfig is one command per item.
type CommandConfig struct {
	Step  string
	Argv  []func(*tandem.Task) (string, error)
	Stdin func(*tandem.Task) (tandem.Value, error) // nil means nothing to read
	Dir   string
	Env   []string // nil means ours
}

// Command is the handler of a run step. The result is what the command writes to standard output: text without the last line end, or bytes when
// it is no UTF-8.
func Command(c CommandConfig) func(context.Context, *tandem.Task) tandem.Result {
	fail := func(o tandem.Outcome, kind, msg, hint, trace string) tandem.Result {
		return tandem.Result{Outcome: o, Err: &tandem.Error{Op: "run", On: c.Step, Kind: kind, Message: msg, Hint: hint, Trace: trace}}
	}
	return func(ctx context.Context, t *tandem.Task) tandem.Result {
		spec := proc.Command{Dir: c.Dir, Env: c.Env}
		for i, arg := range c.Argv {
			s, err := arg(t)
			if err != nil {
				return fail(tandem.Failed, tandem.KindExpression, fmt.Sprintf("argument %d: %v", i, err), "", "")
			}
			if strings.IndexByte(s, 0) >= 0 {
				return fail(tandem.Failed, tandem.KindExpression, fmt.Sprintf("argument %d holds a zero byte, which no command can be given", i), "pass it through stdin", "")
			}
			spec.Argv = append(spec.Argv, s)
		}
		if c.Stdin != nil {
			v, err := c.Stdin(t)
			if err != nil {
				return fail(tandem.Failed, tandem.KindExpression, "stdin: "+err.Error(), "", "")
			}
			spec.Stdin = v.Data
		}
		x, err := proc.Run(ctx, spec)
		if err != nil {
			e, _ := err.(*tandem.Error)
			return fail(tandem.Failed, tandem.KindStart, e.On+": "+e.Message, e.Hint, "")
		}
		errs := string(x.Stderr)
		switch {
		case x.TooLarge: // first: it was killed for this, whatever else came before it was gone
			return fail(tandem.Failed, tandem.KindTooLarge, "it wrote more than 64 MiB and was killed", "let it write a file and print the path", errs)
		case x.Canceled && ctx.Err() == context.DeadlineExceeded:
			return fail(tandem.TimedOut, tandem.KindTimeout, "not done in time, killed", "raise the step's timeout, or find out what it waits for", errs)
		case x.Canceled:
			return fail(tandem.Canceled, tandem.KindCanceled, "the run was stopped", "", "")
		case x.Signal != "":
			r := fail(tandem.Crashed, tandem.KindCrash, spec.Argv[0]+" was killed by "+x.Signal, "", errs)
			r.Err.Reason = x.Signal
			return r
		case x.Code != 0:
			msg := fmt.Sprintf("%s ended with exit code %d", spec.Argv[0], x.Code)
			if last := lastLine(errs); last != "" {
				msg += ": " + last
			}
			r := fail(tandem.Failed, tandem.KindExit, msg, "", errs)
			r.Err.Reason = "exit " + strconv.Itoa(x.Code)
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
