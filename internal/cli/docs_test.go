package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var block = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// Every flow that the documentation shows passes check, and every link inside the repository leads somewhere.
func TestDocumentation(t *testing.T) {
	pages := []string{"README.md", "protocol/SPEC.md", "protocol/vectors/README.md", "bench/README.md"}
	more, _ := filepath.Glob(filepath.Join(repo(), "docs", "*.md"))
	decisions, _ := filepath.Glob(filepath.Join(repo(), "docs", "*", "*.md"))
	for _, p := range append(more, decisions...) {
		rel, _ := filepath.Rel(repo(), p)
		pages = append(pages, rel)
	}
	flows := 0
	for _, page := range pages {
		text, err := os.ReadFile(filepath.Join(repo(), page))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range block.FindAllSubmatch(text, -1) {
			if !bytes.HasPrefix(m[1], []byte("tandem: v1")) {
				continue
			}
			flows++
			flow := filepath.Join(t.TempDir(), "flow.yaml")
			if err := os.WriteFile(flow, m[1], 0o644); err != nil {
				t.Fatal(err)
			}
			var out, errs bytes.Buffer
			a := &app{in: strings.NewReader(""), out: &out, err: &errs, width: func() int { return 100 }}
			if code := a.main([]string{"check", flow}); code != 0 {
				t.Errorf("%s shows a flow that check refuses:\n%s", page, &errs)
			}
		}
		for _, m := range regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`).FindAllSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(repo(), filepath.Dir(page), string(m[1]))); err != nil {
				t.Errorf("%s links to %s, which is not there", page, m[1])
			}
		}
	}
	if flows < 2 {
		t.Errorf("found %d flows in the documentation", flows)
	}
}
