package cli

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The flows of examples/ pass check, and those that need nothing from outside run.
func TestExamples(t *testing.T) {
	flows, _ := filepath.Glob("../../examples/*/flow.yaml")
	if len(flows) != 9 {
		t.Fatalf("%d examples, want 9", len(flows))
	}
	t.Setenv("TANDEM_HOME", t.TempDir())
	for _, path := range flows {
		name := filepath.Base(filepath.Dir(path))
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(filepath.Dir(path))); err != nil {
				t.Fatal(err)
			}
			var out, errs bytes.Buffer
			a := &app{in: strings.NewReader(""), out: &out, err: &errs, width: func() int { return 100 }}
			flow := filepath.Join(dir, "flow.yaml")
			if code := a.main([]string{"check", flow}); code != 0 {
				t.Fatalf("check: exit code %d\n%s", code, &errs)
			}
			if _, err := os.Stat(filepath.Join(dir, "api.py")); err == nil {
				return // has a test of its own
			}
			if name == "orders" {
				return // so has this one
			}
			if name == "go-worker" { // the example is part of this module; its copy is a module of its own
				mod := "module example\n\ngo 1.26\n\nrequire tandem v0.0.0\n\nreplace tandem => " + repo() + "\n"
				if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(mod), 0o644); err != nil {
					t.Fatal(err)
				}
				t.Setenv("GOFLAGS", "-mod=mod")
			}
			if code := a.main([]string{"run", flow, "--json", "--progress", "none"}); code != 0 {
				t.Fatalf("run: exit code %d\n%s%s", code, &out, &errs)
			}
			if b, err := os.ReadFile(filepath.Join(dir, "out.jsonl")); err != nil || bytes.Count(b, []byte(`"outcome":"ok"`)) == 0 {
				t.Errorf("out.jsonl: %q %v", b, err)
			}
		})
	}
}

// example is a copy of an example, with its API running.
type example struct {
	t   *testing.T
	dir string
	url string
}

func openExample(t *testing.T, name string) *example {
	t.Helper()
	e := &example{t: t, dir: t.TempDir()}
	if err := os.CopyFS(e.dir, os.DirFS(filepath.Join(repo(), "examples", name))); err != nil {
		t.Fatal(err)
	}
	api := e.python("api.py", "0")
	out, err := api.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	api.Stderr = t.Output()
	if err := api.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = api.Process.Kill()
		_ = api.Wait()
	})
	line := make([]byte, 100)
	n, _ := io.ReadAtLeast(out, line, len("listening on http://127.0.0.1:1\n"))
	e.url = strings.TrimPrefix(strings.TrimSpace(string(line[:n])), "listening on ")
	return e
}

func (e *example) python(args ...string) *exec.Cmd {
	cmd := exec.Command(cmp.Or(os.Getenv("TANDEM_PYTHON"), "python3"), args...)
	cmd.Dir = e.dir
	return cmd
}

// tandem is a tandem command in the example's directory.
func (e *example) tandem(args ...string) *exec.Cmd {
	cmd := exec.Command("tandem", args...)
	cmd.Dir = e.dir
	cmd.Env = append(os.Environ(), "TANDEM_HOME="+filepath.Join(e.dir, ".tandem"), "TANDEM_SECRET_LLM_TOKEN=demo")
	return cmd
}

// run runs a command that ends with a code.
func (e *example) run(cmd *exec.Cmd, code int) {
	e.t.Helper()
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != code {
		e.t.Fatalf("%v: %v, want exit code %d\n%s", cmd.Args, err, code, out)
	}
}

// got reads what the API says of itself.
func (e *example) got(into any) {
	e.t.Helper()
	resp, err := http.Get(e.url + "/")
	if err != nil {
		e.t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		e.t.Fatal(err)
	}
}

func (e *example) write(name, text string) {
	e.t.Helper()
	if err := os.WriteFile(filepath.Join(e.dir, name), []byte(text), 0o644); err != nil {
		e.t.Fatal(err)
	}
}

func (e *example) lines(name string) int {
	e.t.Helper()
	b, err := os.ReadFile(filepath.Join(e.dir, name))
	if err != nil {
		e.t.Fatal(err)
	}
	return bytes.Count(b, []byte("\n"))
}

