package flowfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"tandem"
)

var update = flag.Bool("update", false, "rewrite golden files")

// Each bad file has its message beside it: what a person reads is part of the contract.
func TestBadFilesAreExplained(t *testing.T) {
	files, _ := filepath.Glob("testdata/bad/*.yaml")
	if len(files) < 30 {
		t.Fatalf("only %d bad files", len(files))
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			src, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			f, err := Parse(filepath.Base(path), src)
			if err == nil {
				t.Fatalf("was accepted: %+v", f)
			}
			checkFaults(t, err, src)
			golden := strings.TrimSuffix(path, ".yaml") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(err.Error()+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, rerr := os.ReadFile(golden)
			if rerr != nil {
				t.Fatal(rerr)
			}
			if got := err.Error() + "\n"; got != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

// checkFaults checks what holds for every fault of every file.
func checkFaults(t *testing.T, err error, src []byte) {
	t.Helper()
	var faults Faults
	if !errors.As(err, &faults) || len(faults) == 0 {
		t.Fatalf("%T is no Faults", err)
	}
	lines := bytes.Count(src, []byte("\n")) + 1
	for _, e := range faults {
		if e.Message == "" || e.Line < 0 || e.Line > lines || e.Line > 0 && e.Col < 1 {
			t.Errorf("fault outside the file of %d lines: %+v", lines, e)
		}
		if strings.ContainsFunc(e.Error(), func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f }) {
			t.Errorf("control characters in the message: %q", e.Error())
		}
	}
}

const good = `tandem: v1
name: photos
about: all of it
x-mine: [anything, 1]
from: {files: ["photos/**/*.{jpg,jpeg}", more/*.jpg]}
steps:
  - name: thumb
    python: images.py:thumb
    venv: .venv
    args: {path: "${{ item.path }}", n: 3}
    mode: process
    workers: 2
    threads: 1
    timeout: 1m30s
    queue: {items: 10, bytes: 1.5MiB}
  - {name: build, go: "./resize:thumb", mode: thread, threads: 4, timeout: {soft: 20s, hard: 30s}, hang: 10s, memory: {limit: 1GiB, jvm: 768MiB}, output: 10MiB, core: 64MiB}
  - {name: other, worker: [./w.sh, --x], handler: h}
  - {name: cmd, run: [convert, "${{ item.stem }}.png", 5], memory: 512MiB, cpu_time: 10s, stdin: "${{ prev }}"}
  - name: upload
    http: {post: "http://127.0.0.1:1/${{ item.id }}", headers: {X-A: "b ${{ env.HOME }}"}, body: "${{ prev }}", expect: ["2xx", 404, 300-302]}
    concurrency: 64
into: {jsonl: out.jsonl}
`

// whole has every key that good has not.
const whole = `tandem: v1
name: invoices
params:
  inbox: ./inbox
  model: {type: text, default: small-1, about: which model}
  most: {type: int, default: 40}
  share: 0.5
  db: {about: the database}
secrets: secrets.env
pools:
  llm: {concurrency: auto, max: 64, rate: 600/min, breaker: {failures: 10, pause: 30s}}
from: {csv: "${{ params.inbox }}/list.csv"}
steps:
  - {name: parse, python: "pdfwork:extract", args: {path: "${{ item.value.path }}"}, workers: cores-1, budget: keep, retry: {attempts: 2}}
  - {name: long, keep: "${{ len(steps.parse.text) > params.most }}"}
  - name: ask
    pool: llm
    http: {post: "https://llm/x", headers: {Authorization: "Bearer ${{ secrets.TOKEN }}"}, json: {model: "${{ params.model }}", prompt: "${{ steps.parse.text }}"}}
    retry: {attempts: 6, backoff: 1s..60s, when: [429, 5xx, timeout, reset, dns, crash, "exit:3", ValueError]}
  - {name: shrink, shell: "convert ${{ item.value.path }} ${{ tmp.file('a.png') }}", when: "${{ prev.json.total > 3 }}", stdin: "x", budget: 2}
  - {name: page, write: {path: "out/${{ item.id }}.json", body: "${{ steps.ask.json }}"}, concurrency: auto, max: 9, rate: 5/hour}
  - name: store
    batch: {size: 200, every: 2s}
    sql: {open: "sqlite:${{ params.db }}", setup: CREATE TABLE IF NOT EXISTS t (id), exec: "INSERT INTO t VALUES (?, ?, ?)", values: [item.id, 3, "${{ prev }}"]}
    breaker: {failures: 3}
into: {csv: out.csv, columns: {id: "${{ item.id }}", total: "${{ steps.ask.json.total }}", how: "${{ outcome == 'ok' ? prev : error.kind }}"}}
order: keep
failures: {stop_after: 5%, save: out/failed.jsonl}
resume: {file: .tandem/invoices.journal, sync: always}
`

func TestTheWholeLanguage(t *testing.T) {
	f, err := Parse("whole.yaml", []byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	s := f.Steps
	if p := f.Pools["llm"]; p.Concurrency != auto || p.Max != 64 || p.Rate != 10 || p.Breaker != (BreakerConfig{10, 30 * time.Second}) {
		t.Errorf("pool: %+v", p)
	}
	if w := s[0].Workers; w.count(4) != 3 || w.count(1) != 1 || s[0].budget() != 0 || s[3].budget() != 2 || s[2].budget() != 1 {
		t.Errorf("workers %+v, budgets %d %d %d", w, s[0].budget(), s[3].budget(), s[2].budget())
	}
	if !s[0].t.kept || s[1].t.kept || !s[2].t.kept || !s[3].t.tmp || s[4].t.tmp {
		t.Error("which steps' values later steps ask for, or who makes temporary files")
	}
	if b := s[2].Retry.Backoff; b.First != time.Second || b.Longest != time.Minute || s[0].Retry.Attempts != 2 {
		t.Errorf("retry: %+v", b)
	}
	for _, c := range []struct {
		e    tandem.Error
		o    tandem.Outcome
		want bool
	}{{tandem.Error{Kind: "status", Reason: "429"}, tandem.Failed, true}, {tandem.Error{Kind: "status", Reason: "404"}, tandem.Failed, false},
		{tandem.Error{Kind: "network", Reason: "dns"}, tandem.Failed, true}, {tandem.Error{Kind: "network", Reason: "refused"}, tandem.Failed, false},
		{tandem.Error{Kind: "exit", Reason: "exit 3"}, tandem.Failed, true}, {tandem.Error{Kind: "exception", Reason: "ValueError"}, tandem.Failed, true},
		{tandem.Error{Kind: "exception", Reason: "KeyError"}, tandem.Failed, false}, {tandem.Error{Kind: "timeout"}, tandem.TimedOut, true},
		{tandem.Error{Kind: "memory"}, tandem.OutOfMemory, false}, {tandem.Error{Kind: "memory", Reason: "MemoryError"}, tandem.OutOfMemory, false}} {
		if got := s[2].Retry.matches(c.o, &c.e); got != c.want {
			t.Errorf("%+v: another attempt %v", c.e, got)
		}
	}
	for _, when := range []string{"memory", "MemoryError"} {
		c, ok := parseCondition(when)
		if e := (tandem.Error{Kind: "memory", Reason: "MemoryError"}); !ok || !c(tandem.OutOfMemory, &e) {
			t.Errorf("when: %s does not match a full memory", when)
		}
	}
	if f.Failures.StopAfter.Share != 0.05 || f.Resume.Sync != "always" || f.Into.order[1] != "total" || f.Order != "keep" {
		t.Errorf("%+v %+v %+v", f.Failures, f.Resume, f.Into)
	}
}

func TestParameters(t *testing.T) {
	for _, c := range []struct{ given, want string }{
		{"", "db: has no default"}, {"db=x.db", ""}, {"db=x.db most=many", "want a value of type int"}, {"db=x.db mots=3", "did you mean `most`"}, {"db", "NAME=VALUE"},
		{"db=x.db share=1 most=7", ""},
	} {
		f, err := Parse("whole.yaml", []byte(whole))
		if err != nil {
			t.Fatal(err)
		}
		err = f.SetParams(strings.Fields(c.given))
		text := ""
		if e, ok := errors.AsType[*tandem.Error](err); ok {
			text = e.Error() + " " + e.Hint
		}
		if (c.want == "") != (err == nil) || !strings.Contains(text, c.want) {
			t.Errorf("%s: %q, want %q", c.given, text, c.want)
		}
	}
}

func TestAGoodFileIsReadWhole(t *testing.T) {
	f, err := Parse("good.yaml", []byte(good))
	if err != nil {
		t.Fatal(err)
	}
	s := f.Steps
	if len(f.From.Files) != 2 || len(s) != 5 || s[0].Timeout != (Timeout{Hard: 90 * time.Second}) || s[0].Queue.Bytes != 3<<19 || s[0].Mode != tandem.Process || s[3].Run[2] != "5" {
		t.Errorf("%+v", f)
	}
	if got, want := s[1].caps(), (tandem.Caps{Memory: 1 << 30, JVM: 768 << 20, Soft: 20 * time.Second, Hang: 10 * time.Second, Output: 10 << 20, Core: 64 << 20}); got != want || s[1].Timeout.Hard != 30*time.Second {
		t.Errorf("caps %+v, want %+v", got, want)
	}
	if got, want := s[3].caps(), (tandem.Caps{Memory: 512 << 20, CPUTime: 10 * time.Second}); got != want {
		t.Errorf("caps %+v, want %+v", got, want)
	}
	if h := s[4].HTTP; h.Method != "post" || !h.HasBody || len(h.Expect) != 3 || h.Expect[0] != (StatusRange{200, 299}) || h.Expect[2] != (StatusRange{300, 302}) {
		t.Errorf("%+v", h)
	}
	if want := "files → thumb (python) → build (go) → other (worker) → cmd (run) → upload (http) → out.jsonl"; f.Outline() != want {
		t.Errorf("outline %q, want %q", f.Outline(), want)
	}
	e := f.Errorf("do that", []any{"steps", 0, "python"}, "no such thing").Error()
	if !strings.HasPrefix(e, "good.yaml:8:13: steps[0] \"thumb\" python: no such thing\n") || !strings.Contains(e, "^^^^") {
		t.Errorf("Errorf: %s", e)
	}
}

func TestLoadNamesWhatItCannotRead(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{dir: "is a directory", dir + "/none.yaml": "no such file"} {
		if _, err := Load(path); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	big := filepath.Join(dir, "big.yaml")
	if err := os.WriteFile(big, bytes.Repeat([]byte("# long\n"), 200_000), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(big); err == nil || !strings.Contains(err.Error(), "1 MiB") {
		t.Errorf("a file of 1.4 MB: %v", err)
	}
}

// docs/flow.schema.json is what editors use; `make generate` rewrites it.
func TestSchemaIsCurrent(t *testing.T) {
	const path = "../../docs/flow.schema.json"
	if *update {
		if err := os.WriteFile(path, Schema(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(have, Schema()) {
		t.Errorf("%s is not what the structs say (%v): run make generate", path, err)
	}
}

// The schema and the parser agree: what one takes, the other takes; what breaks the form breaks both.
func TestSchemaAgreesWithTheParser(t *testing.T) {
	var doc any
	if err := json.Unmarshal(Schema(), &doc); err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("flow.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("flow.json")
	if err != nil {
		t.Fatal(err)
	}
	valid := func(src []byte) error {
		j, err := yaml.YAMLToJSON(src)
		if err != nil {
			return err
		}
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(j))
		if err != nil {
			return err
		}
		return schema.Validate(v)
	}
	for _, file := range []string{good, whole} {
		if err := valid([]byte(file)); err != nil {
			t.Errorf("the schema refuses a good file: %v", err)
		}
	}
	for _, name := range []string{"unknown-key", "unknown-root-key", "wrong-type", "no-verb", "two-verbs", "missing", "version", "no-source", "two-sources", "units", "mode", "list-root", "on-off", "retry", "batch", "into", "isolation"} {
		src, err := os.ReadFile("testdata/bad/" + name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		if valid(src) == nil {
			t.Errorf("the schema accepts %s.yaml, the parser does not", name)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte(whole))
	files, _ := filepath.Glob("testdata/bad/*.yaml")
	for _, path := range files {
		if src, err := os.ReadFile(path); err == nil {
			f.Add(src)
		}
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		file, err := Parse("fuzz.yaml", src)
		if err != nil {
			checkFaults(t, err, src)
		} else if file.Name == "" || len(file.Steps) == 0 {
			t.Errorf("accepted without name or steps: %+v", file)
		}
	})
}
