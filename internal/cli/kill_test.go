package cli

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var kills = flag.Int("kills", 24, "how often TestKill kills a run")

// killItems is how many items a killed flow has: enough that a run takes a second or two.
const killItems = 260

// killFlow has what is hard to resume: a step that makes several items of one, requests that are tried again, batches that are cut up, and every outcome but
// a crash.
const killFlow = `
tandem: v1
name: kill
from: {range: 1..260}
steps:
  - {name: fan, python: "h.py:fan", mode: process, workers: 2, queue: {items: 16}}
  - name: call
    http: {post: "$API/${{ prev.n }}/${{ prev.k }}", json: "${{ prev }}"}
    concurrency: 8
    retry: {attempts: 4, backoff: 1ms..5ms}
    queue: {items: 16}
  - {name: many, python: "h.py:many", mode: process, workers: 1, batch: {size: 8, every: 20ms}, queue: {items: 16}}
into: {SINK}
`

const killHandlers = `
import os, time
def note(name, what):
    f = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(f, what.encode())
    os.close(f)
def fan(n):
    note("fan.log", f"{n}\n")
    time.sleep(0.003)
    if n % 13 == 0: raise ValueError("thirteen")
    if n % 7 == 0: return
    for k in range(1 + n % 3): yield {"n": n, "k": k + 1}
def many(answers):
    note("many.log", "".join("%d/%d\n" % (a["json"]["n"], a["json"]["k"]) for a in answers))
    if any(a["json"]["n"] % 17 == 0 for a in answers): raise ValueError("seventeen")
    return ["%d.%d" % (a["json"]["n"], a["json"]["k"]) for a in answers]
`

// killExpected is every id with its outcome and value.
func killExpected() map[string]string {
	want := map[string]string{}
	for n := 1; n <= killItems; n++ {
		values := 1 + n%3
		switch {
		case n%13 == 0:
			want[fmt.Sprint(n)] = "failed"
			continue
		case n%7 == 0:
			want[fmt.Sprint(n)] = "filtered"
			continue
		}
		for k := 1; k <= values; k++ {
			id := fmt.Sprint(n)
			if values > 1 {
				id = fmt.Sprintf("%d/%d", n, k)
			}
			want[id] = fmt.Sprintf("ok %d.%d", n, k)
			if killGone(n, k) || n%17 == 0 {
				want[id] = "failed"
			}
		}
	}
	return want
}

// killGone says for which values the API answers 404.
func killGone(n, k int) bool { return (n+k)%10 == 9 }

// killAPI fails the first call of a third of all values, and remembers calls and keys.
type killAPI struct {
	mu    sync.Mutex
	calls map[string]int
	keys  map[string]map[string]bool
}

func (a *killAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var n, k int
	if _, err := fmt.Sscanf(r.URL.Path, "/%d/%d", &n, &k); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	body, _ := io.ReadAll(r.Body)
	a.mu.Lock()
	a.calls[r.URL.Path]++
	first := a.calls[r.URL.Path] == 1
	if a.keys[r.URL.Path] == nil {
		a.keys[r.URL.Path] = map[string]bool{}
	}
	a.keys[r.URL.Path][r.Header.Get("Idempotency-Key")] = true
	a.mu.Unlock()
	time.Sleep(3 * time.Millisecond)
	switch {
	case first && (n+k)%3 == 0:
		http.Error(w, "busy", http.StatusServiceUnavailable)
	case killGone(n, k):
		http.Error(w, "gone", http.StatusNotFound)
	default:
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	}
}

// A run that is killed at any moment, again and again, goes on until every item has ended as it should: none is lost, no line is there twice, and no more is
// done again than what was under way.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	for _, s := range []struct {
		name, into string
		kills      int
		read       func(dir string) (ids []string, outcomes map[string]string, err error)
	}{
		{"jsonl", "jsonl: out.jsonl", *kills - 3*(*kills/6), killJSONL("out.jsonl")},
		{"csv", "csv: out.csv", *kills / 6, killCSV},
		{"dir", "dir: out", *kills / 6, killDir},
		{"sqlite", "sqlite: out.db", *kills / 6, killSQLite},
	} {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			for done, round := 0, 1; done < s.kills; round++ {
				dir := t.TempDir()
				n := killRound(t, dir, s.into, s.kills-done, s.read)
				t.Logf("round %d: killed %d times", round, n)
				if done += n; round > 20+s.kills {
					t.Fatalf("only %d kills in %d rounds: the runs end before they can be killed", done, round)
				}
			}
		})
	}
}

