// Package handler holds what steps run: HTTP requests, commands, and how the workers of other languages are started.
//
// Handlers know no flow file: what an item contributes comes in through functions. They are safe for concurrent use, listen to their context,
// and turn every failure into a result with kind, message and hint.
package handler

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"tandem"
)

const mostComplaint = 64 << 10 // bytes that are read of an answer with a bad status

// StatusRange is a range of HTTP statuses that count as good, both ends included.
type StatusRange struct{ From, To int }

// HTTPConfig is one request per item.
type HTTPConfig struct {
	Step        string
	Method      string
	URL         func(*tandem.Task) (string, error)
	Headers     map[string]func(*tandem.Task) (string, error)
	Body        func(*tandem.Task) (tandem.Value, error) // nil means none
	File        func(*tandem.Task) (string, error)       // path of a file to send; nil means none
	Expect      []StatusRange                            // empty means 200 to 299
	Once        bool                                     // no request is ever sent twice: each has a connection of its own
	Concurrency int
	MaxResponse int64 // bytes of an answer, after decompression; zero means 8 MiB

	// Key names the item to the server, so that it can tell a repeated POST or PATCH from a second one: those are sent with it as Idempotency-Key unless
	// Headers has one, with the checksum of File behind it. What a header cannot hold is escaped. Nil or "" means none.
	Key func(*tandem.Task) string
}

// HTTP is the handler of an http step. Close its connections with the second result.
//
// The result is {"status":201,"json":…}, {"status":200,"text":…} or {"status":200,"base64":…}, by what the server sent. A request whose kept-alive
// connection was closed by the server before any byte of the answer is sent once more on a fresh one, unless Once; any other failure is the item's. An answer that is too
// large is given up as soon as that is known, with its connection. A redirect that leads back to where it came from is a failure that no other attempt can help.
// A Retry-After of a failed status, an hour at most, is in the error's After.
func HTTP(c HTTPConfig) (func(context.Context, *tandem.Task) tandem.Result, func()) {
	if c.MaxResponse <= 0 {
		c.MaxResponse = 8 << 20
	}
	if len(c.Expect) == 0 {
		c.Expect = []StatusRange{{200, 299}}
	}
	dialer := net.Dialer{Timeout: 30 * time.Second}
	tr := &lean{dialer: dialer, idle: idle{most: max(c.Concurrency, 1), timeout: idleTimeout}, behind: &http.Transport{
		Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: c.Concurrency, IdleConnTimeout: idleTimeout,
		DialContext: dialer.DialContext, TLSHandshakeTimeout: 20 * time.Second, ForceAttemptHTTP2: true, MaxResponseHeaderBytes: mostHeader,
	}}
	if c.Once {
		tr.once, tr.behind.DisableKeepAlives = true, true
	}
	h := &requester{c: c, client: &http.Client{Transport: tr, CheckRedirect: noLoop}}
	return h.do, tr.CloseIdleConnections
}

type requester struct {
	c      HTTPConfig
	client *http.Client
}

func (h *requester) do(ctx context.Context, t *tandem.Task) tandem.Result {
	req, err := h.request(ctx, t)
	if err != nil {
		return h.failed(tandem.KindExpression, err.Error(), "", err)
	}
	resp, err := h.client.Do(req)
	if err != nil {
		return h.network(ctx, req, err)
	}
	defer resp.Body.Close()
	if !h.expected(resp.StatusCode) {
		return h.status(ctx, req, resp)
	}
	if resp.ContentLength > h.c.MaxResponse && req.Method != http.MethodHead {
		return h.tooLarge(req, fmt.Sprintf("an answer of %d bytes, more than %d", resp.ContentLength, h.c.MaxResponse))
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, h.c.MaxResponse+1))
	if err != nil {
		return h.network(ctx, req, err)
	}
	if int64(len(body)) > h.c.MaxResponse {
		return h.tooLarge(req, fmt.Sprintf("more than %d bytes", h.c.MaxResponse))
	}
	return tandem.Give(response(resp.StatusCode, resp.Header.Get("Content-Type"), body))
}

func (h *requester) expected(status int) bool {
	return slices.ContainsFunc(h.c.Expect, func(r StatusRange) bool { return status >= r.From && status <= r.To })
}

func (h *requester) tooLarge(req *http.Request, what string) tandem.Result {
	r := h.failed(tandem.KindTooLarge, fmt.Sprintf("%s %s answered %s", req.Method, shown(req.URL), what), "the answer is kept in memory; fetch large files with a command", nil)
	r.Err.Again = tandem.AgainNever
	return r
}

// status is the failure of an answer with a status that was not expected. It quotes the beginning of the body and reads no more than keeps the connection.
func (h *requester) status(ctx context.Context, req *http.Request, resp *http.Response) tandem.Result {
	body, err := io.ReadAll(io.LimitReader(resp.Body, min(mostComplaint, h.c.MaxResponse)+1))
	if err != nil && ctx.Err() != nil {
		return h.network(ctx, req, err)
	}
	msg := fmt.Sprintf("%s %s answered %s, want %s", req.Method, shown(req.URL), resp.Status, h.want())
	after, asked, note := retryAfter(resp.Header.Get("Retry-After"), time.Now())
	if s := strings.TrimSpace(string(body[:min(len(body), 200)])); s != "" && utf8.ValidString(s) {
		msg += ": " + s
	}
	r := h.failed(tandem.KindStatus, msg+note, "", nil)
	r.Err.Reason = strconv.Itoa(resp.StatusCode)
	if asked {
		r.Err.Again, r.Err.After = tandem.AgainYes, after
	}
	return r
}

