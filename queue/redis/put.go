package redis

import (
	"context"
	"encoding/binary"
	"errors"
	"strconv"
	"time"

	"tandem"
)

// lot is how much one script is given: the server does nothing else meanwhile.
const (
	lot      = 256
	lotBytes = 4 << 20
)

// head of what is stored: ID and key with their lengths, for the scripts, then due time and headers, then the body.
func encode(m *tandem.Message) []byte {
	b := make([]byte, 0, len(m.ID)+len(m.Key)+len(m.Body)+24)
	text := func(s string) { b = append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...) }
	text(m.ID)
	text(m.Key)
	due := int64(0)
	if !m.NotBefore.IsZero() {
		due = m.NotBefore.UnixNano()
	}
	b = binary.BigEndian.AppendUint64(b, uint64(due))
	b = binary.BigEndian.AppendUint32(b, uint32(len(m.Header)))
	for k, v := range m.Header {
		text(k)
		text(v)
	}
	return append(b, m.Body...)
}

var errStrange = errors.New("what is stored there is not a message of Tandem")

func decode(s string) (m tandem.Message, err error) {
	number := func(width int) (n uint64) {
		if len(s) < width {
			err, s = errStrange, ""
			return 0
		}
		for _, c := range []byte(s[:width]) {
			n = n<<8 | uint64(c)
		}
		s = s[width:]
		return n
	}
	text := func() (t string) {
		n := number(4)
		if n > uint64(len(s)) {
			err, s = errStrange, ""
			return ""
		}
		t, s = s[:n], s[n:]
		return t
	}
	m.ID, m.Key = text(), text()
	if due := int64(number(8)); due != 0 {
		m.NotBefore = time.Unix(0, due)
	}
	for n := number(4); n > 0 && err == nil; n-- {
		if m.Header == nil {
			m.Header = map[string]string{}
		}
		k := text()
		m.Header[k] = text()
	}
	m.Body = []byte(s)
	return m, err
}

// millis is a moment in the server's unit, never earlier than it.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Add(time.Millisecond - 1).UnixMilli()
}

// TryPut is tandem.Queue's.
func (q *Queue) TryPut(ctx context.Context, m tandem.Message) error {
	args, err := q.parcel(nil, &m)
	if err != nil {
		return err
	}
	if err := q.over(ctx); err != nil {
		return err
	}
	n, err := q.send(ctx, args, false)
	if err == nil && n == 0 {
		return tandem.ErrFull
	}
	return err
}

// Put is tandem.Queue's.
func (q *Queue) Put(ctx context.Context, messages ...tandem.Message) error {
	var all [][]any // of one message four
	for i := range messages {
		one, err := q.parcel(nil, &messages[i])
		if err != nil {
			return err
		}
		all = append(all, one)
	}
	for len(all) > 0 {
		if err := q.over(ctx); err != nil {
			return err
		}
		_, room := q.bells()
		var args []any
		n, bytes := 0, 0
		for n < len(all) && n < lot && bytes < lotBytes {
			args = append(args, all[n]...)
			bytes += len(all[n][3].([]byte))
			n++
		}
		in, err := q.send(ctx, args, true)
		if err != nil {
			return err
		}
		if all = all[in:]; in < n {
			if err := q.rest(ctx, room, time.Second); err != nil {
				return err
			}
		}
	}
	return nil
}

// parcel appends what the script wants to know of a message: ID (empty when it is ours), key, when it is due, all of it.
func (q *Queue) parcel(args []any, m *tandem.Message) ([]any, error) {
	if int64(len(m.Body)) > q.cfg.Bytes || len(m.Body) > 256<<20 {
		return nil, &tandem.Error{Op: "put into the queue", On: q.cfg.Name, Kind: tandem.KindTooLarge,
			Message: "a body of " + strconv.Itoa(len(m.Body)) + " bytes is more than the queue may hold (" + strconv.FormatInt(min(q.cfg.Bytes, 256<<20), 10) + ")",
			Hint:    "put what is large elsewhere and its name into the queue"}
	}
	named, id := *m, m.ID
	if id == "" {
		named.ID = q.unnamed()
	}
	key := ""
	if q.cfg.Ordered {
		key = m.Key
	}
	return append(args, id, key, millis(m.NotBefore), encode(&named)), nil
}

// send puts in what there is room for, in order, and tells how many that were. A sender that waits is woken.
func (q *Queue) send(ctx context.Context, args []any, waits bool) (int, error) {
	head := []any{q.cfg.Attempts, tandem.MaxDead, q.cfg.Items, q.cfg.Bytes, q.cfg.Dedupe.Milliseconds(), waits}
	n, err := put.Run(ctx, q.e.c, q.keys(), append(head, args...)...).Int()
	return n, q.failed("put into", err)
}
