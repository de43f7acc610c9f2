package handler

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	smallBody   = 64 << 10 // request bodies up to this fit into the socket's buffer: nobody has to write while another reads
	mostHeader  = 1 << 20  // bytes of an answer's header
	idleTimeout = 60 * time.Second
)

// lean is the http.RoundTripper for many requests in flight. net/http's own keeps two goroutines and two buffers for each connection; with ten
// thousand in flight that is most of the memory. Here the caller's goroutine dials, writes and reads, and holds no buffer while it waits for the
// first byte of the answer. Writing and parsing are net/http's.
//
// It takes HTTP/1.1 without TLS or proxy and with small bodies; everything else goes to the transport behind it. It asks for no compression.
// A request that fails on a connection that was kept alive, before any byte of the answer, is sent once more on a fresh one: the server closed
// the old one while it was idle. It is safe for concurrent use.
type lean struct {
	behind *http.Transport
	dialer net.Dialer
	most   int // idle connections for one host

	mu     sync.Mutex
	idle   map[string][]*conn // by address, the most recently used last
	closed bool
}

// conn is a connection and the first byte of an answer, read while no buffer was held.
type conn struct {
	net.Conn
	address string
	since   time.Time // idle since
	first   [1]byte
	has     bool
	limit   int64 // bytes that may still be read; the header's limit, then none
}

var errHeader = fmt.Errorf("the answer's header is larger than %d bytes", mostHeader)

func (c *conn) Read(p []byte) (int, error) {
	if c.limit <= 0 {
		return 0, errHeader
	}
	n, err := 1, error(nil)
	if c.has && len(p) > 0 {
		p[0], c.has = c.first[0], false
	} else {
		n, err = c.Conn.Read(p)
	}
	c.limit -= int64(n)
	return n, err
}

var (
	writers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, 2<<10) }}
	readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 4<<10) }}
)

func (l *lean) takes(r *http.Request) bool {
	if r.URL.Scheme != "http" || r.Header.Get("Expect") != "" || r.Header.Get("Upgrade") != "" {
		return false
	}
	if r.Body != nil && r.Body != http.NoBody && (r.ContentLength <= 0 || r.ContentLength > smallBody || r.GetBody == nil) {
		return false
	}
	for _, b := range []byte(r.URL.Host) {
		if b >= 0x80 { // a name that wants translation
			return false
		}
	}
	if l.behind.Proxy == nil {
		return true
	}
	proxy, err := l.behind.Proxy(r)
	return proxy == nil && err == nil
}

// RoundTrip is http.RoundTripper's.
func (l *lean) RoundTrip(r *http.Request) (*http.Response, error) {
	if !l.takes(r) {
		return l.behind.RoundTrip(r)
	}
	address := net.JoinHostPort(r.URL.Hostname(), cmp.Or(r.URL.Port(), "80"))
	c := l.take(address)
	for {
		fresh := c == nil
		if fresh {
			raw, err := l.dialer.DialContext(r.Context(), "tcp", address)
			if err != nil {
				if r.Body != nil {
					r.Body.Close()
				}
				return nil, err
			}
			c = &conn{Conn: raw, address: address}
		}
		resp, answered, err := l.exchange(c, r)
		if err == nil {
			return resp, nil
		}
		c.Close()
		if fresh || answered || r.Context().Err() != nil {
			return nil, err
		}
		c = nil
		if r.GetBody != nil {
			again := *r
			if again.Body, err = r.GetBody(); err != nil {
				return nil, err
			}
			r = &again
		}
	}
}

// exchange sends r and reads the header of the answer. answered tells whether any byte of it came.
func (l *lean) exchange(c *conn, r *http.Request) (resp *http.Response, answered bool, err error) {
	ctx := r.Context()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		if err != nil {
			stop()
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
		}
	}()
	unsent := send(c, r)
	// A server may answer and hang up before it has read everything, so a failed write is not yet the end.
	if n, err := c.Conn.Read(c.first[:]); n == 0 {
		return nil, false, cmp.Or(unsent, noEOF(err))
	}
	c.has, c.limit = true, mostHeader
	in := readers.Get().(*bufio.Reader)
	in.Reset(c)
	for {
		if resp, err = http.ReadResponse(in, r); err != nil {
			release(in)
			return nil, true, noEOF(err)
		}
		if resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			break
		} // the others only announce the answer
	}
	c.limit = 1 << 62
	b := &body{Reader: resp.Body, l: l, c: c, in: in, ctx: ctx, stop: stop,
		keep: unsent == nil && !resp.Close && !r.Close && resp.StatusCode != http.StatusSwitchingProtocols}
	if resp.Body == http.NoBody {
		b.end(true)
	} else {
		resp.Body = b
	}
	return resp, true, nil
}

func send(c *conn, r *http.Request) error {
	out := writers.Get().(*bufio.Writer)
	out.Reset(c.Conn)
	err := r.Write(out)
	if err == nil {
		err = out.Flush()
	}
	out.Reset(nil)
	writers.Put(out)
	return err
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return errors.New("the server closed the connection without an answer")
	}
	return err
}

func release(in *bufio.Reader) {
	in.Reset(nil)
	readers.Put(in)
}

// body is the body of an answer. At its end the connection is kept for the next request.
type body struct {
	io.Reader
	l    *lean
	c    *conn
	in   *bufio.Reader
	ctx  context.Context
	stop func() bool
	keep bool
}

func (b *body) Read(p []byte) (int, error) {
	if b.c == nil {
		return 0, io.EOF
	}
	n, err := b.Reader.Read(p)
	switch {
	case err == io.EOF:
		b.end(true)
	case err != nil && b.ctx.Err() != nil:
		err = context.Cause(b.ctx)
	}
	return n, err
}

// Close gives the connection up when the body was not read to its end.
func (b *body) Close() error {
	b.end(false)
	return nil
}

func (b *body) end(whole bool) {
	if b.c == nil {
		return
	}
	c := b.c
	b.c = nil
	// After a late cancellation the deadline may still be set behind our back.
	keep := b.stop() && whole && b.keep && b.in.Buffered() == 0 && !c.has
	release(b.in)
	if !keep || !b.l.put(c) {
		c.Close()
	}
}

// take gives the connection that was idle for the shortest time, or nil.
func (l *lean) take(address string) *conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.idle[address]
	if len(list) == 0 {
		return nil
	}
	c := list[len(list)-1]
	list[len(list)-1] = nil
	l.idle[address] = list[:len(list)-1]
	if time.Since(c.since) < idleTimeout {
		return c
	}
	c.Close() // and all the others have been idle for longer
	for _, old := range l.idle[address] {
		old.Close()
	}
	delete(l.idle, address)
	return nil
}

func (l *lean) put(c *conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.idle[c.address]) >= l.most {
		return false
	}
	if l.idle == nil {
		l.idle = map[string][]*conn{}
	}
	c.since = time.Now()
	l.idle[c.address] = append(l.idle[c.address], c)
	return true
}

// CloseIdleConnections ends the use of l: connections that are still busy are closed after their answer.
func (l *lean) CloseIdleConnections() {
	l.mu.Lock()
	l.closed = true
	for _, list := range l.idle {
		for _, c := range list {
			c.Close()
		}
	}
	l.idle = nil
	l.mu.Unlock()
	l.behind.CloseIdleConnections()
}
