package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"tandem"
	"tandem/internal/flowfile"
	"tandem/internal/proc"
)

// repeat submits a flow at each time of a timetable until it is told to stop. Its source and its sink are here, so this command stays: no node could read the one
// and write the other. Two runs at a time would write into one sink, so a time that comes while the last run goes on is left out, and said.
func (r *remote) repeat(path, spec string, o runOptions) error {
	when, err := cron.ParseStandard(spec)
	if err != nil {
		return &tandem.Error{Op: "read", On: "--cron " + spec, Kind: tandem.KindInvalid, Message: err.Error(), Err: err,
			Hint: `minute, hour, day of the month, month, day of the week: "0 3 * * *" is every night at three; "@hourly" and "@every 10m" do too`}
	}
	if err := o.check(); err != nil {
		return err
	}
	if _, err := flowfile.Load(path); err != nil { // later mistakes are said at their time, and the next time may be better
		return err
	}
	base := r.name
	if base == "" {
		base = strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, proc.Terminate)
	defer stop()
	left := 0
	for {
		next := when.Next(time.Now())
		if next.IsZero() {
			return &tandem.Error{Op: "read", On: "--cron " + spec, Kind: tandem.KindInvalid, Message: "such a time never comes"}
		}
		fmt.Fprintln(r.a.err, r.a.dim("next run at "+next.Format(time.DateTime)))
		select {
		case <-ctx.Done(): // between two runs as within one
			if strings.Contains(context.Cause(ctx).Error(), proc.Terminate.String()) {
				return exitCode(exitTerminated)
			}
			return exitCode(exitInterrupted)
		case <-time.After(time.Until(next)):
		}
		each := *r
		each.name = base + "-" + next.UTC().Format("20060102-150405")
		err := each.submit(path, o)
		if code, ok := errors.AsType[exitCode](err); !ok && err != nil {
			r.a.fail(err)
		} else if ok && (code == exitInterrupted || code == exitTerminated) {
			return err
		}
		missed := 0
		for t := when.Next(next); t.Before(time.Now()); t = when.Next(t) {
			missed++
		}
		if left += missed; missed > 0 {
			fmt.Fprintln(r.a.err, r.a.yellow(fmt.Sprintf("%s came while that run went on and %s left out, %d so far", plural(int64(missed), "time"), wasWere(missed), left)))
		}
	}
}

func wasWere(n int) string {
	if n == 1 {
		return "was"
	}
	return "were"
}
