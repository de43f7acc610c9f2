package handler

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tandem"
)

// broken is a server that says what answer writes to each connection, and counts what it got rid of.
func broken(t *testing.T, answer func(c net.Conn)) (url string, connections, open *atomic.Int64) {
	t.Helper()
	open = new(atomic.Int64)
	url, connections = talking(t, func(c net.Conn, in *bufio.Reader) {
		open.Add(1)
		defer open.Add(-1)
		if _, err := readRequest(in); err == nil {
			answer(c)
		}
	})
	return url, connections, open
}

func says(s string) func(net.Conn) { return func(c net.Conn) { _, _ = io.WriteString(c, s) } }

// endless writes s until nobody listens any more.
func endless(head, s string, pause time.Duration) func(net.Conn) {
	return func(c net.Conn) {
		_, err := io.WriteString(c, head)
		for err == nil {
			time.Sleep(pause)
			_, err = io.WriteString(c, s)
		}
	}
}

// What servers do to those who ask them, through both transports: a small body goes through the lean one, a large one through net/http's.
func TestHTTPBadServers(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	for _, c := range []struct {
		name    string
		answer  func(net.Conn)
		outcome tandem.Outcome
		kind    string
		reason  string
		again   tandem.Again
		says    string
		hint    string
	}{
		{"byte by byte", endless(ok+"\r\n", "x", 5*time.Millisecond), tandem.TimedOut, tandem.KindTimeout, "", 0, "no whole answer in time", "timeout"},
		{"header byte by byte", endless(ok, "x", 5*time.Millisecond), tandem.TimedOut, tandem.KindTimeout, "", 0, "no whole answer in time", "timeout"},
		{"says nothing", func(c net.Conn) { _, _ = c.Read(make([]byte, 1)) }, tandem.TimedOut, tandem.KindTimeout, "", 0, "no whole answer", "timeout"},
		{"too little, and waits", func(c net.Conn) { says(ok + "Content-Length: 9\r\n\r\nhalf")(c); _, _ = c.Read(make([]byte, 1)) }, tandem.TimedOut, tandem.KindTimeout, "", 0, "no whole answer", "timeout"},
		{"closes at once", func(net.Conn) {}, tandem.Failed, tandem.KindNetwork, "reset", 0, "", "closed the connection"},
		{"closes in the header", says(ok + "Content-Type: a"), tandem.Failed, tandem.KindNetwork, "reset", 0, "unexpected EOF", "closed the connection"},
		{"closes in the body", says(ok + "Content-Length: 100\r\n\r\nhalf"), tandem.Failed, tandem.KindNetwork, "reset", 0, "unexpected EOF", "closed the connection"},
		{"closes in a chunk", says(ok + "Transfer-Encoding: chunked\r\n\r\n9\r\nhalf"), tandem.Failed, tandem.KindNetwork, "reset", 0, "unexpected EOF", "closed the connection"},
		{"resets", func(c net.Conn) { says(ok + "Content-Length: 100\r\n\r\nhalf")(c); _ = c.(*net.TCPConn).SetLinger(0) }, tandem.Failed, tandem.KindNetwork, "reset", 0, "", "closed the connection"},
		{"no HTTP", says("SSH-2.0-OpenSSH\r\n\r\n"), tandem.Failed, tandem.KindNetwork, "malformed", 0, "malformed HTTP", "HTTP server"},
		{"bad chunk", says(ok + "Transfer-Encoding: chunked\r\n\r\nxyz\r\n"), tandem.Failed, tandem.KindNetwork, "malformed", 0, "", "HTTP server"},
		{"length is no number", says(ok + "Content-Length: many\r\n\r\nok"), tandem.Failed, tandem.KindNetwork, "malformed", 0, "bad Content-Length", "HTTP server"},
		{"two lengths", says(ok + "Content-Length: 2\r\nContent-Length: 3\r\n\r\nok"), tandem.Failed, tandem.KindNetwork, "malformed", 0, "Content-Length", "HTTP server"},
		{"too long for its length", says(ok + "Content-Length: 2\r\n\r\nok and more"), tandem.OK, "", "", 0, "", ""},
		{"endless header", endless(ok, "X: "+strings.Repeat("y", 1000)+"\r\n", 0), tandem.Failed, tandem.KindTooLarge, "header", tandem.AgainNever, "header", "HTTP server"},
		{"endless header line", endless(ok+"X: ", strings.Repeat("y", 1000), 0), tandem.Failed, tandem.KindTooLarge, "header", tandem.AgainNever, "header", "HTTP server"},
		{"endless hints", endless("", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 0), tandem.Failed, tandem.KindTooLarge, "header", tandem.AgainNever, "header", "HTTP server"},
		{"endless body", endless(ok+"\r\n", strings.Repeat("x", 64<<10), 0), tandem.Failed, tandem.KindTooLarge, "", tandem.AgainNever, "answered more than 1000000 bytes", "command"},
		{"endless chunks", endless(ok+"Transfer-Encoding: chunked\r\n\r\n", "400\r\n"+strings.Repeat("x", 1024)+"\r\n", 0), tandem.Failed, tandem.KindTooLarge, "", tandem.AgainNever, "more than 1000000 bytes", "command"},
		{"10 GB", endless(ok+"Content-Length: 10000000000\r\n\r\n", strings.Repeat("x", 64<<10), 0), tandem.Failed, tandem.KindTooLarge, "", tandem.AgainNever, "an answer of 10000000000 bytes, more than 1000000", "command"},
		{"10 GB of complaint", endless("HTTP/1.1 500 No\r\nContent-Length: 10000000000\r\n\r\n", strings.Repeat("x", 64<<10), 0), tandem.Failed, tandem.KindStatus, "500", 0, "answered 500 No, want 2xx: xxx", ""},
		{"half a complaint", says("HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\nhalf"), tandem.Failed, tandem.KindStatus, "500", 0, "500 No, want 2xx: half", ""},
	} {
		for _, size := range []int{10, smallBody + 1} {
			t.Run(fmt.Sprintf("%s/%d", c.name, size), func(t *testing.T) {
				url, connections, open := broken(t, c.answer)
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				if c.outcome != tandem.TimedOut {
					ctx, cancel = context.WithTimeout(t.Context(), 20*time.Second)
				}
				defer cancel()
				do, stop := HTTP(HTTPConfig{Step: "s", Method: "POST", URL: constant(url + "/?key=secret"), Body: prev, Concurrency: 1, MaxResponse: 1_000_000})
				r := do(ctx, &tandem.Task{Value: tandem.Value{Kind: tandem.Bytes, Data: make([]byte, size)}})
				stop()
				eventually(t, func() bool { return open.Load() == 0 }, "the connection is still open")
				if r.Outcome != c.outcome {
					t.Fatalf("%s %v, want %s", r.Outcome, r.Err, c.outcome)
				}
				if n := connections.Load(); n != 1 {
					t.Errorf("%d connections", n)
				}
				if r.Err == nil {
					return
				}
				e := r.Err
				if e.Kind != c.kind || e.Reason != c.reason || e.Again != c.again || !strings.Contains(e.Message, c.says) || !strings.Contains(e.Hint, c.hint) || strings.Contains(e.Message, "secret") {
					t.Errorf("kind %s reason %q again %d hint %q: %s", e.Kind, e.Reason, e.Again, e.Hint, e.Message)
				}
			})
		}
	}
}

