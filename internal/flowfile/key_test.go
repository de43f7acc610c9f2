package flowfile

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"tandem/engine"
)

// keysSent runs a flow against a server and gives the keys of its requests, by their bodies.
func keysSent(t *testing.T, flow, lines string, params ...string) map[string]string {
	t.Helper()
	var mu sync.Mutex
	keys := map[string]string{}
	attempts := map[string]int{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		body, key := r.URL.Query().Get("of")+string(b), r.Header.Get("Idempotency-Key")
		if was, ok := keys[body]; ok && was != key {
			t.Errorf("%s was sent with the keys %q and %q", body, was, key)
		}
		keys[body] = key
		if attempts[body]++; attempts[body] == 1 {
			w.WriteHeader(http.StatusServiceUnavailable) // each is sent twice
		}
	}))
	defer srv.Close()
	dir := t.TempDir()
	for name, text := range map[string]string{"in.jsonl": lines, "flow.yaml": strings.ReplaceAll(flow, "URL", srv.URL), "body.txt": lines} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := Load(filepath.Join(dir, "flow.yaml"))
	if err == nil {
		err = f.SetParams(params)
	}
	if err != nil {
		t.Fatal(err)
	}
	// The address of the server is another in each run, and is part of what a request is made of.
	f.Steps[len(f.Steps)-1].HTTP.URL = strings.ReplaceAll(f.Steps[len(f.Steps)-1].HTTP.URL, srv.URL, "URL")
	built, err := Build(t.Context(), f, Surroundings{Env: os.Environ()})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := engine.New(engine.Config{}).Run(context.WithoutCancel(t.Context()), built); err != nil || r.Items.Ended() != int64(len(keys)) {
		t.Fatalf("%v: %+v, %v", err, r.Items, keys)
	}
	return keys
}

// The key of a request is the same when it is repeated, in this run and the next, and another when what the item holds, what the step before gave, a parameter or the
// request's own words are another: a server that remembers keys must not take what was mended for a repetition.
func TestKeyOfARequest(t *testing.T) {
	const flow = `
tandem: v1
name: send
params: {month: "1"}
from: {jsonl: in.jsonl}
steps:
  - {name: pass, shell: "cat", stdin: "${{ item.value.n }}"}
  - {name: send, http: {post: "URL/?of=${{ item.id }}-", body: "${{ item.value.n }} ${{ params.month }}"}, retry: {attempts: 3, backoff: 1ms}}
`
	const lines = `{"n":1,"note":"a"}` + "\n" + `{"n":2,"note":"b"}` + "\n"
	first := keysSent(t, flow, lines)
	one, two := first["in.jsonl:1-1 1"], first["in.jsonl:2-2 1"]
	if one == "" || two == "" || one == two {
		t.Fatalf("keys %v", first)
	}
	if again := keysSent(t, flow, lines); again["in.jsonl:1-1 1"] != one || again["in.jsonl:2-2 1"] != two {
		t.Errorf("in a second run the keys are %v, and were %v", again, first)
	}
	for _, c := range []struct {
		name, flow, lines string
		params            []string
		one, two          string // the bodies
		same              bool   // of the second
	}{
		{"the first item is mended", flow, strings.Replace(lines, `"a"`, `"c"`, 1), nil, "in.jsonl:1-1 1", "in.jsonl:2-2 1", true},
		{"the step before gives another value", strings.Replace(flow, `"cat"`, `"cat; echo !"`, 1), lines, nil, "in.jsonl:1-1 1", "in.jsonl:2-2 1", false},
		{"another parameter", flow, lines, []string{"month=2"}, "in.jsonl:1-1 2", "in.jsonl:2-2 2", false},
		{"another body", strings.Replace(flow, `.month }}"`, `.month }}."`, 1), lines, nil, "in.jsonl:1-1 1.", "in.jsonl:2-2 1.", false},
	} {
		now := keysSent(t, c.flow, c.lines, c.params...)
		if now[c.one] == "" || now[c.one] == one || (now[c.two] == two) != c.same {
			t.Errorf("%s: the keys are %v, and were %v", c.name, now, first)
		}
	}
}

// The key of a request that sends a file knows what is in it.
func TestKeyOfAFile(t *testing.T) {
	const flow = `
tandem: v1
name: send
from: {range: 1..1}
steps:
  - {name: send, http: {post: "URL/", file: body.txt}, retry: {attempts: 3, backoff: 1ms}}
`
	before, again, after := keysSent(t, flow, "a"), keysSent(t, flow, "a"), keysSent(t, flow, "b")
	if before["a"] == "" || before["a"] != again["a"] || before["a"] == after["b"] {
		t.Errorf("%v, %v, %v", before, again, after)
	}
}
