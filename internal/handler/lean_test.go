package handler

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
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
	l := &lean{idle: idle{most: 100, timeout: time.Minute}, behind: &http.Transport{}}
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

// talking is a server that speaks bytes: f has each connection until it returns.
func talking(t *testing.T, f func(net.Conn, *bufio.Reader)) (url string, connections *atomic.Int64) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	connections = new(atomic.Int64)
	var served sync.WaitGroup
	served.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			served.Go(func() {
				defer c.Close()
				f(c, bufio.NewReader(c))
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		served.Wait()
	})
	return "http://" + listener.Addr().String(), connections
}

func readRequest(in *bufio.Reader) ([]byte, error) {
	r, err := http.ReadRequest(in)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r.Body)
}

func eventually(t *testing.T, ok func() bool, says string) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(says)
		}
	}
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
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	r, _ := http.NewRequestWithContext(ctx, "GET", url, nil)
	if _, err := c.Do(r); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
	if l.idle.n != 0 {
		t.Error("a canceled connection is kept")
	}
}

// A request whose context has ended is not sent and costs no kept connection.
func TestLeanSendsNothingInVain(t *testing.T) {
	var seen atomic.Int64
	url, _ := counting(t, func(w http.ResponseWriter, r *http.Request) { seen.Add(1); echo(w, r) })
	l, c := newLean(t)
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	for kept := range 2 {
		r, _ := http.NewRequestWithContext(ctx, "POST", url, strings.NewReader("x"))
		if _, err := c.Do(r); !errors.Is(err, why) {
			t.Errorf("got %v, want the cause of the context", err)
		}
		if int(seen.Load()) != kept || l.idle.n != kept {
			t.Errorf("%d requests came through and %d connections are idle, want %d and %d", seen.Load(), l.idle.n, kept, kept)
		}
		if kept == 0 {
			ask(t, c, want(t, "GET", url, ""))
		}
	}
}

// What net/http refuses to send is refused: a body of another size than said, names and values that would be left out or changed.
func TestLeanBadRequests(t *testing.T) {
	url, _ := counting(t, echo)
	_, c := newLean(t)
	short := want(t, "POST", url, "abc")
	short.ContentLength = 10
	name := want(t, "GET", url, "")
	name.Header["X A"] = []string{"v"}
	value := want(t, "GET", url, "")
	value.Header["X-A"] = []string{"a\r\nEvil: b"}
	nowhere := want(t, "GET", "http:///path", "")
	for says, r := range map[string]*http.Request{
		"Body length 3": short, "invalid header field name": name, "invalid header field value": value, "no Host": nowhere,
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		if _, err := c.Do(r.WithContext(ctx)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want %q", err, says)
		}
		cancel()
	}
}

func TestLeanLeavesTheRestToNetHTTP(t *testing.T) {
	l := &lean{behind: &http.Transport{}}
	get := func(address string) *http.Request { return want(t, "GET", address, "") }
	large := want(t, "POST", "http://a", strings.Repeat("x", smallBody+1))
	unknown, _ := http.NewRequest("POST", "http://a", io.LimitReader(strings.NewReader("x"), 1))
	expecting := get("http://a")
	expecting.Header.Set("Expect", "100-continue")
	for _, r := range []*http.Request{get("https://a"), large, unknown, expecting, get("http://bücher.example")} {
		if l.takes(r) {
			t.Errorf("%s %s of %d bytes is not for the lean transport", r.Method, r.URL, r.ContentLength)
		}
	}
	proxied := &lean{behind: &http.Transport{Proxy: func(*http.Request) (*url.URL, error) { return &url.URL{Scheme: "http", Host: "proxy"}, nil }}}
	if proxied.takes(get("http://a")) {
		t.Error("a request through a proxy is not for the lean transport")
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