// Without end or with ten gigabytes announced: little is read and little is kept.
func TestHTTPTooLargeCostsLittle(t *testing.T) {
	block := bytes.Repeat([]byte("x"), 64<<10)
	for _, head := range []string{"", "Content-Length: 10000000000\r\n"} {
		var sent atomic.Int64
		url, _, open := broken(t, func(c net.Conn) {
			_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\n"+head+"\r\n")
			for err == nil && sent.Load() < 10_000_000_000 {
				var n int
				n, err = c.Write(block)
				sent.Add(int64(n))
			}
		})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r := request(t, t.Context(), HTTPConfig{Method: "GET", URL: constant(url)}, tandem.Value{})
		runtime.ReadMemStats(&after)
		eventually(t, func() bool { return open.Load() == 0 }, "the connection is still open")
		if r.Outcome != tandem.Failed || r.Err.Kind != tandem.KindTooLarge {
			t.Errorf("%+v", r)
		}
		if n := sent.Load(); n > 64<<20 {
			t.Errorf("the server got rid of %d bytes before the connection was dropped", n)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 80<<20 {
			t.Errorf("%d bytes allocated for 8 MiB that may be kept", n)
		}
	}
}

func TestHTTPRedirects(t *testing.T) {
	url, _ := counting(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/a":
			http.Redirect(w, r, "/b?key=secret", http.StatusFound)
		case "/b":
			http.Redirect(w, r, "/a", http.StatusFound)
		case "/self":
			http.Redirect(w, r, "/self", http.StatusTemporaryRedirect)
		case "/form": // the answer to a POST is at the same address
			if r.Method == "GET" {
				fmt.Fprint(w, "done")
				return
			}
			http.Redirect(w, r, "/form", http.StatusSeeOther)
		default: // /1 leads to /2, and so on
			n, _ := strconv.Atoi(r.URL.Path[1:])
			http.Redirect(w, r, fmt.Sprintf("/%d", n+1), http.StatusFound)
		}
	})
	for _, c := range []struct{ method, path, says string }{
		{"GET", "/a", "redirects in a loop: " + url + "/a → " + url + "/b?… → " + url + "/a"},
		{"POST", "/self", "redirects in a loop: " + url + "/self → " + url + "/self"},
		{"GET", "/1", "stopped after 10 redirects, at " + url + "/11"},
		{"POST", "/form", ""},
	} {
		r := request(t, t.Context(), HTTPConfig{Method: c.method, URL: constant(url + c.path), Body: prev}, tandem.TextValue("x"))
		switch {
		case c.says == "":
			if r.Outcome != tandem.OK {
				t.Errorf("%s: %v", c.path, r.Err)
			}
		case r.Outcome != tandem.Failed || r.Err.Kind != tandem.KindNetwork || r.Err.Reason != "redirects" || r.Err.Again != tandem.AgainNever ||
			!strings.Contains(r.Err.Message, c.says) || strings.Contains(r.Err.Message, "secret"):
			t.Errorf("%s: %+v", c.path, r.Err)
		}
	}
}

