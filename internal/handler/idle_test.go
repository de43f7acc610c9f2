package handler

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestLeanKeepsConnections(t *testing.T) {
	url, connections := counting(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		switch r.URL.Path {
		case "/chunked":
			for _, c := range b {
				fmt.Fprintf(w, "%c", c)
				w.(http.Flusher).Flush()
			}
		case "/empty":
			w.WriteHeader(204)
		case "/hints":
			w.Header().Set("Link", "</a>")
			w.WriteHeader(103)
			_, _ = w.Write(b)
		default:
			_, _ = w.Write(b)
		}
	})
	l, c := newLean(t)
	for range 3 {
		for _, x := range []struct {
			method, path, body, want string
			status                   int
		}{
			{"POST", "/", "abc", "abc", 200}, {"POST", "/chunked", "abc", "abc", 200}, {"PUT", "/empty", "abc", "", 204}, {"HEAD", "/", "", "", 200},
			{"POST", "/hints", "abc", "abc", 200}, {"GET", "/", "", "", 200}, {"POST", "/", strings.Repeat("x", smallBody), strings.Repeat("x", smallBody), 200},
		} {
			if status, body := ask(t, c, want(t, x.method, url+x.path, x.body)); status != x.status || body != x.want {
				t.Errorf("%s %s: %d %q", x.method, x.path, status, body)
			}
		}
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections for requests one after the other, want 1", n)
	}
	if l.idle.n != 1 {
		t.Errorf("%d idle connections, want 1", l.idle.n)
	}
}

// A body that is not read to its end, an answer that says so and a large body cost their connection and nothing else.
func TestLeanGivesConnectionsUp(t *testing.T) {
	url, connections := counting(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/close" {
			w.Header().Set("Connection", "close")
		}
		_, _ = w.Write(bytes.Repeat([]byte("x"), 1<<20))
	})
	l, c := newLean(t)
	for _, path := range []string{"/", "/close"} {
		resp, err := c.Do(want(t, "GET", url+path, ""))
		if err != nil {
			t.Fatal(err)
		}
		if path == "/" {
			_, _ = resp.Body.Read(make([]byte, 10))
		} else if b, err := io.ReadAll(resp.Body); len(b) != 1<<20 || err != nil {
			t.Errorf("%d bytes, %v", len(b), err)
		}
		resp.Body.Close()
		resp.Body.Close() // twice is fine
		if n, err := resp.Body.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("read after Close: %d %v", n, err)
		}
		if l.idle.n != 0 {
			t.Errorf("%s: kept", path)
		}
	}
	if n := connections.Load(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

// All that has come was read, and still the connection serves nobody: the rest of the body may follow, or a deadline is set.
func TestLeanKeepsNoDoubtfulConnection(t *testing.T) {
	for name, said := range map[string]int{"half a body": 4, "canceled after the answer": 2} {
		url, _ := talking(t, func(c net.Conn, in *bufio.Reader) {
			_, _ = readRequest(in)
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\nok", said)
			_, _ = in.ReadByte()
		})
		l, c := newLean(t)
		ctx, cancel := context.WithCancel(t.Context())
		resp, err := c.Do(want(t, "GET", url, "").WithContext(ctx))
		if err != nil {
			t.Fatal(err)
		}
		if said == 2 {
			cancel()
		}
		b := make([]byte, 2)
		if _, err := io.ReadFull(resp.Body, b); err != nil || string(b) != "ok" {
			t.Errorf("%s: %q %v", name, b, err)
		}
		resp.Body.Close()
		if l.idle.n != 0 {
			t.Errorf("%s: the connection is kept", name)
		}
		cancel()
		l.CloseIdleConnections()
	}
}

// The server ends a connection while it is idle, or with the next request already read: that one is sent once more, whatever its method.
func TestLeanOutlivesIdleConnections(t *testing.T) {
	const late = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
	for name, end := range map[string]func(net.Conn, *bufio.Reader){
		"closes":                func(net.Conn, *bufio.Reader) {},
		"says why and closes":   func(c net.Conn, _ *bufio.Reader) { _, _ = io.WriteString(c, late) },
		"says why and waits":    func(c net.Conn, in *bufio.Reader) { _, _ = io.WriteString(c, late); _, _ = in.ReadByte() },
		"resets":                func(c net.Conn, _ *bufio.Reader) { _ = c.(*net.TCPConn).SetLinger(0) },
		"reads and closes":      func(_ net.Conn, in *bufio.Reader) { _, _ = readRequest(in) },
		"reads and resets":      func(c net.Conn, in *bufio.Reader) { _, _ = readRequest(in); _ = c.(*net.TCPConn).SetLinger(0) },
		"reads half and closes": func(_ net.Conn, in *bufio.Reader) { _, _ = in.ReadByte() },
	} {
		t.Run(name, func(t *testing.T) {
			var seen atomic.Int64
			url, connections := talking(t, func(c net.Conn, in *bufio.Reader) {
				b, err := readRequest(in)
				if err != nil {
					return
				}
				seen.Add(1)
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(b), b)
				time.Sleep(5 * time.Millisecond) // what comes with the answer would keep the connection from being kept
				end(c, in)
			})
			_, c := newLean(t)
			for i := range 5 {
				if status, got := ask(t, c, want(t, "POST", url, fmt.Sprint("body ", i))); status != 200 || got != fmt.Sprint("body ", i) {
					t.Errorf("request %d: %d %q", i, status, got)
				}
				time.Sleep(15 * time.Millisecond)
			}
			if seen.Load() != 5 || connections.Load() != 5 {
				t.Errorf("%d requests answered on %d connections, want 5 on 5", seen.Load(), connections.Load())
			}
		})
	}
}

