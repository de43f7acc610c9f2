package redis

import (
	"context"
	"fmt"
	"strings"
	"time"

	"tandem"
)

// Dead is tandem.Queue's.
func (q *Queue) Dead(ctx context.Context, most int) (out []tandem.DeadMessage, err error) {
	for from := 0; len(out) < most; {
		got, err := dead.Run(ctx, q.e.c, q.keys(), q.cfg.Attempts, tandem.MaxDead, from, min(most-len(out), lot), lotBytes).StringSlice()
		if err != nil {
			return out, q.failed("read the dead letters of", err)
		}
		if len(got) == 0 {
			return out, nil
		}
		for i := 0; i < len(got); i += 2 {
			d := tandem.DeadMessage{}
			if d.Message, err = decode(got[i]); err != nil {
				return out, q.failed("read the dead letters of", err)
			}
			var at int64
			numbers, reason, _ := strings.Cut(got[i+1], "\n")
			if _, err := fmt.Sscan(numbers, &d.Attempts, &at); err != nil {
				return out, q.failed("read the dead letters of", errStrange)
			}
			d.Reason, d.Time = reason, time.UnixMilli(at)
			out = append(out, d)
		}
		from += len(got) / 2
	}
	return out, nil
}

// Bury is tandem.Queue's.
func (q *Queue) Bury(ctx context.Context, id string) error {
	_, err := q.exhume(ctx, id, false)
	return err
}

// Revive is tandem.Queue's. It waits for room.
func (q *Queue) Revive(ctx context.Context, id string) error {
	for {
		_, room := q.bells()
		full, err := q.exhume(ctx, id, true)
		if err != nil || !full {
			return err
		}
		if err := q.rest(ctx, room, time.Second); err != nil {
			return err
		}
	}
}

// exhume removes a dead letter, and with back puts it into the queue again unless that is full.
func (q *Queue) exhume(ctx context.Context, id string, back bool) (full bool, err error) {
	if err := q.over(ctx); err != nil {
		return false, err
	}
	said, err := exhumed.Run(ctx, q.e.c, q.keys(), q.cfg.Attempts, tandem.MaxDead, q.cfg.Items, q.cfg.Bytes, q.cfg.Ordered, id, back).Text()
	if said == "none" {
		return false, &tandem.Error{Op: "find the dead letter", On: id, Kind: tandem.KindInvalid, Message: "there is none of this ID in queue " + q.cfg.Name}
	}
	return said == "full", q.failed("change the dead letters of", err)
}