// net/http asks for compression and undoes it: what counts is what comes out. The lean transport asks for none, and takes what comes as it is.
func TestHTTPGzipBomb(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	for range 200 {
		_, _ = z.Write(make([]byte, 1<<20))
	}
	z.Close()
	asked := make(chan string, 2)
	url, _ := counting(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		asked <- r.Header.Get("Accept-Encoding")
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(bomb.Bytes())
	})
	c := HTTPConfig{Method: "POST", URL: constant(url), Body: prev}
	r := request(t, t.Context(), c, tandem.Value{Kind: tandem.Bytes, Data: make([]byte, smallBody+1)})
	if r.Outcome != tandem.Failed || r.Err.Kind != tandem.KindTooLarge || <-asked != "gzip" {
		t.Errorf("a bomb of %d bytes: %s %v", bomb.Len(), r.Outcome, r.Err)
	}
	r = request(t, t.Context(), c, tandem.TextValue("x"))
	if a := <-asked; r.Outcome != tandem.OK || len(r.Value.Data) > 2*bomb.Len() || a != "" {
		t.Errorf("uninvited compression, asked for %q: %s, %d bytes, %v", a, r.Outcome, len(r.Value.Data), r.Err)
	}
}

func TestHTTPNetworkReasons(t *testing.T) {
	tls := httptest.NewTLSServer(http.HandlerFunc(echo))
	defer tls.Close()
	for url, want := range map[string][2]string{
		"http://127.0.0.1:1/":                              {"refused", "running"},
		"http://no-such-host.invalid/":                     {"dns", ""},
		strings.Replace(tls.URL, "https://", "http://", 1): {"", ""}, // answers 400 in plain text
	} {
		r := request(t, t.Context(), HTTPConfig{Method: "GET", URL: constant(url)}, tandem.Value{})
		if want[0] == "" {
			if r.Err == nil || r.Err.Reason != "400" {
				t.Errorf("%s: %+v", url, r.Err)
			}
			continue
		}
		if r.Outcome != tandem.Failed || r.Err.Kind != tandem.KindNetwork || r.Err.Reason != want[0] || !strings.Contains(r.Err.Hint, want[1]) {
			t.Errorf("%s: %+v", url, r.Err)
		}
	}
}

