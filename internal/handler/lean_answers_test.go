package handler

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

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
			url, connections := talking(t, func(conn net.Conn, in *bufio.Reader) {
				_, _ = readRequest(in)
				_, _ = io.WriteString(conn, c.answer)
			})
			_, client := newLean(t)
			resp, err := client.Do(want(t, "GET", url, ""))
			if err == nil {
				_, err = io.ReadAll(resp.Body)
				resp.Body.Close()
			}
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %q", err, c.says)
			}
			if n := connections.Load(); n != 1 {
				t.Errorf("tried %d times", n)
			}
		})
	}
}

// Answers as servers write them, each also byte for byte, and whether their connection serves again.
func TestLeanAnswers(t *testing.T) {
	for _, c := range []struct {
		name, method, answer string
		status               int
		body                 string
		kept                 bool
	}{
		{"length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok", true},
		{"chunks and a trailer", "POST",
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: T\r\n\r\n1\r\no\r\n1;x=y\r\nk\r\n0\r\nT: 1\r\n\r\n", 200, "ok", true},
		{"continue and hints", "POST",
			"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok", 201, "ok", true},
		{"head", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", 200, "", true},
		{"no content", "PUT", "HTTP/1.1 204 No Content\r\n\r\n", 204, "", true},
		{"not modified", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n", 304, "", true},
		{"close", "GET", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", 200, "ok", false},
		{"until the end", "GET", "HTTP/1.0 200 OK\r\n\r\nok", 200, "ok", false},
		{"timeout of this request", "GET", "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", 408, "", false},
		{"too much", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 500 Not Yours\r\n\r\n", 200, "ok", false},
	} {
		for _, step := range []int{len(c.answer), 1} {
			url, _ := talking(t, func(conn net.Conn, in *bufio.Reader) {
				_, _ = readRequest(in)
				for i := 0; i < len(c.answer); i += step {
					_, _ = io.WriteString(conn, c.answer[i:i+step])
				}
				if c.kept {
					_, _ = in.ReadByte()
				}
			})
			l, client := newLean(t)
			if status, body := ask(t, client, want(t, c.method, url, "")); status != c.status || body != c.body {
				t.Errorf("%s: %d %q", c.name, status, body)
			}
			if kept := l.idle.n == 1; kept != c.kept && (step > 1 || c.name != "too much") { // the rest may not be there yet; it is seen at the next use
				t.Errorf("%s, %d bytes at a time: kept %v", c.name, step, kept)
			}
			l.CloseIdleConnections()
		}
	}
}

// The answer counts, also when the server did not wait for the body.
func TestLeanAnsweredEarly(t *testing.T) {
	url, _ := talking(t, func(c net.Conn, in *bufio.Reader) {
		_, _ = http.ReadRequest(in)
		_, _ = io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
		_, _ = io.Copy(io.Discard, in)
	})
	_, c := newLean(t)
	if status, body := ask(t, c, want(t, "POST", url, strings.Repeat("x", smallBody))); status != 413 || body != "no" {
		t.Errorf("got %d %q", status, body)
	}
}

// net/http asks for gzip and unpacks it on its own. Here only those who ask get it, as it is.
func TestLeanAsksForNoCompression(t *testing.T) {
	url, _ := counting(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", r.Header.Get("Accept-Encoding"))
		fmt.Fprint(w, r.Header.Get("Accept-Encoding"))
	})
	_, c := newLean(t)
	for _, encoding := range []string{"", "gzip"} {
		r := want(t, "GET", url, "")
		if encoding != "" {
			r.Header.Set("Accept-Encoding", encoding)
		}
		if _, got := ask(t, c, r); got != encoding {
			t.Errorf("the server was asked for %q, want %q", got, encoding)
		}
	}
}

// A server that began to answer has done the work: its request is not sent again, on a kept connection either.
func TestLeanRepeatsNothingAnswered(t *testing.T) {
	url, connections := talking(t, func(c net.Conn, in *bufio.Reader) {
		_, _ = readRequest(in)
		_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
		_, _ = readRequest(in)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-")
	})
	_, c := newLean(t)
	ask(t, c, want(t, "GET", url, ""))
	if _, err := c.Do(want(t, "POST", url, "x")); err == nil || connections.Load() != 1 {
		t.Errorf("%v, after %d connections", err, connections.Load())
	}
}
