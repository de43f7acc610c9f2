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
	"slices"
	"strings"
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
// A request that fails on a connection that was kept alive, before any byte of the answer, is sent once more on a fresh one, whatever its method:
// the server closed the old one while it was idle. net/http does the same for a POST that has X-Idempotency-Key, and an http step always sets it.
// With once nothing is ever sent twice, so no connection is kept. It is safe for concurrent use.
type lean struct {
	behind *http.Transport
	dialer net.Dialer
	idle   idle
	once   bool // each request has a connection of its own and is never repeated
}

var (
	errHeader     = fmt.Errorf("the answer's header is larger than %d bytes", mostHeader)
	errLate       = errors.New("the server gave up waiting for a request")
	errUnanswered = errors.New("the server closed the connection without an answer")
	errMalformed  = errors.New("the answer is not HTTP")
)

var (
	writers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, 2<<10) }}
	readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 4<<10) }}
)

func (l *lean) takes(r *http.Request) bool {
	if r.URL.Scheme != "http" || r.URL.Host == "" || r.Method == http.MethodConnect {
		return false
	}
	if r.Header.Get("Expect") != "" || r.Header.Get("Upgrade") != "" || !plain(r.Header) {
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

// plain tells whether the header can be written as it is. Request.Write leaves out a name and changes a value that HTTP does not allow, without
// a word; the transport behind refuses them.
func plain(h http.Header) bool {
	odd := func(r rune) bool {
		return r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}
	control := func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }
	for name, values := range h {
		if name == "" || strings.ContainsFunc(name, odd) || slices.ContainsFunc(values, func(v string) bool { return strings.ContainsFunc(v, control) }) {
			return false
		}
	}
	return true
}

// RoundTrip is http.RoundTripper's.
func (l *lean) RoundTrip(r *http.Request) (*http.Response, error) {
	if !l.takes(r) {
		return l.behind.RoundTrip(r)
	}
	ctx := r.Context()
	address := net.JoinHostPort(r.URL.Hostname(), cmp.Or(r.URL.Port(), "80"))
	var c *conn
	if ctx.Err() == nil && !l.once { // one that has ended fails at the dial, before anything is sent
		c = l.idle.take(address)
	}
	for {
		if c == nil {
			raw, err := l.dialer.DialContext(ctx, "tcp", address)
			if err != nil {
				if r.Body != nil {
					r.Body.Close()
				}
				return nil, cause(ctx, err)
			}
			c = &conn{Conn: raw, address: address}
		}
		resp, stale, err := l.exchange(ctx, c, r)
		if err == nil {
			return resp, nil
		}
		c.Close()
		if !stale || l.once || ctx.Err() != nil {
			return nil, cause(ctx, err)
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

// cause is why ctx ended, when it did: what a connection then says is only how.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// exchange sends r and reads the header of the answer. It is stale when a connection that had been idle ended before any byte of the answer came.
func (l *lean) exchange(ctx context.Context, c *conn, r *http.Request) (resp *http.Response, stale bool, err error) {
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		if err != nil {
			stop()
		}
	}()
	kept := !c.since.IsZero()
	unsent := send(c, r)
	if _, broken := errors.AsType[*net.OpError](unsent); unsent != nil && !broken {
		return nil, false, unsent // it is the request's own fault; the server waits for the rest and says nothing
	}
	// A server may answer and hang up before it has read everything, so a failed write is not yet the end.
	if n, err := c.Conn.Read(c.first[:]); n == 0 {
		return nil, kept, cmp.Or(unsent, noEOF(err))
	}
	c.has, c.limit = true, mostHeader
	in := readers.Get().(*bufio.Reader)
	in.Reset(c)
	for resp == nil || resp.StatusCode < 200 && resp.StatusCode != http.StatusSwitchingProtocols { // these only announce the answer
		if resp, err = http.ReadResponse(in, r); err != nil {
			release(in)
			return nil, false, named(noEOF(err))
		}
	}
	if kept && resp.StatusCode == http.StatusRequestTimeout && resp.Close {
		release(in) // some servers say so before they hang up on an idle connection; they took no request, so repeating it is safe
		return nil, true, errLate
	}
	c.limit = 1 << 62
	b := &body{Reader: resp.Body, l: l, c: c, in: in, ctx: ctx, stop: stop,
		keep: !l.once && unsent == nil && !resp.Close && !r.Close && resp.StatusCode != http.StatusSwitchingProtocols}
	if resp.Body == http.NoBody {
		b.end(true)
	} else {
		resp.Body = b
	}
	return resp, false, nil
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
		return errUnanswered
	}
	return err
}

// named gives a name to what http.ReadResponse says of an answer it cannot read.
func named(err error) error {
	_, network := errors.AsType[net.Error](err)
	if network || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, errUnanswered) || errors.Is(err, errHeader) {
		return err
	}
	return fmt.Errorf("%w: %w", errMalformed, err)
}

func release(in *bufio.Reader) {
	in.Reset(nil)
	readers.Put(in)
}

// body is the body of an answer. At its end the connection is kept for the next request. Unlike net/http's it is for one goroutine: a Close would
// give the buffer of a Read in progress to somebody else.
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
	if err == io.EOF {
		b.end(true)
	} else if err != nil {
		err = cause(b.ctx, err)
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
	keep := b.stop() && whole && b.keep && b.in.Buffered() == 0
	release(b.in)
	if keep {
		b.l.idle.put(c)
	} else {
		c.Close()
	}
}

// CloseIdleConnections ends the use of l: connections that are still busy are closed after their answer.
func (l *lean) CloseIdleConnections() {
	l.idle.close()
	l.behind.CloseIdleConnections()
}
