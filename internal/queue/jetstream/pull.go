package jetstream

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tandem"
)

// delivery is a message as the server hands it out.
type delivery struct {
	reply    string // where its end is told
	head     nats.Header
	body     []byte
	count    int // deliveries, this one included
	sequence uint64
	stored   int64 // when, in nanoseconds since 1970
}

// fromReply reads what the server says in the address of the acknowledgement: $JS.ACK.STREAM.CONSUMER.DELIVERIES.SEQUENCE.CONSUMERSEQUENCE.TIME.PENDING. The client
// library reads the same with a dozen allocations. It is false when the address has another form: it has more words behind imports and in other domains.
func (d *delivery) fromReply() bool {
	at, word, ok := 0, 0, true
	number := func(text string) int64 {
		n, err := strconv.ParseInt(text, 10, 64)
		ok = ok && err == nil
		return n
	}
	for i := 0; i <= len(d.reply); i++ {
		if i < len(d.reply) && d.reply[i] != '.' {
			continue
		}
		switch text := d.reply[at:i]; word {
		case 1:
			ok = ok && text == "ACK"
		case 4:
			d.count = int(number(text))
		case 5:
			d.sequence = uint64(number(text))
		case 7:
			d.stored = number(text)
		}
		at, word = i+1, word+1
	}
	return ok && word == 9
}

func (d *delivery) fromMeta(count, sequence uint64, stored time.Time) {
	d.count, d.sequence, d.stored = int(count), sequence, stored.UnixNano()
}

func fromMessage(m jetstream.Msg) (d delivery, err error) {
	d = delivery{reply: m.Reply(), head: m.Headers(), body: m.Data()}
	if d.fromReply() {
		return d, nil
	}
	meta, err := m.Metadata()
	if err == nil {
		d.fromMeta(meta.NumDelivered, meta.Sequence.Stream, meta.Timestamp)
	}
	return d, err
}

// most messages of one pull: what waits unread in a puller has its place there, else the client would drop it.
const mostPulled = 1000

// puller is an address at which one pull after another is answered. The client library makes one for each; that costs a subscription each time, and a second question
// when nothing is there yet.
type puller struct {
	sub *nats.Subscription
	in  chan *nats.Msg
}

func (q *Queue) puller() (*puller, error) {
	q.mu.Lock()
	if n := len(q.idle); n > 0 {
		p := q.idle[n-1]
		q.idle = q.idle[:n-1]
		q.mu.Unlock()
		return p, nil
	}
	q.mu.Unlock()
	p := &puller{in: make(chan *nats.Msg, mostPulled+24)}
	var err error
	p.sub, err = q.e.nc.ChanSubscribe(q.e.nc.NewInbox(), p.in)
	return p, err
}

// next waits for a message until the time is up. What lies there is taken without a look at the clock, which costs more than the rest.
func (p *puller) next(up <-chan time.Time) (m *nats.Msg, ok bool) {
	select {
	case m = <-p.in:
		return m, true
	default:
	}
	select {
	case m = <-p.in:
		return m, true
	case <-up:
		return nil, false
	}
}

// park keeps a puller whose last pull is over.
func (q *Queue) park(p *puller) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ctx.Err() != nil {
		_ = p.sub.Unsubscribe()
		return
	}
	q.idle = append(q.idle, p)
}

func (q *Queue) unpark() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, p := range q.idle {
		_ = p.sub.Unsubscribe()
	}
	q.idle = nil
}

// errBusy says that others wait already for what little there is.
var errBusy = errors.New("other pulls are pending")

// pull asks once for up to most messages: what is there comes at once, and when there is nothing the first that comes within wait.
func (q *Queue) pull(ctx context.Context, most int, wait time.Duration) (out []tandem.Lease, err error) {
	p, err := q.puller()
	if err != nil {
		return nil, err
	}
	over := false
	defer func() {
		if over {
			q.park(p)
		} else {
			_ = p.sub.Unsubscribe() // the server may still answer: to nobody
		}
	}()
	most = min(most, mostPulled)
	ask := strconv.AppendInt(append(make([]byte, 0, 96), `{"batch":`...), int64(most), 10)
	ask = append(strconv.AppendInt(append(ask, `,"expires":`...), int64(wait), 10), `,"no_wait":true}`...)
	if err := q.e.nc.PublishRequest(q.asks, p.sub.Subject, ask); err != nil {
		return nil, err
	}
	end := time.NewTimer(wait + 2*time.Second) // the connection may break, and then no end is told
	defer end.Stop()
	for seen := 0; seen < most; seen++ {
		m, ok := p.next(end.C)
		if !ok {
			return out, nil
		}
		if m.Reply == "" { // a status: the end
			over = true
			return out, cmp.Or(err, status(m))
		}
		l, failed := q.delivered(ctx, m)
		if failed != nil {
			err = failed // this one comes again when its time is up; those behind it are ours
		} else if l != nil {
			out = append(out, l)
		}
	}
	over = true
	return out, err
}

func (q *Queue) delivered(ctx context.Context, m *nats.Msg) (*lease, error) {
	d := delivery{reply: m.Reply, head: m.Header, body: m.Data}
	if !d.fromReply() {
		meta, err := m.Metadata()
		if err != nil {
			return nil, err
		}
		d.fromMeta(meta.NumDelivered, meta.Sequence.Stream, meta.Timestamp)
	}
	return q.lease(ctx, d)
}

// status says what the end of a pull means.
func status(m *nats.Msg) error {
	text := m.Header.Get("Description")
	switch code := m.Header.Get("Status"); {
	case code == "404", code == "408" && text == "Request Timeout":
		return nil
	case code == "408", code == "409" && text == "Exceeded MaxWaiting":
		return errBusy
	case code == "503":
		return nats.ErrNoResponders
	default:
		return errors.New("the server ends a pull: " + code + " " + text)
	}
}
