package cli

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// api is a real server: it echoes, refuses, dawdles and hangs up, and remembers what it was asked. KEY in its paths keeps callers apart.
type api struct {
	mu   sync.Mutex
	keys map[string]*calls
}

// calls is what the API has seen under one key.
type calls struct {
	n, in, most int
	at          []time.Time
	idempotency map[string]int
}

// serve starts an API on an address of its own.
func serve() (string, func(), error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	s := &http.Server{Handler: newAPI(), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = s.Serve(l) }()
	return "http://" + l.Addr().String(), func() { _ = s.Close() }, nil
}

func newAPI() http.Handler {
	a := &api{keys: map[string]*calls{}}
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", echo)
	mux.HandleFunc("/busy", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "come back later", http.StatusServiceUnavailable)
	})
	mux.HandleFunc("/slow", slow)
	mux.HandleFunc("/hangup", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	mux.HandleFunc("/refuse/{key}", refuse)
	mux.HandleFunc("/fails/{times}/{status}/{key}", a.fails)
	mux.HandleFunc("/together/{key}", a.together)
	mux.HandleFunc("/seen/{key}", a.seen)
	mux.HandleFunc("/drip", drip)
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", http.StatusFound) })
	mux.HandleFunc("/cut", cut)
	mux.HandleFunc("/huge", huge)
	return mux
}

func echo(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	w.Header().Set("X-Got", r.Header.Get("X-Sent"))
	w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
	w.WriteHeader(http.StatusCreated)
	_, _ = w.Write(b)
}

func slow(_ http.ResponseWriter, r *http.Request) {
	select {
	case <-time.After(time.Minute):
	case <-r.Context().Done():
	}
}

// refuse answers 401 and repeats the credentials, as careless servers do.
func refuse(w http.ResponseWriter, r *http.Request) {
	http.Error(w, "no access with "+r.Header.Get("Authorization"), http.StatusUnauthorized)
}

// call notes a call under its key. done is to be called when it has been answered.
func (a *api) call(r *http.Request) (n int, done func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.of(r.PathValue("key"))
	c.n++
	c.in++
	c.most = max(c.most, c.in)
	c.at = append(c.at, time.Now())
	if k := r.Header.Get("Idempotency-Key"); k != "" {
		c.idempotency[k]++
	}
	return c.n, func() {
		a.mu.Lock()
		c.in--
		a.mu.Unlock()
	}
}

func (a *api) of(key string) *calls {
	if a.keys[key] == nil {
		a.keys[key] = &calls{idempotency: map[string]int{}}
	}
	return a.keys[key]
}

// fails answers a status so many times, with ?after=SECONDS a Retry-After, then well.
func (a *api) fails(w http.ResponseWriter, r *http.Request) {
	n, done := a.call(r)
	defer done()
	if times, _ := strconv.Atoi(r.PathValue("times")); n > times {
		fmt.Fprintf(w, "call %d", n)
		return
	}
	if after := r.URL.Query().Get("after"); after != "" {
		w.Header().Set("Retry-After", after)
	}
	status, _ := strconv.Atoi(r.PathValue("status"))
	http.Error(w, "not yet", status)
}

// together takes 20 ms, so that calls at the same time are there together.
func (a *api) together(w http.ResponseWriter, r *http.Request) {
	_, done := a.call(r)
	defer done()
	time.Sleep(20 * time.Millisecond)
	fmt.Fprint(w, "well")
}

// seen tells what the API has seen under a key.
func (a *api) seen(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.of(r.PathValue("key"))
	repeats := 0
	for _, n := range c.idempotency {
		repeats = max(repeats, n)
	}
	fmt.Fprintf(w, "calls=%d most=%d window=%d keys=%d repeats=%d", c.n, c.most, window(c.at, 500*time.Millisecond), len(c.idempotency), repeats)
	if len(c.at) > 1 {
		fmt.Fprintf(w, " gap=%d", c.at[1].Sub(c.at[0]).Milliseconds())
	}
}

// window is the most calls that began within any span of time.
func window(at []time.Time, span time.Duration) (most int) {
	at = slices.SortedFunc(slices.Values(at), time.Time.Compare)
	for i, j := 0, 0; j < len(at); j++ {
		for at[j].Sub(at[i]) > span {
			i++
		}
		most = max(most, j-i+1)
	}
	return most
}

// drip sends its answer byte by byte.
func drip(w http.ResponseWriter, _ *http.Request) {
	for _, b := range []byte("drop by drop") {
		_, _ = w.Write([]byte{b})
		_ = http.NewResponseController(w).Flush()
		time.Sleep(5 * time.Millisecond)
	}
}

// cut closes in the middle of the body.
func cut(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "100")
	_, _ = w.Write([]byte("only this"))
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// huge sends 10 GB, to whoever takes them.
func huge(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Has("told") {
		w.Header().Set("Content-Length", strconv.Itoa(10<<30))
	}
	chunk := make([]byte, 1<<20)
	for range 10 << 10 {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}

// api PATH WANT: the API's answer to GET PATH matches the regular expression WANT.
func cmdAPI(ts *testscript.TestScript, neg bool, args []string) {
	got := get(ts, ts.Getenv("API")+args[0])
	if regexp.MustCompile(args[1]).MatchString(got) == neg {
		ts.Fatalf("the API answered %q to %s, want %s", got, args[0], args[1])
	}
}

func get(ts *testscript.TestScript, url string) string {
	resp, err := http.Get(url)
	ts.Check(err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	ts.Check(err)
	return string(b)
}

// The window of the API counts what it says: a test that trusts it must not be fooled.
func TestWindow(t *testing.T) {
	start := time.Unix(0, 0)
	var at []time.Time
	for _, ms := range []int{900, 0, 100, 500, 501, 1000} {
		at = append(at, start.Add(time.Duration(ms)*time.Millisecond))
	}
	if got := window(at, 500*time.Millisecond); got != 4 { // 500 501 900 1000
		t.Errorf("window: %d, want 4", got)
	}
	w := httptest.NewRecorder()
	newAPI().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/fails/1/503/x?after=1", nil))
	if w.Code != 503 || w.Header().Get("Retry-After") != "1" || !strings.Contains(w.Body.String(), "not yet") {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
}
