package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The flows of examples/ pass check, and those that need nothing from outside run.
func TestExamples(t *testing.T) {
	flows, _ := filepath.Glob("../../examples/*/flow.yaml")
	if len(flows) != 4 {
		t.Fatalf("%d examples, want 4", len(flows))
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
			if name == "photos" {
				return // needs Pillow and an API; `make demo` runs its like
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