// killRound kills one flow at most so many times and lets it end.
func killRound(t *testing.T, dir, into string, most int, read func(string) ([]string, map[string]string, error)) (killed int) {
	t.Helper()
	a := &killAPI{calls: map[string]int{}, keys: map[string]map[string]bool{}}
	api := httptest.NewServer(a)
	defer api.Close()
	flow := strings.NewReplacer("$API", api.URL, "SINK", into).Replace(killFlow)
	for name, text := range map[string]string{"flow.yaml": flow, "h.py": killHandlers} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var story []string
	for args := []string{"run", "flow.yaml", "-q"}; ; args = []string{"run", "flow.yaml", "-q", "--resume"} {
		after := time.Duration(-1)
		if killed < most {
			after = time.Duration(rand.IntN(250)) * time.Millisecond
		}
		code, said := killRun(t, dir, after, args...)
		story = append(story, fmt.Sprint(after))
		if code < 0 {
			killed++
			continue
		}
		if code != exitItems {
			t.Fatalf("after %v exit code %d\n%s", story, code, said)
		}
		break
	}
	ids, got, err := read(dir)
	if err != nil {
		t.Fatalf("after %v %v", story, err)
	}
	want := killExpected()
	slices.Sort(ids)
	for i := 1; i < len(ids); i++ {
		if ids[i] == ids[i-1] {
			t.Errorf("%s is there twice", ids[i])
		}
	}
	for id, w := range want {
		if got[id] != w {
			t.Errorf("%s: %q, want %q", id, got[id], w)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d items, want %d", len(got), len(want))
	}
	killBounds(t, dir, killed, a)
	if left := leftover(dir); len(left) > 0 {
		t.Errorf("still running: %v", left)
	}
	if t.Failed() {
		t.Fatalf("killed after %v", story)
	}
	return killed
}

// killBounds checks that what had finished was not done again. Under way are, at each kill, what the workers run and what was finished in the 20 ms in which
// the journal gathers: some 20 items here.
func killBounds(t *testing.T, dir string, killed int, a *killAPI) {
	const underWay = 32
	values, calls := 0, 0
	for n := 1; n <= killItems; n++ {
		if n%13 == 0 || n%7 == 0 {
			continue
		}
		for k := 1; k <= 1+n%3; k++ {
			values++
			if (n+k)%3 == 0 {
				calls++ // the API's first answer to it is 503
			}
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	called := 0
	for path, n := range a.calls {
		called += n
		if len(a.keys[path]) != 1 || a.keys[path][""] {
			t.Errorf("%s came with the keys %v, want one", path, slices.Collect(maps.Keys(a.keys[path])))
		}
	}
	count := func(name string) int {
		b, _ := os.ReadFile(filepath.Join(dir, name))
		return bytes.Count(b, []byte("\n"))
	}
	const cuts = 24 * (killItems/17 + 1) * 3 // a batch of eight with a culprit runs up to 24 more
	for _, c := range []struct {
		step       string
		ran, least int
		most       int
	}{{"fan", count("fan.log"), killItems, killItems + killed*underWay}, {"call", called, values, values + calls + killed*underWay}, {"many", count("many.log"), 0, values + cuts + killed*underWay}} {
		t.Logf("%s ran %d times with %d kills, at least %d times without", c.step, c.ran, killed, c.least)
		if c.ran < c.least || c.ran > c.most {
			t.Errorf("%s ran %d times with %d kills, want %d to %d", c.step, c.ran, killed, c.least, c.most)
		}
	}
}

// killRun runs tandem and kills it, unless after is negative: so long after it has begun to work, or, one time in six, after it was started. The code of a
// killed run is -1.
func killRun(t *testing.T, dir string, after time.Duration, args ...string) (code int, said string) {
	t.Helper()
	cmd := exec.Command("tandem", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TANDEM_HOME="+filepath.Join(dir, ".tandem"))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second // a worker that outlives the kill would hold the pipe
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(dir, "fan.log")
	working, ended, gone := fileSize(log), make(chan struct{}), make(chan struct{})
	if early := rand.IntN(6) == 0; early {
		working = -1
	}
	go func() {
		defer close(gone)
		for fileSize(log) == working {
			select {
			case <-ended:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
		select {
		case <-ended:
		case <-time.After(after):
			if after >= 0 {
				_ = cmd.Process.Kill()
			}
		}
	}()
	err := cmd.Wait()
	close(ended)
	<-gone
	if errors.Is(err, exec.ErrWaitDelay) {
		t.Error("a worker held the output of a killed run")
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

// fileSize is 0 for a file that is not there.
func fileSize(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// leftover waits for processes in dir to end, and lists those that do not.
func leftover(dir string) (left []string) {
	for deadline := time.Now().Add(3 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if left = withMark(dir); len(left) == 0 || time.Now().After(deadline) {
			return left
		}
	}
}

func killJSONL(name string) func(string) ([]string, map[string]string, error) {
	return func(dir string) (ids []string, got map[string]string, err error) {
		b, err := os.ReadFile(filepath.Join(dir, name))
		got = map[string]string{}
		for line := range bytes.Lines(b) {
			var item struct {
				ID, Outcome string
				Value       any
			}
			if err := json.Unmarshal(line, &item); err != nil {
				return nil, nil, fmt.Errorf("%q: %w", line, err)
			}
			ids = append(ids, item.ID)
			got[item.ID] = item.Outcome
			if item.Outcome == "ok" {
				got[item.ID] += " " + fmt.Sprint(item.Value)
			}
		}
		return ids, got, err
	}
}

func killCSV(dir string) (ids []string, got map[string]string, err error) {
	f, err := os.Open(filepath.Join(dir, "out.csv"))
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return nil, nil, err
	}
	got = map[string]string{}
	for _, r := range rows[1:] {
		ids = append(ids, r[0])
		got[r[0]] = strings.TrimSpace(r[1] + " " + r[2])
	}
	return ids, got, nil
}

func killDir(dir string) (ids []string, got map[string]string, err error) {
	ids, got, err = killJSONL("out/outcomes.jsonl")(dir)
	for id, outcome := range got {
		if strings.HasPrefix(outcome, "ok") {
			b, err := os.ReadFile(filepath.Join(dir, "out", id))
			if err != nil {
				return nil, nil, err
			}
			got[id] = "ok " + string(b)
		}
	}
	return ids, got, err
}

func killSQLite(dir string) (ids []string, got map[string]string, err error) {
	all, err := rows(filepath.Join(dir, "out.db"), "SELECT id, outcome, value FROM items")
	got = map[string]string{}
	for r := range strings.SplitSeq(all, ";") {
		cells := strings.SplitN(r+"||", "|", 4)
		ids = append(ids, cells[0])
		got[cells[0]] = strings.TrimSpace(cells[1] + " " + cells[2])
	}
	return ids, got, err
}
