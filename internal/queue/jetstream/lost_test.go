package jetstream

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tandem"
)

// An acknowledgement that nobody takes, or of which nothing is heard, is told again until it is confirmed: a consumer has no leader for a while when a server dies.
func TestAcknowledgementsThatAreLost(t *testing.T) {
	s, err := Serve(ServerConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	e, err := Connect(s.URL(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	q, err := e.Open(t.Context(), tandem.QueueConfig{Name: "q", Items: 10, Lease: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Close() })
	leases := make([]tandem.Lease, 3)
	for i, subject := range []string{"consumer.taken", "consumer.nobody", "consumer.silent"} {
		l := &lease{q: q, d: delivery{reply: subject}}
		l.until.Store(time.Now().Add(time.Minute).UnixNano())
		leases[i] = l
	}
	var mu sync.Mutex
	heard := map[string]int{}
	leader := func(subject string, answers func(times int) bool) {
		_, err := e.nc.Subscribe(subject, func(m *nats.Msg) {
			mu.Lock()
			heard[subject]++
			n := heard[subject]
			mu.Unlock()
			if answers(n) {
				_ = m.Respond(nil)
			}
		})
		if err != nil {
			t.Error(err)
		}
	}
	leader("consumer.taken", func(int) bool { return true })
	leader("consumer.silent", func(n int) bool { return n > 1 })
	var chosen atomic.Bool
	go func() {
		time.Sleep(time.Second)
		chosen.Store(true)
		leader("consumer.nobody", func(int) bool { return true })
	}()
	if err := q.Done(t.Context(), leases...); err != nil {
		t.Fatal(err)
	}
	if !chosen.Load() {
		t.Error("it was confirmed before there was anybody to do so")
	}
	mu.Lock()
	defer mu.Unlock()
	if heard["consumer.taken"] != 1 || heard["consumer.silent"] != 2 || heard["consumer.nobody"] != 1 {
		t.Errorf("%v; want that of which nothing was heard twice, and the others once", heard)
	}
}

// future is a message of which nothing is heard until somebody answers.
type future struct {
	ok   chan *jetstream.PubAck
	fail chan error
}

func newFuture() future                       { return future{make(chan *jetstream.PubAck, 1), make(chan error, 1)} }
func (f future) Ok() <-chan *jetstream.PubAck { return f.ok }
func (f future) Err() <-chan error            { return f.fail }
func (f future) Msg() *nats.Msg               { return nil }

// What nothing is heard of is lost after 5 s, and after twice as long each further time; what is answered one after the other, however slowly, is not.
func TestWhatNothingIsHeardOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h hearing
		fails := func(_ int, err error) error { return err }
		took := func(acks ...jetstream.PubAckFuture) (time.Duration, error) {
			begun := time.Now()
			err := h.all(t.Context(), h.patience(nil), acks, fails)
			return time.Since(begun), err
		}
		for _, want := range []time.Duration{firstSilence, 2 * firstSilence, 4 * firstSilence, mostSilence, mostSilence} {
			if d, err := took(newFuture()); d != want || !errors.Is(err, nats.ErrTimeout) {
				t.Errorf("%v, %v; want %v", d, err, want)
			}
		}
		slow := func(n int) (all []jetstream.PubAckFuture) {
			for i := range n {
				f := newFuture()
				time.AfterFunc(time.Duration(i+1)*4*time.Second, func() { f.ok <- &jetstream.PubAck{} })
				all = append(all, f)
			}
			return all
		}
		if d, err := took(slow(5)...); d != 20*time.Second || err != nil {
			t.Errorf("%v, %v", d, err)
		}
		if d, err := took(slow(5)...); d != 20*time.Second || err != nil { // it has been heard since
			t.Errorf("%v, %v", d, err)
		}
		if d, err := took(newFuture()); d != firstSilence || err == nil {
			t.Errorf("%v, %v", d, err)
		}
		named := &nats.Msg{Header: nats.Header{nats.MsgIdHdr: []string{"1"}}}
		if d := h.patience([]*nats.Msg{named, {}}); d != mostSilence { // put twice it would be there twice
			t.Errorf("%v for a message without an ID", d)
		}
		f := newFuture()
		f.fail <- errors.New("full")
		if _, err := took(f); err == nil || err.Error() != "full" {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := h.all(ctx, h.patience(nil), []jetstream.PubAckFuture{newFuture()}, fails); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

// wall stands between a client and its server. It can hold back what the server says.
type wall struct {
	net.Listener
	to    string
	muted atomic.Bool
	mu    sync.Mutex
	open  []net.Conn
}

func newWall(t *testing.T, url string) *wall {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wall{Listener: l, to: strings.TrimPrefix(url, "nats://")}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", w.to)
			if err != nil {
				_ = client.Close()
				continue
			}
			w.mu.Lock()
			w.open = append(w.open, client, server)
			w.mu.Unlock()
			pass := func(to, from net.Conn, holds bool) {
				b := make([]byte, 64<<10)
				for {
					n, err := from.Read(b)
					if err != nil {
						_ = to.Close()
						return
					}
					if !holds || !w.muted.Load() {
						_, _ = to.Write(b[:n])
					}
				}
			}
			all.Go(func() { pass(server, client, false) })
			all.Go(func() { pass(client, server, true) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); w.cut(); all.Wait() })
	return w
}

func (w *wall) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.open {
		_ = c.Close()
	}
	w.open = nil
}

// What is under way when the connection is lost is not waited for: it is put again at once, and is there once.
func TestTheConnectionIsLostBeforeTheAnswer(t *testing.T) {
	s, err := Serve(ServerConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	open := func(url string) *Queue {
		e, err := Connect(url, Config{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = e.Close() })
		q, err := e.Open(t.Context(), tandem.QueueConfig{Name: "q", Items: 10, Dedupe: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = q.Close() })
		return q
	}
	sees := open(s.URL())
	w := newWall(t, s.URL())
	q := open("nats://" + w.Addr().String())
	if !q.fast {
		t.Fatal("this server takes no fast batches")
	}
	count := func() int {
		st, err := sees.Stats(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return st.Ready
	}
	w.muted.Store(true)
	put := make(chan error, 1)
	go func() { put <- q.Put(t.Context(), tandem.Message{ID: "1"}) }()
	for end := time.Now().Add(20 * time.Second); count() == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not arrive")
		}
	}
	w.muted.Store(false)
	w.cut()
	var failure *tandem.Error
	select {
	case err := <-put:
		if !errors.As(err, &failure) || failure.Again != tandem.AgainYes {
			t.Fatalf("%v; want an error that may pass", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it still waits for the answer")
	}
	if err := q.Put(t.Context(), tandem.Message{ID: "1"}); err != nil {
		t.Fatal(err)
	}
	if n := count(); n != 1 {
		t.Errorf("%d messages, want one", n)
	}
}