// A server that ends every connection before it answers gets a request twice at most: on the kept connection and on a fresh one.
func TestLeanTriesTwice(t *testing.T) {
	var requests atomic.Int64
	url, _ := talking(t, func(c net.Conn, in *bufio.Reader) {
		for {
			if _, err := readRequest(in); err != nil || requests.Add(1) > 1 {
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
		}
	})
	_, c := newLean(t)
	ask(t, c, want(t, "GET", url, ""))
	if _, err := c.Do(want(t, "POST", url, "x")); err == nil || !strings.Contains(err.Error(), "without an answer") {
		t.Errorf("got %v", err)
	}
	if n := requests.Load(); n != 3 {
		t.Errorf("%d requests, want the first, the second and its repetition", n)
	}
}

// Items that each go to a host of their own leave no more connections open than the step may have in flight.
func TestLeanManyHosts(t *testing.T) {
	listener, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	var open atomic.Int64
	s := &http.Server{Handler: http.HandlerFunc(echo), ConnState: func(_ net.Conn, st http.ConnState) {
		switch st {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed:
			open.Add(-1)
		}
	}}
	served := make(chan error)
	go func() { served <- s.Serve(listener) }()
	l, c := newLean(t)
	l.idle.most = 4
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	for i := range 50 {
		ask(t, c, want(t, "GET", fmt.Sprintf("http://127.0.1.%d:%s/", i+1, port), ""))
		if l.idle.n > 4 || len(l.idle.hosts) > 4 {
			t.Fatalf("%d idle connections to %d hosts, want 4 at most", l.idle.n, len(l.idle.hosts))
		}
	}
	eventually(t, func() bool { return open.Load() == 4 }, "the server still has more than 4 connections")
	s.Close()
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}

// Nobody has to ask again for an idle connection to end.
func TestLeanIdleTimeout(t *testing.T) {
	ended := make(chan struct{})
	url, connections := talking(t, func(c net.Conn, in *bufio.Reader) {
		_, _ = readRequest(in)
		_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
		_, _ = in.ReadByte()
		ended <- struct{}{}
	})
	l, c := newLean(t)
	l.idle.timeout = 40 * time.Millisecond
	for range 2 { // the second time the sweeper starts anew
		ask(t, c, want(t, "GET", url, ""))
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			t.Fatal("the connection is still open")
		}
	}
	if n := connections.Load(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
	eventually(t, func() bool { l.idle.mu.Lock(); defer l.idle.mu.Unlock(); return l.idle.n == 0 && l.idle.sweeps == nil }, "something is left to sweep")
}

// After CloseIdleConnections requests still work; nothing of them stays open.
func TestLeanClosed(t *testing.T) {
	url, connections := counting(t, echo)
	l, c := newLean(t)
	ask(t, c, want(t, "GET", url, ""))
	c.CloseIdleConnections()
	for range 2 {
		ask(t, c, want(t, "POST", url, "x"))
	}
	if n := connections.Load(); n != 3 || l.idle.n != 0 {
		t.Errorf("%d connections and %d idle, want 3 and 0", n, l.idle.n)
	}
}
