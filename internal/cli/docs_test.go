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
	for _, where := range []string{"docs/*.md", "docs/*/*.md", "examples/*/*.md"} {
		more, _ := filepath.Glob(filepath.Join(repo(), where))
		for _, p := range more {
			rel, _ := filepath.Rel(repo(), p)
			pages = append(pages, rel)
		}
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
		for _, m := range regexp.MustCompile(`\]\(([^)#:]*)(#[^)]*)?\)`).FindAllSubmatch(text, -1) {
			to := page
			if len(m[1]) > 0 {
				to = filepath.Join(filepath.Dir(page), string(m[1]))
			}
			there, err := os.ReadFile(filepath.Join(repo(), to))
			if info, serr := os.Stat(filepath.Join(repo(), to)); serr != nil || err != nil && !info.IsDir() {
				t.Errorf("%s links to %s, which is not there", page, m[1])
			} else if len(m[2]) > 0 && !anchors(there)[string(m[2][1:])] {
				t.Errorf("%s links to %s%s, but that page has no such heading", page, m[1], m[2])
			}
		}
	}
	if flows < 9 {
		t.Errorf("found %d flows in the documentation", flows)
	}
}

// anchors are the places of a page that a link may name.
func anchors(page []byte) map[string]bool {
	there := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllSubmatch(page, -1) {
		there[regexp.MustCompile(`[^a-z0-9_ -]`).ReplaceAllString(strings.ToLower(string(m[1])), "")] = true
	}
	for name := range there {
		there[strings.ReplaceAll(name, " ", "-")] = true
	}
	for _, m := range regexp.MustCompile(`<a id="([^"]+)">`).FindAllSubmatch(page, -1) {
		there[string(m[1])] = true
	}
	return there
}
