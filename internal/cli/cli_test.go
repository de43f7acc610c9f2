package cli

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
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
			e.Setenv("TANDEM_HOME", filepath.Join(e.WorkDir, ".tandem"))
			e.Setenv("TANDEM_PYTHON", python)
			e.Setenv("GOCACHE", goEnv("GOCACHE"))
			e.Setenv("GOPATH", goEnv("GOPATH"))
			e.Setenv("GOFLAGS", "-mod=mod")
			e.Setenv("REPO", repo())
			e.Setenv("TANDEM", self(e))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"lines": cmdLines, "nochildren": cmdNoChildren, "expand": cmdExpand, "rename-bytes": cmdRenameBytes, "sleep": cmdSleep, "waitfile": cmdWaitFile,
			"api": cmdAPI, "within": cmdWithin, "permit": cmdPermit, "query": cmdQuery, "twice": cmdTwice, "number": cmdNumber,
		},
		Condition: func(cond string) (bool, error) {
			if cond == "root" {
				return os.Getuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
	})
}

// self is the tandem command for scripts that look at its exit code.
func self(e *testscript.Env) string {
	for _, dir := range filepath.SplitList(e.Getenv("PATH")) {
		if path := filepath.Join(dir, "tandem"); fileExists(path) {
			return path
		}
	}
	return "tandem"
}

func fileExists(path string) bool { _, err := os.Stat(path); return err == nil }

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

// within FILE SECONDS REGEXP: FILE, which a program in the background writes, matches before the time is up.
func cmdWithin(ts *testscript.TestScript, _ bool, args []string) {
	limit, err := time.ParseDuration(args[1] + "s")
	ts.Check(err)
	want := regexp.MustCompile(args[2])
	for deadline := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		text, _ := os.ReadFile(ts.MkAbs(args[0]))
		if want.Match(text) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s does not match %s after %s s: %q", args[0], args[2], args[1], text)
		}
	}
}

// permit MODE FILE: changes the permissions of a file.
func cmdPermit(ts *testscript.TestScript, _ bool, args []string) {
	mode, err := strconv.ParseUint(args[0], 8, 32)
	ts.Check(err)
	ts.Check(os.Chmod(ts.MkAbs(args[1]), os.FileMode(mode)))
}

// query DATABASE SQL WANT: the rows of a query, columns by | and rows by ; are WANT.
func cmdQuery(ts *testscript.TestScript, neg bool, args []string) {
	got, err := rows(ts.MkAbs(args[0]), args[1])
	ts.Check(err)
	if (got == args[2]) == neg {
		ts.Fatalf("%s in %s gave %q, want %q", args[1], args[0], got, args[2])
	}
}

// rows are the rows of a query as text: columns parted by |, rows by ;.
func rows(database, query string) (string, error) {
	db, err := sql.Open("sqlite", "file:"+database+"?mode=ro") // the driver comes with internal/flowfile
	if err != nil {
		return "", err
	}
	defer db.Close()
	found, err := db.Query(query)
	if err != nil {
		return "", err
	}
	defer found.Close()
	columns, _ := found.Columns()
	var lines []string
	for found.Next() {
		cells, to := make([]sql.NullString, len(columns)), make([]any, len(columns))
		for i := range cells {
			to[i] = &cells[i]
		}
		if err := found.Scan(to...); err != nil {
			return "", err
		}
		var line []string
		for _, c := range cells {
			line = append(line, c.String)
		}
		lines = append(lines, strings.Join(line, "|"))
	}
	return strings.Join(lines, ";"), found.Err()
}

// twice FILE: some id, which is what stands before a line's first comma, is there more than once.
func cmdTwice(ts *testscript.TestScript, neg bool, args []string) {
	var ids []string
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		ids = append(ids, strings.SplitN(line, ",", 2)[0])
	}
	slices.Sort(ids)
	if n := len(ids) - len(slices.Compact(ids)); (n > 0) == neg {
		ts.Fatalf("%s has %d lines of items that have one already", args[0], n)
	}
}

// number FILE REGEXP N: the regular expression matches N times in the file.
func cmdNumber(ts *testscript.TestScript, neg bool, args []string) {
	n := len(regexp.MustCompile("(?m)"+args[1]).FindAllString(ts.ReadFile(args[0]), -1))
	if (fmt.Sprint(n) == args[2]) == neg {
		ts.Fatalf("%s matches %d times in %s, want %s", args[1], n, args[0], args[2])
	}
}

// waitfile FILE [N]: waits until a program in the background has written it, N lines of it.
func cmdWaitFile(ts *testscript.TestScript, _ bool, args []string) {
	want := 1
	if len(args) > 1 {
		_, err := fmt.Sscan(args[1], &want)
		ts.Check(err)
	}
	for begun := time.Now(); time.Since(begun) < time.Minute; time.Sleep(5 * time.Millisecond) {
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && (len(args) == 1 && len(text) > 0 || len(args) > 1 && strings.Count(string(text), "\n") >= want) {
			return
		}
	}
	ts.Fatalf("nobody wrote %v in a minute", args)
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
