package jetstream

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
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
}

func fromMessage(m jetstream.Msg) (d delivery, err error) {
	meta, err := m.Metadata()
	if err != nil {
		return d, err
	}
	return delivery{m.Reply(), m.Headers(), m.Data(), int(meta.NumDelivered), meta.Sequence.Stream}, nil
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
	ask, err := json.Marshal(struct {
		Batch   int           `json:"batch"`
		Expires time.Duration `json:"expires"`
		NoWait  bool          `json:"no_wait"`
	}{most, wait, true})
	if err != nil {
		return nil, err
	}
	if err := q.e.nc.PublishRequest(q.asks, p.sub.Subject, ask); err != nil {
		return nil, err
	}
	end := time.NewTimer(wait + 2*time.Second) // the connection may break, and then no end is told
	defer end.Stop()
	for seen := 0; seen < most; seen++ {
		var m *nats.Msg
		select {
		case m = <-p.in:
		case <-end.C:
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
	meta, err := m.Metadata()
	if err != nil {
		return nil, err
	}
	return q.lease(ctx, delivery{m.Reply, m.Header, m.Data, int(meta.NumDelivered), meta.Sequence.Stream})
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
