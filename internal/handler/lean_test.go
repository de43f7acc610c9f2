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
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newLean(t *testing.T) (*lean, *http.Client) {
	t.Helper()
	l := &lean{most: 100, behind: &http.Transport{}}
	t.Cleanup(l.CloseIdleConnections)
	return l, &http.Client{Transport: l}
}

// counting is a server that counts its connections.
func counting(t *testing.T, h http.HandlerFunc) (url string, connections *atomic.Int64) {
	t.Helper()
	connections = new(atomic.Int64)
	s := httptest.NewUnstartedServer(h)
	s.Config.ConnState = func(_ net.Conn, st http.ConnState) {
		if st == http.StateNew {
			connections.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	return s.URL, connections
}

// echo reads all before it writes: a server that answers early may lose the rest of the request.
func echo(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	_, _ = w.Write(b)
}

func ask(t *testing.T, c *http.Client, r *http.Request) (int, string) {
	t.Helper()
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func want(t *testing.T, method, url, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

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
	if len(l.idle) != 1 {
		t.Errorf("idle: %v", l.idle)
	}
}

func TestLeanManyAtOnce(t *testing.T) {
	url, connections := counting(t, echo)
	_, c := newLean(t)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			for j := range 50 {
				s := strings.Repeat(fmt.Sprint(i, j), 100+j)
				if _, got := ask(t, c, want(t, "POST", url, s)); got != s {
					t.Errorf("%d %d came back wrong: %d bytes of %d", i, j, len(got), len(s))
				}
			}
		})
	}
	wg.Wait()
	if n := connections.Load(); n > 20 {
		t.Errorf("%d connections for 20 callers", n)
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
		if len(l.idle) != 0 {
			t.Errorf("%s: kept", path)
		}
	}
	if n := connections.Load(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

// The server closes a connection while it is idle: the next request is sent once more, whatever its method.
func TestLeanOutlivesIdleConnections(t *testing.T) {
	for _, linger := range []bool{false, true} { // linger: the server reads the request before it hangs up
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var seen atomic.Int64
		var served sync.WaitGroup
		served.Go(func() {
			for {
				c, err := listener.Accept()
				if err != nil {
					return
				}
				served.Go(func() { // one answer, then the end
					defer c.Close()
					in := bufio.NewReader(c)
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					b, _ := io.ReadAll(r.Body)
					seen.Add(1)
					fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(b), b)
					if linger {
						_, _ = http.ReadRequest(in)
					}
				})
			}
		})
		_, c := newLean(t)
		for i := range 5 {
			if _, got := ask(t, c, want(t, "POST", "http://"+listener.Addr().String(), fmt.Sprint("body ", i))); got != fmt.Sprint("body ", i) {
				t.Errorf("request %d: %q", i, got)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if seen.Load() != 5 {
			t.Errorf("%d requests answered, want 5", seen.Load())
		}
		listener.Close()
		c.CloseIdleConnections()
		served.Wait()
	}
}

func TestLeanListensToItsContext(t *testing.T) {
	hold := make(chan struct{})
	url, _ := counting(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/half" {
			_, _ = w.Write([]byte("half"))
			w.(http.Flusher).Flush()
		}
		<-hold
	})
	defer close(hold)
	l, c := newLean(t)
	for _, path := range []string{"/", "/half"} {
		why := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(50*time.Millisecond, func() { cancel(why) })
		r, _ := http.NewRequestWithContext(ctx, "POST", url+path, strings.NewReader("x"))
		resp, err := c.Do(r)
		if path == "/half" && err == nil {
			_, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		if !errors.Is(err, why) {
			t.Errorf("%s: got %v, want the cause of the context", path, err)
		}
	}
	if len(l.idle) != 0 {
		t.Error("a canceled connection is kept")
	}
}

// What servers say that is no answer ends in an error, once, with no second try on a fresh connection.
func TestLeanBadAnswers(t *testing.T) {
	for name, c := range map[string]struct{ answer, says string }{
		"nothing":       {"", "without an answer"},
		"no HTTP":       {"SSH-2.0-OpenSSH\r\n\r\n", "malformed HTTP"},
		"half a header": {"HTTP/1.1 200 OK\r\nContent-Type: a\r\n", "EOF"},
		"half a body":   {"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", "EOF"},
		"endless head":  {"HTTP/1.1 200 OK\r\n" + strings.Repeat("X: "+strings.Repeat("y", 1000)+"\r\n", 2000), "header is larger"},
	} {
		t.Run(name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			accepted := 0
			done := make(chan struct{})
			go func() {
				defer close(done)
				for {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					accepted++
					_, _ = http.ReadRequest(bufio.NewReader(conn))
					_, _ = io.WriteString(conn, c.answer)
					conn.Close()
				}
			}()
			_, client := newLean(t)
			resp, err := client.Do(want(t, "GET", "http://"+listener.Addr().String(), ""))
			if err == nil {
				_, err = io.ReadAll(resp.Body)
				resp.Body.Close()
			}
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %q", err, c.says)
			}
			listener.Close()
			<-done
			if accepted != 1 {
				t.Errorf("tried %d times", accepted)
			}
		})
	}
}

func TestLeanLeavesTheRestToNetHTTP(t *testing.T) {
	l := &lean{behind: &http.Transport{}}
	get := func(url string) *http.Request { return want(t, "GET", url, "") }
	large := want(t, "POST", "http://a", strings.Repeat("x", smallBody+1))
	unknown, _ := http.NewRequest("POST", "http://a", io.LimitReader(strings.NewReader("x"), 1))
	expecting := get("http://a")
	expecting.Header.Set("Expect", "100-continue")
	for _, r := range []*http.Request{get("https://a"), large, unknown, expecting, get("http://bücher.example")} {
		if l.takes(r) {
			t.Errorf("%s %s of %d bytes is not for the lean transport", r.Method, r.URL, r.ContentLength)
		}
	}
	if !l.takes(get("http://a")) || !l.takes(want(t, "POST", "http://a", "x")) {
		t.Error("small requests are for the lean transport")
	}
	srv := httptest.NewTLSServer(http.HandlerFunc(echo))
	defer srv.Close()
	l.behind = srv.Client().Transport.(*http.Transport)
	defer l.CloseIdleConnections()
	if _, got := ask(t, &http.Client{Transport: l}, want(t, "POST", srv.URL, "over TLS")); got != "over TLS" {
		t.Errorf("got %q", got)
	}
}
