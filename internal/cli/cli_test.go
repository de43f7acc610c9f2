package cli

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// The test binary is the tandem command: scripts under testdata read like a manual.
func TestMain(m *testing.M) {
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	testscript.Main(m, map[string]func(){"tandem": func() { os.Exit(Main(os.Args[1:])) }})
}

func TestScripts(t *testing.T) {
	cache := t.TempDir()
	python := os.Getenv("TANDEM_PYTHON")
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			url, stop, err := serve()
			if err != nil {
				return err
			}
			e.Defer(stop)
			e.Setenv("API", url)
			e.Setenv("TANDEM_HOME", cache)
			e.Setenv("TANDEM_PYTHON", python)
			e.Setenv("GOCACHE", goEnv("GOCACHE"))
			e.Setenv("GOPATH", goEnv("GOPATH"))
			e.Setenv("GOFLAGS", "-mod=mod")
			e.Setenv("REPO", repo())
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"lines": cmdLines, "nochildren": cmdNoChildren, "expand": cmdExpand, "rename-bytes": cmdRenameBytes, "sleep": cmdSleep,
		},
		Condition: func(cond string) (bool, error) {
			if cond == "root" {
				return os.Getuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
	})
}

func repo() string { r, _ := filepath.Abs("../.."); return r }

func goEnv(name string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	switch dir, _ := os.UserCacheDir(); name {
	case "GOCACHE":
		return filepath.Join(dir, "go-build")
	default:
		home, _ := os.UserHomeDir()
		return filepath.Join(home, "go")
	}
}

// serve is a real API: it echoes, refuses, dawdles and hangs up.
func serve() (string, func(), error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Got", r.Header.Get("X-Sent"))
		w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write(b)
	})
	mux.HandleFunc("/busy", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "come back later", http.StatusServiceUnavailable)
	})
	mux.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(time.Minute):
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("/hangup", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	s := &http.Server{Handler: mux, ReadHeaderTimeout: time.Second}
	go func() { _ = s.Serve(l) }()
	return "http://" + l.Addr().String(), func() { _ = s.Close() }, nil
}

// lines FILE N: the file has N lines.
func cmdLines(ts *testscript.TestScript, neg bool, args []string) {
	n := strings.Count(ts.ReadFile(args[0]), "\n")
	if (fmt.Sprint(n) == args[1]) == neg {
		ts.Fatalf("%s has %d lines, want %s", args[0], n, args[1])
	}
}

// expand FILE: replaces $API and $REPO inside a file, which scripts cannot.
func cmdExpand(ts *testscript.TestScript, _ bool, args []string) {
	text := strings.NewReplacer("$API", ts.Getenv("API"), "$REPO", ts.Getenv("REPO")).Replace(ts.ReadFile(args[0]))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o644))
}

// rename-bytes FROM HEX: renames a file to a name of raw bytes.
func cmdRenameBytes(ts *testscript.TestScript, _ bool, args []string) {
	var name []byte
	_, err := fmt.Sscanf(args[1], "%x", &name)
	ts.Check(err)
	ts.Check(os.Rename(ts.MkAbs(args[0]), filepath.Join(filepath.Dir(ts.MkAbs(args[0])), string(name))))
}

// sleep SECONDS: gives a program in the background time to get going.
func cmdSleep(ts *testscript.TestScript, _ bool, args []string) {
	d, err := time.ParseDuration(args[0] + "s")
	ts.Check(err)
	time.Sleep(d)
}

// nochildren MARK: no process with MARK in its command line is left.
func cmdNoChildren(ts *testscript.TestScript, _ bool, args []string) {
	deadline := time.Now().Add(3 * time.Second)
	for {
		left := withMark(args[0])
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("still running: %v", left)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// withMark lists processes whose command line or working directory holds mark.
func withMark(mark string) (left []string) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		if d == fmt.Sprintf("/proc/%d", os.Getpid()) {
			continue
		}
		line, _ := os.ReadFile(filepath.Join(d, "cmdline"))
		cwd, _ := os.Readlink(filepath.Join(d, "cwd"))
		if strings.Contains(string(line), mark) || cwd == mark {
			left = append(left, d+" "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return left
}
