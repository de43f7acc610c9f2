package cli

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/creack/pty"
)

// screen reads what a program draws on a terminal.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

// since is what was drawn after the first n bytes, without colours and positions.
func (s *screen) since(n int) (text string, now int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return ansi.Strip(s.text.String()[n:]), s.text.Len()
}

func (s *screen) want(t *testing.T, from int, what string) (at int) {
	t.Helper()
	re := regexp.MustCompile(what)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		text, now := s.since(from)
		if re.MatchString(text) {
			return now
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not come: %q", what, text)
		}
	}
}

// tandem top in a terminal of 80 by 24: keys change the picture, a resize is followed, and it ends with the run and its totals.
func TestTopInATerminal(t *testing.T) {
	dir := t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tandem := filepath.Join(dir, "tandem") // the test binary is the command by this name
	for name, text := range map[string]string{
		"h.py":      "import os, time\ndef work(x):\n    while not os.path.exists('go'):\n        time.sleep(0.01)\n    return x\n",
		"flow.yaml": `{tandem: v1, name: watched, from: {range: 1..50}, steps: [{name: tp-work, python: "h.py:work", workers: 2, mode: process}, {name: tp-say, run: [echo, "${{ prev }}"]}], into: {jsonl: out.jsonl}}` + "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(exe, tandem); err != nil {
		t.Fatal(err)
	}
	env := append(os.Environ(), "TANDEM_HOME="+filepath.Join(dir, "home"), "TERM=xterm-256color", "NO_COLOR=1")
	run := exec.Command(tandem, "run", "flow.yaml")
	run.Dir, run.Env = dir, env
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = run.Process.Kill(); _ = run.Wait() }()
	var id string
	for deadline := time.Now().Add(20 * time.Second); id == ""; time.Sleep(10 * time.Millisecond) {
		found, _ := filepath.Glob(filepath.Join(dir, "home", "runs", "*", "live"))
		if len(found) > 0 {
			id = filepath.Base(filepath.Dir(found[0]))
		}
		if time.Now().After(deadline) {
			t.Fatal("the run does not answer")
		}
	}

	top := exec.Command(tandem, "top", id, "--every", "100ms")
	top.Dir, top.Env = dir, env
	tty, err := pty.StartWithSize(top, &pty.Winsize{Rows: 24, Cols: 80})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = top.Process.Kill(); _ = tty.Close() }()
	s := &screen{}
	read := make(chan struct{})
	go func() {
		defer close(read)
		b := make([]byte, 4096)
		for {
			n, err := tty.Read(b)
			_, _ = s.Write(b[:n])
			if err != nil {
				return
			}
		}
	}()
	s.want(t, 0, `watched`)
	s.want(t, 0, `(?s)STEP.*MODE.*DONE.*A SECOND.*RUNNING.*QUEUE.*BAD`)
	s.want(t, 0, `● ?tp-work/1`)
	at := s.want(t, 0, `q quit +s sort: worker`)
	press := func(keys string) {
		if _, err := tty.WriteString(keys); err != nil {
			t.Fatal(err)
		}
	}
	press("s")
	at = s.want(t, at, `cpu`)
	press("/")
	at = s.want(t, at, `filter:`)
	press("work/2\r")
	at = s.want(t, at, `sort`)
	// After a resize all is drawn anew: one worker is left, and it fits.
	if err := pty.Setsize(tty, &pty.Winsize{Rows: 30, Cols: 120}); err != nil {
		t.Fatal(err)
	}
	at = s.want(t, at, `(?s)tp-work/2.*sort: cpu.*filter: work/2`)
	if text, _ := s.since(at); strings.Contains(text, "tp-work/1") {
		t.Errorf("the filter lets another through: %q", text)
	}
	press(" ")
	s.want(t, at, `PAUSED`)
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s.want(t, at, `run `+id+`: it ended ok at`)
	s.want(t, at, `watched: ok in .*50 ok  0 bad items`)
	<-read
	if err := top.Wait(); err != nil {
		t.Errorf("top: %v", err)
	}
	if err := run.Wait(); err != nil {
		t.Errorf("run: %v", err)
	}
}
