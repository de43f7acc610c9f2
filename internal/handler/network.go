package handler

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"tandem"
	"tandem/internal/proc"
)

const mostRedirects = 10

// redirectError says where redirects went.
type redirectError string

func (e redirectError) Error() string { return string(e) }

// noLoop ends redirects that lead nowhere. There are no cookies, so the same request gets the same answer: coming back to it once is a loop. A POST that is
// answered with a GET of the same address is none.
func noLoop(next *http.Request, via []*http.Request) error {
	for i, r := range via {
		if r.Method == next.Method && r.URL.String() == next.URL.String() {
			var way []string
			for _, r := range via[i:] {
				way = append(way, shown(r.URL))
			}
			return redirectError("redirects in a loop: " + strings.Join(append(way, shown(next.URL)), " → "))
		}
	}
	if len(via) >= mostRedirects {
		return redirectError(fmt.Sprintf("stopped after %d redirects, at %s", mostRedirects, shown(next.URL)))
	}
	return nil
}

// network is the failure of a request without a whole answer.
func (h *requester) network(ctx context.Context, req *http.Request, err error) tandem.Result {
	if ctx.Err() != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return tandem.Result{Outcome: tandem.TimedOut, Err: h.error(tandem.KindTimeout, fmt.Sprintf("%s %s: no whole answer in time", req.Method, shown(req.URL)), "raise the step's timeout, or lower its concurrency", err)}
		}
		return tandem.Result{Outcome: tandem.Canceled, Err: h.error(tandem.KindCanceled, "the run was stopped", "", err)}
	}
	cause := err
	if u, ok := errors.AsType[*url.Error](err); ok {
		cause = u.Err
	}
	kind, why, hint := because(err)
	r := h.failed(kind, fmt.Sprintf("%s %s: %v", req.Method, shown(req.URL), cause), hint, err)
	r.Err.Reason = why
	if kind == tandem.KindTooLarge || why == "redirects" {
		r.Err.Again = tandem.AgainNever
	}
	return r
}

func containsAny(s string, parts ...string) bool {
	return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(s, p) })
}

// because tells which kind of failure err is, why, and what to do.
func because(err error) (kind, why, hint string) {
	kind = tandem.KindNetwork
	if _, ok := errors.AsType[redirectError](err); ok {
		return kind, "redirects", "send the request where the redirects are meant to lead"
	}
	if d, ok := errors.AsType[*net.DNSError](err); ok {
		if d.IsNotFound {
			hint = "no such host: is the name right?"
		}
		return kind, "dns", hint
	}
	said := err.Error()
	switch n, ok := errors.AsType[net.Error](err); {
	case errors.Is(err, proc.ErrRefused):
		return kind, "refused", "is the server running, and is the address right?"
	case errors.Is(err, proc.ErrOpenFiles):
		return kind, "open_files", "too many open files: raise ulimit -n or lower the step's concurrency"
	case errors.Is(err, errHeader), strings.Contains(said, "response headers exceeded"): // net/http has no name for it
		return tandem.KindTooLarge, "header", "is this the address of an HTTP server?"
	case errors.Is(err, proc.ErrReset), errors.Is(err, proc.ErrPipe), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, errUnanswered):
		return kind, "reset", "the server, or something on the way to it, closed the connection"
	case errors.Is(err, errMalformed), containsAny(said, "malformed", "chunk", "transport connection broken"): // nor for these
		return kind, "malformed", "is this the address of an HTTP server?"
	case ok && n.Timeout():
		return kind, "timeout", "the server does not take connections: is the address right, is it overloaded?"
	}
	return kind, "", ""
}
