package report

import (
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"tandem/internal/runs"
)

var (
	picture = flag.String("picture", "", "draw the README's picture to this file")
	binary  = flag.String("tandem", "", "the tandem that runs the flow of the picture")
)

const pictureFlow = `
tandem: v1
name: photos
from: {range: 1..500}
steps:
  - {name: thumb, python: "work.py:thumb", mode: process, workers: 2}
  - {name: upload, http: {post: "API", body: "${{ prev }}", expect: 2xx}, concurrency: auto}
into: {jsonl: out.jsonl}
`

const pictureWork = `
import os, time
def thumb(n):
    if n in (131, 342):
        os.abort()
    end = time.thread_time() + 0.008 + n % 7 * 0.002
    while time.thread_time() < end:
        pass
    time.sleep(0.004)
    return {"n": n, "picture": "x" * 2000}
`

// TestPicture draws docs/lanes.png, for make picture: a run of 500 items of which two crash their workers, with an API that answers within 60 ms beside it.
func TestPicture(t *testing.T) {
	if *picture == "" {
		t.Skip("make picture draws the README's picture")
	}
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { time.Sleep(60 * time.Millisecond) }))
	defer api.Close()
	dir := t.TempDir()
	for name, content := range map[string]string{"flow.yaml": strings.ReplaceAll(pictureFlow, "API", api.URL), "work.py": pictureWork} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(*binary, "run", "flow.yaml", "--quiet")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "TANDEM_HOME="+dir)
	if out, err := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != 1 { // two items end badly
		t.Fatalf("%v\n%s", err, out)
	}
	all, _, err := runs.List(filepath.Join(dir, "runs"))
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	d, err := Gather(all[0], time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ctx := browser(t)
	open(t, ctx, d)
	ask[int](t, ctx, `(document.querySelector(".tools").remove(), document.querySelector("#told").remove(),
		[...document.querySelectorAll(".legend li")].filter(e => !/^(starting|cpu|run queue|waiting|starved|crash)/.test(e.textContent.trim()) && !/crash$/.test(e.textContent)).forEach(e => e.remove()), 1)`)
	shown(t, ctx)
	png, err := chromedp.Run(ctx, chromedp.Screenshot("#picture"))
	if err != nil {
		t.Fatal(err)
	}
	if len(png) > 200_000 {
		t.Errorf("the picture has %d bytes", len(png))
	}
	if err := os.WriteFile(*picture, png, 0o644); err != nil {
		t.Fatal(err)
	}
	answer, _ := json.Marshal(d.Sentence)
	t.Logf("%s: %d bytes; the run says %s", *picture, len(png), answer)
}
