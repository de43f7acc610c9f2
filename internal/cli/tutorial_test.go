package cli

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// The tutorial's programs and flow run as they stand there, with a port of our own and fewer items, and end as it says.
func TestTutorial(t *testing.T) {
	python := os.Getenv("TANDEM_PYTHON")
	if python == "" {
		python = "python3"
	}
	page, err := os.ReadFile(filepath.Join(repo(), "docs", "tutorial.md"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	l.Close()

	dir := t.TempDir()
	files := 0
	for _, m := range regexp.MustCompile("(?s)```(?:python|yaml)\n(?:# ([a-z]+\\.py)\n)?(.*?)```").FindAllSubmatch(page, -1) {
		name := string(m[1])
		if name == "" {
			name = "flow.yaml"
		}
		files++
		text := strings.NewReplacer("8090", port, "1..300", "90..110").Replace(string(m[2]))
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if files != 3 {
		t.Fatalf("the tutorial has %d files, want api.py, work.py and flow.yaml", files)
	}

	api := exec.Command(python, "api.py")
	api.Dir = dir
	if err := api.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = api.Process.Kill(); _ = api.Wait() }()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the API does not listen: %v", err)
		}
	}

	t.Setenv("TANDEM_HOME", t.TempDir())
	run := func(want int, flags ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		a := &app{in: strings.NewReader(""), out: &out, err: &errs, width: func() int { return 100 }}
		if code := a.main(append([]string{"run", filepath.Join(dir, "flow.yaml")}, flags...)); code != want {
			t.Fatalf("run %v: exit code %d, want %d\n%s", flags, code, want, &errs)
		}
		return errs.String()
	}
	text := run(1)
	for _, want := range []string{"20 ok  1 failed", "3 retried", "round numbers are refused", "status 400 in store"} {
		if !strings.Contains(text, want) {
			t.Errorf("the run does not say %q:\n%s", want, text)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "lenient"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if text = run(0, "--retry-failed"); !strings.Contains(text, "1 ok") {
		t.Errorf("the retry does not say that one ended ok:\n%s", text)
	}
	lines, err := os.ReadFile(filepath.Join(dir, "out.jsonl"))
	if n := bytes.Count(lines, []byte(`"outcome":"ok"`)); err != nil || n != 21 {
		t.Errorf("%d items are ok, want 21 (%v)\n%.2000s", n, err, lines)
	}
}