// Pictures made by a script, handled with Pillow or without, uploaded to an API that refuses one in five; two are broken and mended.
func TestPhotos(t *testing.T) {
	t.Parallel()
	e := openExample(t, "photos")
	e.run(e.python("make.py", "40"), 0)
	whole, err := os.ReadFile(filepath.Join(e.dir, "photos/0007.ppm"))
	if err != nil {
		t.Fatal(err)
	}
	e.write("photos/0007.ppm", string(whole[:1000]))
	e.write("photos/0023.ppm", "no picture at all")
	args := []string{"run", "flow.yaml", "-q", "--param", "api=" + e.url}
	e.run(e.tandem(args...), exitItems)
	var got struct {
		Requests, Refused int
		Pictures          map[string]int
	}
	if e.got(&got); len(got.Pictures) != 38 || got.Refused == 0 {
		t.Errorf("the API has %d pictures and refused %d, want 38 and some", len(got.Pictures), got.Refused)
	}
	if out, failed := e.lines("out.jsonl"), e.lines("failed.jsonl"); out != 40 || failed != 2 {
		text, _ := os.ReadFile(filepath.Join(e.dir, "failed.jsonl"))
		t.Errorf("%d lines, %d failed, want 40 and 2:\n%s", out, failed, text)
	}
	e.write("photos/0007.ppm", string(whole))
	e.write("photos/0023.ppm", string(whole))
	requests := got.Requests
	e.run(e.tandem(append(args, "--retry-failed")...), exitOK)
	if e.got(&got); len(got.Pictures) != 40 || got.Requests > requests+2*9 {
		t.Errorf("the API has %d pictures after %d and %d requests", len(got.Pictures), requests, got.Requests)
	}
	if out, failed := e.lines("out.jsonl"), e.lines("failed.jsonl"); out != 40 || failed != 0 {
		t.Errorf("%d lines, %d failed, want 40 and 0", out, failed)
	}
}

// Documents from a file into rows of a database, by way of an API that says 429 and 500; killed in the middle, resumed, and what failed mended.
func TestInvoices(t *testing.T) {
	t.Parallel()
	e := openExample(t, "invoices")
	e.run(e.python("make.py", "30", "inbox/many"), 0)
	args := []string{"run", "flow.yaml", "-q", "--param", "llm=" + e.url}
	var got struct{ Requests, Answered, Again, Refused, Broken, Most int }
	first := e.tandem(args...)
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); got.Answered < 10 && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		e.got(&got)
	}
	_ = first.Process.Kill()
	if err := first.Wait(); err == nil || got.Answered < 10 {
		t.Fatalf("it ended before it was killed: %v, %+v", err, got)
	}
	e.run(e.tandem(append(args, "--resume")...), exitItems)
	check := func(count, failed int) {
		t.Helper()
		db := filepath.Join(e.dir, "out/invoices.db")
		n, err := rows(db, "SELECT count(*), count(vendor), count(date), count(total) FROM invoice")
		if want := strings.TrimSuffix(strings.Repeat(strconv.Itoa(count)+"|", 4), "|"); err != nil || n != want {
			t.Errorf("the database has %s, want %s: %v", n, want, err)
		}
		if n := e.lines("out/failed.jsonl"); n != failed {
			t.Errorf("%d failed items, want %d", n, failed)
		}
	}
	check(35, 2)
	one, err := rows(filepath.Join(e.dir, "out/invoices.db"), "SELECT vendor, date, total FROM invoice WHERE id IN ('inbox/mail/fir.eml', 'inbox/many/000003.txt') ORDER BY id")
	if want := "Fir Supplies|Fri, 13 Feb 2026 16:05:00 +0100|129.99;Dogwood Office|2026-04-04|31.03"; err != nil || one != want {
		t.Errorf("%s, want %s: %v", one, want, err)
	}
	if e.got(&got); got.Refused == 0 || got.Broken == 0 || got.Again > got.Most+1 {
		t.Errorf("the API: %+v, want some refused and broken, and no more asked again than were in flight", got)
	}
	e.write("inbox/torn.txt", "From: Gum Tree Ltd\nDate: 2026-03-01\n\nA letter opener, sharp as promised.\n\nTotal: EUR 5.00\n")
	e.write("inbox/credit.txt", "From: Dogwood Office\nDate: 2026-03-01\n\nThe credit note was a mistake, here is the bill.\n\nTotal: EUR 60.00\n")
	answered := got.Answered
	e.run(e.tandem(append(args, "--retry-failed")...), exitOK)
	check(37, 0)
	if e.got(&got); got.Answered != answered+2 {
		t.Errorf("--retry-failed asked %d times, want 2", got.Answered-answered)
	}
}

