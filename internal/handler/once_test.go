package handler

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"tandem"
)

// A server that closes kept connections without an answer sees a request again, unless it must not be sent twice: then each has its own connection, also where net/http sends
// it (the large body).
func TestOnceIsSentOnce(t *testing.T) {
	for _, method := range []string{"GET", "PUT", "POST"} {
		for _, size := range []int{10, smallBody + 1} {
			for _, once := range []bool{false, true} {
				t.Run(fmt.Sprint(method, size, once), func(t *testing.T) {
					var requests, open atomic.Int64
					url, connections := talking(t, func(c net.Conn, in *bufio.Reader) {
						open.Add(1)
						defer open.Add(-1)
						for n := 0; ; n++ {
							if _, err := readRequest(in); err != nil {
								return
							}
							requests.Add(1)
							if n > 0 {
								return // on a kept connection nothing is answered
							}
							_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
						}
					})
					cfg := HTTPConfig{Step: "s", Method: method, Once: once, URL: constant(url), Concurrency: 1, Key: func(t *tandem.Task) string { return t.ID }}
					if method != "GET" {
						cfg.Body = prev
					}
					do, stop := HTTP(cfg)
					defer stop()
					for i := range 5 {
						if r := do(t.Context(), &tandem.Task{ID: fmt.Sprint(i), Value: tandem.TextValue(strings.Repeat("x", size))}); r.Outcome != tandem.OK {
							t.Errorf("request %d: %v", i, r.Err)
						}
					}
					if once {
						eventually(t, func() bool { return open.Load() == 0 }, "connections stay open that nothing uses")
					}
					if n := requests.Load(); once && (n != 5 || connections.Load() != 5) || !once && n == 5 {
						t.Errorf("%d requests on %d connections for 5 items", n, connections.Load())
					}
				})
			}
		}
	}
	// The server takes the request and says nothing: nobody knows, so nobody asks again.
	var requests atomic.Int64
	url, _ := talking(t, func(_ net.Conn, in *bufio.Reader) {
		if _, err := readRequest(in); err == nil {
			requests.Add(1)
		}
	})
	do, stop := HTTP(HTTPConfig{Step: "s", Method: "GET", Once: true, URL: constant(url)})
	defer stop()
	if r := do(t.Context(), &tandem.Task{}); r.Outcome != tandem.Failed || r.Err.Kind != tandem.KindNetwork || requests.Load() != 1 {
		t.Errorf("%s %v after %d requests", r.Outcome, r.Err, requests.Load())
	}
}