// A server that takes no connection is not there in time, and the step need not have a timeout for that.
func TestHTTPDialTimeout(t *testing.T) {
	d := net.Dialer{Timeout: time.Nanosecond}
	_, err := d.DialContext(t.Context(), "tcp", "127.0.0.1:1")
	if kind, why, hint := because(err); err == nil || kind != tandem.KindNetwork || why != "timeout" || hint == "" {
		t.Errorf("%v: %s %s %s", err, kind, why, hint)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		s     string
		after time.Duration
		asked bool
		noted bool
	}{
		{"", 0, false, false}, {"soon", 0, false, false}, {"-5", 0, false, false}, {"1.5", 0, false, false}, {"0x10", 0, false, false}, {"+5", 0, false, false},
		{"0", 0, true, false}, {" 7 ", 7 * time.Second, true, false}, {"3600", time.Hour, true, false},
		{"3601", time.Hour, true, true}, {"18446744073709551615", time.Hour, true, true}, {strings.Repeat("9", 500), time.Hour, true, true},
		{now.Add(90 * time.Second).Format(http.TimeFormat), 90 * time.Second, true, false},
		{now.Add(-time.Hour).Format(http.TimeFormat), 0, true, false},
		{now.AddDate(100, 0, 0).Format(http.TimeFormat), time.Hour, true, true},
		{now.Add(time.Minute).Format(time.RFC850), time.Minute, true, false},
	} {
		after, asked, note := retryAfter(c.s, now)
		if after != c.after || asked != c.asked || (note != "") != c.noted || len(note) > 100 {
			t.Errorf("%.60q: %s %v %q", c.s, after, asked, note)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"", "5", "-5", "99999999999999999999", "Mon, 02 Jan 2006 15:04:05 GMT"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if after, asked, _ := retryAfter(s, time.Now()); after < 0 || after > longestWait || !asked && after != 0 {
			t.Errorf("%q: %s %v", s, after, asked)
		}
	})
}

func TestHTTPRetryAfter(t *testing.T) {
	url, _ := counting(t, func(w http.ResponseWriter, r *http.Request) {
		status, _ := strconv.Atoi(r.URL.Query().Get("status"))
		if s := r.URL.Query().Get("after"); s != "" {
			w.Header().Set("Retry-After", s)
		}
		w.WriteHeader(status)
	})
	for _, c := range []struct {
		query string
		again tandem.Again
		after time.Duration
		says  string
	}{
		{"status=429&after=2", tandem.AgainYes, 2 * time.Second, ""},
		{"status=503&after=0", tandem.AgainYes, 0, ""},
		{"status=404&after=3", tandem.AgainYes, 3 * time.Second, ""},
		{"status=429&after=86400", tandem.AgainYes, time.Hour, "Retry-After: 86400; no more than one hour"},
		{"status=503", tandem.AgainUnsaid, 0, ""},
		{"status=429&after=-1", tandem.AgainUnsaid, 0, ""},
		{"status=400", tandem.AgainUnsaid, 0, ""},
	} {
		r := request(t, t.Context(), HTTPConfig{Method: "GET", URL: constant(url + "?" + c.query)}, tandem.Value{})
		if r.Outcome != tandem.Failed || r.Err.Kind != tandem.KindStatus || r.Err.Again != c.again || r.Err.After != c.after || !strings.Contains(r.Err.Message, c.says) {
			t.Errorf("%s: %+v", c.query, r.Err)
		}
	}
}

func TestHTTPIdempotencyKey(t *testing.T) {
	url, _ := counting(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "%s|%q", r.Header.Get("X-Idempotency-Key"), r.Header.Values("Idempotency-Key"))
	})
	own := map[string]func(*tandem.Task) (string, error){"idempotency-key": constant("my own")}
	for _, c := range []struct {
		method, key string
		headers     map[string]func(*tandem.Task) (string, error)
		want        string
	}{
		{"POST", "item-1", nil, `|["item-1"]`},
		{"PATCH", "photos/a.jpg", nil, `|["photos/a.jpg"]`},
		{"PUT", "item-1", nil, `|[]`},
		{"GET", "item-1", nil, `|[]`},
		{"DELETE", "item-1", nil, `|[]`},
		{"POST", "item-1", own, `|["my own"]`},
		{"POST", "", nil, `|[]`},
		{"POST", "a b\r\nEvil: ü", nil, `|["a+b%0D%0AEvil%3A+%C3%BC"]`},
	} {
		for _, size := range []int{1, smallBody + 1} {
			cfg := HTTPConfig{Method: c.method, URL: constant(url), Body: prev, Headers: c.headers, Key: func(*tandem.Task) string { return c.key }}
			r := request(t, t.Context(), cfg, tandem.Value{Kind: tandem.Bytes, Data: make([]byte, size)})
			if want := strconv.Quote(c.want); r.Outcome != tandem.OK || string(r.Value.Data) != `{"status":200,"text":`+want+`}` {
				t.Errorf("%s %q: %s %v, want %s", c.method, c.key, r.Value.Data, r.Err, want)
			}
		}
	}
}