// Every method of an API, with a token from a file.
func TestArticles(t *testing.T) {
	t.Parallel()
	e := openExample(t, "articles")
	args := []string{"run", "flow.yaml", "-q", "--param", "api=" + e.url}
	e.run(e.tandem(args...), exitUsage) // there is no file with the token yet
	e.write("secrets.txt", "TOKEN=demo\n")
	e.run(e.tandem(args...), exitUsage) // and now others may read it
	if err := os.Chmod(filepath.Join(e.dir, "secrets.txt"), 0o600); err != nil {
		t.Fatal(err)
	}
	e.run(e.tandem(args...), exitItems)
	got := map[string]string{}
	e.got(&got)
	want := map[string]string{"oak": "Oaks are trees with acorns.", "ash": "The ash is tall and light.\n", "elm": "Elm. Elms grow again."}
	if !maps.Equal(got, want) {
		t.Errorf("the API has %q, want %q", got, want)
	}
	if n := e.lines("out/outcomes.jsonl"); n != 5 {
		t.Errorf("%d outcomes, want 5", n)
	}
	if b, err := os.ReadFile(filepath.Join(e.dir, "out/create/oak.json")); err != nil || !bytes.Contains(b, []byte(`{"characters": 27}`)) {
		t.Errorf("out/create/oak.json: %q %v", b, err)
	}
}

// The flows beside the main ones.
func TestMoreExamples(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"lines", "go-worker", "orders"} {
		if err := os.CopyFS(filepath.Join(dir, name), os.DirFS(filepath.Join(repo(), "examples", name))); err != nil {
			t.Fatal(err)
		}
	}
	e := &example{t: t, dir: filepath.Join(dir, "lines")}
	c := e.tandem("run", "stdin.yaml")
	c.Stdin = strings.NewReader("a b\nc\n")
	e.run(c, exitOK)
	if got, err := rows(filepath.Join(e.dir, "out.db"), "SELECT id, trim(value) FROM words ORDER BY id"); err != nil || got != "stdin:1|2;stdin:2|1" {
		t.Errorf("%q %v", got, err)
	}

	e = &example{t: t, dir: filepath.Join(dir, "go-worker")}
	build := exec.Command("go", "build", "-buildvcs=false", "-o", filepath.Join(e.dir, "count.bin"), "./examples/go-worker/count")
	build.Dir = repo()
	e.run(build, 0)
	e.run(e.tandem("run", "built.yaml"), exitOK)
	if n := e.lines("out.jsonl"); n != 1 {
		t.Errorf("%d lines, want 1", n)
	}

	e = &example{t: t, dir: filepath.Join(dir, "orders")}
	e.run(e.tandem("run", "flow.yaml"), exitOK)
	sent, err := os.ReadFile(filepath.Join(e.dir, "out/sent.csv"))
	want := "order,id,outcome,to,characters\na-17,orders.csv:2,ok,Ada,105\na-18,orders.csv:3,ok,Blaise,94\na-19,orders.csv:5,filtered,,\na-20,orders.csv:6,ok,\"Emmy \"\"the great\"\"\",124\n"
	if err != nil || string(sent) != want {
		t.Errorf("%s %v, want %s", sent, err, want)
	}
	letter, err := os.ReadFile(filepath.Join(e.dir, "out/letters/a-20.txt"))
	if err != nil || !strings.Contains(string(letter), "$(rm -rf out) `rm -rf out`") {
		t.Errorf("%s %v", letter, err)
	}
}

// Every key of the flow file stands in an example, so that there is something to start from.
func TestExamplesShowEveryKey(t *testing.T) {
	var all strings.Builder
	flows, _ := filepath.Glob("../../examples/*/*.yaml")
	for _, path := range flows {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	text, err := os.ReadFile("../../docs/flow.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema any
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	keys := map[string]bool{}
	schemaKeys(schema, keys)
	if len(keys) < 70 {
		t.Fatalf("found %d keys in the schema", len(keys))
	}
	for key := range keys {
		if !regexp.MustCompile(`(?m)(^|[\s{,])` + key + `:(\s|$)`).MatchString(all.String()) {
			t.Errorf("no example shows the key %s", key)
		}
	}
}

func schemaKeys(v any, keys map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for name, x := range v {
			if props, ok := x.(map[string]any); ok && name == "properties" {
				for key := range props {
					keys[key] = true
				}
			}
			schemaKeys(x, keys)
		}
	case []any:
		for _, x := range v {
			schemaKeys(x, keys)
		}
	}
}