func (h *requester) want() string {
	var parts []string
	for _, r := range h.c.Expect {
		switch {
		case r.From%100 == 0 && r.To == r.From+99:
			parts = append(parts, fmt.Sprintf("%dxx", r.From/100))
		case r.From == r.To:
			parts = append(parts, fmt.Sprint(r.From))
		default:
			parts = append(parts, fmt.Sprintf("%d-%d", r.From, r.To))
		}
	}
	return strings.Join(parts, " or ")
}

// request makes the request of one item. A body in memory can be sent again by net/http when a kept-alive connection turns out to be closed.
func (h *requester) request(ctx context.Context, t *tandem.Task) (*http.Request, error) {
	target, err := h.c.URL(t)
	if err != nil {
		return nil, err
	}
	var body io.Reader
	var size int64
	kind := ""
	switch {
	case h.c.File != nil:
		path, err := h.c.File(t)
		if err != nil {
			return nil, err
		}
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		info, err := f.Stat()
		if err != nil || info.IsDir() {
			f.Close()
			return nil, fmt.Errorf("%s is no file to send", path)
		}
		body, size, kind = f, info.Size(), "application/octet-stream"
	case h.c.Body != nil:
		v, err := h.c.Body(t)
		if err != nil {
			return nil, err
		}
		if v.Kind == tandem.Pickle {
			return nil, errors.New("a Python object cannot be sent as it is: return bytes, text or JSON from the step before")
		}
		body = bytes.NewReader(v.Data)
		kind = map[tandem.Kind]string{tandem.JSON: "application/json", tandem.Text: "text/plain; charset=utf-8", tandem.Bytes: "application/octet-stream"}[v.Kind]
	}
	req, err := http.NewRequestWithContext(ctx, h.c.Method, target, body)
	if err != nil {
		if c, ok := body.(io.Closer); ok {
			c.Close()
		}
		return nil, err
	}
	if req.URL.Host == "" || req.URL.Scheme != "http" && req.URL.Scheme != "https" {
		return nil, fmt.Errorf("%q is no http or https address", target)
	}
	if h.c.File != nil {
		req.ContentLength = size
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	for name, value := range h.c.Headers {
		v, err := value(t)
		if err != nil {
			return nil, fmt.Errorf("header %s: %w", name, err)
		}
		req.Header.Set(name, v)
	}
	if h.c.Key != nil && (req.Method == http.MethodPost || req.Method == http.MethodPatch) && len(req.Header.Values("Idempotency-Key")) == 0 {
		key := h.c.Key(t)
		if f, ok := body.(*os.File); ok && key != "" {
			sum := sha256.New() // the name of a file says nothing of what is in it
			if _, err = io.Copy(sum, f); err == nil {
				_, err = f.Seek(0, io.SeekStart)
			}
			if err != nil {
				f.Close()
				return nil, err
			}
			key += "-" + hex.EncodeToString(sum.Sum(nil)[:16])
		}
		if key != "" {
			req.Header.Set("Idempotency-Key", headerText(key))
		}
	}
	if (req.GetBody != nil || body == nil) && !h.c.Once {
		// Lets net/http repeat a POST whose connection was closed before it could be sent; it looks at this key only, and nil is not sent.
		if _, set := req.Header["Idempotency-Key"]; !set {
			req.Header["X-Idempotency-Key"] = nil
		}
	}
	return req, nil
}

func (h *requester) failed(kind, msg, hint string, err error) tandem.Result {
	return tandem.Result{Outcome: tandem.Failed, Err: h.error(kind, msg, hint, err)}
}

func (h *requester) error(kind, msg, hint string, err error) *tandem.Error {
	return &tandem.Error{Op: "run", On: h.c.Step, Kind: kind, Message: msg, Hint: hint, Err: err}
}

// shown is a URL without what may be secret: user, query.
func shown(u *url.URL) string {
	s := u.Scheme + "://" + u.Host + u.Path
	if u.RawQuery != "" {
		s += "?…"
	}
	return s
}

// response is the value of an answer.
func response(status int, contentType string, body []byte) tandem.Value {
	b := fmt.Appendf(nil, `{"status":%d`, status)
	switch {
	case len(body) == 0:
	case strings.Contains(contentType, "json") && json.Valid(body):
		b = append(append(b, `,"json":`...), bytes.TrimSpace(body)...)
	case utf8.Valid(body):
		text, _ := json.Marshal(string(body)) // a string always marshals
		b = append(append(b, `,"text":`...), text...)
	default:
		b = append(base64.StdEncoding.AppendEncode(append(b, `,"base64":"`...), body), '"')
	}
	return tandem.Value{Kind: tandem.JSON, Data: append(b, '}')}
}
