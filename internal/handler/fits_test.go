package handler

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tandem/internal/proc"
)

// What is said to be hidden does fail in the sandbox, what nothing is said of runs, and what is named lets it run.
func TestHidden(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "tandem-hidden-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	shell, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"own/bin/sh": string(shell), "tool/shims/x": "#!/usr/bin/env sh\nexec " + dir + "/tool/libexec/x\n", "tool/libexec/x": "#!/bin/sh\n", "hidden": "#!" + dir + "/own/bin/sh\n",
		"plain": "#!/bin/sh\n", "env": "#!/usr/bin/env -S sh\n", "linked": "#!" + dir + "/own/bin/link\n"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/bin/sh", filepath.Join(dir, "own/bin/link")); err != nil {
		t.Fatal(err)
	}
	fails := func(program string, box proc.Isolation) bool {
		x, err := proc.Run(t.Context(), proc.Command{Argv: []string{program}, Dir: "/", Isolation: box})
		if x.Isolation.Has("files") == "" && err == nil {
			t.Skip("SKIPPED, NOT TESTED: no sandbox of files here: ", x.Isolation)
		}
		return err != nil || x.Code != 0
	}
	for program, want := range map[string][2]string{"hidden": {"own/bin/sh", "own"}, "tool/shims/x": {"tool", "tool"}, "plain": {}, "env": {}, "linked": {}, "own/bin/sh": {}} {
		box := proc.Isolation{Sandbox: true}
		path := filepath.Join(dir, program)
		file, read := Hidden(path, box)
		if strings.TrimPrefix(file, dir+"/") != want[0] || strings.TrimPrefix(read, dir+"/") != want[1] {
			t.Errorf("%s: %q, %q", program, file, read)
		}
		if fails(path, box) != (file != "") {
			t.Errorf("%s: it is said %q, and that is not so", program, file)
		}
		if box.Read = []string{read}; file != "" && fails(path, box) {
			t.Errorf("%s: %s does not help", program, read)
		}
	}
}

func TestTooSmall(t *testing.T) {
	for _, c := range []struct {
		argv   []string
		memory int64
		small  bool
	}{{[]string{"/usr/bin/python3", "x.py"}, 1 << 20, true}, {[]string{"/usr/bin/python3"}, 1 << 30, false}, {[]string{"/usr/bin/python3"}, 0, false}, {[]string{"sh"}, 4 << 20, false},
		{[]string{"true"}, 1 << 20, false}, {[]string{"no-such-program"}, 1 << 20, false}} {
		limits := proc.Limits{Memory: c.memory}.WithData(c.argv[0])
		if who, small := TooSmall(t.Context(), c.argv, os.Environ(), t.TempDir(), limits, proc.Isolation{}); small != c.small || small && who == "" {
			t.Errorf("%v with %d: %q, %v", c.argv, c.memory, who, small)
		}
	}
}
