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
  - {name: build, go: "./resize:thumb", mode: thread, threads: 4}
  - {name: other, worker: [./w.sh, --x], handler: h}
  - {name: cmd, run: [convert, "${{ item.stem }}.png", 5], stdin: "${{ prev }}"}
  - name: upload
    http: {post: "http://127.0.0.1:1/${{ item.id }}", headers: {X-A: "b ${{ env.HOME }}"}, body: "${{ prev }}", expect: ["2xx", 404, 300-302]}
    concurrency: 64
into: {jsonl: out.jsonl}
`

func TestAGoodFileIsReadWhole(t *testing.T) {
	f, err := Parse("good.yaml", []byte(good))
	if err != nil {
		t.Fatal(err)
	}
	s := f.Steps
	if len(f.From.Files) != 2 || len(s) != 5 || s[0].Timeout != 90*time.Second || s[0].Queue.Bytes != 3<<19 || s[0].Mode != tandem.Process || s[3].Run[2] != "5" {
		t.Errorf("%+v", f)
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
	if err := valid([]byte(good)); err != nil {
		t.Errorf("the schema refuses a good file: %v", err)
	}
	for _, name := range []string{"unknown-key", "unknown-root-key", "wrong-type", "no-verb", "two-verbs", "missing", "version", "no-source", "two-sources", "units", "mode", "list-root", "on-off"} {
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
