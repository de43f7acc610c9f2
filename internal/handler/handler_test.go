package handler

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"tandem"
)

func constant(s string) func(*tandem.Task) (string, error) {
	return func(*tandem.Task) (string, error) { return s, nil }
}

func prev(t *tandem.Task) (tandem.Value, error) { return t.Value, nil }

func request(t *testing.T, ctx context.Context, c HTTPConfig, v tandem.Value) tandem.Result {
	t.Helper()
	do, stop := HTTP(c)
	defer stop()
	return do(ctx, &tandem.Task{ID: "1", Value: v})
}

func TestHTTP(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
		w.WriteHeader(201)
		fmt.Fprintf(w, "%s", b)
	})
	mux.HandleFunc("/head", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header.Get("X-A"), r.ContentLength) })
	mux.HandleFunc("/no", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "teapot", 418) })
	mux.HandleFunc("/big", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 3000)) })
	mux.HandleFunc("/cut", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write([]byte("half"))
	})
	mux.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", 302) })
	srv := httptest.NewServer(mux)
	defer srv.Close()
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, []byte("12345"), 0o644); err != nil {
		t.Fatal(err)
	}
	post := func(path string) HTTPConfig {
		return HTTPConfig{Step: "s", Method: "POST", URL: constant(srv.URL + path), Body: prev, MaxResponse: 2000}
	}
	with := func(c HTTPConfig, f func(*HTTPConfig)) HTTPConfig { f(&c); return c }
	for _, c := range []struct {
		name    string
		cfg     HTTPConfig
		v       tandem.Value
		outcome tandem.Outcome
		want    string // of the value, or in the message
		kind    string
	}{
		{"json", post("/echo"), tandem.Value{Kind: tandem.JSON, Data: []byte(`{"a":1}`)}, tandem.OK, `{"status":201,"json":{"a":1}}`, ""},
		{"text", post("/echo"), tandem.TextValue("grün"), tandem.OK, `{"status":201,"text":"grün"}`, ""},
		{"bytes", post("/echo"), tandem.Value{Kind: tandem.Bytes, Data: []byte{255}}, tandem.OK, `{"status":201,"base64":"/w=="}`, ""},
		{"empty", post("/echo"), tandem.Value{}, tandem.OK, `{"status":201}`, ""},
		{"header and file", with(post("/head"), func(c *HTTPConfig) {
			c.Body, c.File = nil, constant(file)
			c.Headers = map[string]func(*tandem.Task) (string, error){"X-A": constant("v")}
		}), tandem.Value{}, tandem.OK, `{"status":200,"text":"v5"}`, ""},
		{"expected 418", with(post("/no"), func(c *HTTPConfig) { c.Expect = []StatusRange{{418, 418}} }), tandem.Value{}, tandem.OK, `{"status":418,"text":"teapot\n"}`, ""},
		{"status", post("/no"), tandem.Value{}, tandem.Failed, "answered 418 I'm a teapot, want 2xx: teapot", tandem.KindStatus},
		{"too large", post("/big"), tandem.Value{}, tandem.Failed, "more than 2000 bytes", tandem.KindTooLarge},
		{"cut off", post("/cut"), tandem.Value{}, tandem.Failed, "unexpected EOF", tandem.KindNetwork},
		{"redirects", with(post("/loop"), func(c *HTTPConfig) { c.Method = "GET"; c.Body = nil }), tandem.Value{}, tandem.Failed, "redirects in a loop", tandem.KindNetwork},
		{"refused", with(post(""), func(c *HTTPConfig) { c.URL = constant("http://127.0.0.1:1/?key=secret") }), tandem.Value{}, tandem.Failed, "refused", tandem.KindNetwork},
		{"no address", with(post(""), func(c *HTTPConfig) { c.URL = constant("example") }), tandem.Value{}, tandem.Failed, "no http or https address", tandem.KindExpression},
		{"no file", with(post("/echo"), func(c *HTTPConfig) { c.File = constant("/no/file") }), tandem.Value{}, tandem.Failed, "no such file", tandem.KindExpression},
		{"pickle", post("/echo"), tandem.Value{Kind: tandem.Pickle}, tandem.Failed, "Python object", tandem.KindExpression},
	} {
		r := request(t, t.Context(), c.cfg, c.v)
		if r.Outcome != c.outcome {
			t.Errorf("%s: %s %v", c.name, r.Outcome, r.Err)
			continue
		}
		if c.outcome == tandem.OK {
			if string(r.Value.Data) != c.want {
				t.Errorf("%s: got %s, want %s", c.name, r.Value.Data, c.want)
			}
		} else if r.Err.Kind != c.kind || !strings.Contains(r.Err.Message, c.want) || strings.Contains(r.Err.Message, "secret") {
			t.Errorf("%s: got %s %q, want %s with %q and no secrets", c.name, r.Err.Kind, r.Err.Message, c.kind, c.want)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if r := request(t, ctx, post("/slow"), tandem.Value{}); r.Outcome != tandem.TimedOut || r.Err.Kind != tandem.KindTimeout {
		t.Errorf("slow: %+v", r)
	}
}

// A server that closes a kept-alive connection just when a POST is sent on it costs no item.
func TestAStaleConnectionIsRepeated(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { // answers one request, then hangs up without a word
				defer c.Close()
				buf := make([]byte, 4096)
				if _, err := c.Read(buf); err != nil {
					return
				}
				_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
				time.Sleep(2 * time.Millisecond)
			})
		}
	})
	do, stop := HTTP(HTTPConfig{Method: "POST", URL: constant("http://" + l.Addr().String()), Body: prev, Concurrency: 1})
	for i := range 60 {
		if r := do(t.Context(), &tandem.Task{Value: tandem.TextValue("x")}); r.Outcome != tandem.OK {
			t.Errorf("request %d: %v", i, r.Err)
		}
		time.Sleep(time.Duration(i%5) * time.Millisecond)
	}
	stop()
	l.Close()
	wg.Wait()
}

