package live

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"tandem"
)

// ErrSilent says that a run does not answer; why it does not is in the error around it.
var ErrSilent = errors.New("it does not answer")

// Ask puts one question to the run in dir and waits so long for the answer. A run that cannot be asked is ErrSilent; one that says no, a *tandem.Error.
func Ask(dir string, q Request, within time.Duration) (Answer, error) {
	c, err := dial(dir, within)
	if err != nil {
		return Answer{}, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(within))
	q.Version = Version
	werr := json.NewEncoder(c).Encode(q) // a run that refuses may have hung up already: it says why all the same
	var a Answer
	if err := json.NewDecoder(bufio.NewReader(c)).Decode(&a); err != nil {
		return Answer{}, silent(cmp.Or(werr, err))
	}
	if a.Error != nil {
		return a, a.Error.err()
	}
	return a, nil
}

// Follow hears what happens in a run until it ends (nil) or ctx does.
func Follow(ctx context.Context, dir string, hear func(Record)) error {
	c, err := dial(dir, 2*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	werr := json.NewEncoder(c).Encode(Request{Version: Version, Ask: "follow"})
	for d := json.NewDecoder(bufio.NewReader(c)); ; {
		var a Answer
		err := d.Decode(&a)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, io.EOF) && werr == nil:
			return nil
		case err != nil:
			return silent(err)
		case a.Error != nil:
			return a.Error.err()
		case a.Record != nil:
			hear(*a.Record)
		}
	}
}

func dial(dir string, within time.Duration) (net.Conn, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, silent(err)
	}
	defer d.Close()
	c, err := net.DialTimeout("unix", short(d), within)
	if err != nil {
		return nil, silent(err)
	}
	return c, nil
}

// silent is err as the reason of ErrSilent.
func silent(err error) error {
	msg := err.Error()
	if e, ok := errors.AsType[*os.SyscallError](err); ok {
		msg = e.Err.Error()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		msg = "no answer in time: it is stopped, or very busy"
	}
	return &tandem.Error{Op: "ask the run", Kind: tandem.KindInvalid, Message: cmp.Or(msg, "no answer"), Err: errors.Join(ErrSilent, err)}
}