func TestCommand(t *testing.T) {
	sh := func(script string) CommandConfig {
		return CommandConfig{Step: "s", Argv: []func(*tandem.Task) (string, error){constant("sh"), constant("-c"), constant(script), func(t *tandem.Task) (string, error) { return t.ID, nil }}, Stdin: prev}
	}
	for _, c := range []struct {
		script  string
		outcome tandem.Outcome
		want    string
	}{
		{"cat", tandem.OK, "input"}, {"echo $0", tandem.OK, "an id"}, {"printf '\\377'", tandem.OK, "\xff"}, {"true", tandem.OK, ""},
		{"echo first >&2; echo last words >&2; exit 4", tandem.Failed, "exit code 4: last words"}, {"kill -9 $$", tandem.Crashed, "SIGKILL"},
		{"head -c 70000000 /dev/zero", tandem.Failed, "more than 64 MiB"}, {"sleep 60 & sleep 60", tandem.TimedOut, "killed"},
	} {
		ctx, cancel := t.Context(), func() {}
		if c.outcome == tandem.TimedOut {
			ctx, cancel = context.WithTimeout(ctx, 500*time.Millisecond)
		}
		r := Command(sh(c.script))(ctx, &tandem.Task{ID: "an id", Value: tandem.TextValue("input")})
		cancel()
		got := string(r.Value.Data)
		if r.Err != nil {
			got = r.Err.Message
		}
		if r.Outcome != c.outcome || !strings.Contains(got, c.want) {
			t.Errorf("%s: %s %q, want %s %q", c.script, r.Outcome, got, c.outcome, c.want)
		}
	}
	for arg, want := range map[string]string{"a\x00b": "zero byte", "": "no program"} {
		r := Command(CommandConfig{Argv: []func(*tandem.Task) (string, error){constant(arg)}})(t.Context(), &tandem.Task{})
		if r.Outcome != tandem.Failed || !strings.Contains(r.Err.Message, want) {
			t.Errorf("%q: %+v", arg, r.Err)
		}
	}
}
